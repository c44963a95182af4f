//! `like` and `ilike`.

use super::error::EvalError;
use super::text::lower_character;

/// `text like pattern escape …`; the default escape is a backslash, an empty one is none.
pub fn like(text: &str, pattern: &str, escape: Option<&str>) -> Result<bool, EvalError> {
    matches(text, pattern, escape, |c| c)
}

/// As [`like`], whatever the case.
pub fn ilike(text: &str, pattern: &str, escape: Option<&str>) -> Result<bool, EvalError> {
    matches(text, pattern, escape, lower_character)
}

#[derive(Clone, Copy)]
enum Item {
    Literal(char),
    /// `_`
    One,
    /// `%`
    Any,
}

fn matches(
    text: &str,
    pattern: &str,
    escape: Option<&str>,
    fold: fn(char) -> char,
) -> Result<bool, EvalError> {
    let mut characters = escape.unwrap_or("\\").chars();
    let escape = characters.next();
    if characters.next().is_some() {
        return Err(EvalError::new("22025", "invalid escape string"));
    }
    let mut items = Vec::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        items.push(if Some(c) == escape {
            // PostgreSQL complains only if matching gets here; such a pattern is a mistake in any case.
            let literal = characters.next().ok_or_else(|| {
                EvalError::new("22025", "LIKE pattern must not end with escape character")
            })?;
            Item::Literal(fold(literal))
        } else {
            match c {
                '%' => Item::Any,
                '_' => Item::One,
                c => Item::Literal(fold(c)),
            }
        });
    }
    let text: Vec<char> = text.chars().map(fold).collect();
    Ok(walk(&text, &items))
}

/// Greedy with one point to come back to: only the last `%` matters.
fn walk(text: &[char], items: &[Item]) -> bool {
    let (mut at, mut item) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        let step = match items.get(item) {
            Some(Item::Any) => {
                back = Some((item + 1, at));
                item += 1;
                continue;
            }
            Some(Item::Literal(c)) => text.get(at) == Some(c),
            Some(Item::One) => at < text.len(),
            None if at == text.len() => return true,
            None => false,
        };
        if step {
            at += 1;
            item += 1;
            continue;
        }
        match back {
            Some((after, start)) if start < text.len() => {
                back = Some((after, start + 1));
                item = after;
                at = start + 1;
            }
            _ => return false,
        }
    }
}
