//! Texts of envelope members, read as PostgreSQL's `#>>` and casts would.

use super::json;
use crate::expression::cast::parse_text;
use crate::expression::error::EvalError;
use crate::expression::json_member::{self, json_member_text};
use crate::expression::value::{Modifier, Scalar, Type, Value};
use bumpalo::Bump;

/// The text of the JSON string `raw`.
#[cold]
pub(super) fn unescaped<'a>(raw: &'a str, arena: &'a Bump) -> &'a str {
    let inside = raw.get(1..raw.len().max(2) - 1).unwrap_or_default();
    let mut text = String::with_capacity(inside.len());
    json::unescape(inside, |part| text.push_str(part));
    arena.alloc_str(&text)
}

/// The text of any JSON value but a string or null.
#[inline]
pub(super) fn text<'a>(raw: &'a str, arena: &'a Bump) -> Result<&'a str, EvalError> {
    if raw.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(raw);
    }
    json_member_text(raw, arena).map(Option::unwrap_or_default)
}

pub(super) fn timestamptz(text: &str, arena: &Bump) -> Result<i64, EvalError> {
    match parse_text(text, &type_of(Scalar::TimestampTz), arena)? {
        Value::TimestampTz(time) => Ok(time),
        _ => Err(EvalError::invalid_datetime(
            "timestamp with time zone",
            text,
        )),
    }
}

/// The number that a text or a JSON value is, if it is a short integer.
#[inline(always)]
pub(super) fn small_integer(text: &str) -> Option<i64> {
    json_member::small_integer(text.as_bytes())
}

#[inline]
pub(super) fn bigint(text: &str, arena: &Bump) -> Result<i64, EvalError> {
    if let Some(number) = small_integer(text) {
        return Ok(number);
    }
    match parse_text(text, &type_of(Scalar::BigInt), arena)? {
        Value::Int64(number) => Ok(number),
        _ => Err(EvalError::invalid_text("bigint", text)),
    }
}

fn type_of(scalar: Scalar) -> Type {
    Type {
        scalar,
        modifier: Modifier::None,
        array: false,
    }
}
