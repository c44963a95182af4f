//! PostgreSQL's binary wire format of single values, as in the fields of a binary COPY and the elements of arrays.

use bumpalo::Bump;

use super::cell::Cell;
use super::error::EvalError;
use super::numeric::Numeric;
use super::value::{Interval, Scalar, Type, Value};

/// The type's object id in every PostgreSQL.
pub fn oid(ty: &Type) -> u32 {
    if ty.array {
        return array_oid(ty);
    }
    match ty.scalar {
        Scalar::Boolean => 16,
        Scalar::Bytea => 17,
        Scalar::BigInt => 20,
        Scalar::SmallInt => 21,
        Scalar::Integer => 23,
        Scalar::Text => 25,
        Scalar::Real => 700,
        Scalar::Double => 701,
        Scalar::Varchar => 1043,
        Scalar::Date => 1082,
        Scalar::Time => 1083,
        Scalar::Timestamp => 1114,
        Scalar::TimestampTz => 1184,
        Scalar::Interval => 1186,
        Scalar::Numeric => 1700,
        Scalar::Uuid => 2950,
        Scalar::Jsonb => 3802,
    }
}

/// The object id of an array of the type's scalar.
pub fn array_oid(ty: &Type) -> u32 {
    match ty.scalar {
        Scalar::Boolean => 1000,
        Scalar::Bytea => 1001,
        Scalar::SmallInt => 1005,
        Scalar::Integer => 1007,
        Scalar::Text => 1009,
        Scalar::Varchar => 1015,
        Scalar::BigInt => 1016,
        Scalar::Real => 1021,
        Scalar::Double => 1022,
        Scalar::Timestamp => 1115,
        Scalar::Date => 1182,
        Scalar::Time => 1183,
        Scalar::TimestampTz => 1185,
        Scalar::Interval => 1187,
        Scalar::Numeric => 1231,
        Scalar::Uuid => 2951,
        Scalar::Jsonb => 3807,
    }
}

/// A 32-bit length (-1 for null) and the value's bytes.
pub fn encode_field(value: Value<'_>, ty: &Type, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        Value::Bool(v) => fixed(out, [u8::from(v)]),
        Value::Int16(v) => fixed(out, v.to_be_bytes()),
        Value::Int32(v) | Value::Date(v) => fixed(out, v.to_be_bytes()),
        Value::Int64(v) | Value::Time(v) | Value::Timestamp(v) | Value::TimestampTz(v) => {
            fixed(out, v.to_be_bytes());
        }
        Value::Float32(v) => fixed(out, v.to_be_bytes()),
        Value::Float64(v) => fixed(out, v.to_be_bytes()),
        Value::Uuid(v) => fixed(out, *v),
        Value::Text(v) => sized(out, |out| out.extend_from_slice(v.as_bytes())),
        Value::Bytea(v) => sized(out, |out| out.extend_from_slice(v)),
        Value::Numeric(v) => sized(out, |out| v.encode(out)),
        Value::Jsonb(v) => sized(out, |out| {
            out.push(1);
            out.extend_from_slice(v.as_bytes());
        }),
        Value::Interval(v) => sized(out, |out| {
            out.extend_from_slice(&v.micros.to_be_bytes());
            out.extend_from_slice(&v.days.to_be_bytes());
            out.extend_from_slice(&v.months.to_be_bytes());
        }),
        Value::Array(values) => sized(out, |out| encode_array(values, ty, out)),
    }
}

fn encode_array(values: &[Value<'_>], ty: &Type, out: &mut Vec<u8>) {
    let element = Type {
        array: false,
        ..*ty
    };
    let has_null = values.iter().any(|value| matches!(value, Value::Null));
    out.extend_from_slice(&i32::from(!values.is_empty()).to_be_bytes());
    out.extend_from_slice(&i32::from(has_null).to_be_bytes());
    out.extend_from_slice(&oid(&element).to_be_bytes());
    if values.is_empty() {
        return;
    }
    out.extend_from_slice(&(values.len() as i32).to_be_bytes());
    out.extend_from_slice(&1_i32.to_be_bytes());
    for value in values {
        encode_field(*value, &element, out);
    }
}

fn fixed<const N: usize>(out: &mut Vec<u8>, bytes: [u8; N]) {
    out.extend_from_slice(&(N as i32).to_be_bytes());
    out.extend_from_slice(&bytes);
}

fn sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = (out.len() - at - 4) as i32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// A field without its length word.
pub fn decode_field(bytes: &[u8], ty: &Type) -> Result<Cell, EvalError> {
    let arena = Bump::new();
    decode_value(bytes, ty, &arena).map(Cell::from_value)
}

/// A field without its length word, borrowed where it can be.
pub fn decode_value<'a>(
    bytes: &'a [u8],
    ty: &Type,
    arena: &'a Bump,
) -> Result<Value<'a>, EvalError> {
    if ty.array {
        return decode_array(bytes, ty, arena);
    }
    Ok(match ty.scalar {
        Scalar::Boolean => Value::Bool(exact::<1>(bytes, ty)?[0] != 0),
        Scalar::SmallInt => Value::Int16(i16::from_be_bytes(exact(bytes, ty)?)),
        Scalar::Integer => Value::Int32(i32::from_be_bytes(exact(bytes, ty)?)),
        Scalar::BigInt => Value::Int64(i64::from_be_bytes(exact(bytes, ty)?)),
        Scalar::Real => Value::Float32(f32::from_be_bytes(exact(bytes, ty)?)),
        Scalar::Double => Value::Float64(f64::from_be_bytes(exact(bytes, ty)?)),
        Scalar::Numeric => {
            Value::Numeric(Numeric::decode(bytes, arena).ok_or_else(|| malformed(ty))?)
        }
        Scalar::Text | Scalar::Varchar => Value::Text(utf8(bytes, ty)?),
        Scalar::Uuid => Value::Uuid(bytes.try_into().map_err(|_| malformed(ty))?),
        Scalar::Date => Value::Date(i32::from_be_bytes(exact(bytes, ty)?)),
        Scalar::Time => Value::Time(i64::from_be_bytes(exact(bytes, ty)?)),
        Scalar::Timestamp => Value::Timestamp(i64::from_be_bytes(exact(bytes, ty)?)),
        Scalar::TimestampTz => Value::TimestampTz(i64::from_be_bytes(exact(bytes, ty)?)),
        Scalar::Interval => {
            let all: [u8; 16] = exact(bytes, ty)?;
            Value::Interval(Interval {
                micros: i64::from_be_bytes(exact(&all[..8], ty)?),
                days: i32::from_be_bytes(exact(&all[8..12], ty)?),
                months: i32::from_be_bytes(exact(&all[12..], ty)?),
            })
        }
        Scalar::Jsonb => match bytes {
            [1, text @ ..] => Value::Jsonb(utf8(text, ty)?),
            _ => return Err(malformed(ty)),
        },
        Scalar::Bytea => Value::Bytea(bytes),
    })
}

fn decode_array<'a>(bytes: &'a [u8], ty: &Type, arena: &'a Bump) -> Result<Value<'a>, EvalError> {
    let element = Type {
        array: false,
        ..*ty
    };
    let mut rest = bytes;
    let mut word = || -> Result<i32, EvalError> {
        let (head, tail) = rest.split_at_checked(4).ok_or_else(|| malformed(ty))?;
        rest = tail;
        Ok(i32::from_be_bytes(exact(head, ty)?))
    };
    let dimensions = word()?;
    let _has_null = word()?;
    let element_oid = word()?;
    if element_oid as u32 != oid(&element) {
        return Err(malformed(ty));
    }
    if dimensions == 0 {
        return Ok(Value::Array(&[]));
    }
    let length = word()?;
    let lower_bound = word()?;
    if dimensions != 1 || lower_bound != 1 {
        return Err(EvalError::unsupported(
            "only arrays of one dimension that start at 1 can be held",
        ));
    }
    let mut values = Vec::new();
    for _ in 0..length {
        let (head, tail) = rest.split_at_checked(4).ok_or_else(|| malformed(ty))?;
        let size = i32::from_be_bytes(exact(head, ty)?);
        let Ok(size) = usize::try_from(size) else {
            rest = tail;
            values.push(Value::Null);
            continue;
        };
        let (field, tail) = tail.split_at_checked(size).ok_or_else(|| malformed(ty))?;
        rest = tail;
        values.push(decode_value(field, &element, arena)?);
    }
    Ok(Value::Array(arena.alloc_slice_copy(&values)))
}

fn exact<const N: usize>(bytes: &[u8], ty: &Type) -> Result<[u8; N], EvalError> {
    bytes.try_into().map_err(|_| malformed(ty))
}

fn utf8<'a>(bytes: &'a [u8], ty: &Type) -> Result<&'a str, EvalError> {
    std::str::from_utf8(bytes).map_err(|_| malformed(ty))
}

#[cold]
fn malformed(ty: &Type) -> EvalError {
    EvalError::new(
        "22P03",
        format!("incorrect binary data format for type {ty}"),
    )
}
