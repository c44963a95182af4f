//! Functions of one-dimensional arrays. Elements are compared as by `is not distinct from`.

use bumpalo::Bump;

use super::compare::{equal, is_distinct};
use super::value::Value;

type Elements<'a> = &'a [Value<'a>];

/// `array_append(array, element)`; a null array counts as empty.
pub fn append<'a>(array: Elements<'a>, element: Value<'a>, arena: &'a Bump) -> Value<'a> {
    Value::Array(arena.alloc_slice_fill_with(array.len() + 1, |at| {
        array.get(at).copied().unwrap_or(element)
    }))
}

/// `array_prepend(element, array)`; a null array counts as empty.
pub fn prepend<'a>(element: Value<'a>, array: Elements<'a>, arena: &'a Bump) -> Value<'a> {
    Value::Array(arena.alloc_slice_fill_with(array.len() + 1, |at| match at {
        0 => element,
        at => array[at - 1],
    }))
}

/// `array_cat(left, right)`, `left || right`.
pub fn concat<'a>(left: Elements<'a>, right: Elements<'a>, arena: &'a Bump) -> Value<'a> {
    Value::Array(arena.alloc_slice_fill_with(left.len() + right.len(), |at| {
        left.get(at)
            .copied()
            .unwrap_or_else(|| right[at - left.len()])
    }))
}

/// `array_remove(array, element)`; a null element removes the nulls.
pub fn remove<'a>(array: Elements<'a>, element: Value<'a>, arena: &'a Bump) -> Value<'a> {
    let kept = array.iter().filter(|value| is_distinct(**value, element));
    let kept: Vec<Value<'a>> = kept.copied().collect();
    Value::Array(arena.alloc_slice_copy(&kept))
}

/// `array_replace(array, from, to)`.
pub fn replace<'a>(
    array: Elements<'a>,
    from: Value<'a>,
    to: Value<'a>,
    arena: &'a Bump,
) -> Value<'a> {
    Value::Array(arena.alloc_slice_fill_with(array.len(), |at| {
        if is_distinct(array[at], from) {
            array[at]
        } else {
            to
        }
    }))
}

/// `array_position(array, element)`: from 1, null if it is not there.
pub fn position<'a>(array: Elements<'_>, element: Value<'_>) -> Value<'a> {
    match array.iter().position(|value| !is_distinct(*value, element)) {
        Some(at) => Value::Int32(at as i32 + 1),
        None => Value::Null,
    }
}

/// `cardinality(array)`.
pub fn cardinality(array: Elements<'_>) -> i32 {
    array.len() as i32
}

/// `array_length(array, dimension)`: null for an empty array and for a dimension that it does not have.
pub fn length<'a>(array: Elements<'_>, dimension: i32) -> Value<'a> {
    if dimension == 1 && !array.is_empty() {
        Value::Int32(array.len() as i32)
    } else {
        Value::Null
    }
}

/// `array[index]`: from 1, null outside.
pub fn element<'a>(array: Elements<'a>, index: i32) -> Value<'a> {
    let at = usize::try_from(index)
        .ok()
        .and_then(|index| index.checked_sub(1));
    at.and_then(|at| array.get(at))
        .copied()
        .unwrap_or(Value::Null)
}

/// `value = any(array)`: null if it is not found but a null is.
pub fn equals_any<'a>(value: Value<'_>, array: Elements<'_>) -> Value<'a> {
    if array.is_empty() {
        return Value::Bool(false);
    }
    if matches!(value, Value::Null) {
        return Value::Null;
    }
    let mut unknown = false;
    for element in array {
        match element {
            Value::Null => unknown = true,
            element if equal(value, *element) => return Value::Bool(true),
            _ => {}
        }
    }
    if unknown {
        Value::Null
    } else {
        Value::Bool(false)
    }
}

/// `left @> right`; a null element is contained in nothing.
pub fn contains(left: Elements<'_>, right: Elements<'_>) -> bool {
    right.iter().all(|wanted| {
        !matches!(wanted, Value::Null) && left.iter().any(|value| !is_distinct(*value, *wanted))
    })
}

/// `left && right`.
pub fn overlaps(left: Elements<'_>, right: Elements<'_>) -> bool {
    right.iter().any(|wanted| {
        !matches!(wanted, Value::Null) && left.iter().any(|value| !is_distinct(*value, *wanted))
    })
}
