//! Operators that look into a jsonb: `->`, `->>`, `#>`, `#>>`, `@>`, `?` and what tells its kind and size.
//! Results are parts of the canonical text, borrowed.

use std::borrow::Cow;
use std::cmp::Ordering;

use bumpalo::Bump;

use super::error::EvalError;
use super::jsonb::write_string;
use super::jsonb_compare::compare_jsonb;
use super::jsonb_walk::{Kind, elements, kind, members, string_text};
use super::numeric_convert::is_space;
use super::value::Value;

/// `json -> key`.
pub fn field<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    let mut escaped = String::with_capacity(key.len() + 2);
    write_string(key, &mut escaped);
    let wanted = &escaped[1..escaped.len() - 1];
    members(json)
        .find(|(name, _)| *name == wanted)
        .map(|(_, value)| value)
}

/// `json -> index`; a negative index counts from the end. A scalar is the only element of itself.
pub fn element(json: &str, index: i32) -> Option<&str> {
    match kind(json) {
        Kind::Array => array_element(json, index),
        Kind::Object => None,
        _ => matches!(index, 0 | -1).then_some(json),
    }
}

fn array_element(json: &str, index: i32) -> Option<&str> {
    let at = if index < 0 {
        elements(json)
            .count()
            .checked_sub(index.unsigned_abs() as usize)?
    } else {
        index as usize
    };
    elements(json).nth(at)
}

/// `json #> path`; a null step leads nowhere.
pub fn at_path<'a>(json: &'a str, path: &[Value<'_>]) -> Option<&'a str> {
    let mut found = json;
    for step in path {
        let Value::Text(step) = step else {
            return None;
        };
        found = match kind(found) {
            Kind::Object => field(found, step)?,
            Kind::Array => array_element(found, array_index(step)?)?,
            _ => return None,
        };
    }
    Some(found)
}

/// As C's `strtol` reads a whole text.
pub fn array_index(step: &str) -> Option<i32> {
    let digits = step.trim_start_matches(is_space);
    digits.parse().ok()
}

/// The text behind `->>` and `#>>`: null for JSON null, a string without quotes, anything else as printed.
pub fn as_text<'a>(json: &'a str, arena: &'a Bump) -> Option<&'a str> {
    match kind(json) {
        Kind::Null => None,
        Kind::String => Some(match string_text(json) {
            Cow::Borrowed(text) => text,
            Cow::Owned(text) => arena.alloc_str(&text),
        }),
        _ => Some(json),
    }
}

/// `json ? key`: a member's name, or a string that is an element or the value itself.
pub fn has_key(json: &str, key: &str) -> bool {
    match kind(json) {
        Kind::Object => field(json, key).is_some(),
        Kind::Array => elements(json).any(|item| is_string(item, key)),
        _ => is_string(json, key),
    }
}

fn is_string(json: &str, text: &str) -> bool {
    kind(json) == Kind::String && string_text(json) == text
}

/// `left @> right`.
pub fn contains(left: &str, right: &str) -> bool {
    match (kind(left), kind(right)) {
        (Kind::Object, Kind::Object) | (Kind::Array, Kind::Array) => deep_contains(left, right),
        (Kind::Object, _) | (_, Kind::Object) => false,
        // At the top, an array contains a scalar that it has.
        (Kind::Array, _) => elements(left).any(|item| same_scalar(item, right)),
        (_, Kind::Array) => false,
        _ => same_scalar(left, right),
    }
}

fn deep_contains(left: &str, right: &str) -> bool {
    match (kind(left), kind(right)) {
        (Kind::Object, Kind::Object) => members(right).all(|(name, wanted)| {
            members(left)
                .find(|(own, _)| *own == name)
                .is_some_and(|(_, value)| deep_contains(value, wanted))
        }),
        (Kind::Array, Kind::Array) => {
            elements(right).all(|wanted| elements(left).any(|item| deep_contains(item, wanted)))
        }
        (Kind::Object | Kind::Array, _) | (_, Kind::Object | Kind::Array) => false,
        _ => same_scalar(left, right),
    }
}

fn same_scalar(left: &str, right: &str) -> bool {
    kind(left) == kind(right) && compare_jsonb(left, right) == Ordering::Equal
}

/// `jsonb_typeof`.
pub fn type_of(json: &str) -> &'static str {
    match kind(json) {
        Kind::Null => "null",
        Kind::String => "string",
        Kind::Number => "number",
        Kind::Boolean => "boolean",
        Kind::Array => "array",
        Kind::Object => "object",
    }
}

/// `jsonb_array_length`.
pub fn array_length(json: &str) -> Result<i32, EvalError> {
    match kind(json) {
        Kind::Array => Ok(elements(json).count() as i32),
        Kind::Object => Err(EvalError::new(
            "22023",
            "cannot get array length of a non-array",
        )),
        _ => Err(EvalError::new(
            "22023",
            "cannot get array length of a scalar",
        )),
    }
}
