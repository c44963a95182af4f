//! What the fold did with events, step by step, for those who ask. Knows nothing of how it is shown.

use crate::expression::cell::Cell;
use crate::expression::program::{Evaluation, Machine};

/// Everything noted since the last time, in order.
#[derive(Debug, Default)]
pub struct Trace {
    pub notes: Vec<Note>,
    pub evaluations: Vec<Evaluation>,
}

/// One step, and how many evaluations came before it.
#[derive(Debug)]
pub struct Note {
    pub evaluated: usize,
    pub step: TraceStep,
}

/// First all rules find out which rows they touch, then each does what it does.
#[derive(Debug)]
pub enum TraceStep {
    /// A rule meets the event's type and topic. Indexes into the projection's tables and the table's rules.
    Rule { table: usize, rule: usize },
    /// It is at this element of its `each`, from 0.
    Element { index: i64 },
    /// It will touch rows.
    Planned,
    /// The touch whose turn it is, counted from 0 over those planned.
    Touch { number: usize },
    /// What it did to one row.
    Row { key: Vec<Cell>, did: Did },
}

/// What a rule did to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// There is no row, and the rule makes none.
    NoRow,
    /// An earlier rule of the event deleted the row.
    Gone,
    /// `when` is not true.
    NotMet,
    /// The event's version is not above the row's.
    Stale,
    Set,
    Deleted,
}

/// Gathers notes, if anyone asked for them.
#[derive(Debug, Default)]
pub(super) struct Tracer {
    notes: Option<Vec<Note>>,
}

impl Tracer {
    pub(super) fn telling() -> Tracer {
        Tracer {
            notes: Some(Vec::new()),
        }
    }

    #[inline]
    pub(super) fn is_telling(&self) -> bool {
        self.notes.is_some()
    }

    #[inline]
    pub(super) fn note(&mut self, machine: &Machine, step: impl FnOnce() -> TraceStep) {
        if let Some(notes) = &mut self.notes {
            push(notes, machine, step());
        }
    }

    pub(super) fn take(&mut self, machine: &mut Machine) -> Trace {
        Trace {
            notes: self.notes.as_mut().map(std::mem::take).unwrap_or_default(),
            evaluations: machine.take_noted(),
        }
    }
}

#[cold]
fn push(notes: &mut Vec<Note>, machine: &Machine, step: TraceStep) {
    let evaluated = machine.noted();
    notes.push(Note { evaluated, step });
}
