//! Functions of text, by characters in UTF-8, with the simple case mapping of C.UTF-8. Unless said otherwise a null
//! argument is the caller's business.

use bumpalo::Bump;
use md5::{Digest, Md5};

use super::bytes_text::push_hex;
use super::cast::write_output;
use super::error::EvalError;
use super::value::Value;

/// Longest text that a function may build. PostgreSQL's limit is a gigabyte; here one event shall not take that.
pub const RESULT_BYTES_MAX: usize = 16 << 20;

#[cold]
fn too_long() -> EvalError {
    EvalError::unsupported(format!(
        "requested length too large: at most {RESULT_BYTES_MAX} bytes"
    ))
}

/// `left || right`.
pub fn concat_two<'a>(left: &str, right: &str, arena: &'a Bump) -> &'a str {
    arena.alloc_str(&[left, right].concat())
}

/// `concat(…)`: nulls are left out.
pub fn concat<'a>(values: &[Value<'_>], arena: &'a Bump) -> &'a str {
    let mut out = String::new();
    for value in values {
        write_output(*value, &mut out);
    }
    arena.alloc_str(&out)
}

/// `concat_ws(separator, …)`: nulls are left out with their separator.
pub fn concat_with<'a>(separator: &str, values: &[Value<'_>], arena: &'a Bump) -> &'a str {
    let mut out = String::new();
    let mut first = true;
    for value in values.iter().filter(|value| !matches!(value, Value::Null)) {
        if !first {
            out.push_str(separator);
        }
        first = false;
        write_output(*value, &mut out);
    }
    arena.alloc_str(&out)
}

/// `length`, `char_length`.
pub fn length(text: &str) -> i32 {
    text.chars().count() as i32
}

/// `octet_length`.
pub fn octet_length(text: &str) -> i32 {
    text.len() as i32
}

/// Byte position of the character at an index from 0, or the end.
fn byte_at(text: &str, characters: usize) -> usize {
    text.char_indices()
        .nth(characters)
        .map_or(text.len(), |(at, _)| at)
}

/// `substring(text from start for count)`; positions are from 1 and may lie outside.
pub fn substring(text: &str, start: i32, count: Option<i32>) -> Result<&str, EvalError> {
    let first = i64::from(start);
    let end = match count {
        None => i64::MAX,
        Some(count) if count < 0 && i64::from(count) + first < first => {
            return Err(EvalError::new(
                "22011",
                "negative substring length not allowed",
            ));
        }
        Some(count) => first + i64::from(count),
    };
    let from = (first.max(1) - 1) as usize;
    if end <= first.max(1) {
        return Ok("");
    }
    let rest = &text[byte_at(text, from)..];
    let wanted = (end - first.max(1)) as usize;
    Ok(&rest[..byte_at(rest, wanted)])
}

/// `left(text, count)`; a negative count leaves off the last ones.
pub fn left(text: &str, count: i32) -> &str {
    let count = if count < 0 {
        text.chars()
            .count()
            .saturating_sub(count.unsigned_abs() as usize)
    } else {
        count as usize
    };
    &text[..byte_at(text, count)]
}

/// `right(text, count)`; a negative count leaves off the first ones.
pub fn right(text: &str, count: i32) -> &str {
    let skipped = if count < 0 {
        count.unsigned_abs() as usize
    } else {
        text.chars().count().saturating_sub(count as usize)
    };
    &text[byte_at(text, skipped)..]
}

/// `position(part in text)`, `strpos(text, part)`: from 1, 0 if it is not there.
pub fn position(text: &str, part: &str) -> i32 {
    text.find(part).map_or(0, |at| length(&text[..at]) + 1)
}

/// `starts_with`, `^@`.
pub fn starts_with(text: &str, prefix: &str) -> bool {
    text.starts_with(prefix)
}

/// `replace(text, from, to)`.
pub fn replace<'a>(
    text: &'a str,
    from: &str,
    to: &str,
    arena: &'a Bump,
) -> Result<&'a str, EvalError> {
    if from.is_empty() || !text.contains(from) {
        return Ok(text);
    }
    let count = text.matches(from).count();
    if to.len().saturating_mul(count) > RESULT_BYTES_MAX {
        return Err(too_long());
    }
    Ok(arena.alloc_str(&text.replace(from, to)))
}

/// `split_part(text, separator, number)`: from 1, or from the end if negative.
pub fn split_part<'a>(text: &'a str, separator: &str, number: i32) -> Result<&'a str, EvalError> {
    if number == 0 {
        return Err(EvalError::new("22023", "field position must not be zero"));
    }
    if text.is_empty() {
        return Ok("");
    }
    if separator.is_empty() {
        return Ok(if matches!(number, 1 | -1) { text } else { "" });
    }
    let at = number.unsigned_abs() as usize - 1;
    if number > 0 {
        return Ok(text.split(separator).nth(at).unwrap_or(""));
    }
    // Not split from the right: separators that overlap are found from the left.
    let parts: Vec<&str> = text.split(separator).collect();
    Ok(parts.len().checked_sub(at + 1).map_or("", |at| parts[at]))
}

/// `ltrim(text, characters)`.
pub fn trim_start<'a>(text: &'a str, characters: &str) -> &'a str {
    text.trim_start_matches(|c| characters.contains(c))
}

/// `rtrim(text, characters)`.
pub fn trim_end<'a>(text: &'a str, characters: &str) -> &'a str {
    text.trim_end_matches(|c| characters.contains(c))
}

/// `btrim(text, characters)`, `trim(both characters from text)`.
pub fn trim<'a>(text: &'a str, characters: &str) -> &'a str {
    trim_end(trim_start(text, characters), characters)
}

/// `repeat(text, count)`.
pub fn repeat<'a>(text: &str, count: i32, arena: &'a Bump) -> Result<&'a str, EvalError> {
    let count = count.max(0) as usize;
    if text.len().saturating_mul(count) > RESULT_BYTES_MAX {
        return Err(too_long());
    }
    Ok(arena.alloc_str(&text.repeat(count)))
}

/// `reverse(text)`.
pub fn reverse<'a>(text: &str, arena: &'a Bump) -> &'a str {
    arena.alloc_str(&text.chars().rev().collect::<String>())
}

/// `lpad(text, length, fill)`.
pub fn pad_start<'a>(
    text: &'a str,
    length: i32,
    fill: &str,
    arena: &'a Bump,
) -> Result<&'a str, EvalError> {
    match padding(text, length, fill)? {
        None => Ok(left(text, length.max(0))),
        Some(padding) => Ok(arena.alloc_str(&[padding.as_str(), text].concat())),
    }
}

/// `rpad(text, length, fill)`.
pub fn pad_end<'a>(
    text: &'a str,
    length: i32,
    fill: &str,
    arena: &'a Bump,
) -> Result<&'a str, EvalError> {
    match padding(text, length, fill)? {
        None => Ok(left(text, length.max(0))),
        Some(padding) => Ok(arena.alloc_str(&[text, padding.as_str()].concat())),
    }
}

/// What is missing up to the length; `None` if nothing is.
fn padding(text: &str, length: i32, fill: &str) -> Result<Option<String>, EvalError> {
    let length = length.max(0) as usize;
    if length.saturating_mul(4) > RESULT_BYTES_MAX {
        return Err(too_long());
    }
    let missing = length.saturating_sub(text.chars().count());
    if missing == 0 || fill.is_empty() {
        return Ok(None);
    }
    Ok(Some(fill.chars().cycle().take(missing).collect()))
}

/// `md5(text)`: 32 lower-case hexadecimal digits.
pub fn md5<'a>(bytes: &[u8], arena: &'a Bump) -> &'a str {
    let mut out = String::with_capacity(32);
    for byte in Md5::digest(bytes) {
        push_hex(byte, &mut out);
    }
    arena.alloc_str(&out)
}

/// `lower(text)`: character by character, none becomes several.
pub fn lower<'a>(text: &'a str, arena: &'a Bump) -> &'a str {
    map_case(text, arena, lower_character)
}

/// `upper(text)`: character by character, none becomes several.
pub fn upper<'a>(text: &'a str, arena: &'a Bump) -> &'a str {
    map_case(text, arena, upper_character)
}

fn map_case<'a>(text: &'a str, arena: &'a Bump, map: fn(char) -> char) -> &'a str {
    if text.chars().all(|c| map(c) == c) {
        return text;
    }
    arena.alloc_str(&text.chars().map(map).collect::<String>())
}

pub(super) fn lower_character(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let mut mapped = c.to_lowercase();
    match (mapped.next(), mapped.next()) {
        (Some(single), None) if !is_newer_case(c) => single,
        // The one character with a longer lower case, I with a dot, has a simple one, too.
        (Some(_), Some(_)) => 'i',
        _ => c,
    }
}

fn upper_character(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_uppercase();
    }
    match c {
        // Greek with a iota below: the full mapping is two letters, the simple one is the title case.
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => {
            char::from_u32(u32::from(c) + 8).unwrap_or(c)
        }
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => char::from_u32(u32::from(c) + 9).unwrap_or(c),
        _ => {
            let mut mapped = c.to_uppercase();
            match (mapped.next(), mapped.next()) {
                (Some(single), None) if !is_newer_case(c) => single,
                _ => c,
            }
        }
    }
}

/// Letters whose other case came with Unicode 16, which C.UTF-8 does not know where PostgreSQL 15 runs.
fn is_newer_case(c: char) -> bool {
    matches!(
        c,
        '\u{19b}'
            | '\u{264}'
            | '\u{1c89}'
            | '\u{1c8a}'
            | '\u{a7cb}'..='\u{a7cd}'
            | '\u{a7da}'..='\u{a7dc}'
            | '\u{10d50}'..='\u{10d65}'
            | '\u{10d70}'..='\u{10d85}'
    )
}
