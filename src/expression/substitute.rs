//! An expression with the values that it saw in place of its names: a text that PostgreSQL can be asked about. Knows nothing
//! of connections.

use std::ops::Range;

use bumpalo::Bump;

use crate::event::Member;

use super::cast::to_text;
use super::machine::event_field;
use super::program::{Env, Program};
use super::typed::{BIGINT, EventField, Kind, Node, Ty};
use super::value::{Modifier, Scalar, Type, Value};

/// A name in an expression's text, and what it stands for.
#[derive(Clone, Debug)]
pub(super) struct Input {
    span: Range<usize>,
    reads: Reads,
    ty: Type,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Reads {
    Column(usize),
    Old(usize),
    Lookup { lookup: usize, column: usize },
    Event(EventField),
    Header(usize),
    Index,
    Member { slot: usize, item: bool },
}

/// The names of a checked tree, in the order of the text. `None`: one name is read as two types.
pub(super) fn inputs(node: &Node) -> Option<Vec<Input>> {
    let mut found = Vec::new();
    gather(node, &mut found);
    found.sort_by_key(|input: &Input| input.span.start);
    found.dedup_by(|a, b| a.span == b.span && a.reads == b.reads && a.ty == b.ty);
    let apart = found
        .windows(2)
        .all(|two| two[0].span.end <= two[1].span.start);
    apart.then_some(found)
}

fn gather(node: &Node, found: &mut Vec<Input>) {
    let reads = match &node.kind {
        Kind::Column(column) => Reads::Column(*column),
        Kind::Old(column) => Reads::Old(*column),
        Kind::Lookup { lookup, column } => Reads::Lookup {
            lookup: *lookup,
            column: *column,
        },
        Kind::Event(field) => Reads::Event(*field),
        Kind::Header(slot) => Reads::Header(*slot),
        Kind::Index => Reads::Index,
        Kind::Member { slot, item } => Reads::Member {
            slot: *slot,
            item: *item,
        },
        _ => return node.for_each_child(&mut |child| gather(child, found)),
    };
    found.push(Input {
        span: node.span.clone(),
        reads,
        ty: match node.ty {
            Ty::Is(ty) => ty,
            // Where any type will do.
            Ty::Unknown | Ty::Untyped => TEXT,
        },
    });
}

const TEXT: Type = Type {
    scalar: Scalar::Text,
    modifier: Modifier::None,
    array: false,
};

impl Program {
    /// Of a traced program: its text with what it reads here put in as typed literals, in parentheses.
    pub(super) fn substituted(&self, env: &Env<'_>) -> Option<String> {
        let (text, inputs) = (self.text.as_deref()?, self.inputs.as_ref()?);
        let mut out = "(".to_owned();
        let mut at = 0;
        for input in inputs {
            out += text.get(at..input.span.start)?;
            out += &input.literal(env);
            at = input.span.end;
        }
        out += text.get(at..)?;
        // A comment may end the text.
        out += "\n)";
        Some(out)
    }
}

impl Input {
    fn literal(&self, env: &Env<'_>) -> String {
        let value = match self.reads {
            Reads::Column(column) => env.row[column].value(),
            Reads::Old(column) => env.old[column].value(),
            Reads::Lookup { lookup, column } => {
                env.lookups[lookup].map_or(Value::Null, |row| row[column].value())
            }
            Reads::Event(field) => event_field(field, env),
            Reads::Header(slot) => env.event.headers[slot].map_or(Value::Null, Value::Text),
            Reads::Index => return typed(Value::Int64(env.index), BIGINT),
            Reads::Member { slot, item } => {
                let members = if item { env.item } else { env.event.members };
                return member(members[slot], self.ty);
            }
        };
        typed(value, self.ty)
    }
}

/// As `(data #>> '{…}')::type` has it.
fn member(member: Member<'_>, ty: Type) -> String {
    match member {
        Member::Missing | Member::Json("null") => format!("(null::{ty})"),
        Member::Text(text) => self::member(Member::Json(&format!("\"{text}\"")), ty),
        Member::Json(raw) if ty.scalar == Scalar::Jsonb && !ty.array => {
            format!("({}::jsonb)", quoted(raw))
        }
        Member::Json(raw) => format!("(({}::jsonb #>> '{{}}')::{ty})", quoted(raw)),
        Member::Typed(value) => typed(value, ty),
    }
}

fn typed(value: Value<'_>, ty: Type) -> String {
    let arena = Bump::new();
    match to_text(value, &arena) {
        None => format!("(null::{ty})"),
        Some(text) => format!("({}::{ty})", quoted(text)),
    }
}

/// As a literal under `standard_conforming_strings`.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
