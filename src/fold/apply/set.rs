//! What `set` does to a row.

use super::{Applier, EventLog, Step, Undo, env::env, presence};
use crate::definition::projection::Assignment;
use crate::expression::cell::{Cell, same};
use crate::expression::quick::Told;
use crate::expression::value::Value;
use crate::fold::cache::mark;
use crate::fold::failure::{EventFailure, Reason, RulePart};
use crate::fold::plan::Touch;

/// Values of right sides that are not what the row has, by column: those that were quickly told.
type AllTold<'v> = bumpalo::collections::Vec<'v, (usize, Told<'v>)>;

impl<'f> Applier<'f> {
    pub(super) fn set<'v>(
        &mut self,
        step: Step<'v>,
        present: bool,
        assignments: &'v [Assignment],
    ) -> Result<(), EventFailure>
    where
        'f: 'v,
    {
        let touch = step.touch;
        let (told, new_null) = self.right_sides(step, present, assignments)?;
        let is_ghost = self.table(touch).is_ghost(touch.row);
        if let (true, Some(ghost)) = (is_ghost, self.table(touch).ghost) {
            self.write(touch, ghost, Cell::from_value(Value::Bool(false)));
        }
        let state = &mut self.tables[usize::from(touch.table)];
        let suspect = new_null || (!present && state.null_by_default);
        // Behind the only change of an event nothing can fail but the check of nulls.
        let undoable = !step.only || suspect || state.history.is_some();
        if !present && !is_ghost {
            state.cache.head_mut(touch.row).marks |= mark::PRESENT;
            if undoable {
                self.log.undo.push(presence(touch, false));
            }
        }
        if !present || !told.is_empty() || !self.log.values.is_empty() {
            state.cache.mark_dirty(touch.row);
        }
        let mut row = state.cache.row_mut(touch.row);
        for &(column, told) in &told {
            if undoable {
                let before = row.replace(column, Cell::from_value(told.value()));
                self.log.undo.push(before_of(touch, column as u16, before));
            } else {
                row.set(column, told);
            }
        }
        while let Some((column, cell)) = self.log.values.pop() {
            let before = row.replace(usize::from(column), cell);
            if undoable {
                self.log.undo.push(before_of(touch, column, before));
            }
        }
        if suspect {
            self.log.suspects.push(touch);
        }
        Ok(())
    }

    /// Every right side sees the row as it was before the rule. Those that change something are given, or left in the log; tells
    /// whether one is null that must not be.
    fn right_sides<'v>(
        &mut self,
        step: Step<'v>,
        present: bool,
        assignments: &'v [Assignment],
    ) -> Result<(AllTold<'v>, bool), EventFailure>
    where
        'f: 'v,
    {
        let EventLog { values, before, .. } = &mut *self.log;
        let row = self.tables[usize::from(step.touch.table)]
            .cache
            .cells(step.touch.row);
        let columns = &self.projection.tables[usize::from(step.touch.table)].columns;
        let is_quick = !self.machine.is_telling();
        let mut told = AllTold::with_capacity_in(assignments.len(), self.scratch);
        let mut new_null = false;
        let mut all = None;
        for assignment in assignments {
            let column = assignment.column;
            let quick = match is_quick {
                true => assignment.program.quick(row, step.event),
                false => None,
            };
            if let Some(value) = quick {
                new_null |= value.is_null() && columns[column].not_null;
                if !row[column].is(value) {
                    told.push((column, value));
                }
                continue;
            }
            let env =
                all.get_or_insert_with(|| env(self.tables, before, self.scratch, step, present));
            match assignment.program.evaluate(env, self.machine) {
                Ok(value) => {
                    new_null |= matches!(value, Value::Null) && columns[column].not_null;
                    if !same(value, row[column].value()) {
                        values.push((column as u16, Cell::from_value(value)));
                    }
                }
                Err(error) => {
                    let reason = Reason::Expression(error);
                    return Err(self.failure(step, RulePart::Set, Some(column), reason));
                }
            }
        }
        Ok((told, new_null))
    }
}

fn before_of(touch: Touch, column: u16, cell: Cell) -> Undo {
    Undo::Cell {
        table: touch.table,
        column,
        row: touch.row,
        cell,
    }
}
