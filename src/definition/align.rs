//! Where the characters of a quoted or block scalar stand in the file. Knows nothing of the tree around it.

use std::ops::Range;

use super::source::Text;

/// How a scalar is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Quote {
    Single,
    Double,
    None,
}

/// Finds where the bytes of a scalar's value stand in the file. Both hold the same characters but for quotes, escapes and
/// white space, so walking them side by side is enough.
pub fn align(file: &str, value: &str, span: Range<usize>, quote: Quote) -> Text {
    let mut at = span.start + usize::from(quote != Quote::None);
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (index, c) in value.char_indices() {
        if !c.is_whitespace() {
            at += file[at..].len() - file[at..].trim_start().len();
        }
        if runs.last().is_none_or(|run| run.1 + (index - run.0) != at) {
            runs.push((index, at));
        }
        let rest = &file[at.min(span.end)..];
        at += match quote {
            Quote::Double if rest.starts_with('\\') => escape_len(rest),
            Quote::Single if rest.starts_with("''") => 2,
            _ if c.is_whitespace() && !rest.starts_with(char::is_whitespace) => 0,
            _ => rest.chars().next().map_or(0, char::len_utf8),
        };
        at = at.min(span.end);
    }
    let end = match quote {
        Quote::None => span.start + file[span.clone()].trim_end().len(),
        Quote::Single => at + file[at..].find('\'').map_or(0, |quote| quote + 1),
        Quote::Double => at + file[at..].find('"').map_or(0, |quote| quote + 1),
    };
    Text::mapped(value.to_owned(), span.start..end.min(span.end), runs)
}

fn escape_len(rest: &str) -> usize {
    let len = match rest.as_bytes().get(1) {
        Some(b'x') => 4,
        Some(b'u') => 6,
        Some(b'U') => 10,
        _ => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
    };
    len.min(rest.len())
}
