//! A member of a record's JSON as a value of a type: `(data #>> path)::T`, without the detour where it can be avoided.

use bumpalo::Bump;

use super::cast::{modify, parse_text};
use super::error::EvalError;
use super::jsonb::{unescape, write_canonical};
use super::jsonb_walk::{Kind, kind};
use super::numeric::Numeric;
use super::value::{Modifier, Scalar, Type, Value};

/// Shorter numbers are within the limits of numeric for sure.
const PLAIN_DIGITS_MAX: usize = 1000;

/// `member` is one valid JSON value without space around it; JSON null is null. The cast is explicit: to `varchar(n)`
/// it cuts.
pub fn json_member_to<'a>(
    member: &'a str,
    ty: &Type,
    arena: &'a Bump,
) -> Result<Value<'a>, EvalError> {
    if !ty.array
        && let Some(value) = quick(member, ty.scalar)
    {
        return match ty.modifier {
            Modifier::None => Ok(value),
            _ => modify(value, ty, true, arena),
        };
    }
    match json_member_text(member, arena)? {
        None => Ok(Value::Null),
        Some(text) if ty.scalar == Scalar::Varchar && !ty.array => {
            modify(Value::Text(text), ty, true, arena)
        }
        Some(text) => parse_text(text, ty, arena),
    }
}

/// `data #>> path`: null for JSON null, a string's text, anything else as jsonb prints it.
pub fn json_member_text<'a>(
    member: &'a str,
    arena: &'a Bump,
) -> Result<Option<&'a str>, EvalError> {
    Ok(match kind(member) {
        Kind::Null => None,
        Kind::Boolean => Some(member),
        Kind::String => {
            let raw = between_quotes(member);
            match unescape(raw) {
                Some(text) => Some(arena.alloc_str(&text)),
                None => Some(raw),
            }
        }
        Kind::Number if is_plain(member.as_bytes()) => Some(member),
        Kind::Number | Kind::Array | Kind::Object => {
            let mut out = String::with_capacity(member.len());
            write_canonical(member, &mut out)?;
            Some(arena.alloc_str(&out))
        }
    })
}

#[inline]
fn between_quotes(member: &str) -> &str {
    member.get(1..member.len().saturating_sub(1)).unwrap_or("")
}

/// The common cases that need no text in between; `None` is no verdict. JSON null is never one.
#[inline]
pub(super) fn quick<'a>(member: &'a str, to: Scalar) -> Option<Value<'a>> {
    let bytes = member.as_bytes();
    match to {
        Scalar::BigInt => small_integer(bytes).map(Value::Int64),
        Scalar::Integer => small_integer(bytes)
            .and_then(|v| v.try_into().ok())
            .map(Value::Int32),
        Scalar::SmallInt => small_integer(bytes)
            .and_then(|v| v.try_into().ok())
            .map(Value::Int16),
        Scalar::Numeric => match bytes.first()? {
            b'-' | b'0'..=b'9' => Numeric::small_plain(bytes).map(Value::Numeric),
            _ => None,
        },
        Scalar::Boolean => match member {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
        Scalar::Text | Scalar::Varchar => {
            let plain = bytes.first() == Some(&b'"') && memchr::memchr(b'\\', bytes).is_none();
            plain.then(|| Value::Text(between_quotes(member)))
        }
        // The parsers of dates begin with a fast path of their own.
        _ => None,
    }
}

/// Whether jsonb prints the number as it stands: no exponent, no minus before a zero, digits within the limits.
fn is_plain(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    let plain = digits
        .iter()
        .all(|byte| byte.is_ascii_digit() || *byte == b'.');
    let negative_zero =
        digits.len() < number.len() && digits.iter().all(|byte| matches!(byte, b'0' | b'.'));
    plain && !negative_zero && digits.len() < PLAIN_DIGITS_MAX
}

/// Mantissa and scale of at most 18 digits.
#[inline(always)]
pub(super) fn small_decimal(text: &[u8]) -> Option<(i64, u8)> {
    match Numeric::small_plain(text)? {
        Numeric::Small { mantissa, scale } => Some((mantissa, scale)),
        _ => None,
    }
}

/// At most 18 digits with or without a minus.
#[inline]
pub(crate) fn small_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut magnitude = 0_i64;
    for digit in digits {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return None;
        }
        magnitude = magnitude * 10 + i64::from(value);
    }
    Some(if digits.len() < text.len() {
        -magnitude
    } else {
        magnitude
    })
}
