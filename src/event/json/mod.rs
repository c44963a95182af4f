//! JSON in one pass: checks that PostgreSQL 15 would take a text as `jsonb`, and takes out the members a [`Plan`] asks for,
//! as slices of the text. Builds no tree. Knows nothing of envelopes, events or rules.
//!
//! What is checked is PostgreSQL's `jsonb` input: RFC 8259's grammar; no control character below U+0020 in a string; no
//! `\u0000`; surrogates only as pairs; numbers within `numeric`. Two limits are ours, so that everything accepted is
//! certainly accepted there too and costs a bounded amount: [`MAX_DEPTH`] and [`MAX_BYTES`].

mod number;
mod plan;
mod scan;
mod simd;
mod text;

#[cfg(test)]
mod tests;

pub use plan::Plan;
use simd::ascii;
pub(super) use simd::plain_ascii;
pub use text::unescape;

use crate::event::Member;
use std::fmt;

/// Deepest nesting of arrays and objects. PostgreSQL's own limit depends on its `max_stack_depth` (with the default of
/// 2 MB it is above 10,000), so ours is far below.
pub const MAX_DEPTH: usize = 1_000;

/// Longest text, in bytes. No shorter text can exceed any of jsonb's own limits: 268,435,455 bytes in a string, array or
/// object, 16,777,216 elements, 8,388,608 pairs (the densest, an array of one-digit numbers, grows sixfold).
pub const MAX_BYTES: usize = 32 << 20;

/// Why a text is no `jsonb`, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError {
    pub fault: Fault,
    /// Byte offset in the text.
    pub offset: usize,
}

/// What can be wrong with a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Ended,
    Utf8,
    Nul,
    TooLong,
    TooDeep,
    ExpectedValue,
    ExpectedName,
    ExpectedColon,
    ExpectedCommaOrBrace,
    ExpectedCommaOrBracket,
    TrailingText,
    ControlCharacter,
    Escape,
    UnicodeEscape,
    EscapedNul,
    Surrogate,
    Number,
    NumberRange,
}

impl Fault {
    /// The fault as the end of a sentence.
    pub fn message(self) -> &'static str {
        match self {
            Fault::Ended => "the text ends in the middle of a value",
            Fault::Utf8 => "invalid UTF-8",
            Fault::Nul => "a NUL byte",
            Fault::TooLong => "longer than 32 MiB",
            Fault::TooDeep => "nested deeper than 1,000 levels",
            Fault::ExpectedValue => "expected a JSON value",
            Fault::ExpectedName => "expected a member name in double quotes",
            Fault::ExpectedColon => "expected ':'",
            Fault::ExpectedCommaOrBrace => "expected ',' or '}'",
            Fault::ExpectedCommaOrBracket => "expected ',' or ']'",
            Fault::TrailingText => "text after the end of the value",
            Fault::ControlCharacter => "a control character in a string must be escaped",
            Fault::Escape => "unknown escape sequence in a string",
            Fault::UnicodeEscape => "'\\u' must be followed by four hexadecimal digits",
            Fault::EscapedNul => "\\u0000 cannot be stored as text",
            Fault::Surrogate => "a surrogate without its other half",
            Fault::Number => "malformed number",
            Fault::NumberRange => "a number beyond the range of numeric",
        }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.fault.message(), self.offset)
    }
}

impl std::error::Error for JsonError {}

/// Bytes as text that may hold a JSON value: UTF-8, at most [`MAX_BYTES`]. A NUL byte needs no look of its own: no place in a
/// JSON text allows one.
pub fn text_of(bytes: &[u8]) -> Result<&str, JsonError> {
    if bytes.len() > MAX_BYTES {
        let (fault, offset) = (Fault::TooLong, MAX_BYTES);
        return Err(JsonError { fault, offset });
    }
    if let Some(text) = ascii(bytes) {
        return Ok(text);
    }
    std::str::from_utf8(bytes).map_err(|error| JsonError {
        fault: Fault::Utf8,
        offset: error.valid_up_to(),
    })
}

/// Checks the whole `text` and fills `members`, one per slot of the plan. All must be `Missing` on entry. Returns whether the
/// member that [`Plan::watch`] named is there, be it null.
pub fn extract<'a>(
    text: &'a str,
    plan: &Plan,
    members: &mut [Member<'a>],
) -> Result<bool, JsonError> {
    let mut scanner = scan::Scanner::new(text, plan, members);
    match scanner.document() {
        Ok(()) => Ok(scanner.watched()),
        Err(scan::Refused) => Err(error(&scanner)),
    }
}

/// Hands over each element of a JSON array, unread. False: the text is something else.
pub fn elements<'a>(text: &'a str, mut each: impl FnMut(&'a str)) -> Result<bool, JsonError> {
    let plan = Plan::default();
    let mut scanner = scan::Scanner::new(text, &plan, &mut []);
    match scanner.elements(&mut each) {
        Ok(is_array) => Ok(is_array),
        Err(scan::Refused) => Err(error(&scanner)),
    }
}

#[cold]
fn error(scanner: &scan::Scanner<'_, '_>) -> JsonError {
    let (fault, offset) = scanner.fault();
    JsonError { fault, offset }
}
