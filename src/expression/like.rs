//! `like` and `ilike`, after PostgreSQL's `like_match.c`: also where a pattern that ends in its escape character is an
//! error depends on how far matching gets.

use std::borrow::Cow;

use super::error::EvalError;
use super::text::lower_character;

/// Wildcards that a match may come back to; PostgreSQL's own bound is its stack.
const NESTED_WILDCARDS_MAX: usize = 2000;

/// `text like pattern escape …`; the default escape is a backslash, an empty one is none.
pub fn like(text: &str, pattern: &str, escape: Option<&str>) -> Result<bool, EvalError> {
    let pattern = match escape {
        None | Some("\\") => Cow::Borrowed(pattern),
        Some(escape) => Cow::Owned(with_backslash(pattern, escape)?),
    };
    matches(text, &pattern)
}

/// As [`like`], whatever the case.
pub fn ilike(text: &str, pattern: &str, escape: Option<&str>) -> Result<bool, EvalError> {
    let fold = |text: &str| text.chars().map(lower_character).collect::<String>();
    like(&fold(text), &fold(pattern), escape)
}

/// A pattern written with another escape character, rewritten for the backslash (`do_like_escape`).
pub fn with_backslash(pattern: &str, escape: &str) -> Result<String, EvalError> {
    let mut characters = escape.chars();
    let (escape, rest) = (characters.next(), characters.next());
    if rest.is_some() {
        return Err(EvalError::new("22025", "invalid escape string"));
    }
    if escape == Some('\\') {
        return Ok(pattern.to_owned());
    }
    let mut out = String::with_capacity(pattern.len());
    let mut after_escape = false;
    for c in pattern.chars() {
        if Some(c) == escape && !after_escape {
            out.push('\\');
            after_escape = true;
            continue;
        }
        if c == '\\' && !after_escape {
            out.push('\\');
        }
        out.push(c);
        after_escape = false;
    }
    Ok(out)
}

fn matches(text: &str, pattern: &str) -> Result<bool, EvalError> {
    Ok(walk(text.as_bytes(), pattern.as_bytes(), 0)? == Outcome::Match)
}

#[derive(PartialEq, Eq)]
enum Outcome {
    Match,
    Differs,
    /// The text is too short: no later place for the last `%` can help.
    Abort,
}

/// `MatchText`: bytes compare as they are; `_` and the places of a `%` step over whole characters.
fn walk(mut text: &[u8], mut pattern: &[u8], nested: usize) -> Result<Outcome, EvalError> {
    if pattern == b"%" {
        return Ok(Outcome::Match);
    }
    while let (Some(&have), Some(&want)) = (text.first(), pattern.first()) {
        match want {
            b'%' => return any(text, &pattern[1..], nested),
            b'_' => {
                text = after_character(text);
                pattern = &pattern[1..];
                continue;
            }
            b'\\' => {
                pattern = &pattern[1..];
                let literal = pattern.first().ok_or_else(ends_in_escape)?;
                if *literal != have {
                    return Ok(Outcome::Differs);
                }
            }
            literal if literal != have => return Ok(Outcome::Differs),
            _ => {}
        }
        text = &text[1..];
        pattern = &pattern[1..];
    }
    if !text.is_empty() {
        return Ok(Outcome::Differs);
    }
    let rest_matches_nothing = pattern.iter().all(|byte| *byte == b'%');
    Ok(if rest_matches_nothing {
        Outcome::Match
    } else {
        Outcome::Abort
    })
}

/// What follows a `%`.
fn any(mut text: &[u8], mut pattern: &[u8], nested: usize) -> Result<Outcome, EvalError> {
    if nested >= NESTED_WILDCARDS_MAX {
        return Err(EvalError::unsupported("like with more than 2000 wildcards"));
    }
    loop {
        match pattern.first() {
            Some(b'%') => {}
            Some(b'_') => {
                if text.is_empty() {
                    return Ok(Outcome::Abort);
                }
                text = after_character(text);
            }
            _ => break,
        }
        pattern = &pattern[1..];
    }
    let first = match pattern {
        [] => return Ok(Outcome::Match),
        [b'\\'] => return Err(ends_in_escape()),
        [b'\\', literal, ..] => *literal,
        [literal, ..] => *literal,
    };
    while !text.is_empty() {
        if text[0] == first {
            match walk(text, pattern, nested + 1)? {
                Outcome::Differs => {}
                decided => return Ok(decided),
            }
        }
        text = after_character(text);
    }
    Ok(Outcome::Abort)
}

fn after_character(text: &[u8]) -> &[u8] {
    let length = 1 + text[1..]
        .iter()
        .take_while(|byte| **byte & 0xC0 == 0x80)
        .count();
    &text[length..]
}

#[cold]
fn ends_in_escape() -> EvalError {
    EvalError::new("22025", "LIKE pattern must not end with escape character")
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn an_escape_at_the_end_matters_only_where_matching_gets_there() {
        assert_eq!(like("", "\\", None), Ok(false));
        assert_eq!(like("b", "a\\", None), Ok(false));
        assert!(like("ab", "a\\", None).is_err());
        assert!(like("a", "%\\", None).is_err());
    }

    #[test]
    fn wildcards_do_not_exhaust_the_stack() {
        let pattern = "%a".repeat(100_000);
        assert!(like(&"a".repeat(100_000), &pattern, None).is_err());
        assert_eq!(like(&"ab".repeat(500), &"%b".repeat(500), None), Ok(true));
    }
}
