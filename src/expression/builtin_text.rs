//! Codes of text and bytea functions. See [`super::builtin`].

use bumpalo::Bump;
use bumpalo::collections::String as BumpString;

use super::builtin::{Outcome, code, integer, text};
use super::cast;
use super::error::EvalError;
use super::like;
use super::text as texts;
use super::typed::Native;
use super::value::Value;

pub(super) fn native(code: &str) -> Option<Native> {
    match code {
        "textcat" => code!(|a, arena| Ok(Value::Text(texts::concat_two(
            text(a[0]),
            text(a[1]),
            arena
        )))),
        "textanycat/sql/text_anynonarray" | "anytextcat/sql/anynonarray_text" => {
            code!(|a, arena| {
                let shown = |value| cast::to_text(value, arena).unwrap_or("");
                Ok(Value::Text(texts::concat_two(
                    shown(a[0]),
                    shown(a[1]),
                    arena,
                )))
            })
        }
        "text_concat" => code!(|a, arena| Ok(Value::Text(texts::concat(a, arena)))),
        "text_concat_ws" => code!(|a, arena| Ok(match a[0] {
            Value::Text(separator) => Value::Text(texts::concat_with(separator, &a[1..], arena)),
            _ => Value::Null,
        })),
        "textlike" => code!(|a, arena| Ok(Value::Bool(like::like(text(a[0]), text(a[1]), None)?))),
        "textnlike" => {
            code!(|a, arena| Ok(Value::Bool(!like::like(text(a[0]), text(a[1]), None)?)))
        }
        "texticlike" => {
            code!(|a, arena| Ok(Value::Bool(like::ilike(text(a[0]), text(a[1]), None)?)))
        }
        "texticnlike" => {
            code!(|a, arena| Ok(Value::Bool(!like::ilike(text(a[0]), text(a[1]), None)?)))
        }
        "like_escape" => code!(|a, arena| Ok(Value::Text(
            arena.alloc_str(&like::with_backslash(text(a[0]), text(a[1]))?)
        ))),
        _ => position(code)
            .or_else(|| trimming(code))
            .or_else(|| other(code)),
    }
}

fn position(code: &str) -> Option<Native> {
    match code {
        "textlen" => code!(|a, arena| Ok(Value::Int32(texts::length(text(a[0]))))),
        "textoctetlen" => code!(|a, arena| Ok(Value::Int32(texts::octet_length(text(a[0]))))),
        "text_substr" => code!(|a, arena| Ok(Value::Text(texts::substring(
            text(a[0]),
            integer(a[1]),
            Some(integer(a[2]))
        )?))),
        "text_substr_no_len" => code!(|a, arena| Ok(Value::Text(texts::substring(
            text(a[0]),
            integer(a[1]),
            None
        )?))),
        "text_left" => code!(|a, arena| Ok(Value::Text(texts::left(text(a[0]), integer(a[1]))))),
        "text_right" => code!(|a, arena| Ok(Value::Text(texts::right(text(a[0]), integer(a[1]))))),
        "textpos" => code!(|a, arena| Ok(Value::Int32(texts::position(text(a[0]), text(a[1]))))),
        "text_starts_with" => {
            code!(|a, arena| Ok(Value::Bool(texts::starts_with(text(a[0]), text(a[1])))))
        }
        "replace_text" => code!(|a, arena| Ok(Value::Text(texts::replace(
            text(a[0]),
            text(a[1]),
            text(a[2]),
            arena
        )?))),
        "split_part" => code!(|a, arena| Ok(Value::Text(texts::split_part(
            text(a[0]),
            text(a[1]),
            integer(a[2])
        )?))),
        _ => None,
    }
}

fn trimming(code: &str) -> Option<Native> {
    match code {
        "btrim1" => code!(|a, arena| Ok(Value::Text(texts::trim(text(a[0]), " ")))),
        "btrim" => code!(|a, arena| Ok(Value::Text(texts::trim(text(a[0]), text(a[1]))))),
        "ltrim1" => code!(|a, arena| Ok(Value::Text(texts::trim_start(text(a[0]), " ")))),
        "ltrim" => code!(|a, arena| Ok(Value::Text(texts::trim_start(text(a[0]), text(a[1]))))),
        "rtrim1" => code!(|a, arena| Ok(Value::Text(texts::trim_end(text(a[0]), " ")))),
        "rtrim" => code!(|a, arena| Ok(Value::Text(texts::trim_end(text(a[0]), text(a[1]))))),
        "repeat" => code!(|a, arena| Ok(Value::Text(texts::repeat(
            text(a[0]),
            integer(a[1]),
            arena
        )?))),
        "text_reverse" => code!(|a, arena| Ok(Value::Text(texts::reverse(text(a[0]), arena)))),
        "lpad" => code!(|a, arena| Ok(Value::Text(texts::pad_start(
            text(a[0]),
            integer(a[1]),
            text(a[2]),
            arena
        )?))),
        "lpad/sql/text_int4" => code!(|a, arena| Ok(Value::Text(texts::pad_start(
            text(a[0]),
            integer(a[1]),
            " ",
            arena
        )?))),
        "rpad" => code!(|a, arena| Ok(Value::Text(texts::pad_end(
            text(a[0]),
            integer(a[1]),
            text(a[2]),
            arena
        )?))),
        "rpad/sql/text_int4" => code!(|a, arena| Ok(Value::Text(texts::pad_end(
            text(a[0]),
            integer(a[1]),
            " ",
            arena
        )?))),
        _ => None,
    }
}

fn other(code: &str) -> Option<Native> {
    match code {
        "md5_text" => code!(|a, arena| Ok(Value::Text(texts::md5(text(a[0]).as_bytes(), arena)))),
        "lower" => code!(|a, arena| Ok(Value::Text(texts::lower(text(a[0]), arena)))),
        "upper" => code!(|a, arena| Ok(Value::Text(texts::upper(text(a[0]), arena)))),
        "booltext" => code!(
            |a, arena| Ok(Value::Text(if matches!(a[0], Value::Bool(true)) {
                "true"
            } else {
                "false"
            }))
        ),
        "textoverlay" => code!(|a, arena| overlay(a, integer(a[3]), arena)),
        "textoverlay_no_len" => code!(|a, arena| overlay(a, texts::length(text(a[1])), arena)),
        "translate" => code!(|a, arena| Ok(translate(text(a[0]), text(a[1]), text(a[2]), arena))),
        "bit_length/sql/text" => {
            code!(|a, arena| Ok(Value::Int32(texts::octet_length(text(a[0])) * 8)))
        }
        "ascii" => code!(|a, arena| Ok(Value::Int32(
            text(a[0]).chars().next().map_or(0, |c| c as i32)
        ))),
        "chr" => code!(|a, arena| chr(integer(a[0]), arena)),
        "to_hex64" => code!(|a, arena| Ok(match a[0] {
            Value::Int64(value) => Value::Text(arena.alloc_str(&format!("{value:x}"))),
            _ => Value::Null,
        })),
        "to_hex32" => code!(|a, arena| Ok(Value::Text(
            arena.alloc_str(&format!("{:x}", integer(a[0])))
        ))),
        _ => None,
    }
}

/// `overlay(text placing text from start for count)`.
fn overlay<'a>(a: &[Value<'a>], count: i32, arena: &'a Bump) -> Outcome<'a> {
    let (whole, part, start) = (text(a[0]), text(a[1]), integer(a[2]));
    if start <= 0 {
        return Err(EvalError::new(
            "22011",
            "negative substring length not allowed",
        ));
    }
    let after = start
        .checked_add(count)
        .ok_or_else(|| EvalError::out_of_range("integer"))?;
    let mut out = BumpString::new_in(arena);
    out.push_str(texts::substring(whole, 1, Some(start - 1))?);
    out.push_str(part);
    out.push_str(texts::substring(whole, after, None)?);
    Ok(Value::Text(out.into_bump_str()))
}

fn translate<'a>(whole: &str, from: &str, to: &str, arena: &'a Bump) -> Value<'a> {
    let mut out = BumpString::with_capacity_in(whole.len(), arena);
    for c in whole.chars() {
        match from.chars().position(|f| f == c) {
            Some(place) => out.extend(to.chars().nth(place)),
            None => out.push(c),
        }
    }
    Value::Text(out.into_bump_str())
}

fn chr<'a>(code: i32, arena: &'a Bump) -> Outcome<'a> {
    let (sqlstate, message) = match code {
        0 => ("54000", "null character not permitted"),
        ..0 => ("22023", "character number must be positive"),
        _ => ("54000", "requested character not valid for encoding"),
    };
    match u32::try_from(code)
        .ok()
        .filter(|c| *c != 0)
        .and_then(char::from_u32)
    {
        Some(c) => Ok(Value::Text(arena.alloc_str(c.encode_utf8(&mut [0; 4])))),
        None => Err(EvalError::new(sqlstate, message)),
    }
}
