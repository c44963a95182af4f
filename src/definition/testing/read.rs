//! Test cases from the file's tree. Data of given events becomes JSON: a plain scalar that is a JSON number, `true`, `false`
//! or null is that, anything else is a text. Knows nothing of tables and types.

use std::fmt::Write;
use std::ops::Range;

use super::{Expected, ExpectedRow, ExpectedTable, ExpectedValue, Given, Payload, TestCase};
use crate::definition::diagnostic::Report;
use crate::definition::shape::{self, Fields};
use crate::definition::yaml::{Kind, Node, Scalar, Style};

pub(in crate::definition) const TEST_KEYS: &[&str] = &["name", "given", "then", "fails"];
pub(in crate::definition) const GIVEN_KEYS: &[&str] = &[
    "topic",
    "partition",
    "key",
    "type",
    "id",
    "subject",
    "source",
    "time",
    "version",
    "headers",
    "data",
    "value",
];

pub fn test_case(report: &mut Report<'_>, node: &Node, owner: &Range<usize>) -> Option<TestCase> {
    let start = node.span.start..node.span.start;
    let fields = shape::fields(report, node, &start, "a test", TEST_KEYS)?;
    let name = fields
        .get("name")
        .and_then(|node| shape::text(report, node, owner, "`name`"));
    let mut case = TestCase {
        name: name.map_or_else(|| "unnamed".to_owned(), |name| name.text),
        file: report.source.file.to_owned(),
        line: report.source.line(node.span.start),
        given: Vec::new(),
        then: Vec::new(),
        fails: Vec::new(),
    };
    let mut given_len = 0;
    match (fields.get("given"), fields.key_span("given")) {
        (Some(node), Some(span)) => {
            let nodes = shape::list(report, node, &span, "`given`").unwrap_or_default();
            given_len = nodes.len();
            case.given = nodes
                .iter()
                .filter_map(|node| given(report, node, &span))
                .collect();
        }
        _ => {
            report.error(start, "missing-key", "a test needs the key `given`");
        }
    }
    if let (Some(node), Some(span)) = (fields.get("then"), fields.key_span("then")) {
        let entries = shape::map(report, node, &span, "`then`").unwrap_or_default();
        for entry in entries {
            let table = entry.key.text.clone();
            let nodes = shape::list(report, &entry.value, &table.span, "the rows of a table")
                .unwrap_or_default();
            let rows = nodes
                .iter()
                .filter_map(|node| expected_row(report, node, &table.span))
                .collect();
            case.then.push(ExpectedTable { table, rows });
        }
    }
    if let (Some(node), Some(span)) = (fields.get("fails"), fields.key_span("fails")) {
        for text in shape::texts(report, node, &span, "`fails`") {
            match text
                .text
                .parse::<usize>()
                .ok()
                .filter(|number| (1..=given_len).contains(number))
            {
                Some(number) => case.fails.push((number, text.span)),
                None => {
                    report
                        .error(
                            text.span,
                            "wrong-value",
                            format!("there is no given event number {}", text.text),
                        )
                        .hint(format!("given events count from 1; there are {given_len}"));
                }
            }
        }
    }
    Some(case)
}

pub fn given(report: &mut Report<'_>, node: &Node, owner: &Range<usize>) -> Option<Given> {
    let start = node.span.start..node.span.start;
    let fields = shape::fields(report, node, &start, "a given event", GIVEN_KEYS)?;
    let mut part = |key: &str| {
        let node = fields.get(key).filter(|node| !is_null(node))?;
        shape::text(report, node, owner, &format!("`{key}`"))
    };
    let (topic, event_type, partition) = (part("topic"), part("type"), part("partition"));
    let mut word = |key: &str| part(key).map(|text| text.text);
    let (key, id, subject, source, time) = (
        word("key"),
        word("id"),
        word("subject"),
        word("source"),
        word("time"),
    );
    let partition = match partition
        .as_ref()
        .map(|text| (text.text.parse(), text.span.clone()))
    {
        None => 0,
        Some((Ok(partition), _)) if partition >= 0 => partition,
        Some((_, span)) => {
            report.error(span, "wrong-value", "a partition is a number from 0");
            0
        }
    };
    let headers = headers(report, &fields);
    let payload = payload(report, &fields)?;
    Some(Given {
        line: report.source.line(node.span.start),
        span: start,
        topic,
        partition,
        key,
        event_type,
        id,
        subject,
        source,
        time,
        version: fields
            .get("version")
            .filter(|node| !is_null(node))
            .map(json),
        headers,
        payload,
    })
}

fn headers(report: &mut Report<'_>, fields: &Fields<'_>) -> Vec<(String, Option<String>)> {
    let (Some(node), Some(span)) = (fields.get("headers"), fields.key_span("headers")) else {
        return Vec::new();
    };
    let mut headers = Vec::new();
    for entry in shape::map(report, node, &span, "`headers`").unwrap_or_default() {
        let key = &entry.key.text;
        let value = match is_null(&entry.value) {
            true => None,
            false => shape::text(report, &entry.value, &key.span, "a header").map(|text| text.text),
        };
        headers.push((key.text.clone(), value));
    }
    headers
}

fn payload(report: &mut Report<'_>, fields: &Fields<'_>) -> Option<Payload> {
    Some(match (fields.get("data"), fields.get("value")) {
        (Some(_), Some(value)) => {
            report.error(
                value.span.clone(),
                "wrong-shape",
                "a given event has `data` or `value`, not both",
            );
            return None;
        }
        (Some(data), None) => Payload::Data(json(data)),
        (None, Some(value)) => Payload::Value(match &value.kind {
            Kind::Scalar(scalar) if scalar.is_null() => None,
            Kind::Scalar(scalar) => Some(scalar.text.text.clone()),
            _ => Some(json(value)),
        }),
        (None, None) => Payload::Absent,
    })
}

fn expected_row(report: &mut Report<'_>, node: &Node, owner: &Range<usize>) -> Option<ExpectedRow> {
    let entries = shape::map(report, node, owner, "an expected row")?;
    let cells = entries.iter().map(|entry| {
        let span = match entry.value.is_absent() {
            true => entry.key.text.span.clone(),
            false => entry.value.span.clone(),
        };
        let value = match &entry.value.kind {
            Kind::Scalar(scalar) if scalar.is_null() => ExpectedValue::Null,
            Kind::Scalar(scalar) => ExpectedValue::Scalar {
                text: folded(scalar),
                json: json(&entry.value),
            },
            Kind::List(nodes) => ExpectedValue::Tree {
                json: json(&entry.value),
                elements: nodes.iter().map(element).collect(),
            },
            Kind::Map(_) => ExpectedValue::Tree {
                json: json(&entry.value),
                elements: None,
            },
        };
        (entry.key.text.clone(), Expected { span, value })
    });
    Some(ExpectedRow {
        span: node.span.clone(),
        line: report.source.line(node.span.start),
        cells: cells.collect(),
    })
}

/// A scalar within a list, as an array element. The outer `None`: not a scalar.
fn element(node: &Node) -> Option<Option<String>> {
    match &node.kind {
        Kind::Scalar(scalar) if scalar.is_null() => Some(None),
        Kind::Scalar(scalar) => Some(Some(folded(scalar))),
        _ => None,
    }
}

fn is_null(node: &Node) -> bool {
    matches!(&node.kind, Kind::Scalar(scalar) if scalar.is_null())
}

/// A plain scalar's line ends are spaces to YAML.
fn folded(scalar: &Scalar) -> String {
    let text = &scalar.text.text;
    match scalar.style == Style::Plain && text.contains('\n') {
        true => text.split_whitespace().collect::<Vec<_>>().join(" "),
        false => text.clone(),
    }
}

/// A node as JSON. The digits of a number stay as written.
pub(in crate::definition) fn json(node: &Node) -> String {
    let mut out = String::new();
    write_json(node, &mut out);
    out
}

fn write_json(node: &Node, out: &mut String) {
    match &node.kind {
        Kind::Scalar(scalar) if scalar.is_null() => out.push_str("null"),
        Kind::Scalar(scalar) => {
            let text = folded(scalar);
            let literal = matches!(text.as_str(), "true" | "false") || is_json_number(&text);
            match literal && scalar.style == Style::Plain {
                true => out.push_str(&text),
                false => push_text(&text, out),
            }
        }
        Kind::List(nodes) => {
            out.push('[');
            for (index, node) in nodes.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_json(node, out);
            }
            out.push(']');
        }
        Kind::Map(entries) => {
            out.push('{');
            for (index, entry) in entries.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                push_text(&entry.key.text.text, out);
                out.push_str(": ");
                write_json(&entry.value, out);
            }
            out.push('}');
        }
    }
}

/// A text as a JSON string.
pub fn push_text(text: &str, out: &mut String) {
    // Writing into a string cannot fail.
    let _ = write!(out, "{}", serde_json::Value::from(text));
}

fn is_json_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            exponent.strip_prefix(['+', '-']).unwrap_or(exponent),
        ),
        None => (text, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && digits(fraction)
        && digits(exponent)
}

#[cfg(test)]
mod tests {
    use super::is_json_number;

    #[test]
    fn numbers_are_those_of_json() {
        for number in ["0", "-1", "12.50", "1e9", "-0.1E-7"] {
            assert!(is_json_number(number), "{number}");
        }
        for text in [
            "",
            "-",
            "01",
            "1.",
            ".5",
            "+1",
            "0x1F",
            "2022-01-01",
            "1e",
            "1_000",
            "NaN",
        ] {
            assert!(!is_json_number(text), "{text}");
        }
    }
}
