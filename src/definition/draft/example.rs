//! A test made of sampled events: what they did to the table, as the fold says. Knows nothing of types and columns.

use std::fmt::Write;

use bumpalo::Bump;

use super::super::projection::Projection;
use super::super::testing::OwnedRecord;
use super::super::testing::replay::{Memory, Rows, replay};
use super::super::testing::run::visible;
use super::write::text;
use super::{Sketch, is_printable, loaded};
use crate::event::time_from_kafka;
use crate::expression::cast::to_text;
use crate::expression::value::{Scalar, Value};

/// Events of a test, one of each type if it can be.
const EVENTS_MAX: usize = 8;
/// Of key, value and headers; larger events say nothing to a reader.
const EVENT_BYTES_MAX: usize = 2_000;

/// The definition with a test behind it, if the sample has small events that can be applied.
pub(super) fn with_test(definition: &str, sketch: &Sketch<'_>) -> String {
    let mut chosen = choose(sketch);
    while !chosen.is_empty() {
        let mut given = given(&chosen, &sketch.found.headers);
        let whole = format!("{definition}{given}");
        let Some((projection, tests)) = loaded(&whole) else {
            break;
        };
        let replayed = replay(&projection, &tests[0], 1, Memory::Forget);
        if replayed.failures.is_empty() {
            // Writing into a string cannot fail.
            let _ = then(&projection, &replayed.tables, &mut given);
            return format!("{definition}{given}");
        }
        let mut number = 0;
        chosen.retain(|_| {
            number += 1;
            !replayed.failures.contains_key(&(number - 1))
        });
    }
    definition.to_owned()
}

/// The first small event of each type, in the order of the sample.
fn choose<'r>(sketch: &Sketch<'r>) -> Vec<&'r OwnedRecord> {
    let mut types: Vec<&str> = Vec::new();
    let mut chosen = Vec::new();
    for event in &sketch.events {
        let wanted = event.data.is_none() && sketch.key.of_record
            || sketch.types.iter().any(|known| known == event.event_type);
        let known = types.contains(&event.event_type);
        if wanted && !known && chosen.len() < EVENTS_MAX && is_small(event.record) {
            types.push(event.event_type);
            chosen.push(event.record);
        }
    }
    chosen
}

fn is_small(record: &OwnedRecord) -> bool {
    let parts = [record.key.as_deref(), record.value.as_deref()];
    let headers = record.headers.iter().map(|(_, value)| value.as_deref());
    let parts: Vec<&[u8]> = parts.into_iter().chain(headers).flatten().collect();
    let shown =
        |part: &&[u8]| std::str::from_utf8(part).is_ok_and(|text| text.lines().all(is_printable));
    parts.iter().map(|part| part.len()).sum::<usize>() <= EVENT_BYTES_MAX && parts.iter().all(shown)
}

fn given(records: &[&OwnedRecord], headers: &[String]) -> String {
    let mut out = "\n# Events of the sample, and what they came to. May they stand here? Names and addresses of people should not.\ntests:\n  - name: some events of the topic\n    given:\n".to_owned();
    for record in records {
        // Writing into a string cannot fail.
        let _ = one(record, headers, &mut out);
    }
    out
}

fn one(record: &OwnedRecord, wanted: &[String], out: &mut String) -> std::fmt::Result {
    let words = |bytes: &[u8]| text(&String::from_utf8_lossy(bytes));
    write!(out, "      - partition: {}", record.partition)?;
    if let Some(key) = &record.key {
        write!(out, "\n        key: {}", words(key))?;
    }
    if let Some(time) = record.timestamp_ms.and_then(time_from_kafka) {
        let arena = Bump::new();
        let time = to_text(Value::TimestampTz(time), &arena).unwrap_or_default();
        write!(out, "\n        time: {}", text(time))?;
    }
    let mut headers = String::new();
    for name in wanted {
        let last = record.headers.iter().rfind(|(known, _)| known == name);
        if let Some((_, Some(value))) = last {
            write!(headers, "\n          {}: {}", text(name), words(value))?;
        }
    }
    if !headers.is_empty() {
        write!(out, "\n        headers:{headers}")?;
    }
    match &record.value {
        None => writeln!(out, "\n        value: null"),
        Some(value) => {
            writeln!(out, "\n        value: |-")?;
            let value = String::from_utf8_lossy(value);
            for line in value.trim().lines() {
                writeln!(out, "          {line}")?;
            }
            Ok(())
        }
    }
}

fn then(projection: &Projection, tables: &[Rows], out: &mut String) -> std::fmt::Result {
    writeln!(out, "    then:")?;
    for (table, rows) in projection.tables.iter().zip(tables) {
        let rows = visible(table, rows);
        match rows.is_empty() {
            true => writeln!(out, "      {}: []", table.name)?,
            false => writeln!(out, "      {}:", table.name)?,
        }
        for cells in rows.values() {
            let mut mark = '-';
            for (column, cell) in table.columns.iter().zip(cells) {
                if column.name.starts_with('$') {
                    continue;
                }
                let scalar = column.column_type.scalar;
                writeln!(
                    out,
                    "        {mark} {}: {}",
                    column.name,
                    value(cell.value(), scalar)
                )?;
                mark = ' ';
            }
        }
    }
    Ok(())
}

/// Numbers and dates as they are, everything else in quotes.
fn value(value: Value<'_>, scalar: Scalar) -> String {
    let arena = Bump::new();
    let Some(shown) = to_text(value, &arena) else {
        return "null".to_owned();
    };
    let bare = matches!(
        scalar,
        Scalar::Boolean
            | Scalar::SmallInt
            | Scalar::Integer
            | Scalar::BigInt
            | Scalar::Numeric
            | Scalar::Date
    );
    match (bare, value) {
        (true, Value::Bool(value)) => value.to_string(),
        (true, _) => shown.to_owned(),
        (false, _) => text(shown),
    }
}
