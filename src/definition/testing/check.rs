//! Test cases against the projection they test: topics, tables and columns must exist, values must fit their columns.
//! Knows nothing of running them.

use bumpalo::Bump;

use super::{Expected, ExpectedTable, ExpectedValue, Given, Payload, TestCase};
use crate::definition::diagnostic::{Report, did_you_mean};
use crate::definition::projection::{Envelope, Projection, Table};
use crate::expression::cell::Cell;
use crate::expression::value::{Scalar, Type};

pub fn check(report: &mut Report<'_>, projection: &Projection, tests: &[TestCase]) {
    let topics: Vec<&str> = projection
        .topics
        .iter()
        .map(|topic| topic.name.as_str())
        .collect();
    let tables: Vec<&str> = projection
        .tables
        .iter()
        .map(|table| table.name.as_str())
        .collect();
    for test in tests {
        for one in &test.given {
            given(report, projection, &topics, one);
        }
        for expected in &test.then {
            match tables
                .iter()
                .position(|table| *table == expected.table.text)
            {
                Some(table) => rows(report, &projection.tables[table], expected),
                None => {
                    let message = format!("the definition has no table `{}`", expected.table.text);
                    report
                        .error(expected.table.span.clone(), "unknown-table", message)
                        .maybe_hint(did_you_mean(&expected.table.text, &tables));
                }
            }
        }
    }
}

pub fn given(report: &mut Report<'_>, projection: &Projection, topics: &[&str], given: &Given) {
    let mut topic = Some(0);
    if let Some(name) = &given.topic {
        topic = topics.iter().position(|topic| *topic == name.text);
        if topic.is_none() {
            let message = format!("the definition does not read `{}`", name.text);
            report
                .error(name.span.clone(), "unknown-topic", message)
                .maybe_hint(did_you_mean(&name.text, topics));
        }
    }
    let envelope = topic.map(|topic| &projection.topics[topic].envelope);
    let typed = given.event_type.is_some() || !matches!(given.payload, Payload::Data(_));
    if envelope == Some(&Envelope::Plain) && !typed {
        let message = "a given event needs the key `type`";
        report.error(given.span.clone(), "missing-key", message);
    }
}

fn rows(report: &mut Report<'_>, table: &Table, expected: &ExpectedTable) {
    let names: Vec<&str> = table
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    for (name, value) in expected.rows.iter().flat_map(|row| &row.cells) {
        match names.iter().position(|column| *column == name.text) {
            None => {
                report
                    .error(
                        name.span.clone(),
                        "unknown-column",
                        format!("unknown column `{}`", name.text),
                    )
                    .maybe_hint(did_you_mean(&name.text, &names));
            }
            Some(column) => {
                if let Err(message) = cell(value, &table.columns[column].column_type) {
                    report.error(value.span.clone(), "wrong-value", message);
                }
            }
        }
    }
}

/// An expected value as a value of its column.
pub fn cell(expected: &Expected, column_type: &Type) -> Result<Cell, String> {
    let arena = Bump::new();
    let jsonb = column_type.scalar == Scalar::Jsonb && !column_type.array;
    let parse = |text: &str| {
        crate::expression::cast::parse_text(text, column_type, &arena)
            .map(Cell::from_value)
            .map_err(|error| error.message().to_owned())
    };
    match &expected.value {
        ExpectedValue::Null => Ok(Cell::NULL),
        // A bare word in a jsonb column is a JSON text.
        ExpectedValue::Scalar { text, json } if jsonb => parse(text).or_else(|_| parse(json)),
        ExpectedValue::Scalar { text, .. } => parse(text),
        ExpectedValue::Tree { json, .. } if jsonb => parse(json),
        ExpectedValue::Tree {
            elements: Some(elements),
            ..
        } if column_type.array => parse(&array_text(elements)),
        ExpectedValue::Tree { .. } => Err(format!(
            "a column of type {column_type} takes no list or map"
        )),
    }
}

/// PostgreSQL's text form of an array, every element quoted.
fn array_text(elements: &[Option<String>]) -> String {
    let quoted = elements.iter().map(|element| match element {
        None => "NULL".to_owned(),
        Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    });
    format!("{{{}}}", quoted.collect::<Vec<_>>().join(","))
}
