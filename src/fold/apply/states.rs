//! What an event that is through means for the histories of the rows it changed.

use super::{Applier, Undo};
use crate::event::Event;
use crate::expression::value::Value;
use crate::fold::table::TableState;
use std::collections::BTreeSet;

impl Applier<'_> {
    /// Every row that the event changed has a new state now, or none any more.
    pub(super) fn keep_states(&mut self, event: &Event<'_>) {
        if self.tables.iter().all(|state| state.history.is_none()) {
            return;
        }
        let mut changed: Vec<(u16, u32)> = Vec::new();
        for undo in &self.log.undo {
            let (table, row) = match undo {
                Undo::Cell {
                    table, row, column, ..
                } => {
                    let (state, column) = (&self.tables[usize::from(*table)], *column);
                    let hidden = usize::from(column) >= state.named_columns;
                    if hidden && state.ghost != Some(usize::from(column)) {
                        continue;
                    }
                    (*table, *row)
                }
                Undo::Presence { table, row, .. } => (*table, *row),
            };
            if self.tables[usize::from(table)].history.is_some() {
                changed.push((table, row));
            }
        }
        changed.sort_unstable();
        changed.dedup();
        for (table, row) in changed {
            let was_there = self.was_there(table, row);
            if was_there && self.is_as_before(table, row) {
                continue;
            }
            let state = &mut self.tables[usize::from(table)];
            let is_there = state.is_there(row);
            let TableState {
                cache,
                history,
                named_columns,
                ..
            } = state;
            let (Some(history), true) = (history, is_there || was_there) else {
                continue;
            };
            let definition = &self.projection.tables[usize::from(table)];
            let of_row = (cache.head(row).slot(), cache.cells(row));
            history.push(definition, *named_columns, of_row, event, !is_there);
        }
    }

    /// What the event changed it has changed back; of a row that was there before.
    fn is_as_before(&self, table: u16, row: u32) -> bool {
        let state = &self.tables[usize::from(table)];
        let mut seen = BTreeSet::new();
        let same = |undo: &Undo| match undo {
            // The first one tells what stood there before the event.
            Undo::Cell {
                table: of,
                row: at,
                column,
                cell,
            } if (*of, *at) == (table, row) && usize::from(*column) < state.named_columns => {
                let now = &state.cache.cells(row)[usize::from(*column)];
                !seen.insert(*column) || cell.same(now)
            }
            Undo::Cell { .. } | Undo::Presence { .. } => true,
        };
        state.is_there(row) && self.log.undo.iter().all(same)
    }

    /// Before the event, of a row that it has changed.
    fn was_there(&self, table: u16, row: u32) -> bool {
        let state = &self.tables[usize::from(table)];
        let first = self.log.undo.iter().find_map(|undo| match undo {
            Undo::Presence {
                table: of,
                row: at,
                present,
            } if (*of, *at) == (table, row) => Some(*present),
            Undo::Cell {
                table: of,
                row: at,
                column,
                cell,
            } if (*of, *at) == (table, row) && state.ghost == Some(usize::from(*column)) => {
                Some(!matches!(cell.value(), Value::Bool(true)))
            }
            Undo::Presence { .. } | Undo::Cell { .. } => None,
        });
        first.unwrap_or_else(|| state.is_there(row))
    }
}
