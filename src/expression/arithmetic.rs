//! `+ - * / %` and unary minus over values of the types that the checker has chosen; null in, null out.

use bumpalo::Bump;

use super::cast::{float_overflow, float_underflow};
use super::error::EvalError;
use super::interval;
use super::numeric::Numeric;
use super::numeric_rules;
use super::value::{Interval, Value};

type Outcome<'a> = Result<Value<'a>, EvalError>;

/// Integers of two widths meet in the wider one, as PostgreSQL's cross-type operators do.
enum Integers {
    I16(i16, i16),
    I32(i32, i32),
    I64(i64, i64),
}

fn integers(left: Value<'_>, right: Value<'_>) -> Option<Integers> {
    let of = |value: Value<'_>| match value {
        Value::Int16(v) => Some((i64::from(v), 0)),
        Value::Int32(v) => Some((i64::from(v), 1)),
        Value::Int64(v) => Some((v, 2)),
        _ => None,
    };
    let ((a, left_width), (b, right_width)) = (of(left)?, of(right)?);
    Some(match left_width.max(right_width) {
        0 => Integers::I16(a as i16, b as i16),
        1 => Integers::I32(a as i32, b as i32),
        _ => Integers::I64(a, b),
    })
}

fn floats(left: Value<'_>, right: Value<'_>) -> Option<(f64, f64)> {
    match (left, right) {
        (Value::Float64(a), Value::Float64(b)) => Some((a, b)),
        (Value::Float32(a), Value::Float64(b)) => Some((f64::from(a), b)),
        (Value::Float64(a), Value::Float32(b)) => Some((a, f64::from(b))),
        _ => None,
    }
}

macro_rules! integer_operation {
    ($name:ident, $checked:ident) => {
        fn $name(both: Integers) -> Outcome<'static> {
            match both {
                Integers::I16(a, b) => a.$checked(b).map(Value::Int16),
                Integers::I32(a, b) => a.$checked(b).map(Value::Int32),
                Integers::I64(a, b) => {
                    return a
                        .$checked(b)
                        .map(Value::Int64)
                        .ok_or_else(|| EvalError::out_of_range("bigint"))
                }
            }
            .ok_or_else(|| {
                EvalError::out_of_range(if matches!(both, Integers::I16(..)) {
                    "smallint"
                } else {
                    "integer"
                })
            })
        }
    };
}

integer_operation!(add_integers, checked_add);
integer_operation!(subtract_integers, checked_sub);
integer_operation!(multiply_integers, checked_mul);
integer_operation!(divide_integers, checked_div);

fn is_zero_divisor(both: &Integers) -> bool {
    match both {
        Integers::I16(_, b) => *b == 0,
        Integers::I32(_, b) => *b == 0,
        Integers::I64(_, b) => *b == 0,
    }
}

pub fn add<'a>(left: Value<'a>, right: Value<'a>, arena: &'a Bump) -> Outcome<'a> {
    if let Some(both) = integers(left, right) {
        return add_integers(both);
    }
    if let Some((a, b)) = floats(left, right) {
        return checked_f64(a + b, a.is_infinite() || b.is_infinite(), true);
    }
    Ok(match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Value::Null,
        (Value::Numeric(a), Value::Numeric(b)) => Value::Numeric(a.add(b, arena)?),
        (Value::Float32(a), Value::Float32(b)) => {
            return checked_f32(a + b, a.is_infinite() || b.is_infinite(), true);
        }
        (Value::Date(a), Value::Int32(b)) | (Value::Int32(b), Value::Date(a)) => {
            Value::Date(interval::date_add(a, b)?)
        }
        (Value::Date(a), Value::Interval(b)) | (Value::Interval(b), Value::Date(a)) => {
            Value::Timestamp(interval::date_add_interval(a, b)?)
        }
        (Value::Date(a), Value::Time(b)) | (Value::Time(b), Value::Date(a)) => {
            Value::Timestamp(interval::date_add_time(a, b)?)
        }
        (Value::Timestamp(a), Value::Interval(b)) | (Value::Interval(b), Value::Timestamp(a)) => {
            Value::Timestamp(interval::timestamp_add(a, b)?)
        }
        (Value::TimestampTz(a), Value::Interval(b))
        | (Value::Interval(b), Value::TimestampTz(a)) => {
            Value::TimestampTz(interval::timestamp_add(a, b)?)
        }
        (Value::Time(a), Value::Interval(b)) | (Value::Interval(b), Value::Time(a)) => {
            Value::Time(interval::time_add(a, b))
        }
        (Value::Interval(a), Value::Interval(b)) => Value::Interval(a.plus(b)?),
        _ => return Err(no_operator(left, "+", right)),
    })
}

pub fn subtract<'a>(left: Value<'a>, right: Value<'a>, arena: &'a Bump) -> Outcome<'a> {
    if let Some(both) = integers(left, right) {
        return subtract_integers(both);
    }
    if let Some((a, b)) = floats(left, right) {
        return checked_f64(a - b, a.is_infinite() || b.is_infinite(), true);
    }
    Ok(match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Value::Null,
        (Value::Numeric(a), Value::Numeric(b)) => Value::Numeric(a.subtract(b, arena)?),
        (Value::Float32(a), Value::Float32(b)) => {
            return checked_f32(a - b, a.is_infinite() || b.is_infinite(), true);
        }
        (Value::Date(a), Value::Int32(b)) => Value::Date(interval::date_subtract(a, b)?),
        (Value::Date(a), Value::Date(b)) => Value::Int32(interval::date_difference(a, b)?),
        (Value::Date(a), Value::Interval(b)) => {
            Value::Timestamp(interval::date_subtract_interval(a, b)?)
        }
        (Value::Timestamp(a), Value::Timestamp(b))
        | (Value::TimestampTz(a), Value::TimestampTz(b)) => {
            Value::Interval(interval::timestamp_difference(a, b)?)
        }
        (Value::Timestamp(a), Value::Interval(b)) => {
            Value::Timestamp(interval::timestamp_subtract(a, b)?)
        }
        (Value::TimestampTz(a), Value::Interval(b)) => {
            Value::TimestampTz(interval::timestamp_subtract(a, b)?)
        }
        (Value::Time(a), Value::Time(b)) => Value::Interval(Interval {
            months: 0,
            days: 0,
            micros: a - b,
        }),
        (Value::Time(a), Value::Interval(b)) => Value::Time(interval::time_subtract(a, b)),
        (Value::Interval(a), Value::Interval(b)) => Value::Interval(a.minus(b)?),
        _ => return Err(no_operator(left, "-", right)),
    })
}

pub fn multiply<'a>(left: Value<'a>, right: Value<'a>, arena: &'a Bump) -> Outcome<'a> {
    if let Some(both) = integers(left, right) {
        return multiply_integers(both);
    }
    if let Some((a, b)) = floats(left, right) {
        return checked_f64(
            a * b,
            a.is_infinite() || b.is_infinite(),
            a == 0.0 || b == 0.0,
        );
    }
    Ok(match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Value::Null,
        (Value::Numeric(a), Value::Numeric(b)) => Value::Numeric(a.multiply(b, arena)?),
        (Value::Float32(a), Value::Float32(b)) => {
            return checked_f32(
                a * b,
                a.is_infinite() || b.is_infinite(),
                a == 0.0 || b == 0.0,
            );
        }
        (Value::Interval(a), Value::Float64(b)) | (Value::Float64(b), Value::Interval(a)) => {
            Value::Interval(a.multiply(b)?)
        }
        _ => return Err(no_operator(left, "*", right)),
    })
}

pub fn divide<'a>(left: Value<'a>, right: Value<'a>, arena: &'a Bump) -> Outcome<'a> {
    if let Some(both) = integers(left, right) {
        if is_zero_divisor(&both) {
            return Err(EvalError::division_by_zero());
        }
        return divide_integers(both);
    }
    if let Some((a, b)) = floats(left, right) {
        if b == 0.0 && !a.is_nan() {
            return Err(EvalError::division_by_zero());
        }
        return checked_f64(a / b, a.is_infinite(), a == 0.0 || b.is_infinite());
    }
    Ok(match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Value::Null,
        (Value::Numeric(a), Value::Numeric(b)) => Value::Numeric(a.divide(b, arena)?),
        (Value::Float32(a), Value::Float32(b)) => {
            if b == 0.0 && !a.is_nan() {
                return Err(EvalError::division_by_zero());
            }
            return checked_f32(a / b, a.is_infinite(), a == 0.0 || b.is_infinite());
        }
        (Value::Interval(a), Value::Float64(b)) => Value::Interval(a.divide(b)?),
        _ => return Err(no_operator(left, "/", right)),
    })
}

/// `%` and `mod`.
pub fn modulo<'a>(left: Value<'a>, right: Value<'a>, arena: &'a Bump) -> Outcome<'a> {
    if let Some(both) = integers(left, right) {
        if is_zero_divisor(&both) {
            return Err(EvalError::division_by_zero());
        }
        // The remainder by -1 is 0 also where the quotient overflows.
        return Ok(match both {
            Integers::I16(a, b) => Value::Int16(a.wrapping_rem(b)),
            Integers::I32(a, b) => Value::Int32(a.wrapping_rem(b)),
            Integers::I64(a, b) => Value::Int64(a.wrapping_rem(b)),
        });
    }
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Ok(Value::Null),
        (Value::Numeric(a), Value::Numeric(b)) => Ok(Value::Numeric(a.modulo(b, arena)?)),
        _ => Err(no_operator(left, "%", right)),
    }
}

pub fn negate<'a>(value: Value<'a>, arena: &'a Bump) -> Outcome<'a> {
    Ok(match value {
        Value::Null => Value::Null,
        Value::Int16(v) => Value::Int16(
            v.checked_neg()
                .ok_or_else(|| EvalError::out_of_range("smallint"))?,
        ),
        Value::Int32(v) => Value::Int32(
            v.checked_neg()
                .ok_or_else(|| EvalError::out_of_range("integer"))?,
        ),
        Value::Int64(v) => Value::Int64(
            v.checked_neg()
                .ok_or_else(|| EvalError::out_of_range("bigint"))?,
        ),
        Value::Float32(v) => Value::Float32(-v),
        Value::Float64(v) => Value::Float64(-v),
        Value::Numeric(v) => Value::Numeric(v.negate(arena)),
        Value::Interval(v) => Value::Interval(v.negate()?),
        _ => return Err(EvalError::no_operator(&format!("- {value:?}"))),
    })
}

/// `abs`.
pub fn absolute<'a>(value: Value<'a>, arena: &'a Bump) -> Outcome<'a> {
    match value {
        Value::Int16(v) if v < 0 => negate(value, arena),
        Value::Int32(v) if v < 0 => negate(value, arena),
        Value::Int64(v) if v < 0 => negate(value, arena),
        Value::Float32(v) => Ok(Value::Float32(v.abs())),
        Value::Float64(v) => Ok(Value::Float64(v.abs())),
        Value::Numeric(v) => Ok(Value::Numeric(v.abs(arena))),
        other => Ok(other),
    }
}

/// `sign`, of numeric and double precision.
pub fn sign(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Numeric(v) => Value::Numeric(v.sign()),
        Value::Float64(v) if v > 0.0 => Value::Float64(1.0),
        Value::Float64(v) if v < 0.0 => Value::Float64(-1.0),
        Value::Float64(_) => Value::Float64(0.0),
        other => other,
    }
}

/// `div(numeric, numeric)`: the quotient cut to a whole number.
pub fn whole_quotient<'a>(left: Value<'a>, right: Value<'a>, arena: &'a Bump) -> Outcome<'a> {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Ok(Value::Null),
        (Value::Numeric(a), Value::Numeric(b)) => Ok(Value::Numeric(a.divide_whole(b, arena)?)),
        _ => Err(no_operator(left, "div", right)),
    }
}

/// `round(x)`: half away from zero for numeric, half to even for double precision.
pub fn round<'a>(value: Value<'a>, arena: &'a Bump) -> Outcome<'a> {
    Ok(match value {
        Value::Numeric(v) => Value::Numeric(v.round(0, arena)?),
        Value::Float64(v) => Value::Float64(v.round_ties_even()),
        other => other,
    })
}

pub fn truncate<'a>(value: Value<'a>, arena: &'a Bump) -> Outcome<'a> {
    Ok(match value {
        Value::Numeric(v) => Value::Numeric(v.truncate(0, arena)?),
        Value::Float64(v) => Value::Float64(v.trunc()),
        other => other,
    })
}

pub fn floor<'a>(value: Value<'a>, arena: &'a Bump) -> Outcome<'a> {
    Ok(match value {
        Value::Numeric(v) => Value::Numeric(v.floor(arena)?),
        Value::Float64(v) => Value::Float64(v.floor()),
        other => other,
    })
}

pub fn ceil<'a>(value: Value<'a>, arena: &'a Bump) -> Outcome<'a> {
    Ok(match value {
        Value::Numeric(v) => Value::Numeric(v.ceil(arena)?),
        Value::Float64(v) => Value::Float64(v.ceil()),
        other => other,
    })
}

/// `round(numeric, integer)`.
pub fn round_to<'a>(value: Numeric<'a>, digits: i32, arena: &'a Bump) -> Outcome<'a> {
    Ok(Value::Numeric(value.round(digits, arena)?))
}

/// `trunc(numeric, integer)`.
pub fn truncate_to<'a>(value: Numeric<'a>, digits: i32, arena: &'a Bump) -> Outcome<'a> {
    Ok(Value::Numeric(value.truncate(digits, arena)?))
}

/// `sqrt` of numeric and double precision; both are correctly rounded.
pub fn square_root<'a>(value: Value<'a>, arena: &'a Bump) -> Outcome<'a> {
    match value {
        Value::Numeric(v) => Ok(Value::Numeric(numeric_rules::square_root(v, arena)?)),
        Value::Float64(v) if v < 0.0 => Err(EvalError::new(
            "2201F",
            "cannot take square root of a negative number",
        )),
        Value::Float64(v) => Ok(Value::Float64(v.sqrt())),
        other => Ok(other),
    }
}

/// Infinity and zero only where the operands make them.
fn checked_f64(result: f64, may_overflow: bool, may_be_zero: bool) -> Outcome<'static> {
    if result.is_infinite() && !may_overflow {
        return Err(float_overflow());
    }
    if result == 0.0 && !may_be_zero {
        return Err(float_underflow());
    }
    Ok(Value::Float64(result))
}

fn checked_f32(result: f32, may_overflow: bool, may_be_zero: bool) -> Outcome<'static> {
    if result.is_infinite() && !may_overflow {
        return Err(float_overflow());
    }
    if result == 0.0 && !may_be_zero {
        return Err(float_underflow());
    }
    Ok(Value::Float32(result))
}

#[cold]
fn no_operator(left: Value<'_>, operator: &str, right: Value<'_>) -> EvalError {
    EvalError::no_operator(&format!("{left:?} {operator} {right:?}"))
}
