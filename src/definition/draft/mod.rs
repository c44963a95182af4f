//! A first definition from a sample of a topic: what the records show, and nothing that they do not. Knows nothing of how the
//! records were read.
//!
//! [`draft`]: `envelope` (where the type and the data stand) → `columns` (members and their types) → `key` (what a row is) →
//! `write` (the text) → `example` (a test made of sampled events).

mod columns;
mod envelope;
mod example;
mod json;
mod key;
mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::check::names;
use super::testing::OwnedRecord;
use super::{File, Severity};
use crate::event::TOMBSTONE;
use columns::Columns;
use envelope::Found;
use key::Key;

/// Most event types that get a rule; further ones stand under `ignore`.
const TYPES_MAX: usize = 40;

/// A definition's text, and what it was made of.
#[derive(Debug)]
pub struct Draft {
    pub text: String,
    /// For people, one line.
    pub summary: String,
}

/// What the sample comes to, before it is written.
struct Sketch<'r> {
    name: &'r str,
    topic: &'r str,
    records: &'r [OwnedRecord],
    /// Records that are no JSON.
    unreadable: usize,
    found: Found,
    /// In the order of the sample.
    events: Vec<Seen<'r>>,
    /// In the order in which they were first seen, the tombstone last.
    types: Vec<String>,
    /// Types beyond those.
    ignored: Vec<String>,
    columns: Columns,
    key: Key,
}

/// A record as the envelope shows it.
#[derive(Clone, Copy)]
struct Seen<'r> {
    record: &'r OwnedRecord,
    event_type: &'r str,
    /// JSON; none of a tombstone.
    data: Option<&'r str>,
}

impl<'r> Seen<'r> {
    fn key(&self) -> Option<&'r str> {
        std::str::from_utf8(self.record.key.as_deref()?).ok()
    }
}

/// Writes a definition of one table for the records of a topic.
///
/// # Errors
/// Why no definition can be made of them.
pub fn draft(name: &str, topic: &str, records: &[OwnedRecord]) -> Result<Draft, String> {
    if !names::is_name(name) {
        let better = names::suggestion(name);
        let hint = match names::is_name(&better) {
            true => format!(", such as `{better}`"),
            false => String::new(),
        };
        return Err(format!(
            "`{name}` is no name for a projection and its table: take one of a-z, 0-9 and _ that SQL does not reserve{hint}"
        ));
    }
    let sketch = sketch(name, topic, records)?;
    let text = write::definition(&sketch);
    let text = example::with_test(&text, &sketch);
    let file = File {
        file_name: name,
        text: &text,
    };
    let loaded = super::load_with_tests(file, None);
    let mut problems = loaded.diagnostics.iter();
    if let Some(problem) = problems.find(|problem| problem.severity == Severity::Error) {
        let message = &problem.message;
        return Err(format!(
            "the definition made of the sample would not load ({message}): this is a mistake of the program, please report it"
        ));
    }
    let summary = write::summary(&sketch);
    Ok(Draft { text, summary })
}

fn sketch<'r>(
    name: &'r str,
    topic: &'r str,
    records: &'r [OwnedRecord],
) -> Result<Sketch<'r>, String> {
    if records.is_empty() {
        return Err(format!("the topic `{topic}` has no records to look at"));
    }
    let texts: Vec<(&OwnedRecord, Option<&str>)> = records.iter().map(value_of).collect();
    let readable: Vec<(&OwnedRecord, &str)> = texts
        .iter()
        .filter_map(|(record, text)| Some((*record, (*text)?)))
        .collect();
    let tombstones = records.iter().filter(|record| record.value.is_none());
    let unreadable = records.len() - readable.len() - tombstones.count();
    if readable.is_empty() {
        return Err(format!(
            "none of the {} records of `{topic}` is JSON: another format needs a definition by hand",
            records.len()
        ));
    }
    let found = envelope::find(&readable);
    let mut events = Vec::new();
    for (record, text) in &texts {
        let seen = match (&record.value, text) {
            (None, _) => Some((TOMBSTONE, None)),
            (Some(_), Some(text)) => found
                .event_type(record, text)
                .map(|event_type| (event_type, Some(found.data(text)))),
            (Some(_), None) => None,
        };
        events.extend(seen.map(|(event_type, data)| Seen {
            record,
            event_type,
            data,
        }));
    }
    let mut types: Vec<String> = Vec::new();
    for event in events.iter().filter(|event| event.data.is_some()) {
        if !types.iter().any(|known| known == event.event_type) {
            types.push(event.event_type.to_owned());
        }
    }
    let ignored = types.split_off(types.len().min(TYPES_MAX));
    let key = key::choose(name, &events);
    let columns = Columns::of(&events, &found, &key, &types);
    Ok(Sketch {
        name,
        topic,
        records,
        unreadable,
        found,
        events,
        types,
        ignored,
        columns,
        key,
    })
}

/// The value as JSON text, if it is that.
fn value_of(record: &OwnedRecord) -> (&OwnedRecord, Option<&str>) {
    let text = record.value.as_deref().and_then(json::text_of);
    (record, text)
}

/// Whether a text can stand in the file as it is.
fn is_printable(text: &str) -> bool {
    let plain =
        |c: char| !c.is_control() && c != '\u{feff}' && !('\u{2028}'..='\u{2029}').contains(&c);
    text.chars().all(plain)
}

/// A traced copy, to fold the example with.
fn loaded(text: &str) -> Option<(Arc<super::Projection>, Vec<super::TestCase>)> {
    let file_name = "draft";
    let loaded = super::load_with_tests(File { file_name, text }, None);
    Some((Arc::new(loaded.projection?), loaded.tests))
}
