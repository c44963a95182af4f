//! Makes jsonb of other values: `to_jsonb`, `jsonb_build_object`, `jsonb_build_array`.

use std::fmt::Write as _;

use bumpalo::Bump;

use super::cast::write_output;
use super::datetime_text::{write_timestamp_json, write_timestamptz_json};
use super::error::EvalError;
use super::jsonb::write_string;
use super::numeric::Numeric;
use super::value::Value;

/// `to_jsonb(value)`; the caller answers null with null.
pub fn to_jsonb<'a>(value: Value<'a>, arena: &'a Bump) -> Result<&'a str, EvalError> {
    if let Value::Jsonb(json) = value {
        return Ok(json);
    }
    let mut out = String::new();
    write_value(value, &mut out)?;
    Ok(arena.alloc_str(&out))
}

/// `jsonb_build_array(…)`.
pub fn build_array<'a>(values: &[Value<'_>], arena: &'a Bump) -> Result<&'a str, EvalError> {
    let mut out = String::new();
    write_array(values, &mut out)?;
    Ok(arena.alloc_str(&out))
}

/// `jsonb_build_object(key, value, …)`.
pub fn build_object<'a>(arguments: &[Value<'_>], arena: &'a Bump) -> Result<&'a str, EvalError> {
    if !arguments.len().is_multiple_of(2) {
        return Err(EvalError::new(
            "22023",
            "argument list must have even number of elements",
        ));
    }
    let mut pairs = Vec::with_capacity(arguments.len() / 2);
    for (at, pair) in arguments.chunks_exact(2).enumerate() {
        if matches!(pair[0], Value::Null) {
            return Err(EvalError::new(
                "22023",
                format!("argument {}: key must not be null", at * 2 + 1),
            ));
        }
        let mut value = String::new();
        write_value(pair[1], &mut value)?;
        pairs.push((key_text(pair[0])?, value));
    }
    let mut out = String::new();
    write_object(pairs, &mut out);
    Ok(arena.alloc_str(&out))
}

/// An object of plain keys and canonical values: in jsonb's order, the last of equal keys.
pub fn write_object(mut pairs: Vec<(String, String)>, out: &mut String) {
    pairs.sort_by(|(a, _), (b, _)| (a.len(), a.as_bytes()).cmp(&(b.len(), b.as_bytes())));
    out.push('{');
    let mut first = true;
    for (at, (key, value)) in pairs.iter().enumerate() {
        if pairs.get(at + 1).is_some_and(|(next, _)| next == key) {
            continue;
        }
        if !first {
            out.push_str(", ");
        }
        first = false;
        write_string(key, out);
        out.push_str(": ");
        out.push_str(value);
    }
    out.push('}');
}

fn key_text(key: Value<'_>) -> Result<String, EvalError> {
    let mut text = String::new();
    match key {
        Value::Array(_) | Value::Jsonb(_) => {
            return Err(EvalError::new(
                "22023",
                "key value must be scalar, not array, composite, or json",
            ));
        }
        Value::Bool(v) => text.push_str(if v { "true" } else { "false" }),
        Value::Timestamp(v) => write_timestamp_json(v, &mut text),
        Value::TimestampTz(v) => write_timestamptz_json(v, &mut text),
        other => write_output(other, &mut text),
    }
    Ok(text)
}

fn write_array(values: &[Value<'_>], out: &mut String) -> Result<(), EvalError> {
    out.push('[');
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        write_value(*value, out)?;
    }
    out.push(']');
    Ok(())
}

fn write_value(value: Value<'_>, out: &mut String) -> Result<(), EvalError> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(v) => out.push_str(if v { "true" } else { "false" }),
        Value::Int16(_) | Value::Int32(_) | Value::Int64(_) => write_output(value, out),
        Value::Numeric(v) if v.is_finite() => write_output(value, out),
        Value::Float32(v) if v.is_finite() => write_float(value, out)?,
        Value::Float64(v) if v.is_finite() => write_float(value, out)?,
        Value::Jsonb(json) => out.push_str(json),
        Value::Array(values) => write_array(values, out)?,
        Value::Text(text) => write_string(text, out),
        Value::Timestamp(v) => {
            let mut text = String::new();
            write_timestamp_json(v, &mut text);
            write_string(&text, out);
        }
        Value::TimestampTz(v) => {
            let mut text = String::new();
            write_timestamptz_json(v, &mut text);
            write_string(&text, out);
        }
        other => {
            let mut text = String::new();
            write_output(other, &mut text);
            write_string(&text, out);
        }
    }
    Ok(())
}

/// The float's own text as a number, so `1e+20` has all its digits.
fn write_float(value: Value<'_>, out: &mut String) -> Result<(), EvalError> {
    let arena = Bump::new();
    let mut text = String::new();
    write_output(value, &mut text);
    // Writing to a String cannot fail.
    let _ = write!(out, "{}", Numeric::parse(&text, &arena)?);
    Ok(())
}
