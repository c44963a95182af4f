//! Codes of bytea functions and of what tells bytes as text. See [`super::builtin`].

use bumpalo::Bump;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::builtin::{Outcome, code, integer, text};
use super::bytes_text::{decode, encode};
use super::error::EvalError;
use super::text as texts;
use super::typed::Native;
use super::value::Value;

pub(super) fn native(code: &str) -> Option<Native> {
    match code {
        "byteaoctetlen" => code!(|a, arena| Ok(Value::Int32(bytes(a[0]).len() as i32))),
        "bit_length/sql/bytea" => code!(|a, arena| Ok(Value::Int32(bytes(a[0]).len() as i32 * 8))),
        "byteacat" => {
            code!(|a, arena| Ok(Value::Bytea(joined(&[bytes(a[0]), bytes(a[1])], arena))))
        }
        "bytea_substr" => code!(|a, arena| Ok(Value::Bytea(part(
            bytes(a[0]),
            integer(a[1]),
            Some(integer(a[2]))
        )?))),
        "bytea_substr_no_len" => {
            code!(|a, arena| Ok(Value::Bytea(part(bytes(a[0]), integer(a[1]), None)?)))
        }
        "byteaoverlay" => code!(|a, arena| overlay(a, integer(a[3]), arena)),
        "byteaoverlay_no_len" => code!(|a, arena| overlay(a, bytes(a[1]).len() as i32, arena)),
        "byteapos" => code!(|a, arena| Ok(Value::Int32(position(bytes(a[0]), bytes(a[1]))))),
        "byteatrim" => {
            code!(|a, arena| Ok(Value::Bytea(trim(bytes(a[0]), bytes(a[1]), true, true))))
        }
        "bytealtrim" => {
            code!(|a, arena| Ok(Value::Bytea(trim(bytes(a[0]), bytes(a[1]), true, false))))
        }
        "byteartrim" => {
            code!(|a, arena| Ok(Value::Bytea(trim(bytes(a[0]), bytes(a[1]), false, true))))
        }
        "binary_encode" => code!(|a, arena| {
            let shown = encode(bytes(a[0]), text(a[1]))?;
            Ok(Value::Text(arena.alloc_str(&shown)))
        }),
        "binary_decode" => code!(|a, arena| {
            let found = decode(text(a[0]), text(a[1]))?;
            Ok(Value::Bytea(arena.alloc_slice_copy(&found)))
        }),
        _ => digest(code),
    }
}

fn digest(code: &str) -> Option<Native> {
    macro_rules! digest {
        ($kind:ty) => {
            code!(|a, arena| {
                let digest = <$kind>::digest(bytes(a[0]));
                Ok(Value::Bytea(arena.alloc_slice_copy(&digest)))
            })
        };
    }
    match code {
        "md5_bytea" => code!(|a, arena| Ok(Value::Text(texts::md5(bytes(a[0]), arena)))),
        "sha224_bytea" => digest!(Sha224),
        "sha256_bytea" => digest!(Sha256),
        "sha384_bytea" => digest!(Sha384),
        "sha512_bytea" => digest!(Sha512),
        _ => None,
    }
}

fn bytes<'a>(value: Value<'a>) -> &'a [u8] {
    match value {
        Value::Bytea(bytes) => bytes,
        _ => &[],
    }
}

fn joined<'a>(parts: &[&[u8]], arena: &'a Bump) -> &'a [u8] {
    arena.alloc_slice_copy(&parts.concat())
}

/// `substring(bytea from start for count)`; positions are from 1 and may lie outside.
fn part(whole: &[u8], start: i32, count: Option<i32>) -> Result<&[u8], EvalError> {
    if count.is_some_and(|count| count < 0) {
        return Err(negative_length());
    }
    let first = i64::from(start);
    let end = count.map_or(i64::MAX, |count| first + i64::from(count));
    let from = (first.max(1) - 1).min(whole.len() as i64) as usize;
    let to = (end - 1).clamp(from as i64, whole.len() as i64) as usize;
    Ok(&whole[from..to])
}

fn overlay<'a>(a: &[Value<'a>], count: i32, arena: &'a Bump) -> Outcome<'a> {
    let (whole, middle, start) = (bytes(a[0]), bytes(a[1]), integer(a[2]));
    if start <= 0 {
        return Err(negative_length());
    }
    let after = start
        .checked_add(count)
        .ok_or_else(|| EvalError::out_of_range("integer"))?;
    let parts = [
        part(whole, 1, Some(start - 1))?,
        middle,
        part(whole, after, None)?,
    ];
    Ok(Value::Bytea(joined(&parts, arena)))
}

fn negative_length() -> EvalError {
    EvalError::new("22011", "negative substring length not allowed")
}

/// From 1, 0 if it is not there; nothing is found at once.
fn position(whole: &[u8], part: &[u8]) -> i32 {
    memchr::memmem::find(whole, part).map_or(0, |at| at as i32 + 1)
}

fn trim<'a>(whole: &'a [u8], set: &[u8], at_start: bool, at_end: bool) -> &'a [u8] {
    let kept = |byte: &u8| !set.contains(byte);
    let mut rest = whole;
    if at_start {
        rest = &rest[rest.iter().position(kept).unwrap_or(rest.len())..];
    }
    if at_end {
        rest = &rest[..rest.iter().rposition(kept).map_or(0, |last| last + 1)];
    }
    rest
}
