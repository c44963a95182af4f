//! The one place where names and texts become SQL. Everything else is bound.

use std::fmt::Write as _;

/// An identifier, always quoted: `a"b` becomes `"a""b"`.
pub(crate) fn identifier(name: &str) -> String {
    let mut sql = String::with_capacity(name.len() + 2);
    sql.push('"');
    for character in name.chars().filter(|character| *character != '\0') {
        if character == '"' {
            sql.push('"');
        }
        sql.push(character);
    }
    sql.push('"');
    sql
}

/// `"schema"."name"`.
pub(crate) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", identifier(schema), identifier(name))
}

/// Several identifiers, separated by commas.
pub(crate) fn identifiers<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut sql = String::new();
    for name in names {
        if !sql.is_empty() {
            sql.push_str(", ");
        }
        sql.push_str(&identifier(name));
    }
    sql
}

/// A text constant for statements that take no parameters (`comment on`, `create view`). The `e''` form means the same
/// whatever `standard_conforming_strings` says.
pub(crate) fn literal(text: &str) -> String {
    let mut sql = String::with_capacity(text.len() + 4);
    sql.push_str("e'");
    for character in text.chars().filter(|character| *character != '\0') {
        match character {
            '\'' => sql.push_str("''"),
            '\\' => sql.push_str("\\\\"),
            other => sql.push(other),
        }
    }
    sql.push('\'');
    sql
}

/// The schema that holds a generation's tables.
pub(crate) fn generation_schema(generation: i64) -> String {
    let mut name = String::from("consolidator_g");
    let _ = write!(name, "{generation}");
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_inside_a_name_stays_inside_it() {
        assert_eq!(identifier("a\"; drop"), "\"a\"\"; drop\"");
        assert_eq!(qualified("s", "t"), "\"s\".\"t\"");
        assert_eq!(identifiers(["a", "b\""]), "\"a\", \"b\"\"\"");
    }

    #[test]
    fn a_quote_or_backslash_inside_a_text_stays_inside_it() {
        assert_eq!(literal("it's \\ here"), "e'it''s \\\\ here'");
    }
}
