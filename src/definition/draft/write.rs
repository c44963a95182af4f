//! The text of a first definition. Knows nothing of how its parts were found.

use std::fmt::Write;

use super::envelope::Kind;
use super::{Seen, Sketch, columns};
use crate::event::TOMBSTONE;

/// The definition without its test; ends with a newline.
pub(super) fn definition(sketch: &Sketch<'_>) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = write_all(sketch, &mut out);
    out
}

/// What was found, on one line.
pub(super) fn summary(sketch: &Sketch<'_>) -> String {
    let partitions: std::collections::BTreeSet<i32> = sketch
        .records
        .iter()
        .map(|record| record.partition)
        .collect();
    let envelope = match sketch.found.kind {
        Kind::Plain => "envelope plain",
        Kind::Nothing => "no envelope",
        Kind::Mapping(_) => "an envelope of its own",
    };
    format!(
        "{} of {}, {envelope}, {}, {}",
        counted(sketch.records.len(), "record"),
        counted(partitions.len(), "partition"),
        counted(sketch.types.len() + sketch.ignored.len(), "event type"),
        counted(sketch.columns.all.len(), "member"),
    )
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

fn write_all(sketch: &Sketch<'_>, out: &mut String) -> std::fmt::Result {
    let (name, topic) = (sketch.name, sketch.topic);
    writeln!(
        out,
        "# A first definition, made by `consolidator new` from a sample of the topic:"
    )?;
    writeln!(out, "# {}.", summary(sketch))?;
    writeln!(
        out,
        "# Types and rules are what the sample showed, and no more: look them through, then give it meaning, for example"
    )?;
    writeln!(
        out,
        "# sums (`total = total + data.amount`), states (`status = 'paid'`) or `delete: true` where a row ends."
    )?;
    if sketch.unreadable > 0 {
        let (some, all) = (sketch.unreadable, sketch.records.len());
        writeln!(
            out,
            "# {some} of {all} records are no JSON: they would become dead letters."
        )?;
    }
    writeln!(
        out,
        "\nprojection: {name}\n\nfrom:\n  - topic: {}",
        scalar(topic)
    )?;
    match &sketch.found.kind {
        Kind::Plain => writeln!(out, "    envelope: plain")?,
        Kind::Nothing => writeln!(
            out,
            "    envelope: none                         # no type in the records: every one is a `record`"
        )?,
        Kind::Mapping(parts) => {
            writeln!(out, "    envelope:")?;
            for (part, place) in parts {
                writeln!(out, "      {part}: {place}")?;
            }
        }
    }
    if !sketch.ignored.is_empty() {
        let ignored: Vec<String> = sketch.ignored.iter().map(|name| text(name)).collect();
        writeln!(
            out,
            "    ignore: [{}]                 # more types than a first definition wants",
            ignored.join(", ")
        )?;
    }
    writeln!(out, "\ntables:\n  {name}:\n    key:")?;
    for line in &sketch.key.comment {
        writeln!(out, "      # {line}")?;
    }
    for (column, sql_type, value) in &sketch.key.columns {
        writeln!(out, "      {column}: {sql_type} = {value}")?;
    }
    writeln!(out, "    columns:")?;
    for column in &sketch.columns.all {
        let line = format!("      {}: {}", column.name, column.sql_type);
        match notes(sketch, column) {
            notes if notes.is_empty() => writeln!(out, "{line}")?,
            notes => writeln!(out, "{line:45} # {}", notes.join("; "))?,
        }
    }
    let changed_at = format!("      {}: timestamptz", sketch.columns.changed_at);
    writeln!(out, "{changed_at:45} # the time of the row's last event")?;
    if !sketch.columns.left_out.is_empty() {
        let names: Vec<String> = sketch
            .columns
            .left_out
            .iter()
            .map(|name| text(name))
            .collect();
        writeln!(out, "      # without a column: {}", names.join(", "))?;
    }
    writeln!(out, "    rules:")?;
    for event_type in &sketch.types {
        rule(sketch, event_type, out)?;
    }
    let tombstones = sketch.events.iter().any(|event| event.data.is_none());
    if tombstones && sketch.key.of_record {
        writeln!(
            out,
            "      {TOMBSTONE}:                             # a record without a value\n        delete: true"
        )?;
    }
    Ok(())
}

fn notes(sketch: &Sketch<'_>, column: &columns::Column) -> Vec<String> {
    let mut notes: Vec<String> = column.comment.iter().cloned().collect();
    let of = |event_type: &String| count(sketch, event_type);
    let seen = column
        .seen
        .iter()
        .map(|(event_type, seen)| (*seen, of(event_type)));
    let (seen, all) = seen.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    if seen < all && seen > 0 {
        notes.push(format!("in {seen} of {all} events"));
    }
    notes
}

fn count(sketch: &Sketch<'_>, event_type: &str) -> usize {
    let of_type = |event: &&Seen<'_>| event.event_type == event_type && event.data.is_some();
    sketch.events.iter().filter(of_type).count()
}

fn rule(sketch: &Sketch<'_>, event_type: &str, out: &mut String) -> std::fmt::Result {
    let events = count(sketch, event_type);
    writeln!(
        out,
        "      {}:                             # {}",
        scalar(event_type),
        counted(events, "event")
    )?;
    let mut optional = false;
    let mut set = Vec::new();
    for column in &sketch.columns.all {
        let Some(seen) = column.seen.get(event_type) else {
            continue;
        };
        let value = column
            .member
            .as_deref()
            .map_or_else(|| "data".to_owned(), columns::member);
        let name = &column.name;
        set.push(match *seen < events {
            false => format!("{name} = {value}"),
            true => {
                optional = true;
                format!("{name} = coalesce({value}, {name})")
            }
        });
    }
    set.push(format!("{} = event.time", sketch.columns.changed_at));
    if optional {
        writeln!(
            out,
            "        # coalesce: an event without the member keeps what the row has"
        )?;
    }
    writeln!(out, "        set: |")?;
    writeln!(out, "          {}", set.join(",\n          "))
}

/// A YAML scalar: plain where that is safe.
pub fn scalar(value: &str) -> String {
    let safe = |(at, c): (usize, char)| {
        c.is_ascii_alphabetic() || (at > 0 && (c.is_ascii_digit() || "._-".contains(c)))
    };
    let word = matches!(
        value.to_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    match !value.is_empty() && !word && value.chars().enumerate().all(safe) {
        true => value.to_owned(),
        false => text(value),
    }
}

/// In double quotes, as YAML and JSON read them.
pub fn text(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}
