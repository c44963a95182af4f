//! Codes of array operators and functions. See [`super::builtin`].

use bumpalo::Bump;

use super::array;
use super::builtin::{Outcome, code, integer, text};
use super::cast;
use super::error::EvalError;
use super::typed::Native;
use super::value::Value;

pub(super) fn native(code: &str) -> Option<Native> {
    match code {
        // These are not strict: a null array is an empty one.
        "array_append" => code!(|a, arena| Ok(array::append(elements(a[0]), a[1], arena))),
        "array_prepend" => code!(|a, arena| Ok(array::prepend(a[0], elements(a[1]), arena))),
        "array_cat" => code!(|a, arena| Ok(match (a[0], a[1]) {
            (Value::Null, other) | (other, Value::Null) => other,
            (left, right) => array::concat(elements(left), elements(right), arena),
        })),
        "array_remove" => code!(|a, arena| Ok(match a[0] {
            Value::Null => Value::Null,
            _ => array::remove(elements(a[0]), a[1], arena),
        })),
        "array_replace" => code!(|a, arena| Ok(match a[0] {
            Value::Null => Value::Null,
            _ => array::replace(elements(a[0]), a[1], a[2], arena),
        })),
        "array_position" => code!(|a, arena| Ok(match a[0] {
            Value::Null => Value::Null,
            _ => array::position(elements(a[0]), a[1]),
        })),
        "array_position_start" => code!(|a, arena| position_from(elements(a[0]), a[1], a[2])),
        "trim_array" => code!(|a, arena| {
            let (array, count) = (elements(a[0]), integer(a[1]));
            let kept = usize::try_from(count)
                .ok()
                .and_then(|n| array.len().checked_sub(n));
            match kept {
                Some(kept) => Ok(Value::Array(&array[..kept])),
                None => Err(EvalError::new(
                    "2202E",
                    format!(
                        "number of elements to trim must be between 0 and {}",
                        array.len()
                    ),
                )),
            }
        }),
        "array_cardinality" => {
            code!(|a, arena| Ok(Value::Int32(array::cardinality(elements(a[0])))))
        }
        "array_length" | "array_upper" => {
            code!(|a, arena| Ok(array::length(elements(a[0]), integer(a[1]))))
        }
        "array_lower" => code!(
            |a, arena| Ok(match array::length(elements(a[0]), integer(a[1])) {
                Value::Null => Value::Null,
                _ => Value::Int32(1),
            })
        ),
        "array_ndims" => code!(|a, arena| Ok(if elements(a[0]).is_empty() {
            Value::Null
        } else {
            Value::Int32(1)
        })),
        _ => comparing(code).or_else(|| as_text(code)),
    }
}

fn comparing(code: &str) -> Option<Native> {
    match code {
        "arraycontains" => {
            code!(|a, arena| Ok(Value::Bool(array::contains(elements(a[0]), elements(a[1])))))
        }
        "arraycontained" => {
            code!(|a, arena| Ok(Value::Bool(array::contains(elements(a[1]), elements(a[0])))))
        }
        "arrayoverlap" => {
            code!(|a, arena| Ok(Value::Bool(array::overlaps(elements(a[0]), elements(a[1])))))
        }
        _ => None,
    }
}

fn as_text(code: &str) -> Option<Native> {
    match code {
        "array_to_text" => code!(|a, arena| Ok(joined(elements(a[0]), text(a[1]), None, arena))),
        "array_to_text_null" => code!(|a, arena| Ok(match (a[0], a[1]) {
            (Value::Null, _) | (_, Value::Null) => Value::Null,
            _ => joined(elements(a[0]), text(a[1]), null_text(a[2]), arena),
        })),
        "text_to_array" => code!(|a, arena| Ok(split(a[0], a[1], None, arena))),
        "text_to_array_null" => code!(|a, arena| Ok(split(a[0], a[1], null_text(a[2]), arena))),
        _ => None,
    }
}

pub(super) fn elements<'a>(value: Value<'a>) -> &'a [Value<'a>] {
    match value {
        Value::Array(elements) => elements,
        _ => &[],
    }
}

/// `array_position(array, element, start)`.
fn position_from<'a>(array: &[Value<'_>], element: Value<'_>, start: Value<'_>) -> Outcome<'a> {
    // Without nulls none needs to be looked for, whatever the start.
    let is_null = |value: &Value<'_>| matches!(value, Value::Null);
    if array.is_empty() || (is_null(&element) && !array.iter().any(is_null)) {
        return Ok(Value::Null);
    }
    let Value::Int32(start) = start else {
        return Err(EvalError::new("22004", "initial position must not be null"));
    };
    let skipped = usize::try_from(start.max(1) - 1)
        .unwrap_or(0)
        .min(array.len());
    Ok(match array::position(&array[skipped..], element) {
        Value::Int32(found) => Value::Int32(found + skipped as i32),
        other => other,
    })
}

fn null_text<'a>(value: Value<'a>) -> Option<&'a str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn joined<'a>(
    elements: &[Value<'a>],
    separator: &str,
    null: Option<&str>,
    arena: &'a Bump,
) -> Value<'a> {
    let mut out = String::new();
    let mut first = true;
    for element in elements {
        let shown = matches!(element, Value::Null);
        if shown && null.is_none() {
            continue;
        }
        if !first {
            out.push_str(separator);
        }
        first = false;
        match null {
            Some(null) if shown => out.push_str(null),
            _ => cast::write_output(*element, &mut out),
        }
    }
    Value::Text(arena.alloc_str(&out))
}

/// A null separator cuts into characters, an empty one not at all.
fn split<'a>(
    whole: Value<'a>,
    separator: Value<'a>,
    null: Option<&str>,
    arena: &'a Bump,
) -> Value<'a> {
    let Value::Text(whole) = whole else {
        return Value::Null;
    };
    let mut parts = bumpalo::collections::Vec::new_in(arena);
    let part = |part: &'a str| {
        if Some(part) == null {
            Value::Null
        } else {
            Value::Text(part)
        }
    };
    match separator {
        _ if whole.is_empty() => {}
        Value::Text("") => parts.push(part(whole)),
        Value::Text(separator) => parts.extend(whole.split(separator).map(part)),
        _ => parts.extend(
            whole
                .char_indices()
                .map(|(at, c)| part(&whole[at..at + c.len_utf8()])),
        ),
    }
    Value::Array(parts.into_bump_slice())
}
