//! The order of values, as PostgreSQL's btree operators have it.

use std::cmp::Ordering;

use super::interval::date_add_interval;
use super::jsonb_compare::compare_jsonb;
use super::value::{Interval, Value};

/// Total order of two values of one type, or of two types that PostgreSQL compares directly (integers, floats, dates
/// and timestamps). Null is after everything else, as an array's order has it; the operators treat null before.
pub fn compare(left: Value<'_>, right: Value<'_>) -> Ordering {
    match (left, right) {
        (Value::Int64(a), Value::Int64(b)) => a.cmp(&b),
        (Value::Int32(a), Value::Int32(b)) | (Value::Date(a), Value::Date(b)) => a.cmp(&b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Numeric(a), Value::Numeric(b)) => a.compare(b),
        (
            Value::Timestamp(a) | Value::TimestampTz(a),
            Value::Timestamp(b) | Value::TimestampTz(b),
        )
        | (Value::Time(a), Value::Time(b)) => a.cmp(&b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(&b),
        (Value::Float64(a), Value::Float64(b)) => compare_floats(a, b),
        (Value::Float32(a), Value::Float32(b)) => compare_floats(f64::from(a), f64::from(b)),
        (Value::Uuid(a), Value::Uuid(b)) => a.cmp(b),
        (Value::Interval(a), Value::Interval(b)) => a.span().cmp(&b.span()),
        (Value::Bytea(a), Value::Bytea(b)) => a.cmp(b),
        (Value::Jsonb(a), Value::Jsonb(b)) => compare_jsonb(a, b),
        (Value::Array(a), Value::Array(b)) => compare_arrays(a, b),
        _ => compare_across(left, right),
    }
}

pub fn equal(left: Value<'_>, right: Value<'_>) -> bool {
    match (left, right) {
        (Value::Text(a), Value::Text(b)) => a == b,
        // The canonical text differs only where numbers differ in their scale.
        (Value::Jsonb(a), Value::Jsonb(b)) if a == b => true,
        _ => compare(left, right) == Ordering::Equal,
    }
}

/// `is distinct from`.
pub fn is_distinct(left: Value<'_>, right: Value<'_>) -> bool {
    match (left, right) {
        (Value::Null, Value::Null) => false,
        (Value::Null, _) | (_, Value::Null) => true,
        _ => !equal(left, right),
    }
}

/// NaN equals itself and is above everything; the zeros are equal.
fn compare_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b)
        .unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn compare_arrays(left: &[Value<'_>], right: &[Value<'_>]) -> Ordering {
    left.iter()
        .zip(right)
        .map(|(a, b)| compare(*a, *b))
        .find(|order| order.is_ne())
        .unwrap_or_else(|| left.len().cmp(&right.len()))
}

fn compare_across(left: Value<'_>, right: Value<'_>) -> Ordering {
    let integer = |value: Value<'_>| match value {
        Value::Int16(v) => Some(i64::from(v)),
        Value::Int32(v) => Some(i64::from(v)),
        Value::Int64(v) => Some(v),
        _ => None,
    };
    let float = |value: Value<'_>| match value {
        Value::Float32(v) => Some(f64::from(v)),
        Value::Float64(v) => Some(v),
        _ => None,
    };
    if let (Some(a), Some(b)) = (integer(left), integer(right)) {
        return a.cmp(&b);
    }
    if let (Some(a), Some(b)) = (float(left), float(right)) {
        return compare_floats(a, b);
    }
    match (left, right) {
        (Value::Date(a), Value::Timestamp(b) | Value::TimestampTz(b)) => date_against(a, b),
        (Value::Timestamp(a) | Value::TimestampTz(a), Value::Date(b)) => {
            date_against(b, a).reverse()
        }
        _ => matches!(left, Value::Null).cmp(&matches!(right, Value::Null)),
    }
}

/// A date beyond the range of timestamps is after all of them but infinity.
fn date_against(date: i32, timestamp: i64) -> Ordering {
    let midnight = Interval {
        months: 0,
        days: 0,
        micros: 0,
    };
    match date_add_interval(date, midnight) {
        Ok(start) => start.cmp(&timestamp),
        Err(_) if timestamp == i64::MAX => Ordering::Less,
        Err(_) => Ordering::Greater,
    }
}
