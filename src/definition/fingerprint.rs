//! Tells whether two definitions fold events into the same rows, without comparing them by eye.
//!
//! There are two fingerprints. The one of the **fold** covers what decides rows: topics with format and envelope; tables with
//! the names, types, `not null` and defaults of their columns, in order; the key, `history` and `version`; every rule, in order;
//! `deduplicate`. Two texts with the same one need no rebuild. It does not cover comments, descriptions, tests, indexes, views,
//! `ignore` and `on_error` (which decides what becomes of an event that fails, not what an event means), nor white space and
//! the way an assignment is written (SQL text or map). The one of the **text** covers every byte.
//!
//! Knows nothing of where fingerprints are stored.

use md5::{Digest, Md5};

use super::file::{EnvelopeFile, ProjectionFile, RuleFile, TableFile};
use super::projection::{Table, Topic};
use super::source::Text;
use super::sql::{Assignments, Sql};

/// Raised when the same text begins to mean other rows, so that the change is noticed.
const MEANING: &str = "1";

/// Of every byte, in lower-case hex.
pub fn of_text(text: &str) -> String {
    hex(&Md5::digest(text.as_bytes()))
}

/// Of what decides rows, in lower-case hex.
pub(super) fn of_fold(file: &ProjectionFile, topics: &[Topic], tables: &[Table]) -> String {
    let mut canon = Canon(Md5::new());
    canon.add("meaning", MEANING);
    for (file, topic) in file.topics.iter().zip(topics) {
        canon.add("topic", &topic.name);
        canon.add("format", &format!("{:?}", topic.format));
        canon.envelope(file.envelope.as_ref());
    }
    for (file, table) in file.tables.iter().zip(tables) {
        canon.table(file, table);
    }
    if let Some(deduplicate) = &file.deduplicate {
        canon.sql("by", deduplicate.by.as_ref());
        canon.expression("keep", deduplicate.keep.as_ref());
    }
    hex(&canon.0.finalize())
}

/// Named parts, each with its length, so that no two different lists of parts give the same bytes.
struct Canon(Md5);

impl Canon {
    fn add(&mut self, name: &str, value: &str) {
        self.0
            .update(format!("{name} {} {value}\n", value.len()).as_bytes());
    }

    fn expression(&mut self, name: &str, text: Option<&Text>) {
        if let Some(text) = text {
            self.add(name, &squeezed(text.as_str()));
        }
    }

    fn envelope(&mut self, file: Option<&EnvelopeFile>) {
        match file {
            None => self.add("envelope", "plain"),
            Some(EnvelopeFile::Word(word)) => self.add("envelope", word.as_str()),
            Some(EnvelopeFile::Mapping(parts)) => {
                for (part, place) in parts {
                    self.add(part.as_str(), place.as_str());
                }
            }
        }
    }

    fn table(&mut self, file: &TableFile, table: &Table) {
        self.add("table", &table.name);
        self.add("key columns", &table.key_len.to_string());
        for column in &table.columns {
            let not_null = if column.not_null { " not null" } else { "" };
            let default = column
                .default_sql
                .as_deref()
                .map(squeezed)
                .unwrap_or_default();
            self.add(
                "column",
                &format!("{} {}{not_null} {default}", column.name, column.column_type),
            );
        }
        for column in &file.key {
            // The type in front of `=` is covered already.
            let expression = column
                .definition
                .text
                .split_once('=')
                .map(|(_, text)| squeezed(text));
            let default = if file.key.len() == 1 { "event.key" } else { "" };
            self.add("key", expression.as_deref().unwrap_or(default));
        }
        self.add(
            "history",
            if table.history.is_some() {
                "true"
            } else {
                "false"
            },
        );
        self.sql("version", file.version.as_ref());
        for (file, rule) in file.rules.iter().zip(&table.rules) {
            self.add(
                "rule",
                &format!(
                    "{:?} {:?} {:?}",
                    rule.types,
                    rule.if_missing,
                    file.delete.is_some()
                ),
            );
            self.rule(file);
        }
    }

    fn sql(&mut self, name: &str, sql: Option<&Sql>) {
        self.expression(name, sql.map(|sql| &sql.text));
    }

    fn rule(&mut self, file: &RuleFile) {
        self.expression("rule topic", file.topic.as_ref());
        self.sql("when", file.when.as_ref());
        self.sql("each", file.each.as_ref());
        self.sql("version", file.version.as_ref());
        for lookup in &file.lookups {
            self.add("lookup", lookup.name.as_str());
            self.add("of table", lookup.table.as_str());
            self.assignments("lookup key", lookup.key.as_ref());
        }
        self.assignments("key", file.key.as_ref());
        self.assignments("set", file.set.as_ref());
        self.expression("delete", file.delete.as_ref());
    }

    fn assignments(&mut self, name: &str, assignments: Option<&Assignments>) {
        let pairs = assignments.and_then(|list| list.pairs().ok());
        for pair in pairs.unwrap_or_default() {
            self.add(name, pair.column.as_str());
            self.add("=", &squeezed(pair.sql.text.as_str()));
        }
    }
}

/// Outside of quotes every run of white space is one space.
fn squeezed(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut quote = None;
    for c in sql.trim().chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c.is_whitespace() => {
                if !out.ends_with(' ') {
                    out.push(' ');
                }
                continue;
            }
            _ => {}
        }
        out.push(c);
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
