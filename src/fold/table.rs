//! What the fold keeps for each table: its rows, and what is known of its rules beforehand.

use super::cache::{SHARED_SLOT, TableCache, mark};
use super::history::{History, RowState};
use super::plan::Touch;
use crate::definition::projection::{Rule, Table};
use crate::event::json::Plan;
use crate::expression::cell::Cell;
use crate::expression::value::Value;

#[derive(Debug)]
pub(super) struct TableState {
    pub(super) cache: TableCache,
    /// Partitions share rows: they are locked, and live only for the batch.
    pub(super) shared: bool,
    pub(super) rules: Vec<RuleState>,
    /// What `old.` reads of a row that there was not.
    pub(super) null_row: Vec<Cell>,
    /// A new row has nulls in not-null columns until some rule fills them.
    pub(super) null_by_default: bool,
    /// Some rule reads `old.`.
    pub(super) reads_old: bool,
    /// Rules of other tables look up rows of this one.
    pub(super) looked_up: bool,
    /// The column that marks a deleted row which is kept for its versions.
    pub(super) ghost: Option<usize>,
    /// Columns that a definition names; hidden ones come after them.
    pub(super) named_columns: usize,
    /// States of rows that are not yet in the database, if they are kept.
    pub(super) history: Option<History>,
    pub(super) hits: u64,
    pub(super) misses: u64,
}

#[derive(Debug)]
pub(super) struct RuleState {
    /// `when` has to wait for the second pass.
    pub(super) when_reads_row: bool,
    /// The rule reaches every row with a prefix: index into [`TableCache::prefixes`].
    pub(super) prefix: Option<usize>,
    /// How often it has done something to a row.
    pub(super) applied: u64,
    /// Takes `item.` members out of an element of `each`.
    pub(super) item_plan: Plan,
}

impl TableState {
    pub(super) fn new(table: &Table, shared: bool) -> TableState {
        let prefix_lens = table.prefix_lens();
        let rule = |rule| RuleState::new(rule, &prefix_lens);
        let others = &table.columns[table.key_len..];
        TableState {
            cache: TableCache::new(table.columns.len(), &prefix_lens),
            shared,
            rules: table.rules.iter().map(rule).collect(),
            null_row: table.columns.iter().map(|_| Cell::NULL).collect(),
            null_by_default: others
                .iter()
                .any(|column| column.not_null && column.default.is_null()),
            reads_old: table.rules.iter().any(|rule| rule.reads_old),
            looked_up: false,
            ghost: table.ghost,
            named_columns: table
                .columns
                .iter()
                .take_while(|column| !column.name.starts_with('$'))
                .count(),
            history: table.history.as_ref().map(|_| History::default()),
            hits: 0,
            misses: 0,
        }
    }
}

impl TableState {
    /// Fills in a row as the database holds it.
    pub(super) fn take(&mut self, row: u32, cells: &mut [Cell]) {
        let head = self.cache.head_mut(row);
        head.marks &= !mark::NEEDED;
        head.marks |= mark::PRESENT | mark::STORED | mark::REFERENCED;
        for (column, cell) in cells.iter_mut().enumerate() {
            let cell = std::mem::replace(cell, Cell::NULL);
            self.cache.replace(row, column, cell);
        }
    }

    /// An event meets a row that has its place already.
    #[inline]
    pub(super) fn met(&mut self, row: u32) -> u32 {
        let head = self.cache.head_mut(row);
        if !head.has(mark::NEEDED) {
            self.hits += 1;
        }
        head.marks |= mark::REFERENCED;
        row
    }

    pub(super) fn states(&self) -> &[RowState] {
        self.history.as_ref().map_or(&[], History::states)
    }

    pub(super) fn history_bytes(&self) -> usize {
        self.history.as_ref().map_or(0, History::bytes)
    }

    pub(super) fn clear_history(&mut self) {
        if let Some(history) = &mut self.history {
            history.clear();
        }
    }

    /// There is such a row, for rules and readers.
    pub(super) fn is_there(&self, row: u32) -> bool {
        self.cache.head(row).has(mark::PRESENT) && !self.is_ghost(row)
    }

    /// The row was deleted and is kept for its versions.
    pub(super) fn is_ghost(&self, row: u32) -> bool {
        self.ghost.is_some_and(|column| {
            self.cache.head(row).has(mark::PRESENT)
                && matches!(self.cache.cells(row)[column].value(), Value::Bool(true))
        })
    }

    /// The row that is soon to be folded; where a rule reaches many, none.
    #[inline]
    pub(super) fn prefetch(&self, touch: &Touch) {
        if self.rules[usize::from(touch.rule)].prefix.is_none() {
            self.cache.prefetch(touch.row);
        }
    }

    /// The owner slot of rows that events of a partition touch.
    pub(super) fn slot(&self, of_partition: i32) -> i32 {
        if self.shared {
            SHARED_SLOT
        } else {
            of_partition
        }
    }
}

impl RuleState {
    fn new(rule: &Rule, prefix_lens: &[usize]) -> RuleState {
        let when = rule.when.as_ref();
        RuleState {
            when_reads_row: when
                .is_some_and(|when| when.reads_row() || when.reads_old() || when.reads_lookup()),
            prefix: prefix_lens.iter().position(|len| *len == rule.key.len()),
            applied: 0,
            item_plan: match &rule.each {
                Some(each) => Plan::new(&each.paths),
                None => Plan::default(),
            },
        }
    }
}
