//! JSON text to the one text that PostgreSQL prints for it as jsonb: keys by length and bytes, the last of equal keys,
//! numbers as numeric prints them, escapes only where needed.

use std::borrow::Cow;

use bumpalo::Bump;

use super::error::EvalError;
use super::numeric::Numeric;

/// Deepest nesting; PostgreSQL's own limit depends on its stack and is somewhat above.
pub const DEPTH_MAX: usize = 1000;

/// Below this a number of digits and a point is within numeric's limits for sure.
const PLAIN_DIGITS_MAX: usize = 1000;

/// `text::jsonb`.
pub fn canonical<'a>(text: &str, arena: &'a Bump) -> Result<&'a str, EvalError> {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    write_canonical(text, &mut out)?;
    Ok(arena.alloc_str(&out))
}

/// As [`canonical`], behind what `out` holds.
pub fn write_canonical(text: &str, out: &mut String) -> Result<(), EvalError> {
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
        scratch: Bump::new(),
    };
    reader.value(out)?;
    reader.skip_space();
    if reader.at == text.len() {
        Ok(())
    } else {
        Err(reader.invalid())
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    /// For numbers of more than 18 digits.
    scratch: Bump,
}

/// A member of an object that has been written: its key and where its text stands.
struct Member<'t> {
    key: Cow<'t, str>,
    start: usize,
    end: usize,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Skips space, then takes `byte` if it stands there.
    fn accept(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[cold]
    fn invalid(&self) -> EvalError {
        EvalError::new("22P02", "invalid input syntax for type json")
    }

    fn value(&mut self, out: &mut String) -> Result<(), EvalError> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.nested(out, Reader::object),
            Some(b'[') => self.nested(out, Reader::array),
            Some(b'"') => self.string(out),
            Some(b'-' | b'0'..=b'9') => self.number(out),
            Some(b't') => self.word("true", out),
            Some(b'f') => self.word("false", out),
            Some(b'n') => self.word("null", out),
            _ => Err(self.invalid()),
        }
    }

    fn nested(
        &mut self,
        out: &mut String,
        inner: impl FnOnce(&mut Self, &mut String) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        if self.depth == DEPTH_MAX {
            return Err(EvalError::new("54001", "stack depth limit exceeded"));
        }
        self.depth += 1;
        self.at += 1;
        inner(self, out)?;
        self.depth -= 1;
        Ok(())
    }

    fn word(&mut self, word: &str, out: &mut String) -> Result<(), EvalError> {
        let rest = &self.text.as_bytes()[self.at..];
        let ends = !rest
            .get(word.len())
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80);
        if !rest.starts_with(word.as_bytes()) || !ends {
            return Err(self.invalid());
        }
        self.at += word.len();
        out.push_str(word);
        Ok(())
    }

    fn array(&mut self, out: &mut String) -> Result<(), EvalError> {
        out.push('[');
        if !self.accept(b']') {
            loop {
                self.value(out)?;
                if self.accept(b']') {
                    break;
                }
                if !self.accept(b',') {
                    return Err(self.invalid());
                }
                out.push_str(", ");
            }
        }
        out.push(']');
        Ok(())
    }

    fn object(&mut self, out: &mut String) -> Result<(), EvalError> {
        out.push('{');
        let start = out.len();
        let mut members: Vec<Member<'t>> = Vec::new();
        if !self.accept(b'}') {
            loop {
                self.skip_space();
                let member_start = out.len();
                let key = self.key(out)?;
                if !self.accept(b':') {
                    return Err(self.invalid());
                }
                out.push_str(": ");
                self.value(out)?;
                members.push(Member {
                    key,
                    start: member_start,
                    end: out.len(),
                });
                if self.accept(b'}') {
                    break;
                }
                if !self.accept(b',') {
                    return Err(self.invalid());
                }
                out.push_str(", ");
            }
        }
        arrange(&mut members, start, out);
        out.push('}');
        Ok(())
    }

    /// Writes a key and gives its unescaped text.
    fn key(&mut self, out: &mut String) -> Result<Cow<'t, str>, EvalError> {
        if self.peek() != Some(b'"') {
            return Err(self.invalid());
        }
        let start = self.at;
        self.string(out)?;
        let text: &'t str = self.text;
        let raw = &text[start + 1..self.at - 1];
        Ok(unescape(raw).map_or(Cow::Borrowed(raw), Cow::Owned))
    }

    fn string(&mut self, out: &mut String) -> Result<(), EvalError> {
        let start = self.at + 1;
        let mut escaped = false;
        let mut at = start;
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at += 2;
                }
                Some(0..=0x1f) | None => return Err(self.invalid()),
                Some(_) => at += 1,
            }
        }
        // A backslash before a character of several bytes moves into it; the check of escapes refuses that.
        let raw = self.text.get(start..at).ok_or_else(|| self.invalid())?;
        self.at = at + 1;
        if escaped {
            check_escapes(raw)?;
            write_string(&unescape(raw).ok_or_else(|| self.invalid())?, out);
        } else {
            out.push('"');
            out.push_str(raw);
            out.push('"');
        }
        Ok(())
    }

    fn number(&mut self, out: &mut String) -> Result<(), EvalError> {
        use std::fmt::Write as _;
        let length =
            number_length(&self.text.as_bytes()[self.at..]).ok_or_else(|| self.invalid())?;
        let raw = &self.text[self.at..self.at + length];
        self.at += length;
        let plain = raw.len() < PLAIN_DIGITS_MAX;
        if plain
            && raw
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
        {
            out.push_str(raw);
            return Ok(());
        }
        let number = Numeric::from_json(raw, &self.scratch)?;
        // Writing to a String cannot fail.
        let _ = write!(out, "{number}");
        Ok(())
    }
}

/// Brings the members into jsonb's order, if they are not in it already.
fn arrange(members: &mut [Member<'_>], start: usize, out: &mut String) {
    let order = |a: &Member<'_>, b: &Member<'_>| {
        (a.key.len(), a.key.as_bytes()).cmp(&(b.key.len(), b.key.as_bytes()))
    };
    if members
        .windows(2)
        .all(|pair| order(&pair[0], &pair[1]).is_lt())
    {
        return;
    }
    let written = out.split_off(start);
    members.sort_by(order);
    let mut first = true;
    for (at, member) in members.iter().enumerate() {
        // The sort is stable: of equal keys the last is the one that counts.
        if members
            .get(at + 1)
            .is_some_and(|next| next.key == member.key)
        {
            continue;
        }
        if !first {
            out.push_str(", ");
        }
        first = false;
        out.push_str(&written[member.start - start..member.end - start]);
    }
}

/// Length of the JSON number at the start; `None` if none stands there or something sticks to it.
pub fn number_length(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        text[from..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let mut at = usize::from(text.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && text[at] == b'0') {
        return None;
    }
    at += whole;
    if text.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1;
        at += usize::from(matches!(text.get(at), Some(b'+' | b'-')));
        let exponent = digits(at.min(text.len()));
        if exponent == 0 {
            return None;
        }
        at += exponent;
    }
    let sticks = text
        .get(at)
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | 0x80..));
    (!sticks).then_some(at)
}

/// The text of a string between its quotes; `None` if it has no escape or a wrong one.
pub fn unescape(raw: &str) -> Option<String> {
    memchr::memchr(b'\\', raw.as_bytes())?;
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = *rest.as_bytes().get(at + 1)?;
        rest = rest.get(at + 2..)?;
        out.push(match escape {
            b'"' | b'\\' | b'/' => escape as char,
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = code_unit(rest)?;
                rest = &rest[4..];
                if (0xd800..0xdc00).contains(&unit) {
                    let low = code_unit(rest.strip_prefix("\\u")?)?;
                    rest = &rest[6..];
                    let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                    char::from_u32(0x10000 + ((unit - 0xd800) << 10) + low)?
                } else {
                    char::from_u32(unit)?
                }
            }
            _ => return None,
        });
    }
    out.push_str(rest);
    Some(out)
}

fn code_unit(text: &str) -> Option<u32> {
    let digits = text.get(..4)?;
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

/// What is well-formed JSON but no text: the zero character and halves of surrogate pairs.
fn check_escapes(raw: &str) -> Result<(), EvalError> {
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        if rest[at..].starts_with("\\u0000") {
            return Err(EvalError::new(
                "22P05",
                "unsupported Unicode escape sequence",
            ));
        }
        rest = rest.get(at + 2..).unwrap_or("");
    }
    Ok(())
}

/// A JSON string of this text, escaped as jsonb prints it.
pub fn write_string(text: &str, out: &mut String) {
    use std::fmt::Write as _;
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest
        .bytes()
        .position(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\'))
    {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            0x08 => out.push_str("\\b"),
            0x0c => out.push_str("\\f"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            control => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{control:04x}");
            }
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}
