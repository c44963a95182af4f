//! Texts of one-dimensional arrays: `{1,NULL,"two words"}`.

use bumpalo::Bump;

use super::cast::{parse_text, write_output};
use super::error::EvalError;
use super::numeric_convert::is_space;
use super::value::{Type, Value};

/// Arrays of more dimensions, and those with bounds of their own, are undecided (`0A000`).
pub fn parse_array<'a>(text: &'a str, ty: &Type, arena: &'a Bump) -> Result<Value<'a>, EvalError> {
    let element = Type {
        array: false,
        ..*ty
    };
    let mut values = Vec::new();
    for item in items(text)? {
        values.push(match item {
            None => Value::Null,
            Some(item) => parse_text(arena.alloc_str(&item), &element, arena)?,
        });
    }
    Ok(Value::Array(arena.alloc_slice_copy(&values)))
}

/// The elements' texts, `None` for an unquoted NULL.
fn items(text: &str) -> Result<Vec<Option<String>>, EvalError> {
    let malformed = || EvalError::new("22P02", format!("malformed array literal: \"{text}\""));
    let undecided = || EvalError::unsupported("only arrays of one dimension can be read");
    let trimmed = text.trim_matches(is_space);
    if trimmed.starts_with('[') {
        return Err(undecided());
    }
    let body = trimmed
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .ok_or_else(malformed)?;
    if body.trim_matches(is_space).is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let mut rest = body;
    loop {
        let (item, tail) = item(rest).ok_or_else(|| {
            if body.contains('{') {
                undecided()
            } else {
                malformed()
            }
        })?;
        found.push(item);
        match tail {
            None => return Ok(found),
            Some(tail) => rest = tail,
        }
    }
}

/// One element, and what stands behind the comma after it.
fn item(text: &str) -> Option<(Option<String>, Option<&str>)> {
    let text = text.trim_start_matches(is_space);
    let mut out = String::new();
    if let Some(quoted) = text.strip_prefix('"') {
        let mut characters = quoted.char_indices();
        let end = loop {
            match characters.next()? {
                (_, '\\') => out.push(characters.next()?.1),
                (at, '"') => break at,
                (_, other) => out.push(other),
            }
        };
        let tail = quoted[end + 1..].trim_start_matches(is_space);
        return match tail.strip_prefix(',') {
            Some(tail) => Some((Some(out), Some(tail))),
            None => tail.is_empty().then_some((Some(out), None)),
        };
    }
    // Space at the end does not count unless it was escaped.
    let mut kept = 0;
    let mut escaped = false;
    let mut tail = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => {
                out.push(characters.next()?.1);
                kept = out.len();
                escaped = true;
            }
            ',' => {
                tail = Some(&text[at + 1..]);
                break;
            }
            '"' | '{' | '}' => return None,
            other => {
                out.push(other);
                if !is_space(other) {
                    kept = out.len();
                }
            }
        }
    }
    out.truncate(kept);
    if out.is_empty() {
        return None;
    }
    let null = !escaped && out.eq_ignore_ascii_case("null");
    Some(((!null).then_some(out), tail))
}

pub fn write_array(values: &[Value<'_>], out: &mut String) {
    out.push('{');
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        if matches!(value, Value::Null) {
            out.push_str("NULL");
            continue;
        }
        let start = out.len();
        write_output(*value, out);
        if needs_quotes(&out[start..]) {
            let plain = out.split_off(start);
            out.push('"');
            for character in plain.chars() {
                if matches!(character, '"' | '\\') {
                    out.push('\\');
                }
                out.push(character);
            }
            out.push('"');
        }
    }
    out.push('}');
}

fn needs_quotes(text: &str) -> bool {
    text.is_empty()
        || text.eq_ignore_ascii_case("null")
        || text
            .chars()
            .any(|c| matches!(c, '"' | '\\' | '{' | '}' | ',') || is_space(c))
}
