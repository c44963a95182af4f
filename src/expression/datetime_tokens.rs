//! The first step of reading a date-and-time text: cutting it as PostgreSQL's `ParseDateTime` does.

use super::error::EvalError;
use super::numeric_convert::is_space;

pub enum Token<'t> {
    /// Digits only.
    Number(&'t str),
    /// Parts of digits or letters between separators.
    Date(&'t str),
    /// Digits with colons and a point.
    Time(&'t str),
    /// Letters only.
    Word(&'t str),
    /// Letters with what a zone's name may have.
    Name(&'t str),
    /// A sign, digits and colons.
    Offset(&'t str),
    /// A sign and letters.
    Signed(&'t str, &'t str),
}

/// Why a text is not read; the text itself is added by the reader.
pub enum Refusal {
    /// PostgreSQL refuses it too, as a matter of form.
    Form,
    /// A field is out of its range.
    Field,
    /// Undecided here.
    Undecided,
    Error(EvalError),
}

/// Cuts a text as `ParseDateTime` does.
pub fn tokens(text: &str) -> Result<Vec<Token<'_>>, Refusal> {
    let bytes = text.as_bytes();
    let run = |from: usize, wanted: &dyn Fn(u8) -> bool| -> usize {
        from + bytes[from..]
            .iter()
            .take_while(|byte| wanted(**byte))
            .count()
    };
    let digit = |byte: u8| byte.is_ascii_digit();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let byte = bytes[at];
        if is_space(byte as char) || byte == b',' {
            at += 1;
        } else if byte.is_ascii_digit() {
            at = run(at, &digit);
            match bytes.get(at) {
                Some(b':') => {
                    at = run(at, &|byte| digit(byte) || matches!(byte, b':' | b'.'));
                    found.push(Token::Time(&text[start..at]));
                }
                Some(separator @ (b'-' | b'/' | b'.')) => {
                    at = date_end(bytes, at, *separator);
                    found.push(Token::Date(&text[start..at]));
                }
                _ => found.push(Token::Number(&text[start..at])),
            }
        } else if byte.is_ascii_alphabetic() {
            at = run(at, &|byte| byte.is_ascii_alphabetic());
            let word = &text[start..at];
            let keyword = word.eq_ignore_ascii_case("t") || month_named(word).is_some();
            match bytes.get(at) {
                Some(b'-' | b'/' | b'.') => at = run(at, &name_byte),
                Some(byte) if (*byte == b'+' || byte.is_ascii_digit()) && !keyword => {
                    at = run(at, &name_byte);
                }
                _ => {
                    found.push(Token::Word(word));
                    continue;
                }
            }
            let whole = &text[start..at];
            let is_date = month_named(word).is_some();
            found.push(if is_date {
                Token::Date(whole)
            } else {
                Token::Name(whole)
            });
        } else if matches!(byte, b'+' | b'-') {
            let from = run(at + 1, &|byte| is_space(byte as char));
            if bytes.get(from).is_some_and(u8::is_ascii_alphabetic) {
                at = run(from, &|byte| byte.is_ascii_alphabetic());
                found.push(Token::Signed(&text[start..=start], &text[from..at]));
            } else {
                at = run(from, &|byte| digit(byte) || byte == b':');
                if from != start + 1 {
                    return Err(Refusal::Undecided);
                }
                found.push(Token::Offset(&text[start..at]));
            }
        } else {
            return Err(Refusal::Undecided);
        }
    }
    Ok(found)
}

fn name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'/' | b'_' | b'.' | b':')
}

/// Where a date that begins with digits ends; `at` is at its first separator.
fn date_end(bytes: &[u8], at: usize, separator: u8) -> usize {
    let digits = bytes[at + 1..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let second = at + 1 + digits;
    let wanted = |byte: &&u8| -> bool {
        **byte == separator
            || if digits > 0 {
                byte.is_ascii_digit()
            } else {
                byte.is_ascii_alphanumeric()
            }
    };
    if digits > 0 && bytes.get(second) != Some(&separator) {
        return second;
    }
    second + bytes[second..].iter().take_while(wanted).count()
}

/// January is 1; names may be cut to three letters.
pub fn month_named(word: &str) -> Option<i32> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let lower = word.to_ascii_lowercase();
    let found = MONTHS.iter().position(|month| {
        lower == *month || lower == month[..3] || (*month == "september" && lower == "sept")
    })?;
    Some(found as i32 + 1)
}
