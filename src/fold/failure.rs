//! Why one event cannot be applied, with the place in the definition that says so.

use crate::definition::projection::Projection;
use crate::event::DecodeError;
use crate::expression::error::EvalError;
use std::fmt;

/// An event that cannot be applied. Boxed inside: the fold returns it by the million of events that have none.
#[derive(Clone, Debug)]
pub struct EventFailure(Box<Failure>);

#[derive(Clone, Debug)]
struct Failure {
    event: usize,
    rule: Option<RulePlace>,
    reason: Reason,
}

/// The part of a definition that an event failed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulePlace {
    pub table: String,
    /// The event types as written.
    pub rule: String,
    /// In the file, from 1.
    pub line: usize,
    pub part: RulePart,
    pub column: Option<String>,
}

/// Which of a rule's expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RulePart {
    Rule,
    When,
    Key,
    Each,
    Lookup,
    Set,
    Version,
}

/// What is wrong with the event.
#[derive(Clone, Debug)]
pub enum Reason {
    Decode(DecodeError),
    Expression(EvalError),
    /// A key column is null.
    KeyNull,
    /// A version is null.
    VersionNull,
    /// A not-null column is null at the end of the event.
    NotNull,
    /// `if_missing: fail`.
    RowMissing,
    /// A rule on a prefix reaches more rows than [`super::REACHED_ROWS_MAX`].
    TooManyRows,
    /// `each` gave something else than an array.
    NotAnArray,
}

/// A place by numbers, while the projection is at hand.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) table: u16,
    pub(super) rule: u16,
    pub(super) part: RulePart,
    pub(super) column: Option<usize>,
}

impl EventFailure {
    /// A record that could not even be decoded; `event` is where it would have stood in the batch.
    #[cold]
    pub fn decode(event: usize, error: DecodeError) -> EventFailure {
        EventFailure(Box::new(Failure {
            event,
            rule: None,
            reason: Reason::Decode(error),
        }))
    }

    #[cold]
    pub(super) fn new(projection: &Projection, event: usize, at: At, reason: Reason) -> Self {
        let table = &projection.tables[usize::from(at.table)];
        let rule = &table.rules[usize::from(at.rule)];
        let place = RulePlace {
            table: table.name.clone(),
            rule: rule.label.clone(),
            line: rule.line,
            part: at.part,
            column: at.column.map(|column| table.columns[column].name.clone()),
        };
        EventFailure(Box::new(Failure {
            event,
            rule: Some(place),
            reason,
        }))
    }

    /// Its place in the batch.
    pub fn event(&self) -> usize {
        self.0.event
    }

    /// `None`: the record could not be decoded.
    pub fn rule(&self) -> Option<&RulePlace> {
        self.0.rule.as_ref()
    }

    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Decode(error) => error.fmt(f),
            Reason::Expression(error) => error.fmt(f),
            Reason::KeyNull => f.write_str("a key column must not be null"),
            Reason::VersionNull => f.write_str("a version must not be null"),
            Reason::NotNull => f.write_str("a not-null column is null at the end of the event"),
            Reason::RowMissing => f.write_str("there is no such row (if_missing: fail)"),
            Reason::TooManyRows => write!(
                f,
                "more than {} rows begin with this key",
                super::REACHED_ROWS_MAX
            ),
            Reason::NotAnArray => f.write_str("not a JSON array"),
        }
    }
}

impl fmt::Display for RulePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "table {}, rule {} (line {})",
            self.table, self.rule, self.line
        )?;
        match self.part {
            RulePart::Rule => {}
            RulePart::When => f.write_str(", when")?,
            RulePart::Key => f.write_str(", key")?,
            RulePart::Each => f.write_str(", each")?,
            RulePart::Version => f.write_str(", version")?,
            RulePart::Lookup => f.write_str(", lookup")?,
            RulePart::Set => f.write_str(", set")?,
        }
        match &self.column {
            Some(column) => write!(f, " {column}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for EventFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(rule) = &self.0.rule {
            write!(f, "{rule}: ")?;
        }
        self.0.reason.fmt(f)
    }
}

impl std::error::Error for EventFailure {}
