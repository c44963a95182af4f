//! jsonb in another shape: without nulls, in lines, from arrays of text.

use bumpalo::Bump;

use super::error::EvalError;
use super::jsonb::write_string;
use super::jsonb_build::write_object;
use super::jsonb_walk::{Kind, elements, kind, members};
use super::value::Value;

/// `jsonb_strip_nulls`: members that are null go, at every depth; elements stay.
pub fn strip_nulls<'a>(json: &str, arena: &'a Bump) -> &'a str {
    let mut out = String::with_capacity(json.len());
    write_without_nulls(json, &mut out);
    arena.alloc_str(&out)
}

fn write_without_nulls(json: &str, out: &mut String) {
    let mut first = true;
    let mut separate = |out: &mut String| {
        if !std::mem::take(&mut first) {
            out.push_str(", ");
        }
    };
    match kind(json) {
        Kind::Object => {
            out.push('{');
            for (name, value) in members(json).filter(|(_, value)| kind(value) != Kind::Null) {
                separate(out);
                out.push('"');
                out.push_str(name);
                out.push_str("\": ");
                write_without_nulls(value, out);
            }
            out.push('}');
        }
        Kind::Array => {
            out.push('[');
            for item in elements(json) {
                separate(out);
                write_without_nulls(item, out);
            }
            out.push(']');
        }
        _ => out.push_str(json),
    }
}

/// `jsonb_pretty`: four spaces a level.
pub fn pretty<'a>(json: &str, arena: &'a Bump) -> &'a str {
    let mut out = String::with_capacity(json.len() * 2);
    write_pretty(json, 0, &mut out);
    arena.alloc_str(&out)
}

fn write_pretty(json: &str, level: usize, out: &mut String) {
    let mut first = true;
    let mut line = |out: &mut String| {
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        new_line(level + 1, out);
    };
    match kind(json) {
        Kind::Object => {
            out.push('{');
            for (name, value) in members(json) {
                line(out);
                out.push('"');
                out.push_str(name);
                out.push_str("\": ");
                write_pretty(value, level + 1, out);
            }
            new_line(level, out);
            out.push('}');
        }
        Kind::Array => {
            out.push('[');
            for item in elements(json) {
                line(out);
                write_pretty(item, level + 1, out);
            }
            new_line(level, out);
            out.push(']');
        }
        _ => out.push_str(json),
    }
}

fn new_line(level: usize, out: &mut String) {
    out.push('\n');
    out.extend(std::iter::repeat_n("    ", level));
}

/// `jsonb_object(text[])`: keys and values by turns.
pub fn object<'a>(parts: &[Value<'_>], arena: &'a Bump) -> Result<&'a str, EvalError> {
    if !parts.len().is_multiple_of(2) {
        return Err(EvalError::new(
            "2202E",
            "array must have even number of elements",
        ));
    }
    of_pairs(parts.chunks_exact(2).map(|pair| (pair[0], pair[1])), arena)
}

/// `jsonb_object(keys, values)`.
pub fn object_of_two<'a>(
    keys: &[Value<'_>],
    values: &[Value<'_>],
    arena: &'a Bump,
) -> Result<&'a str, EvalError> {
    if keys.len() != values.len() {
        return Err(EvalError::new("2202E", "mismatched array dimensions"));
    }
    of_pairs(keys.iter().copied().zip(values.iter().copied()), arena)
}

fn of_pairs<'a, 'v>(
    pairs: impl Iterator<Item = (Value<'v>, Value<'v>)>,
    arena: &'a Bump,
) -> Result<&'a str, EvalError> {
    let mut members = Vec::new();
    for (key, value) in pairs {
        let Value::Text(key) = key else {
            return Err(EvalError::new(
                "22004",
                "null value not allowed for object key",
            ));
        };
        let mut shown = String::new();
        match value {
            Value::Text(text) => write_string(text, &mut shown),
            _ => shown.push_str("null"),
        }
        members.push((key.to_owned(), shown));
    }
    let mut out = String::new();
    write_object(members, &mut out);
    Ok(arena.alloc_str(&out))
}
