//! What the expressions of a rule see in the second pass.

use super::Step;
use crate::expression::cell::Cell;
use crate::expression::program::Env;
use crate::fold::plan::NO_ROW;
use crate::fold::table::TableState;
use bumpalo::Bump;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Rows as they were before the event, by table and row; none if there was no row.
pub(super) type Before = HashMap<(u16, u32), Option<Vec<Cell>>, RandomState>;

/// What the rule's expressions see.
pub(super) fn env<'s>(
    tables: &'s [TableState],
    before: &'s Before,
    scratch: &'s Bump,
    step: Step<'s>,
    present: bool,
) -> Env<'s> {
    let touch = step.touch;
    let state = &tables[usize::from(touch.table)];
    let row = state.cache.cells(touch.row);
    let mut old: &[Cell] = &[];
    if step.rule.reads_old {
        old = match before.get(&(touch.table, touch.row)) {
            Some(Some(cells)) => cells,
            None if present => row,
            _ => &state.null_row,
        };
    }
    Env {
        row,
        old,
        lookups: looked_up(tables, before, scratch, step),
        event: step.event,
        item: step.element.members,
        index: step.element.index,
        arena: scratch,
    }
}

/// The rows that the rule looks up, as they were before the event.
fn looked_up<'s>(
    tables: &'s [TableState],
    before: &'s Before,
    scratch: &'s Bump,
    step: Step<'s>,
) -> &'s [Option<&'s [Cell]>] {
    let found = step.element.lookups;
    if found.is_empty() {
        return &[];
    }
    let row_of = |at: usize| {
        let (table, row) = (step.rule.lookups[at].table, found[at]);
        if row == NO_ROW {
            return None;
        }
        if let Some(before) = before.get(&(table as u16, row)) {
            return before.as_deref();
        }
        let state = &tables[table];
        state.is_there(row).then(|| state.cache.cells(row))
    };
    scratch.alloc_slice_fill_with(found.len(), row_of)
}
