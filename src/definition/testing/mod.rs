//! Test cases of a definition: given events, then rows. The model; reading and running stand beside it.
//! Knows nothing of Kafka and Postgres.

pub(super) mod check;
mod compare;
pub mod coverage;
pub mod oracle;
pub(super) mod read;
pub(super) mod record;
pub mod replay;
pub(super) mod run;

pub use record::OwnedRecord;
pub use run::{TestFailure, TestResult, run};

use std::ops::Range;

use super::source::Text;

/// One entry of `tests:`.
#[derive(Debug, Clone)]
pub struct TestCase {
    pub name: String,
    /// The file that it stands in: the definition's, or the one beside it.
    pub file: String,
    /// From 1.
    pub line: usize,
    pub given: Vec<Given>,
    pub then: Vec<ExpectedTable>,
    /// Which given events must fail, from 1, each with its place in the file.
    pub fails: Vec<(usize, Range<usize>)>,
}

/// A given event, as written.
#[derive(Debug, Clone)]
pub struct Given {
    pub span: Range<usize>,
    pub line: usize,
    /// The definition's first topic, if not said.
    pub topic: Option<Text>,
    pub partition: i32,
    pub key: Option<String>,
    pub event_type: Option<Text>,
    pub id: Option<String>,
    pub subject: Option<String>,
    pub source: Option<String>,
    pub time: Option<String>,
    /// JSON.
    pub version: Option<String>,
    pub headers: Vec<(String, Option<String>)>,
    pub payload: Payload,
}

#[derive(Debug, Clone)]
pub enum Payload {
    /// No `data` and no `value`.
    Absent,
    /// `data` as JSON, put into the topic's envelope.
    Data(String),
    /// The record's value, byte for byte; `None` is Kafka's null.
    Value(Option<String>),
}

/// All rows that a table must have afterwards, in any order.
#[derive(Debug, Clone)]
pub struct ExpectedTable {
    pub table: Text,
    pub rows: Vec<ExpectedRow>,
}

#[derive(Debug, Clone)]
pub struct ExpectedRow {
    pub span: Range<usize>,
    pub line: usize,
    pub cells: Vec<(Text, Expected)>,
}

#[derive(Debug, Clone)]
pub struct Expected {
    pub span: Range<usize>,
    pub value: ExpectedValue,
}

#[derive(Debug, Clone)]
pub enum ExpectedValue {
    Null,
    /// The value's text as PostgreSQL reads it, and the same as JSON.
    Scalar {
        text: String,
        json: String,
    },
    /// A list for an array or jsonb column, a map for a jsonb column.
    Tree {
        json: String,
        elements: Option<Vec<Option<String>>>,
    },
}
