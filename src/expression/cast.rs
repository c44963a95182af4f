//! Conversions between types, as PostgreSQL's `::` makes them. Which one is implicit is in [`context`]; texts of arrays
//! are in [`super::array_text`].

use bumpalo::Bump;

use super::array_text::{parse_array, write_array};
use super::bytes_text::{parse_bytea, parse_uuid, write_bytea, write_uuid};
use super::calendar::{
    MICROS_PER_DAY, date_to_timestamp, is_timestamp_infinite, timestamp_to_date,
};
use super::datetime_parse::{parse_date, parse_time, parse_timestamp, parse_timestamptz};
use super::datetime_text::{write_date, write_time, write_timestamp, write_timestamptz};
use super::error::EvalError;
use super::interval::interval_to_time;
use super::interval_text::{parse_interval, write_interval};
use super::number_text::{
    parse_f32, parse_f64, parse_i16, parse_i32, parse_i64, write_f32, write_f64,
};
use super::numeric::Numeric;
use super::numeric_convert::is_space;
use super::value::{Interval, Modifier, Scalar, Type, Value};

/// Where PostgreSQL makes a conversion unasked (`pg_cast.castcontext`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Context {
    /// In any expression.
    Implicit,
    /// When stored in a column.
    Assignment,
    /// Only by `::` or `cast`.
    Explicit,
}

/// Where a conversion is allowed; `None` if there is none. Equal types are implicit; the modifier does not count.
pub fn context(from: &Type, to: &Type) -> Option<Context> {
    if from.array != to.array {
        return if from.array {
            is_text(to.scalar).then_some(Context::Assignment)
        } else {
            is_text(from.scalar).then_some(Context::Explicit)
        };
    }
    scalar_context(from.scalar, to.scalar)
}

fn scalar_context(from: Scalar, to: Scalar) -> Option<Context> {
    use Context::{Assignment, Explicit, Implicit};
    use Scalar::{
        BigInt, Boolean, Date, Double, Integer, Interval, Jsonb, Numeric, Real, SmallInt, Time,
        Timestamp, TimestampTz,
    };
    Some(match (from, to) {
        _ if from == to || (is_text(from) && is_text(to)) => Implicit,
        _ if is_text(to) => Assignment,
        _ if is_text(from) => Explicit,
        (SmallInt, Integer | BigInt | Real | Double | Numeric)
        | (Integer, BigInt | Real | Double | Numeric)
        | (BigInt, Real | Double | Numeric)
        | (Numeric, Real | Double)
        | (Real, Double) => Implicit,
        (
            SmallInt | Integer | BigInt | Real | Double | Numeric,
            SmallInt | Integer | BigInt | Real | Double | Numeric,
        ) => Assignment,
        (Integer, Boolean) | (Boolean, Integer) => Explicit,
        (Jsonb, Boolean | SmallInt | Integer | BigInt | Real | Double | Numeric) => Explicit,
        (Date, Timestamp | TimestampTz) | (Timestamp, TimestampTz) | (Time, Interval) => Implicit,
        (Timestamp | TimestampTz, Date | Time) | (TimestampTz, Timestamp) | (Interval, Time) => {
            Assignment
        }
        _ => return None,
    })
}

fn is_text(scalar: Scalar) -> bool {
    matches!(scalar, Scalar::Text | Scalar::Varchar)
}

/// `value::to`. An explicit cast to `varchar(n)` cuts; otherwise what is too long is refused, spaces excepted.
pub fn cast<'a>(
    value: Value<'a>,
    to: &Type,
    explicit: bool,
    arena: &'a Bump,
) -> Result<Value<'a>, EvalError> {
    let converted = match (value, to.array) {
        (Value::Null, _) => return Ok(Value::Null),
        (Value::Array(elements), true) => {
            let element = Type {
                array: false,
                ..*to
            };
            let mut converted = Vec::with_capacity(elements.len());
            for value in elements {
                converted.push(cast(*value, &element, explicit, arena)?);
            }
            return Ok(Value::Array(arena.alloc_slice_copy(&converted)));
        }
        (Value::Text(text), _) if to.array || !is_text(to.scalar) => {
            return parse_text(text, to, arena);
        }
        (value, _) => convert(value, to.scalar, arena)?,
    };
    modify(converted, to, explicit, arena)
}

/// Applies `numeric(p,s)` or `varchar(n)` to a value of the scalar already.
pub fn modify<'a>(
    value: Value<'a>,
    to: &Type,
    explicit: bool,
    arena: &'a Bump,
) -> Result<Value<'a>, EvalError> {
    match (to.modifier, value) {
        (Modifier::Numeric { precision, scale }, Value::Numeric(number)) => {
            Ok(Value::Numeric(number.fit(precision, scale, arena)?))
        }
        (Modifier::Length(length), Value::Text(text)) => {
            Ok(Value::Text(limit_length(text, length as usize, explicit)?))
        }
        _ => Ok(value),
    }
}

fn limit_length(text: &str, length: usize, cut: bool) -> Result<&str, EvalError> {
    if text.len() <= length {
        return Ok(text);
    }
    match text.char_indices().nth(length) {
        None => Ok(text),
        Some((at, _)) if cut || text[at..].bytes().all(|byte| byte == b' ') => Ok(&text[..at]),
        Some(_) => Err(EvalError::new(
            "22001",
            format!("value too long for type character varying({length})"),
        )),
    }
}

fn convert<'a>(value: Value<'a>, to: Scalar, arena: &'a Bump) -> Result<Value<'a>, EvalError> {
    match to {
        Scalar::Text | Scalar::Varchar => Ok(Value::Text(text_of(value, arena))),
        Scalar::SmallInt | Scalar::Integer | Scalar::BigInt => to_integer(value, to, arena),
        Scalar::Real => to_real(value, arena),
        Scalar::Double => to_double(value, arena),
        Scalar::Numeric => to_numeric(value, arena),
        Scalar::Boolean => match value {
            Value::Bool(_) => Ok(value),
            Value::Int32(v) => Ok(Value::Bool(v != 0)),
            Value::Jsonb(json) => super::jsonb_cast::to_boolean(json),
            _ => Err(no_cast(value, to)),
        },
        Scalar::Date
        | Scalar::Time
        | Scalar::Timestamp
        | Scalar::TimestampTz
        | Scalar::Interval => to_datetime(value, to),
        Scalar::Uuid | Scalar::Jsonb | Scalar::Bytea => match (value, to) {
            (Value::Uuid(_), Scalar::Uuid)
            | (Value::Jsonb(_), Scalar::Jsonb)
            | (Value::Bytea(_), Scalar::Bytea) => Ok(value),
            _ => Err(no_cast(value, to)),
        },
    }
}

#[cold]
fn no_cast(value: Value<'_>, to: Scalar) -> EvalError {
    EvalError::new("42846", format!("cannot cast {value:?} to type {to:?}"))
}

fn integer_name(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::SmallInt => "smallint",
        Scalar::Integer => "integer",
        _ => "bigint",
    }
}

fn to_integer<'a>(value: Value<'a>, to: Scalar, arena: &'a Bump) -> Result<Value<'a>, EvalError> {
    let name = integer_name(to);
    let wide = match value {
        Value::Int16(v) => i64::from(v),
        Value::Int32(v) => i64::from(v),
        Value::Int64(v) => v,
        Value::Bool(v) if to == Scalar::Integer => i64::from(v),
        Value::Numeric(v) => v.to_i64(name)?,
        Value::Float32(v) => float_to_i64(f64::from(v), name)?,
        Value::Float64(v) => float_to_i64(v, name)?,
        Value::Jsonb(json) => super::jsonb_cast::to_number(json, name, arena)?.to_i64(name)?,
        _ => return Err(no_cast(value, to)),
    };
    let out_of_range = || EvalError::out_of_range(name);
    Ok(match to {
        Scalar::SmallInt => Value::Int16(wide.try_into().map_err(|_| out_of_range())?),
        Scalar::Integer => Value::Int32(wide.try_into().map_err(|_| out_of_range())?),
        _ => Value::Int64(wide),
    })
}

fn float_to_i64(value: f64, name: &str) -> Result<i64, EvalError> {
    let whole = value.round_ties_even();
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&whole) {
        Ok(whole as i64)
    } else {
        Err(EvalError::out_of_range(name))
    }
}

fn to_real<'a>(value: Value<'a>, arena: &'a Bump) -> Result<Value<'a>, EvalError> {
    Ok(Value::Float32(match value {
        Value::Float32(v) => v,
        Value::Float64(v) => narrow(v)?,
        Value::Int16(v) => f32::from(v),
        Value::Int32(v) => v as f32,
        Value::Int64(v) => v as f32,
        Value::Numeric(v) => v.to_f32()?,
        Value::Jsonb(json) => super::jsonb_cast::to_number(json, "real", arena)?.to_f32()?,
        _ => return Err(no_cast(value, Scalar::Real)),
    }))
}

fn narrow(value: f64) -> Result<f32, EvalError> {
    let narrow = value as f32;
    if narrow.is_infinite() && value.is_finite() {
        return Err(float_overflow());
    }
    if narrow == 0.0 && value != 0.0 {
        return Err(float_underflow());
    }
    Ok(narrow)
}

#[cold]
pub(super) fn float_overflow() -> EvalError {
    EvalError::new("22003", "value out of range: overflow")
}

#[cold]
pub(super) fn float_underflow() -> EvalError {
    EvalError::new("22003", "value out of range: underflow")
}

fn to_double<'a>(value: Value<'a>, arena: &'a Bump) -> Result<Value<'a>, EvalError> {
    Ok(Value::Float64(match value {
        Value::Float32(v) => f64::from(v),
        Value::Float64(v) => v,
        Value::Int16(v) => f64::from(v),
        Value::Int32(v) => f64::from(v),
        Value::Int64(v) => v as f64,
        Value::Numeric(v) => v.to_f64()?,
        Value::Jsonb(json) => {
            super::jsonb_cast::to_number(json, "double precision", arena)?.to_f64()?
        }
        _ => return Err(no_cast(value, Scalar::Double)),
    }))
}

fn to_numeric<'a>(value: Value<'a>, arena: &'a Bump) -> Result<Value<'a>, EvalError> {
    Ok(Value::Numeric(match value {
        Value::Numeric(v) => v,
        Value::Int16(v) => Numeric::from_integer(i64::from(v), arena),
        Value::Int32(v) => Numeric::from_integer(i64::from(v), arena),
        Value::Int64(v) => Numeric::from_integer(v, arena),
        Value::Float32(v) => Numeric::from_f32(v, arena)?,
        Value::Float64(v) => Numeric::from_f64(v, arena)?,
        Value::Jsonb(json) => super::jsonb_cast::to_number(json, "numeric", arena)?,
        _ => return Err(no_cast(value, Scalar::Numeric)),
    }))
}

fn to_datetime(value: Value<'_>, to: Scalar) -> Result<Value<'_>, EvalError> {
    Ok(match (value, to) {
        (Value::Date(_), Scalar::Date)
        | (Value::Time(_), Scalar::Time)
        | (Value::Timestamp(_), Scalar::Timestamp)
        | (Value::TimestampTz(_), Scalar::TimestampTz)
        | (Value::Interval(_), Scalar::Interval) => value,
        (Value::Date(v), Scalar::Timestamp) => Value::Timestamp(date_to_timestamp(v)?),
        (Value::Date(v), Scalar::TimestampTz) => Value::TimestampTz(date_to_timestamp(v)?),
        (Value::Timestamp(v) | Value::TimestampTz(v), Scalar::Date) => {
            Value::Date(timestamp_to_date(v))
        }
        (Value::Timestamp(v) | Value::TimestampTz(v), Scalar::Time) => {
            if is_timestamp_infinite(v) {
                Value::Null
            } else {
                Value::Time(v.rem_euclid(MICROS_PER_DAY))
            }
        }
        (Value::Timestamp(v), Scalar::TimestampTz) => Value::TimestampTz(v),
        (Value::TimestampTz(v), Scalar::Timestamp) => Value::Timestamp(v),
        (Value::Time(v), Scalar::Interval) => Value::Interval(Interval {
            months: 0,
            days: 0,
            micros: v,
        }),
        (Value::Interval(v), Scalar::Time) => Value::Time(interval_to_time(v)?),
        _ => return Err(no_cast(value, to)),
    })
}

/// The type's input function with its modifier: what a literal or a text column becomes.
pub fn parse_text<'a>(text: &'a str, to: &Type, arena: &'a Bump) -> Result<Value<'a>, EvalError> {
    if to.array {
        return parse_array(text, to, arena);
    }
    let value = match to.scalar {
        Scalar::Boolean => Value::Bool(parse_boolean(text)?),
        Scalar::SmallInt => Value::Int16(parse_i16(text)?),
        Scalar::Integer => Value::Int32(parse_i32(text)?),
        Scalar::BigInt => Value::Int64(parse_i64(text)?),
        Scalar::Real => Value::Float32(parse_f32(text)?),
        Scalar::Double => Value::Float64(parse_f64(text)?),
        Scalar::Numeric => Value::Numeric(Numeric::parse(text, arena)?),
        Scalar::Text | Scalar::Varchar => Value::Text(text),
        Scalar::Uuid => Value::Uuid(arena.alloc(parse_uuid(text)?)),
        Scalar::Date => Value::Date(parse_date(text)?),
        Scalar::Time => Value::Time(parse_time(text)?),
        Scalar::Timestamp => Value::Timestamp(parse_timestamp(text)?),
        Scalar::TimestampTz => Value::TimestampTz(parse_timestamptz(text)?),
        Scalar::Interval => Value::Interval(parse_interval(text)?),
        Scalar::Jsonb => Value::Jsonb(super::jsonb::canonical(text, arena)?),
        Scalar::Bytea => Value::Bytea(arena.alloc_slice_copy(&parse_bytea(text)?)),
    };
    modify(value, to, false, arena)
}

fn parse_boolean(text: &str) -> Result<bool, EvalError> {
    let word = text.trim_matches(is_space).to_ascii_lowercase();
    let prefix = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    if prefix("true", 1) || prefix("yes", 1) || word == "on" || word == "1" {
        Ok(true)
    } else if prefix("false", 1) || prefix("no", 1) || prefix("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(EvalError::invalid_text("boolean", text))
    }
}

/// `value::text`; `None` for null.
pub fn to_text<'a>(value: Value<'a>, arena: &'a Bump) -> Option<&'a str> {
    match value {
        Value::Null => None,
        other => Some(text_of(other, arena)),
    }
}

fn text_of<'a>(value: Value<'a>, arena: &'a Bump) -> &'a str {
    match value {
        Value::Text(text) | Value::Jsonb(text) => text,
        // The cast differs from the output function here.
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        other => {
            let mut out = String::new();
            write_output(other, &mut out);
            arena.alloc_str(&out)
        }
    }
}

/// The type's output function: what `concat`, arrays and clients show. Nothing for null.
pub fn write_output(value: Value<'_>, out: &mut String) {
    use std::fmt::Write as _;
    // Writing to a String cannot fail.
    let _ = match value {
        Value::Null => Ok(()),
        Value::Int16(v) => write!(out, "{v}"),
        Value::Int32(v) => write!(out, "{v}"),
        Value::Int64(v) => write!(out, "{v}"),
        Value::Numeric(v) => write!(out, "{v}"),
        Value::Bool(v) => {
            out.push(if v { 't' } else { 'f' });
            Ok(())
        }
        other => {
            write_other(other, out);
            Ok(())
        }
    };
}

fn write_other(value: Value<'_>, out: &mut String) {
    match value {
        Value::Float32(v) => write_f32(v, out),
        Value::Float64(v) => write_f64(v, out),
        Value::Text(v) | Value::Jsonb(v) => out.push_str(v),
        Value::Uuid(v) => write_uuid(v, out),
        Value::Date(v) => write_date(v, out),
        Value::Time(v) => write_time(v, out),
        Value::Timestamp(v) => write_timestamp(v, out),
        Value::TimestampTz(v) => write_timestamptz(v, out),
        Value::Interval(v) => write_interval(v, out),
        Value::Bytea(v) => write_bytea(v, out),
        Value::Array(v) => write_array(v, out),
        Value::Null
        | Value::Bool(_)
        | Value::Int16(_)
        | Value::Int32(_)
        | Value::Int64(_)
        | Value::Numeric(_) => {}
    }
}
