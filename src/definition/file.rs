//! A definition as written: what each key of the file holds, as texts that know their place. Nothing is checked here but
//! the shape. Knows nothing of types and expressions.

use std::ops::Range;

use super::source::Text;
use super::sql::{Assignments, Sql};

#[derive(Debug, Default)]
pub struct ProjectionFile {
    pub name: Option<Text>,
    pub description: Option<Text>,
    pub topics: Vec<TopicFile>,
    pub tables: Vec<TableFile>,
    pub views: Vec<ViewFile>,
    pub on_error: Option<Text>,
    pub deduplicate: Option<DeduplicateFile>,
}

#[derive(Debug)]
pub struct TopicFile {
    pub name: Text,
    pub format: Option<Text>,
    pub envelope: Option<EnvelopeFile>,
    pub ignore: Vec<Text>,
    /// Declared event types.
    pub events: Vec<EventFile>,
}

/// An event type and the members of its `data`.
#[derive(Debug)]
pub struct EventFile {
    pub name: Text,
    pub members: Vec<MemberFile>,
}

#[derive(Debug)]
pub struct MemberFile {
    pub name: Text,
    pub value: MemberValue,
}

#[derive(Debug)]
pub enum MemberValue {
    /// `int`, `text?`.
    Type(Text),
    Object(Vec<MemberFile>),
    /// A list of one: what every element is.
    Array(Box<MemberValue>),
}

#[derive(Debug)]
pub enum EnvelopeFile {
    Word(Text),
    /// Field → where it stands in a record.
    Mapping(Vec<(Text, Text)>),
}

#[derive(Debug)]
pub struct TableFile {
    pub name: Text,
    pub comment: Option<String>,
    pub key: Vec<ColumnFile>,
    pub columns: Vec<ColumnFile>,
    pub rules: Vec<RuleFile>,
    pub indexes: Vec<IndexFile>,
    pub history: Option<Text>,
    pub version: Option<Sql>,
}

#[derive(Debug)]
pub struct ColumnFile {
    pub name: Text,
    /// `bigint not null default 0`; of a key column `text = event.key`.
    pub definition: Text,
    pub comment: Option<String>,
}

#[derive(Debug)]
pub struct RuleFile {
    /// The event types as written.
    pub types: Text,
    /// What to mark when the rule as a whole is meant.
    pub span: Range<usize>,
    pub topic: Option<Text>,
    pub when: Option<Sql>,
    pub key: Option<Assignments>,
    pub each: Option<Sql>,
    pub set: Option<Assignments>,
    pub delete: Option<Text>,
    pub if_missing: Option<Text>,
    pub version: Option<Sql>,
    pub lookups: Vec<LookupFile>,
}

/// A row of another table that a rule reads.
#[derive(Debug)]
pub struct LookupFile {
    /// What expressions call it.
    pub name: Text,
    pub table: Text,
    pub key: Option<Assignments>,
}

#[derive(Debug)]
pub struct IndexFile {
    pub columns: Vec<Text>,
    pub where_sql: Option<Text>,
}

#[derive(Debug)]
pub struct ViewFile {
    pub name: Text,
    pub sql: Text,
    pub comment: Option<String>,
}

#[derive(Debug)]
pub struct DeduplicateFile {
    pub by: Option<Sql>,
    pub keep: Option<Text>,
}
