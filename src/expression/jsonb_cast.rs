//! Casts from jsonb to scalars.

use bumpalo::Bump;

use super::error::EvalError;
use super::jsonb_walk::{Kind, kind};
use super::numeric::Numeric;
use super::value::Value;

/// `jsonb::boolean`.
pub fn to_boolean(json: &str) -> Result<Value<'static>, EvalError> {
    match kind(json) {
        Kind::Boolean => Ok(Value::Bool(json == "true")),
        other => Err(refused(other, "boolean")),
    }
}

/// The number behind `jsonb::integer` and the like.
pub fn to_number<'a>(
    json: &str,
    type_name: &str,
    arena: &'a Bump,
) -> Result<Numeric<'a>, EvalError> {
    match kind(json) {
        Kind::Number => Numeric::from_json(json, arena),
        other => Err(refused(other, type_name)),
    }
}

#[cold]
fn refused(kind: Kind, type_name: &str) -> EvalError {
    let name = match kind {
        Kind::Null => "null",
        Kind::String => "string",
        Kind::Number => "numeric",
        Kind::Boolean => "boolean",
        Kind::Array => "array",
        Kind::Object => "object",
    };
    EvalError::new(
        "22023",
        format!("cannot cast jsonb {name} to type {type_name}"),
    )
}
