//! Which names a definition may give. Knows nothing of what they name.

use crate::definition::diagnostic::Report;
use crate::definition::source::Text;
use crate::expression::is_reserved_word;

/// In characters; leaves room below PostgreSQL's 63 for what is made from a name.
pub const NAME_LEN_MAX: usize = 50;

/// What an expression means by these words.
const ROOTS: &[&str] = &["data", "event", "headers", "item", "index", "old", "row"];

/// Columns that every PostgreSQL table has.
const SYSTEM_COLUMNS: &[&str] = &["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// Whether this can name a projection, a table and a column.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next();
    let well_formed = first.is_some_and(|b| b == b'_' || b.is_ascii_lowercase())
        && bytes.all(|b| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit());
    let taken = ROOTS.contains(&text) || SYSTEM_COLUMNS.contains(&text) || is_reserved_word(text);
    well_formed && text.len() <= NAME_LEN_MAX && !taken
}

/// Reports a name that cannot be one. `what`: projection, table, view, column.
pub fn check(report: &mut Report<'_>, name: &Text, what: &str) {
    let text = name.as_str();
    let mut bytes = text.bytes();
    let well_formed = bytes
        .next()
        .is_some_and(|b| b == b'_' || b.is_ascii_lowercase())
        && bytes.all(|b| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit());
    if !well_formed {
        let better = suggestion(text);
        report
            .error(
                name.span.clone(),
                "bad-name",
                format!("`{text}` is no name for a {what}"),
            )
            .hint(match better.is_empty() {
                true => {
                    "a name is made of a-z, 0-9 and _, and begins with a letter or _".to_owned()
                }
                false => format!(
                    "a name is made of a-z, 0-9 and _, and begins with a letter or _: `{better}`"
                ),
            });
    } else if text.len() > NAME_LEN_MAX {
        let message = format!(
            "the name of this {what} has {} characters, more than {NAME_LEN_MAX}",
            text.len()
        );
        report.error(name.span.clone(), "bad-name", message);
    } else if ROOTS.contains(&text) {
        report
            .error(
                name.span.clone(),
                "reserved-name",
                format!("`{text}` means something else in expressions"),
            )
            .hint(format!("these words are taken: {}", ROOTS.join(", ")));
    } else if is_reserved_word(text) {
        report
            .error(
                name.span.clone(),
                "reserved-name",
                format!("`{text}` is a reserved word of SQL"),
            )
            .hint(format!(
                "another name, e.g. `{text}_`, needs no quotes in any query"
            ));
    } else if what == "column" && SYSTEM_COLUMNS.contains(&text) {
        report.error(
            name.span.clone(),
            "reserved-name",
            format!("every table of PostgreSQL already has a hidden column `{text}`"),
        );
    }
}

/// `orderLines` or `order-lines` as `order_lines`.
pub fn suggestion(text: &str) -> String {
    let mut name = String::new();
    let mut last = ' ';
    for c in text.chars() {
        if c.is_ascii_uppercase() && last.is_ascii_lowercase() {
            name.push('_');
        }
        last = c;
        match c {
            _ if c.is_ascii_alphanumeric() => name.push(c.to_ascii_lowercase()),
            _ if !name.is_empty() && !name.ends_with('_') => name.push('_'),
            _ => {}
        }
    }
    name.trim_start_matches(|c: char| c.is_ascii_digit())
        .trim_end_matches('_')
        .to_owned()
}
