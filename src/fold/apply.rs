//! The second pass: applies rules to rows, event by event, each to all its rows or to none.

mod env;
mod set;
mod states;

use super::REACHED_ROWS_MAX;
use super::cache::mark;
use super::failure::{At, EventFailure, Reason, RulePart};
use super::plan::{Batch, Element, Touch};
use super::table::{RuleState, TableState};
use super::trace::{Did, TraceStep, Tracer};
use crate::definition::projection::{Action, IfMissing, Projection, Rule};
use crate::event::Event;
use crate::expression::cell::Cell;
use crate::expression::compare::compare;
use crate::expression::error::EvalError;
use crate::expression::program::{Machine, Program};
use crate::expression::value::Value;
use bumpalo::Bump;
use env::{Before, env};
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use std::cmp::Ordering;

/// What has to be known of an event until it is through. Kept between events for its memory only.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    undo: Vec<Undo>,
    /// Values of right sides that are not what the row has, by column, until all right sides are known.
    values: Vec<(u16, Cell)>,
    /// Rows that may have a null in a not-null column.
    suspects: Vec<Touch>,
    /// Rows that the event deleted: no later rule of it may create them again.
    deleted: HashSet<(u16, u32), RandomState>,
    /// Rows as they were before the event, where a rule may ask for them; none if there was no row.
    before: Before,
    /// By table, row and hidden column: the event's version, or none if it is not above the row's.
    versions: HashMap<(u16, u32, usize), Option<Cell>, RandomState>,
}

#[derive(Debug)]
enum Undo {
    Cell {
        table: u16,
        column: u16,
        row: u32,
        /// What stood there before.
        cell: Cell,
    },
    Presence {
        table: u16,
        row: u32,
        present: bool,
    },
}

/// What the second pass works with.
pub(super) struct Applier<'f> {
    pub(super) projection: &'f Projection,
    pub(super) tables: &'f mut [TableState],
    pub(super) machine: &'f mut Machine,
    pub(super) scratch: &'f Bump,
    pub(super) log: &'f mut EventLog,
    /// How often an event was not above a row's version.
    pub(super) stale: &'f mut u64,
    pub(super) tracer: &'f mut Tracer,
}

/// The event, rule and row at hand.
#[derive(Clone, Copy)]
struct Step<'e> {
    event: &'e Event<'e>,
    event_index: usize,
    rule: &'e Rule,
    element: Element<'e>,
    touch: Touch,
    /// The event touches nothing but this row, by this rule.
    only: bool,
}

impl<'f> Applier<'f> {
    /// Applies one event, or leaves every row as it was.
    pub(super) fn event(
        &mut self,
        batch: &Batch<'_>,
        event_index: usize,
        touches: &[Touch],
    ) -> Result<(), EventFailure> {
        let mut outcome = Ok(());
        for (number, touch) in touches.iter().enumerate() {
            self.tracer
                .note(self.machine, || TraceStep::Touch { number });
            let table = &self.projection.tables[usize::from(touch.table)];
            let prefix = self.rule_state(*touch).prefix;
            let step = Step {
                event: &batch.events[event_index],
                event_index,
                rule: &table.rules[usize::from(touch.rule)],
                element: batch.element(touch),
                touch: *touch,
                only: touches.len() == 1 && prefix.is_none(),
            };
            outcome = match prefix {
                None => self.rule(step),
                Some(prefix) => self.every_row(step, prefix),
            };
            if outcome.is_err() {
                break;
            }
        }
        if outcome.is_ok() && !self.log.suspects.is_empty() {
            outcome = self.check_not_null(event_index);
        }
        if outcome.is_ok() {
            self.keep_states(&batch.events[event_index]);
        }
        match outcome {
            Ok(()) if self.log.versions.is_empty() => {}
            Ok(()) => {
                let stale = self.log.versions.values().filter(|new| new.is_none());
                *self.stale += stale.count() as u64;
            }
            Err(_) => self.undo(),
        }
        self.log.clear();
        outcome
    }

    /// A rule on all rows with a prefix that there are by now.
    fn every_row(&mut self, step: Step<'_>, prefix: usize) -> Result<(), EventFailure> {
        let Step { rule, touch, .. } = step;
        let rows = |applier: &Self| {
            applier.table(touch).cache.prefixes[prefix]
                .rows(touch.row)
                .len()
        };
        let mut reached = 0;
        for at in 0..rows(self) {
            let row = self.table(touch).cache.prefixes[prefix].rows(touch.row)[at];
            if self.table(touch).is_there(row) {
                reached += 1;
                if reached > REACHED_ROWS_MAX {
                    return Err(self.failure(step, RulePart::Rule, None, Reason::TooManyRows));
                }
                let touch = Touch { row, ..touch };
                self.rule(Step { touch, ..step })?;
            }
        }
        if reached == 0 && rule.if_missing == IfMissing::Fail {
            return Err(self.failure(step, RulePart::Rule, None, Reason::RowMissing));
        }
        Ok(())
    }

    fn rule(&mut self, step: Step<'_>) -> Result<(), EventFailure> {
        let did = self.try_rule(step)?;
        let (tables, touch) = (&*self.tables, step.touch);
        self.tracer.note(self.machine, || {
            let table = usize::from(touch.table);
            let key_len = self.projection.tables[table].key_len;
            let key = tables[table].cache.cells(touch.row)[..key_len].to_vec();
            TraceStep::Row { key, did }
        });
        Ok(())
    }

    fn try_rule(&mut self, step: Step<'_>) -> Result<Did, EventFailure> {
        let Step { rule, touch, .. } = step;
        let present = self.table(touch).is_there(touch.row);
        if !present {
            let deleted = self.log.deleted.contains(&(touch.table, touch.row));
            let deletes = matches!(rule.action, Action::Delete);
            match rule.if_missing {
                IfMissing::Skip => return Ok(Did::NoRow),
                IfMissing::Create if deleted => return Ok(Did::Gone),
                IfMissing::Create if deletes => return Ok(Did::NoRow),
                IfMissing::Create | IfMissing::Fail if !deleted => self.fill_with_defaults(touch),
                IfMissing::Create | IfMissing::Fail => {}
            }
        }
        self.remember(step, present);
        if let (Some(when), true) = (&rule.when, self.rule_state(touch).when_reads_row) {
            match self.evaluate(when, step, present) {
                Ok(Value::Bool(true)) => {}
                Ok(_) => return Ok(Did::NotMet),
                Err(error) => {
                    let reason = Reason::Expression(error);
                    return Err(self.failure(step, RulePart::When, None, reason));
                }
            }
        }
        if !self.is_new(step)? {
            return Ok(Did::Stale);
        }
        if !present && rule.if_missing == IfMissing::Fail {
            return Err(self.failure(step, RulePart::Rule, None, Reason::RowMissing));
        }
        let state = &mut self.tables[usize::from(touch.table)];
        state.rules[usize::from(touch.rule)].applied += 1;
        let did = match &rule.action {
            Action::Delete => {
                self.delete(touch);
                Did::Deleted
            }
            Action::Set(assignments) => {
                self.set(step, present, assignments)?;
                Did::Set
            }
        };
        self.note_versions(step);
        Ok(did)
    }

    /// The event's versions are above those that the row has; asked once per event and row.
    fn is_new(&mut self, step: Step<'_>) -> Result<bool, EventFailure> {
        let touch = step.touch;
        let projection = self.projection;
        let table = &projection.tables[usize::from(touch.table)];
        let mut new = true;
        for guard in table.version.iter().chain(&step.rule.version) {
            let place = (touch.table, touch.row, guard.column);
            if let Some(known) = self.log.versions.get(&place) {
                new &= known.is_some();
                continue;
            }
            let version = match self.evaluate(&guard.program, step, false) {
                Ok(value) => Cell::from_value(value),
                Err(error) => {
                    let reason = Reason::Expression(error);
                    return Err(self.failure(step, RulePart::Version, None, reason));
                }
            };
            if version.is_null() {
                return Err(self.failure(step, RulePart::Version, None, Reason::VersionNull));
            }
            let last = &self.table(touch).cache.cells(touch.row)[guard.column];
            let above =
                last.is_null() || compare(version.value(), last.value()) == Ordering::Greater;
            new &= above;
            self.log.versions.insert(place, above.then_some(version));
        }
        Ok(new)
    }

    /// What was applied is the last version from now on.
    fn note_versions(&mut self, step: Step<'_>) {
        let touch = step.touch;
        let projection = self.projection;
        let table = &projection.tables[usize::from(touch.table)];
        for guard in table.version.iter().chain(&step.rule.version) {
            let place = (touch.table, touch.row, guard.column);
            if let Some(Some(version)) = self.log.versions.get(&place) {
                let version = version.clone();
                self.write(touch, guard.column, version);
            }
        }
    }

    /// Changes one cell of a row that is there, or is kept.
    fn write(&mut self, touch: Touch, column: usize, cell: Cell) {
        let cache = &mut self.tables[usize::from(touch.table)].cache;
        if cell.same(&cache.cells(touch.row)[column]) {
            return;
        }
        let cell = cache.replace(touch.row, column, cell);
        cache.mark_dirty(touch.row);
        self.log.undo.push(Undo::Cell {
            table: touch.table,
            column: column as u16,
            row: touch.row,
            cell,
        });
    }

    fn delete(&mut self, touch: Touch) {
        if let Some(ghost) = self.table(touch).ghost {
            self.write(touch, ghost, Cell::from_value(Value::Bool(true)));
            self.empty(touch);
            self.log.deleted.insert((touch.table, touch.row));
            return;
        }
        let cache = &mut self.tables[usize::from(touch.table)].cache;
        cache.head_mut(touch.row).marks &= !mark::PRESENT;
        cache.mark_dirty(touch.row);
        self.log.undo.push(presence(touch, true));
        self.log.deleted.insert((touch.table, touch.row));
    }

    /// Nothing of a deleted row is kept but its key and versions, and what must not be null.
    fn empty(&mut self, touch: Touch) {
        let projection = self.projection;
        let table = &projection.tables[usize::from(touch.table)];
        let named = self.table(touch).named_columns;
        for (at, column) in table.columns[..named]
            .iter()
            .enumerate()
            .skip(table.key_len)
        {
            if !column.not_null || !column.default.is_null() {
                self.write(touch, at, column.default.clone());
            }
        }
    }

    /// What a rule that creates the row starts from. The key cells stand already, and the versions of a row that was deleted.
    fn fill_with_defaults(&mut self, touch: Touch) {
        let table = &self.projection.tables[usize::from(touch.table)];
        let state = &mut self.tables[usize::from(touch.table)];
        let columns = match state.is_ghost(touch.row) {
            true => state.named_columns,
            false => table.columns.len(),
        };
        let mut row = state.cache.row_mut(touch.row);
        for column in table.key_len..columns {
            row.replace(column, table.columns[column].default.clone());
        }
    }

    /// Keeps the row as it is before the event's first rule on it, if a rule may ask for it after that.
    fn remember(&mut self, step: Step<'_>, present: bool) {
        let touch = step.touch;
        let state = &self.tables[usize::from(touch.table)];
        if step.only || !(state.reads_old || state.looked_up) {
            return;
        }
        let before = self.log.before.entry((touch.table, touch.row));
        before.or_insert_with(|| present.then(|| state.cache.cells(touch.row).to_vec()));
    }

    fn evaluate<'s>(
        &'s mut self,
        program: &'s Program,
        step: Step<'s>,
        present: bool,
    ) -> Result<Value<'s>, EvalError> {
        let env = env(self.tables, &self.log.before, self.scratch, step, present);
        program.evaluate(&env, self.machine)
    }

    fn check_not_null(&self, event_index: usize) -> Result<(), EventFailure> {
        for suspect in &self.log.suspects {
            let table = &self.projection.tables[usize::from(suspect.table)];
            if !self.table(*suspect).is_there(suspect.row) {
                continue;
            }
            let cache = &self.table(*suspect).cache;
            let cells = cache.cells(suspect.row).iter().zip(&table.columns);
            let null = cells
                .enumerate()
                .position(|(_, (cell, column))| column.not_null && cell.is_null());
            if null.is_some() {
                let at = At {
                    table: suspect.table,
                    rule: suspect.rule,
                    part: RulePart::Set,
                    column: null,
                };
                let reason = Reason::NotNull;
                return Err(EventFailure::new(self.projection, event_index, at, reason));
            }
        }
        Ok(())
    }

    fn undo(&mut self) {
        for undo in self.log.undo.drain(..).rev() {
            match undo {
                Undo::Cell {
                    table,
                    column,
                    row,
                    cell,
                } => {
                    let cache = &mut self.tables[usize::from(table)].cache;
                    cache.replace(row, usize::from(column), cell);
                }
                Undo::Presence {
                    table,
                    row,
                    present,
                } => {
                    let head = self.tables[usize::from(table)].cache.head_mut(row);
                    head.marks &= !mark::PRESENT;
                    head.marks |= u8::from(present) * mark::PRESENT;
                }
            }
        }
    }

    fn table(&self, touch: Touch) -> &TableState {
        &self.tables[usize::from(touch.table)]
    }

    fn rule_state(&self, touch: Touch) -> &RuleState {
        &self.table(touch).rules[usize::from(touch.rule)]
    }

    #[cold]
    fn failure(
        &self,
        step: Step<'_>,
        part: RulePart,
        column: Option<usize>,
        reason: Reason,
    ) -> EventFailure {
        let at = At {
            table: step.touch.table,
            rule: step.touch.rule,
            part,
            column,
        };
        EventFailure::new(self.projection, step.event_index, at, reason)
    }
}

impl EventLog {
    fn clear(&mut self) {
        self.undo.clear();
        self.values.clear();
        self.suspects.clear();
        // Clearing a map costs something even if it is empty.
        if !self.deleted.is_empty() {
            self.deleted.clear();
        }
        if !self.before.is_empty() {
            self.before.clear();
        }
        if !self.versions.is_empty() {
            self.versions.clear();
        }
    }
}

fn presence(touch: Touch, present: bool) -> Undo {
    Undo::Presence {
        table: touch.table,
        row: touch.row,
        present,
    }
}
