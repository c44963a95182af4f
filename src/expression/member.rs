//! A payload member as a value of the type that its place wants: `(data #>> path)::T`, for jsonb `data #> path`.
//! Knows nothing of expressions.

use bumpalo::Bump;

use crate::event::Member;

use super::cast;
use super::error::EvalError;
use super::json_member::{json_member_to, quick};
use super::jsonb;
use super::value::{Modifier, Scalar, Type, Value};

#[inline]
pub(super) fn value<'a>(
    member: Member<'a>,
    scalar: Scalar,
    array: bool,
    arena: &'a Bump,
) -> Result<Value<'a>, EvalError> {
    match member {
        Member::Text(text) if matches!(scalar, Scalar::Text | Scalar::Varchar) && !array => {
            return Ok(Value::Text(text));
        }
        Member::Json(json) if !array => {
            if let Some(value) = quick(json, scalar) {
                return Ok(value);
            }
        }
        _ => {}
    }
    slow(member, scalar, array, arena)
}

#[inline(never)]
fn slow<'a>(
    member: Member<'a>,
    scalar: Scalar,
    array: bool,
    arena: &'a Bump,
) -> Result<Value<'a>, EvalError> {
    let ty = Type {
        scalar,
        modifier: Modifier::None,
        array,
    };
    match member {
        Member::Missing | Member::Json("null") => Ok(Value::Null),
        // As jsonb prints it: a string without escapes needs none.
        Member::Text(text) if scalar == Scalar::Jsonb && !array => {
            Ok(Value::Jsonb(arena.alloc_str(&format!("\"{text}\""))))
        }
        Member::Text(text) => cast::parse_text(text, &ty, arena),
        Member::Json(json) if scalar == Scalar::Jsonb && !array => {
            Ok(Value::Jsonb(jsonb::canonical(json, arena)?))
        }
        Member::Json(json) => json_member_to(json, &ty, arena),
        Member::Typed(value) => cast::cast(value, &ty, true, arena),
    }
}

pub(super) fn bigint<'a>(member: Member<'a>, arena: &'a Bump) -> Result<Value<'a>, EvalError> {
    value(member, Scalar::BigInt, false, arena)
}
