//! Members that topics declare under `events:`, against what rules read of them. Declarations change no row: they are for
//! finding mistakes. Knows nothing of how members are taken out of records.

use super::compile::{MemberRead, report_problems};
use crate::definition::diagnostic::{Report, did_you_mean};
use crate::definition::file::{EventFile, MemberFile, MemberValue, RuleFile, TopicFile};
use crate::definition::projection::TypeMatch;
use crate::definition::source::Text;
use crate::event::TOMBSTONE;
use crate::expression;
use crate::expression::value::{Scalar, Type};

/// Declared types are types.
pub fn check_types(report: &mut Report<'_>, events: &[EventFile]) {
    for event in events {
        for member in &event.members {
            check_value(report, &member.value);
        }
    }
}

fn check_value(report: &mut Report<'_>, value: &MemberValue) {
    match value {
        MemberValue::Type(text) => {
            if let Err(problems) = expression::parse_type(type_name(text)) {
                report_problems(report, text, problems);
            }
        }
        MemberValue::Object(members) => {
            for member in members {
                check_value(report, &member.value);
            }
        }
        MemberValue::Array(element) => check_value(report, element),
    }
}

/// Without the mark of a member that may be missing.
fn type_name(text: &Text) -> &str {
    let name = text.as_str();
    name.strip_suffix('?').unwrap_or(name)
}

/// Whether a rule reads only what is declared of the events that it is for.
pub fn check_rule(
    report: &mut Report<'_>,
    topics: &[TopicFile],
    file: &RuleFile,
    types: &TypeMatch,
    read: &[MemberRead],
) {
    let of_rule = |topic: &&TopicFile| {
        let only = file.topic.as_ref();
        only.is_none_or(|only| only.text == topic.name.text)
    };
    let topics: Vec<&TopicFile> = topics.iter().filter(of_rule).collect();
    match types {
        TypeMatch::Any => any_event(report, &topics, file, read),
        TypeMatch::OneOf(names) => {
            for name in names.iter().filter(|name| *name != TOMBSTONE) {
                let events = topics.iter().flat_map(|topic| &topic.events);
                let declared: Vec<&EventFile> =
                    events.filter(|event| event.name.text == *name).collect();
                if declared.is_empty() {
                    undeclared_event(report, &topics, file, name);
                }
                for event in declared {
                    for read in read {
                        check_read(report, event, file, read);
                    }
                }
            }
        }
    }
}

/// A rule for every type may read what any of them has.
fn any_event(report: &mut Report<'_>, topics: &[&TopicFile], file: &RuleFile, read: &[MemberRead]) {
    if topics.iter().any(|topic| topic.events.is_empty()) {
        return;
    }
    let events = || topics.iter().flat_map(|topic| &topic.events);
    for read in read {
        if !events().any(|event| !matches!(find(event, file, read), Found::Undeclared { .. })) {
            let message = format!("no declared event has the member `{}`", shown(read));
            report.error(read.span.clone(), "undeclared-member", message);
        }
    }
}

fn undeclared_event(report: &mut Report<'_>, topics: &[&TopicFile], file: &RuleFile, name: &str) {
    let ignored = |topic: &TopicFile| topic.ignore.iter().any(|ignored| ignored.text == name);
    let declares = |topic: &&TopicFile| !topic.events.is_empty() && !ignored(topic);
    if topics.is_empty() || !topics.iter().all(declares) {
        return;
    }
    let events = topics.iter().flat_map(|topic| &topic.events);
    let names: Vec<&str> = events.map(|event| event.name.as_str()).collect();
    report
        .warning(
            file.types.span.clone(),
            "undeclared-event",
            format!("no topic declares an event `{name}`"),
        )
        .maybe_hint(did_you_mean(name, &names));
}

fn check_read(report: &mut Report<'_>, event: &EventFile, file: &RuleFile, read: &MemberRead) {
    match find(event, file, read) {
        Found::Undeclared { part, known } => {
            let whole = match shown(read).strip_suffix(part) {
                Some("") | None => String::new(),
                Some(_) => format!(" (of `{}`)", shown(read)),
            };
            let message = format!("`{}` declares no member `{part}`{whole}", event.name.text);
            report
                .error(read.span.clone(), "undeclared-member", message)
                .maybe_hint(did_you_mean(part, &known));
        }
        Found::Value(MemberValue::Type(text)) => {
            let Ok(declared) = expression::parse_type(type_name(text)) else {
                return;
            };
            let other = read.types.iter().find(|ty| !reads_well(declared, **ty));
            if let Some(other) = other {
                let message = format!(
                    "`{}` declares `{}` as {declared}, and here it is read as {other}",
                    event.name.text,
                    shown(read)
                );
                report.warning(read.span.clone(), "member-type", message);
            }
        }
        Found::Value(_) | Found::Unknown => {}
    }
}

/// What a declaration says of a member.
enum Found<'f> {
    Value(&'f MemberValue),
    Undeclared {
        part: &'f str,
        known: Vec<&'f str>,
    },
    /// It is below something of which nothing is declared.
    Unknown,
}

fn find<'f>(event: &'f EventFile, file: &RuleFile, read: &'f MemberRead) -> Found<'f> {
    let path: Vec<&str> = read.path.0.iter().map(String::as_str).collect();
    if !read.item {
        return below(&event.members, &path);
    }
    // Only an array that is named as it stands says what its elements are.
    let array = file.each.as_ref().map(|sql| sql.text.as_str().trim());
    let Some(array) = array.and_then(|text| text.strip_prefix("data.")) else {
        return Found::Unknown;
    };
    let named = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let names: Vec<&str> = array.split('.').collect();
    match element(&event.members, &names) {
        Some(element) if array.chars().all(named) => inside(element, &path),
        // The array itself is reported where `each` reads it.
        _ => Found::Unknown,
    }
}

/// What the elements of a declared array are.
fn element<'f>(members: &'f [MemberFile], path: &[&str]) -> Option<&'f MemberValue> {
    let (part, rest) = path.split_first()?;
    let member = members.iter().find(|member| member.name.text == *part)?;
    match (&member.value, rest) {
        (MemberValue::Array(element), []) => Some(element),
        (MemberValue::Object(members), _) => element(members, rest),
        _ => None,
    }
}

fn below<'f>(members: &'f [MemberFile], path: &[&'f str]) -> Found<'f> {
    let Some((part, rest)) = path.split_first() else {
        return Found::Unknown;
    };
    match members.iter().find(|member| member.name.text == *part) {
        Some(member) => inside(&member.value, rest),
        None => Found::Undeclared {
            part,
            known: members.iter().map(|member| member.name.as_str()).collect(),
        },
    }
}

fn inside<'f>(value: &'f MemberValue, path: &[&'f str]) -> Found<'f> {
    let Some((part, rest)) = path.split_first() else {
        return Found::Value(value);
    };
    match value {
        MemberValue::Object(members) => below(members, path),
        MemberValue::Array(element) if part.parse::<i32>().is_ok() => inside(element, rest),
        MemberValue::Type(text) if type_name(text) == "jsonb" => Found::Unknown,
        MemberValue::Array(_) | MemberValue::Type(_) => Found::Undeclared {
            part,
            known: Vec::new(),
        },
    }
}

/// Whether values of a declared type are values of the type they are read as.
fn reads_well(declared: Type, read: Type) -> bool {
    use Scalar::{
        BigInt, Date, Double, Integer, Jsonb, Numeric, Real, SmallInt, Text, Timestamp,
        TimestampTz, Varchar,
    };
    if declared.array != read.array {
        return matches!(read.scalar, Text | Varchar | Jsonb) && !read.array;
    }
    match (declared.scalar, read.scalar) {
        (declared, read) if declared == read => true,
        (_, Text | Varchar | Jsonb) => true,
        (SmallInt, Integer | BigInt) | (Integer, BigInt) => true,
        (SmallInt | Integer | BigInt, Numeric | Real | Double) => true,
        (Numeric, Real | Double) | (Real, Double) => true,
        (Timestamp | TimestampTz, Date) | (Timestamp, TimestampTz) => true,
        (TimestampTz, Timestamp) | (Date, Timestamp | TimestampTz) => true,
        (Varchar, _) => reads_well(
            Type {
                scalar: Text,
                ..declared
            },
            read,
        ),
        _ => false,
    }
}

fn shown(read: &MemberRead) -> String {
    let root = if read.item { "item" } else { "data" };
    let mut shown = root.to_owned();
    for part in &read.path.0 {
        shown.push('.');
        shown.push_str(part);
    }
    shown
}
