//! What events do to the tables of a definition, step by step: which rules, which values, the rows before and after. Folds
//! with the fold itself. Knows nothing of where events come from.

mod json;
mod read;
mod text;

pub use json::to_json;
pub use read::{Defaults, read};
pub use text::to_text;

use std::collections::HashMap;
use std::sync::Arc;

use bumpalo::Bump;

use super::projection::{Action, Projection};
use super::testing::OwnedRecord;
use super::testing::replay::{Memory, Rows, State};
use super::testing::run::visible;
use crate::event::{DecodeError, Event};
use crate::expression::cast;
use crate::expression::cell::Cell;
use crate::expression::error::EvalError;
use crate::expression::program::Program;
use crate::expression::value::{Type, Value};
use crate::fold::{Did, EventFailure, RulePart, Trace, TraceStep};

/// Tables that begin empty, and the events that were folded into them.
pub struct Trial {
    projection: Arc<Projection>,
    state: State,
    /// By the program's id.
    parts: HashMap<usize, Part>,
    events: usize,
}

/// What one event did.
#[derive(Debug)]
pub struct Account {
    /// From 1.
    pub number: usize,
    pub topic: String,
    pub partition: i32,
    /// `None`: the record is no event.
    pub event: Option<Head>,
    /// Of every table and rule, in the file's order.
    pub rules: Vec<RuleAccount>,
    /// The rows that rules came to.
    pub rows: Vec<RowChange>,
    /// Why nothing was changed.
    pub failure: Option<EventFailure>,
    /// An event with its id came before: it is passed over.
    pub duplicate: bool,
}

/// The event besides its data.
#[derive(Debug)]
pub struct Head {
    pub event_type: String,
    /// The type stands under `ignore`.
    pub ignored: bool,
    pub offset: i64,
    pub key: Option<String>,
    pub id: Option<String>,
    /// As PostgreSQL writes it.
    pub time: String,
}

#[derive(Debug)]
pub struct RuleAccount {
    /// Index into the projection's tables.
    pub table: usize,
    /// Index into the table's rules.
    pub rule: usize,
    pub meets: Meets,
    /// The array of `each`.
    pub array: Vec<Evaluated>,
    /// One, or one for every element of `each`.
    pub steps: Vec<StepAccount>,
}

/// Whether a rule is one for the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meets {
    Yes,
    OtherType,
    OtherTopic,
    /// An earlier rule failed, or the record is no event or a duplicate.
    NotAsked,
}

#[derive(Debug, Default)]
pub struct StepAccount {
    /// Of the element of `each`, from 0.
    pub index: Option<i64>,
    /// What is evaluated without a row: `when`, the keys of lookups, the key.
    pub evaluated: Vec<Evaluated>,
    /// The rule knows which row it is for.
    pub planned: bool,
    pub rows: Vec<RowStep>,
}

#[derive(Debug)]
pub struct RowStep {
    /// `None`: the event failed here.
    pub did: Option<(Vec<Cell>, Did)>,
    pub evaluated: Vec<Evaluated>,
}

/// An expression and its value.
#[derive(Debug)]
pub struct Evaluated {
    pub part: RulePart,
    pub column: Option<String>,
    /// As written.
    pub text: String,
    pub value_type: Type,
    pub value: Result<Cell, EvalError>,
}

/// A row that rules came to; `None` where there is none.
#[derive(Debug)]
pub struct RowChange {
    pub table: usize,
    pub key: Vec<Cell>,
    pub before: Option<Vec<Cell>>,
    pub after: Option<Vec<Cell>>,
}

/// What a program is in its rule.
#[derive(Debug, Clone)]
struct Part {
    part: RulePart,
    column: Option<String>,
    text: String,
    value_type: Type,
}

impl Trial {
    /// Of a projection that was loaded to be traced.
    pub fn new(projection: &Arc<Projection>) -> Trial {
        Trial {
            state: State::new(projection, Memory::Forget),
            parts: parts(projection),
            projection: Arc::clone(projection),
            events: 0,
        }
    }

    /// Folds one more event.
    pub fn fold(&mut self, record: &OwnedRecord) -> Account {
        let before = self.visible();
        let mut head = None;
        let topic = &self.projection.topics[record.topic];
        let look = |event: Result<&Event<'_>, &DecodeError>| head = event.ok().map(head_of);
        let told = self.state.tell_one(record, look);
        if let Some(head) = &mut head {
            head.ignored = topic.ignore.contains(&head.event_type);
        }
        self.events += 1;
        let rules = self.rules(record.topic, head.as_ref(), told.trace);
        let rows = row_changes(&rules, &before, &self.visible());
        Account {
            number: self.events,
            topic: topic.name.clone(),
            partition: record.partition,
            event: head,
            rules,
            rows,
            failure: told.failure,
            duplicate: told.duplicate,
        }
    }

    fn visible(&self) -> Vec<Rows> {
        let tables = self.projection.tables.iter().zip(self.state.tables());
        tables.map(|(table, rows)| visible(table, rows)).collect()
    }

    /// The trace, put into the order of the file.
    fn rules(&self, topic: usize, head: Option<&Head>, trace: Trace) -> Vec<RuleAccount> {
        let mut gathered = Gathered::default();
        let ends = trace.notes.iter().skip(1).map(|note| note.evaluated);
        let ends: Vec<usize> = ends.chain([trace.evaluations.len()]).collect();
        for (note, end) in trace.notes.into_iter().zip(ends) {
            let evaluations = &trace.evaluations[note.evaluated..end];
            let evaluated = evaluations.iter().filter_map(|evaluation| {
                let part = self.parts.get(&evaluation.program)?.clone();
                Some(Evaluated {
                    part: part.part,
                    column: part.column,
                    text: part.text,
                    value_type: part.value_type,
                    value: evaluation.result.clone(),
                })
            });
            let has_each = |table: usize, rule: usize| {
                self.projection.tables[table].rules[rule].each.is_some()
            };
            gathered.take(note.step, evaluated.collect(), has_each);
        }
        gathered.end();
        let mut met = gathered.rules.into_iter().peekable();
        let mut all = Vec::new();
        for (table, of_table) in self.projection.tables.iter().enumerate() {
            for (rule, meant) in of_table.rules.iter().enumerate() {
                let next = met.next_if(|account| (account.table, account.rule) == (table, rule));
                let meets = match head {
                    None => Meets::NotAsked,
                    Some(head) if !meant.types.matches(&head.event_type) => Meets::OtherType,
                    Some(_) if meant.topic.is_some_and(|only| only != topic) => Meets::OtherTopic,
                    Some(_) => Meets::NotAsked,
                };
                all.push(next.unwrap_or(RuleAccount {
                    table,
                    rule,
                    meets,
                    array: Vec::new(),
                    steps: Vec::new(),
                }));
            }
        }
        all
    }
}

/// Accounts of rules while the trace is read.
#[derive(Default)]
struct Gathered {
    rules: Vec<RuleAccount>,
    /// Rule and step of each touch that was planned.
    planned: Vec<(usize, usize)>,
    /// Of the row at hand.
    evaluated: Vec<Evaluated>,
    touched: Option<(usize, usize)>,
}

impl Gathered {
    fn take(
        &mut self,
        step: TraceStep,
        evaluated: Vec<Evaluated>,
        has_each: impl Fn(usize, usize) -> bool,
    ) {
        match step {
            TraceStep::Rule { table, rule } => {
                let mut account = RuleAccount {
                    table,
                    rule,
                    meets: Meets::Yes,
                    array: Vec::new(),
                    steps: Vec::new(),
                };
                match has_each(table, rule) {
                    true => account.array = evaluated,
                    false => account.steps.push(StepAccount {
                        evaluated,
                        ..StepAccount::default()
                    }),
                }
                self.rules.push(account);
            }
            TraceStep::Element { index } => {
                if let Some(rule) = self.rules.last_mut() {
                    rule.steps.push(StepAccount {
                        index: Some(index),
                        evaluated,
                        ..StepAccount::default()
                    });
                }
            }
            TraceStep::Planned => {
                let rule = self.rules.len().saturating_sub(1);
                if let Some(step) = self.rules.last_mut().and_then(|rule| rule.steps.last_mut()) {
                    step.planned = true;
                    self.planned.push((rule, self.rules[rule].steps.len() - 1));
                }
            }
            TraceStep::Touch { number } => {
                self.end();
                self.touched = self.planned.get(number).copied();
                self.evaluated = evaluated;
            }
            TraceStep::Row { key, did } => {
                self.row(Some((key, did)));
                self.evaluated = evaluated;
            }
        }
    }

    fn row(&mut self, did: Option<(Vec<Cell>, Did)>) {
        let evaluated = std::mem::take(&mut self.evaluated);
        if let Some((rule, step)) = self.touched {
            let rows = &mut self.rules[rule].steps[step].rows;
            rows.push(RowStep { did, evaluated });
        }
    }

    /// What was evaluated after the last row belongs to one that failed.
    fn end(&mut self) {
        if !self.evaluated.is_empty() {
            self.row(None);
        }
    }
}

fn head_of(event: &Event<'_>) -> Head {
    Head {
        event_type: event.event_type.to_owned(),
        ignored: false,
        offset: event.offset,
        key: event.key.map(str::to_owned),
        id: event.id.map(str::to_owned),
        time: shown(Value::TimestampTz(event.time)),
    }
}

/// As PostgreSQL writes it; null as `null`.
fn shown(value: Value<'_>) -> String {
    let arena = Bump::new();
    cast::to_text(value, &arena).unwrap_or("null").to_owned()
}

/// Every row that a rule came to, once, in that order.
fn row_changes(rules: &[RuleAccount], before: &[Rows], after: &[Rows]) -> Vec<RowChange> {
    let mut changes: Vec<RowChange> = Vec::new();
    for rule in rules {
        let rows = rule.steps.iter().flat_map(|step| &step.rows);
        for (key, _) in rows.filter_map(|row| row.did.as_ref()) {
            let known = |change: &RowChange| change.table == rule.table && same(&change.key, key);
            if changes.iter().any(known) {
                continue;
            }
            let find = |tables: &[Rows]| {
                let mut rows = tables[rule.table].values();
                rows.find(|row| same(&row[..key.len()], key)).cloned()
            };
            changes.push(RowChange {
                table: rule.table,
                key: key.clone(),
                before: find(before),
                after: find(after),
            });
        }
    }
    changes
}

fn same(one: &[Cell], other: &[Cell]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.same(other))
}

fn parts(projection: &Projection) -> HashMap<usize, Part> {
    let mut parts = HashMap::new();
    for table in &projection.tables {
        let mut note = |program: &Program, part: RulePart, column: Option<&str>| {
            let part = Part {
                part,
                column: column.map(str::to_owned),
                text: program.text().to_owned(),
                value_type: program.result(),
            };
            parts.insert(program.id(), part);
        };
        let name = |column: usize| Some(table.columns[column].name.as_str());
        if let Some(version) = &table.version {
            note(&version.program, RulePart::Version, None);
        }
        for rule in &table.rules {
            if let Some(when) = &rule.when {
                note(when, RulePart::When, None);
            }
            for (column, key) in rule.key.iter().enumerate() {
                note(key, RulePart::Key, name(column));
            }
            if let Some(each) = &rule.each {
                note(&each.array, RulePart::Each, None);
            }
            for lookup in &rule.lookups {
                let columns = &projection.tables[lookup.table].columns;
                for (key, column) in lookup.key.iter().zip(columns) {
                    note(key, RulePart::Lookup, Some(&column.name));
                }
            }
            if let Some(version) = &rule.version {
                note(&version.program, RulePart::Version, None);
            }
            if let Action::Set(assignments) = &rule.action {
                for set in assignments {
                    note(&set.program, RulePart::Set, name(set.column));
                }
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests;
