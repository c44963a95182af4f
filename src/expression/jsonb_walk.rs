//! Walks valid JSON, as it stands in a record or as jsonb prints it, without taking it apart. Malformed text gives
//! nonsense, never a panic.

use std::borrow::Cow;

use super::jsonb::unescape;

/// What a JSON value is, in the order in which jsonb sorts them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Null,
    String,
    Number,
    Boolean,
    Array,
    Object,
}

/// By the first byte of the value.
pub fn kind(json: &str) -> Kind {
    match json.as_bytes().first() {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'"') => Kind::String,
        Some(b't' | b'f') => Kind::Boolean,
        Some(b'n') | None => Kind::Null,
        Some(_) => Kind::Number,
    }
}

/// The text of a JSON string value, quotes removed.
pub fn string_text(json: &str) -> Cow<'_, str> {
    let raw = json.get(1..json.len().saturating_sub(1)).unwrap_or("");
    match memchr::memchr(b'\\', raw.as_bytes()) {
        None => Cow::Borrowed(raw),
        Some(_) => unescape(raw).map_or(Cow::Borrowed(raw), Cow::Owned),
    }
}

/// Whether arrays and objects are nested in more than so many levels.
pub fn is_deeper_than(json: &str, levels: usize) -> bool {
    let bytes = json.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(found) = memchr_brackets(bytes, at) {
        at = found + 1;
        match bytes[found] {
            b'"' => at = string_end(bytes, found),
            b'{' | b'[' => depth += 1,
            _ => depth = depth.saturating_sub(1),
        }
        if depth > levels {
            return true;
        }
    }
    false
}

/// Elements of an array, trimmed; none for anything else.
pub fn elements(json: &str) -> Elements<'_> {
    let open = kind(json) == Kind::Array;
    Elements {
        json,
        at: if open { 1 } else { json.len() },
    }
}

pub struct Elements<'t> {
    json: &'t str,
    at: usize,
}

impl<'t> Iterator for Elements<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let bytes = self.json.as_bytes();
        let start = skip_to_value(bytes, self.at)?;
        let end = value_end(bytes, start);
        self.at = end;
        self.json.get(start..end)
    }
}

/// Members of an object: the key between its quotes, still escaped, and the value, trimmed; none for anything else.
pub fn members(json: &str) -> Members<'_> {
    let open = kind(json) == Kind::Object;
    Members {
        json,
        at: if open { 1 } else { json.len() },
    }
}

pub struct Members<'t> {
    json: &'t str,
    at: usize,
}

impl<'t> Iterator for Members<'t> {
    type Item = (&'t str, &'t str);

    fn next(&mut self) -> Option<(&'t str, &'t str)> {
        let bytes = self.json.as_bytes();
        let key_start = skip_to_value(bytes, self.at)?;
        let key_end = value_end(bytes, key_start);
        let start = skip_to_value(bytes, key_end)?;
        let end = value_end(bytes, start);
        self.at = end;
        Some((
            self.json.get(key_start + 1..key_end - 1)?,
            self.json.get(start..end)?,
        ))
    }
}

/// Where the next key or value begins; `None` at the end of the container.
fn skip_to_value(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' => at += 1,
            b']' | b'}' => return None,
            _ => return Some(at),
        }
    }
}

/// Where the value that begins at `at` ends.
fn value_end(bytes: &[u8], at: usize) -> usize {
    match bytes[at] {
        b'"' => string_end(bytes, at),
        b'{' | b'[' => {
            let mut depth = 0;
            let mut at = at;
            while let Some(found) = memchr_brackets(bytes, at) {
                match bytes[found] {
                    b'"' => {
                        at = string_end(bytes, found);
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    _ => depth -= 1,
                }
                at = found + 1;
                if depth == 0 {
                    return at;
                }
            }
            bytes.len()
        }
        _ => {
            let plain = |byte: &&u8| {
                !matches!(
                    **byte,
                    b',' | b':' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r'
                )
            };
            at + bytes[at..].iter().take_while(plain).count().max(1)
        }
    }
}

fn memchr_brackets(bytes: &[u8], at: usize) -> Option<usize> {
    let wanted = |byte: &u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']');
    bytes
        .get(at..)?
        .iter()
        .position(wanted)
        .map(|found| at + found)
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or(&[])) {
        at += found + 1;
        if bytes[at - 1] == b'"' {
            return at;
        }
        at += 1;
    }
    bytes.len()
}
