//! Texts of envelope members, read as PostgreSQL's `#>>` and casts would.

use crate::expression::cast::parse_text;
use crate::expression::error::EvalError;
use crate::expression::json_member::json_member_text;
use crate::expression::number_text::parse_i64;
use crate::expression::value::{Modifier, Scalar, Type, Value};
use bumpalo::Bump;

/// The text of a JSON string, given with its quotes.
#[inline]
pub(super) fn string<'a>(raw: &'a str, arena: &'a Bump) -> &'a str {
    let inside = raw.get(1..raw.len().max(2) - 1).unwrap_or_default();
    if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
        return inside;
    }
    let mut text = String::with_capacity(inside.len());
    super::json::unescape(inside, |part| text.push_str(part));
    arena.alloc_str(&text)
}

/// The text of any JSON value but null.
#[inline]
pub(super) fn text<'a>(raw: &'a str, arena: &'a Bump) -> Result<&'a str, EvalError> {
    match raw.as_bytes().first() {
        Some(b'"') => Ok(string(raw, arena)),
        _ => json_member_text(raw, arena).map(Option::unwrap_or_default),
    }
}

pub(super) fn timestamptz(text: &str, arena: &Bump) -> Result<i64, EvalError> {
    let timestamptz = Type {
        scalar: Scalar::TimestampTz,
        modifier: Modifier::None,
        array: false,
    };
    match parse_text(text, &timestamptz, arena)? {
        Value::TimestampTz(time) => Ok(time),
        _ => Err(EvalError::invalid_datetime("timestamp with time zone", text)),
    }
}

pub(super) fn bigint(text: &str) -> Result<i64, EvalError> {
    parse_i64(text)
}
