//! The members of a topic's events and the SQL types that fit all their values. Knows nothing of rules.

use std::collections::{BTreeMap, BTreeSet};

use super::envelope::{Found, is_time};
use super::key::Key;
use super::{Seen, json, names};
use crate::expression::jsonb_walk::Kind;

/// Further members are named in a comment.
const COLUMNS_MAX: usize = 100;
const MEMBER_LEN_MAX: usize = 100;

#[derive(Debug, Default)]
pub struct Columns {
    /// In the order of first sight.
    pub all: Vec<Column>,
    /// Members without a column.
    pub left_out: Vec<String>,
    /// The name of a column for the time of the last event.
    pub changed_at: String,
}

#[derive(Debug)]
pub struct Column {
    pub name: String,
    /// Of the data; `None`: the data itself.
    pub member: Option<String>,
    pub sql_type: &'static str,
    /// What else there is to say of the type.
    pub comment: Option<String>,
    /// By event type: in how many of its events the member is there and not null.
    pub seen: BTreeMap<String, usize>,
}

/// What a value can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    Boolean,
    Bigint,
    Numeric,
    Uuid,
    Date,
    Timestamptz,
    Timestamp,
    Text,
    Object,
    Array,
    ArrayOfObjects,
}

impl Columns {
    pub fn of(events: &[Seen<'_>], found: &Found, key: &Key, types: &[String]) -> Columns {
        let mut shapes: BTreeMap<Option<String>, BTreeSet<Shape>> = BTreeMap::new();
        let mut columns = Columns::default();
        let known = |event: &&Seen<'_>| types.iter().any(|known| known == event.event_type);
        for event in events.iter().filter(known) {
            let data = event.data.unwrap_or("null");
            let members: Vec<(Option<String>, &str)> = match json::is_object(data) {
                true => {
                    let members = json::object(data).into_iter();
                    members
                        .map(|(name, raw)| (Some(name.into_owned()), raw))
                        .collect()
                }
                false => vec![(None, data)],
            };
            for (member, raw) in members {
                if member.is_some()
                    && (member == key.member
                        || found.taken.iter().any(|t| member.as_ref() == Some(t)))
                {
                    continue;
                }
                if raw == "null" && member.is_none() {
                    continue;
                }
                let seen = shapes.entry(member.clone()).or_default();
                seen.extend(shape(raw));
                columns.note(member, event.event_type, raw != "null");
            }
        }
        for column in &mut columns.all {
            let seen = shapes.remove(&column.member).unwrap_or_default();
            (column.sql_type, column.comment) = sql_type(&seen);
        }
        columns.name_all(key);
        columns
    }

    fn note(&mut self, member: Option<String>, event_type: &str, present: bool) {
        let known = self.all.iter().position(|column| column.member == member);
        let at = match known {
            Some(at) => at,
            None => {
                let name = member.as_deref().unwrap_or_default();
                let usable = member.is_none() || is_usable(name);
                if !usable || self.all.len() >= COLUMNS_MAX {
                    if !self.left_out.iter().any(|known| known == name) {
                        self.left_out.push(name.to_owned());
                    }
                    return;
                }
                self.all.push(Column {
                    name: String::new(),
                    member,
                    sql_type: "text",
                    comment: None,
                    seen: BTreeMap::new(),
                });
                self.all.len() - 1
            }
        };
        let seen = self.all[at].seen.entry(event_type.to_owned()).or_default();
        *seen += usize::from(present);
    }

    /// Names that differ from each other and from the key's.
    fn name_all(&mut self, key: &Key) {
        let mut taken: BTreeSet<String> = key
            .columns
            .iter()
            .map(|(name, _, _)| name.clone())
            .collect();
        for column in &mut self.all {
            let wanted = column
                .member
                .as_deref()
                .map_or_else(|| "value".to_owned(), column_name);
            column.name = free(&wanted, &mut taken);
        }
        self.changed_at = free("changed_at", &mut taken);
    }
}

/// The name, or the first of it with a number that is not taken.
fn free(wanted: &str, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2..).map(|number| {
        let number = format!("_{number}");
        let room = names::NAME_LEN_MAX - number.len();
        format!("{}{number}", &wanted[..wanted.len().min(room)])
    });
    let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
    let name = names.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

/// A column name for a member: `customerId` as `customer_id`.
pub fn column_name(member: &str) -> String {
    let mut name = names::suggestion(member);
    name.truncate(names::NAME_LEN_MAX - 1);
    if name.is_empty() {
        name = "member".to_owned();
    }
    match names::is_name(&name) {
        true => name,
        false => format!("{name}_"),
    }
}

/// The member as an expression.
pub fn member(name: &str) -> String {
    format!("data.{}", quoted(name))
}

/// Quoted where SQL wants it.
pub fn quoted(name: &str) -> String {
    let plain = |(at, c): (usize, char)| {
        c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit())
    };
    match name.chars().enumerate().all(plain) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// Whether a member's name can stand in an expression.
pub fn is_usable(name: &str) -> bool {
    !name.is_empty() && name.len() <= MEMBER_LEN_MAX && super::is_printable(name)
}

fn shape(raw: &str) -> Option<Shape> {
    Some(match json::kind_of(raw) {
        Kind::Null => return None,
        Kind::Boolean => Shape::Boolean,
        Kind::Number if raw.parse::<i64>().is_ok() => Shape::Bigint,
        Kind::Number => Shape::Numeric,
        Kind::Object => Shape::Object,
        Kind::Array if json::kind_of_elements(raw) == Some(Kind::Object) => Shape::ArrayOfObjects,
        Kind::Array => Shape::Array,
        Kind::String => text_shape(&json::string(raw).unwrap_or_default()),
    })
}

fn text_shape(text: &str) -> Shape {
    let dashes = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    let is_uuid = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match dashes(at) {
            true => byte == b'-',
            false => byte.is_ascii_hexdigit(),
        });
    if is_uuid {
        return Shape::Uuid;
    }
    if !is_time(text) {
        return Shape::Text;
    }
    let zoned = text.ends_with('Z') || text[10..].contains(['+', '-']);
    match text.len() {
        10 => Shape::Date,
        16.. if matches!(text.as_bytes()[10], b'T' | b' ') && zoned => Shape::Timestamptz,
        16.. if matches!(text.as_bytes()[10], b'T' | b' ') => Shape::Timestamp,
        _ => Shape::Text,
    }
}

/// The type that takes every value seen, and what to say of it.
fn sql_type(seen: &BTreeSet<Shape>) -> (&'static str, Option<String>) {
    let seen: Vec<Shape> = seen.iter().copied().collect();
    let scalar = |shape: &Shape| *shape < Shape::Object;
    match seen.as_slice() {
        [] => ("text", Some("null in the whole sample".to_owned())),
        [Shape::Bigint, Shape::Numeric] => ("numeric", None),
        [Shape::ArrayOfObjects] | [Shape::Array, Shape::ArrayOfObjects] => {
            let hint = "a list of objects: `each` makes rows of them in a table of its own";
            ("jsonb", Some(hint.to_owned()))
        }
        [one] => (name(*one), None),
        several => {
            let names: Vec<&str> = several.iter().map(|shape| name(*shape)).collect();
            let comment = format!("seen as {}", names.join(" and "));
            match several.iter().all(scalar) {
                true => ("text", Some(comment)),
                false => ("jsonb", Some(comment)),
            }
        }
    }
}

fn name(shape: Shape) -> &'static str {
    match shape {
        Shape::Boolean => "boolean",
        Shape::Bigint => "bigint",
        Shape::Numeric => "numeric",
        Shape::Uuid => "uuid",
        Shape::Date => "date",
        Shape::Timestamptz => "timestamptz",
        Shape::Timestamp => "timestamp",
        Shape::Text => "text",
        Shape::Object | Shape::Array | Shape::ArrayOfObjects => "jsonb",
    }
}
