//! JSON strings: where one ends, and its text without escapes. PostgreSQL's rules for `\u`.

use super::Fault;
use super::simd::{interruptions, is_uninterrupted};

/// The offset of the closing quote of the string that goes on at `at`, or the fault and where it is.
pub(super) fn end_of_string(bytes: &[u8], mut at: usize) -> Result<usize, (Fault, usize)> {
    loop {
        at = next_interruption(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return Ok(at),
            Some(b'\\') => at = end_of_escape(bytes, at)?,
            Some(_) => return Err((Fault::ControlCharacter, at)),
            None => return Err((Fault::Ended, at)),
        }
    }
}

/// The next byte that is a quote, a backslash or a control character, or the end.
#[inline]
pub(super) fn next_interruption(bytes: &[u8], mut at: usize) -> usize {
    for _ in 0..2 {
        let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) else {
            return next_of_few(bytes, at);
        };
        let marks = interruptions(chunk);
        if marks != 0 {
            return at + marks.trailing_zeros() as usize;
        }
        at += 16;
    }
    next_of_many(bytes, at)
}

/// The same where the string is a long one.
#[inline(never)]
fn next_of_many(bytes: &[u8], mut at: usize) -> usize {
    let rest = |at: usize| bytes.get(at..).unwrap_or_default();
    while rest(at).first_chunk().is_some_and(is_uninterrupted) {
        at += 64;
    }
    while let Some(chunk) = rest(at).first_chunk() {
        let marks = interruptions(chunk);
        if marks != 0 {
            return at + marks.trailing_zeros() as usize;
        }
        at += 16;
    }
    next_of_few(bytes, at)
}

/// The same where the end is near.
#[inline]
fn next_of_few(bytes: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = bytes.get(at) {
        if byte == b'"' || byte == b'\\' || byte < 0x20 {
            return at;
        }
        at += 1;
    }
    at
}

/// The end of the escape sequence (a surrogate pair counts as one) whose backslash is at `at`.
fn end_of_escape(bytes: &[u8], at: usize) -> Result<usize, (Fault, usize)> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => {
            let unit = code_unit(bytes, at)?;
            match unit {
                0 => Err((Fault::EscapedNul, at)),
                0xDC00..=0xDFFF => Err((Fault::Surrogate, at)),
                0xD800..=0xDBFF => {
                    if bytes.get(at + 6..at + 8) != Some(b"\\u") {
                        return Err((Fault::Surrogate, at));
                    }
                    match code_unit(bytes, at + 6)? {
                        0xDC00..=0xDFFF => Ok(at + 12),
                        _ => Err((Fault::Surrogate, at)),
                    }
                }
                _ => Ok(at + 6),
            }
        }
        Some(_) => Err((Fault::Escape, at)),
        None => Err((Fault::Ended, at)),
    }
}

/// The four hexadecimal digits behind the `\u` at `at`.
fn code_unit(bytes: &[u8], at: usize) -> Result<u32, (Fault, usize)> {
    let Some(digits) = bytes.get(at + 2..at + 6) else {
        return Err((Fault::Ended, at));
    };
    let mut unit = 0;
    for &digit in digits {
        match (digit as char).to_digit(16) {
            Some(value) => unit = unit * 16 + value,
            None => return Err((Fault::UnicodeEscape, at)),
        }
    }
    Ok(unit)
}

/// Appends the text that the inside of a checked JSON string stands for.
pub fn unescape(inside: &str, mut push: impl FnMut(&str)) {
    let bytes = inside.as_bytes();
    let mut plain_from = 0;
    while let Some(found) = memchr::memchr(b'\\', &bytes[plain_from..]) {
        let at = plain_from + found;
        push(&inside[plain_from..at]);
        let (character, len) = escaped_character(bytes, at);
        push(character.encode_utf8(&mut [0; 4]));
        plain_from = at + len;
    }
    push(&inside[plain_from..]);
}

fn escaped_character(bytes: &[u8], at: usize) -> (char, usize) {
    let unit = |at| code_unit(bytes, at).unwrap_or(0xFFFD);
    match bytes.get(at + 1) {
        Some(b'b') => ('\u{8}', 2),
        Some(b'f') => ('\u{c}', 2),
        Some(b'n') => ('\n', 2),
        Some(b'r') => ('\r', 2),
        Some(b't') => ('\t', 2),
        Some(b'u') => match unit(at) {
            high @ 0xD800..=0xDBFF => {
                let low = unit(at + 6) & 0x3FF;
                let code = 0x10000 + ((high & 0x3FF) << 10) + low;
                (char::from_u32(code).unwrap_or('\u{FFFD}'), 12)
            }
            code => (char::from_u32(code).unwrap_or('\u{FFFD}'), 6),
        },
        Some(&byte) => (byte as char, 2),
        None => ('\\', 1),
    }
}
