//! A projection as meant: checked, typed, compiled. After this nothing optional is required and nobody checks again.
//! Knows nothing of YAML.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::event::{Path, TOMBSTONE};
use crate::expression::cell::Cell;
use crate::expression::program::Program;
use crate::expression::value::{Modifier, Scalar, Type};

/// A checked definition. Built by [`super::load`] from a definition's text alone, so that a stored text gives the same fold.
#[derive(Debug)]
pub struct Projection {
    pub name: String,
    pub description: Option<String>,
    /// The definition exactly as written; what a generation stores.
    pub text: String,
    /// Equal for two texts that fold events into the same rows; see [`super::fingerprint`].
    pub fold_fingerprint: String,
    /// Equal for equal texts.
    pub text_fingerprint: String,
    pub topics: Vec<Topic>,
    pub tables: Vec<Table>,
    pub views: Vec<View>,
    pub on_error: OnError,
    pub deduplicate: Option<Deduplicate>,
    /// Member slots: every `data.<path>` that some rule reads, once.
    pub paths: Vec<Path>,
    /// Header slots: every `headers.<name>` that some rule or envelope reads, once.
    pub header_names: Vec<String>,
}

impl Projection {
    /// In the order of `topics`.
    pub fn topic_names(&self) -> Vec<String> {
        let names = self.topics.iter().map(|topic| topic.name.clone());
        names.collect()
    }
}

#[derive(Debug)]
pub struct Topic {
    pub name: String,
    pub format: Format,
    pub envelope: Envelope,
    /// Known types without a rule.
    pub ignore: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
}

/// Where the parts of an event stand in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Envelope {
    /// `type`, `id`, … at the top level; `data`, or the whole object where there is none.
    Plain,
    /// The whole value is `data`, the type is `record`.
    None,
    Mapping(EnvelopeMapping),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnvelopeMapping {
    pub event_type: Option<EnvelopeField>,
    pub id: Option<EnvelopeField>,
    pub subject: Option<EnvelopeField>,
    pub source: Option<EnvelopeField>,
    pub time: Option<EnvelopeField>,
    pub version: Option<EnvelopeField>,
    /// `None`: the whole value.
    pub data: Option<Path>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvelopeField {
    /// A path in the record's JSON value.
    Member(Path),
    /// A header slot.
    Header(usize),
}

#[derive(Debug)]
pub struct Table {
    pub name: String,
    pub comment: Option<String>,
    /// Key columns, then the others: the order of a row's cells everywhere.
    pub columns: Vec<Column>,
    /// How many of `columns` are the key.
    pub key_len: usize,
    /// In the file's order.
    pub rules: Vec<Rule>,
    /// Every key by which rules of this table, or lookups of others, reach rows contains `event.key` as it stands (within the
    /// shortest prefix that a rule reaches rows by): a row belongs to one partition at a time.
    pub owned: bool,
    pub indexes: Vec<Index>,
    /// Name of the view of every state that a row has had, if they are kept.
    pub history: Option<String>,
    /// Events not above the last version applied to a row are skipped for that row.
    pub version: Option<Version>,
    /// Index into `columns`: true in a deleted row that is kept for its versions, which readers do not see.
    pub ghost: Option<usize>,
}

/// The name of [`Table::ghost`]'s column. `$` cannot stand in a name of a definition; no view shows such columns.
pub const GHOST: &str = "$deleted";

/// A guard against stale and repeated events.
#[derive(Debug)]
pub struct Version {
    /// Reads the event alone. Null is the event's error.
    pub program: Program,
    /// Index into [`Table::columns`]: the hidden column with the last version applied.
    pub column: usize,
}

impl Table {
    /// How many of the key columns, the first ones, all rules and lookups have a value for.
    fn reached_by(&self) -> usize {
        self.prefix_lens().first().copied().unwrap_or(self.key_len)
    }

    /// Whether a key reaches only rows of the event's own partition.
    pub fn is_own_key(&self, key: &[Program]) -> bool {
        let mut columns = key.iter().take(self.reached_by());
        columns.any(Program::is_event_key)
    }

    /// Whether the table's own rules do; see [`Table::owned`].
    pub fn has_own_rules(&self) -> bool {
        self.rules.iter().all(|rule| self.is_own_key(&rule.key))
    }

    /// The table that keeps every state a row has had: key and named columns, then time, id, type, topic, partition and offset of
    /// the event that caused it, and whether that deleted the row.
    pub fn states(&self) -> Option<Table> {
        self.history.as_ref()?;
        let column = |(name, scalar, not_null): (&str, Scalar, bool)| Column {
            name: name.to_owned(),
            column_type: Type {
                scalar,
                modifier: Modifier::None,
                array: false,
            },
            not_null,
            default: Cell::NULL,
            default_sql: None,
            comment: None,
        };
        let cause = [
            ("$time", Scalar::TimestampTz, true),
            ("$id", Scalar::Text, false),
            ("$type", Scalar::Text, true),
            ("$topic", Scalar::Text, true),
            ("$partition", Scalar::Integer, true),
            ("$offset", Scalar::BigInt, true),
            (GHOST, Scalar::Boolean, true),
        ];
        let named = self.columns.iter().enumerate();
        let named = named.filter(|(_, column)| !column.name.starts_with('$'));
        let named = named.map(|(at, column)| Column {
            not_null: at < self.key_len,
            default: Cell::NULL,
            default_sql: None,
            ..column.clone()
        });
        Some(Table {
            name: format!("{}$history", self.name),
            comment: None,
            columns: named.chain(cause.into_iter().map(column)).collect(),
            key_len: self.key_len,
            rules: Vec::new(),
            owned: true,
            indexes: Vec::new(),
            history: None,
            version: None,
            ghost: None,
        })
    }

    /// Numbers of first key columns by which some rule reaches all rows that have them in common; rising, each once.
    pub fn prefix_lens(&self) -> Vec<usize> {
        let lens = self.rules.iter().map(|rule| rule.key.len());
        let lens: BTreeSet<usize> = lens.filter(|len| *len < self.key_len).collect();
        lens.into_iter().collect()
    }
}

#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub column_type: Type,
    pub not_null: bool,
    /// The value a new row starts from.
    pub default: Cell,
    /// The constant as PostgreSQL text for the DDL, e.g. `0` or `'x'::text`; `None`: no default.
    pub default_sql: Option<String>,
    pub comment: Option<String>,
}

#[derive(Debug)]
pub struct Rule {
    /// As people name it: the event types as written, e.g. `Received` or `A, B`.
    pub label: String,
    /// Line in the file, from 1.
    pub line: usize,
    /// What to mark in the file when the rule as a whole is meant.
    pub span: Range<usize>,
    pub types: TypeMatch,
    /// Index into `Projection::topics`; `None`: any.
    pub topic: Option<usize>,
    pub when: Option<Program>,
    /// One per key column; fewer, but at least one, of a rule that reaches every row with the same first key columns. Never
    /// reads the row, so that rows can be loaded before the fold.
    pub key: Vec<Program>,
    pub each: Option<Each>,
    /// In the file's order; programs name them by their place.
    pub lookups: Vec<Lookup>,
    pub action: Action,
    pub if_missing: IfMissing,
    /// Events not above the last version that this rule applied to a row are skipped by it.
    pub version: Option<Version>,
    /// Some program of this rule reads `old.`.
    pub reads_old: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeMatch {
    /// `"*"`: every type but `tombstone`.
    Any,
    OneOf(Vec<String>),
}

impl TypeMatch {
    pub fn matches(&self, event_type: &str) -> bool {
        match self {
            TypeMatch::Any => event_type != TOMBSTONE,
            TypeMatch::OneOf(names) => names.iter().any(|name| name == event_type),
        }
    }
}

impl Rule {
    /// Every expression of the rule.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        let set = match &self.action {
            Action::Set(assignments) => assignments.as_slice(),
            Action::Delete => &[],
        };
        let lookups = self.lookups.iter().flat_map(|lookup| &lookup.key);
        let each = self.each.iter().map(|each| &each.array);
        let set = set.iter().map(|assignment| &assignment.program);
        let first = self.when.iter().chain(&self.key);
        first.chain(each).chain(lookups).chain(set)
    }
}

#[derive(Debug)]
pub struct Each {
    /// Gives jsonb; an array, or the event fails. Null: no element.
    pub array: Program,
    /// Member slots of `item.<path>` within one element; the empty path is the element itself.
    pub paths: Vec<Path>,
}

/// A row of another table as it was before the event.
#[derive(Debug)]
pub struct Lookup {
    /// Index into `Projection::tables`.
    pub table: usize,
    /// One per key column of that table. If one of them is null there is no such row.
    pub key: Vec<Program>,
}

#[derive(Debug)]
pub enum Action {
    Set(Vec<Assignment>),
    Delete,
}

#[derive(Debug)]
pub struct Assignment {
    /// Index into `Table::columns`; never a key column.
    pub column: usize,
    /// Of the column's exact type: the assignment cast is compiled in.
    pub program: Program,
    /// The expression as written, for messages.
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMissing {
    Create,
    Skip,
    Fail,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    pub columns: Vec<String>,
    pub where_sql: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub name: String,
    pub sql: String,
    pub comment: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    Stop,
    Skip,
    DeadLetter,
}

#[derive(Debug)]
pub struct Deduplicate {
    pub by: Program,
    pub keep_micros: i64,
}
