//! Takes nodes of the file apart: the keys of a map, lists, texts and expressions, each with its complaint.
//! Knows nothing of what the keys mean.

use std::ops::Range;

use super::diagnostic::{Report, did_you_mean};
use super::source::Text;
use super::yaml::{Entry, Kind, Node, Scalar, Style};

/// The entries of a map, whose keys are known words.
pub struct Fields<'n> {
    entries: Vec<&'n Entry>,
    /// What to mark when a key is missing.
    pub span: Range<usize>,
}

impl<'n> Fields<'n> {
    pub fn get(&self, key: &str) -> Option<&'n Node> {
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.key.text.text == key)?;
        Some(&entry.value)
    }

    /// Where a key itself stands.
    pub fn key_span(&self, key: &str) -> Option<Range<usize>> {
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.key.text.text == key)?;
        Some(entry.key.text.span.clone())
    }
}

/// A map with known keys. `what` names it in messages; `owner` is marked if it is none.
pub fn fields<'n>(
    report: &mut Report<'_>,
    node: &'n Node,
    owner: &Range<usize>,
    what: &str,
    known: &[&str],
) -> Option<Fields<'n>> {
    let entries = map(report, node, owner, what)?;
    for entry in entries {
        let key = &entry.key.text;
        if !known.contains(&key.as_str()) {
            report
                .error(
                    key.span.clone(),
                    "unknown-key",
                    format!("{what} has no key `{}`", key.text),
                )
                .maybe_hint(did_you_mean(&key.text, known));
        }
    }
    let known = entries
        .iter()
        .filter(|entry| known.contains(&entry.key.text.as_str()));
    Some(Fields {
        entries: known.collect(),
        span: owner.clone(),
    })
}

/// A map with free keys.
pub fn map<'n>(
    report: &mut Report<'_>,
    node: &'n Node,
    owner: &Range<usize>,
    what: &str,
) -> Option<&'n [Entry]> {
    match &node.kind {
        Kind::Map(entries) => Some(entries),
        _ => {
            wrong_shape(report, node, owner, what, "a map");
            None
        }
    }
}

/// A list, or one thing in its place.
pub fn one_or_list(node: &Node) -> &[Node] {
    match &node.kind {
        Kind::List(nodes) => nodes,
        _ => std::slice::from_ref(node),
    }
}

pub fn list<'n>(
    report: &mut Report<'_>,
    node: &'n Node,
    owner: &Range<usize>,
    what: &str,
) -> Option<&'n [Node]> {
    match &node.kind {
        Kind::List(nodes) => Some(nodes),
        _ => {
            wrong_shape(report, node, owner, what, "a list");
            None
        }
    }
}

/// A text that is no expression: a name, a word, a comment.
pub fn text(
    report: &mut Report<'_>,
    node: &Node,
    owner: &Range<usize>,
    what: &str,
) -> Option<Text> {
    let text = scalar(report, node, owner, what)?.text.trimmed();
    Some(text)
}

/// A list of texts, or one of them.
pub fn texts(report: &mut Report<'_>, node: &Node, owner: &Range<usize>, what: &str) -> Vec<Text> {
    one_or_list(node)
        .iter()
        .filter_map(|node| text(report, node, owner, what))
        .collect()
}

/// An expression by its source text. YAML must not have eaten a part of it.
pub fn sql(report: &mut Report<'_>, node: &Node, owner: &Range<usize>, what: &str) -> Option<Text> {
    let scalar = scalar(report, node, owner, what)?;
    let text = scalar.text.trimmed();
    if scalar.style == Style::Quoted && is_lone_word(&text.text) {
        report
            .error(text.span.clone(), "eaten-quotes", "YAML takes these quotes away, which leaves a bare word")
            .hint(format!(
                "for the text write it as SQL: `set: column = '{word}'`, or in both quotes: \"'{word}'\"; \
                 for an expression leave the quotes out",
                word = text.text
            ));
        return None;
    }
    uncut(report, scalar, text)
}

/// A column's definition by its source text. Quotes around it take nothing away.
pub fn column(
    report: &mut Report<'_>,
    node: &Node,
    owner: &Range<usize>,
    what: &str,
) -> Option<Text> {
    let scalar = scalar(report, node, owner, what)?;
    uncut(report, scalar, scalar.text.trimmed())
}

fn uncut(report: &mut Report<'_>, scalar: &Scalar, text: Text) -> Option<Text> {
    if scalar.in_braces && scalar.style == Style::Plain && is_cut(&text.text) {
        report
            .error(
                text.span.clone(),
                "cut-expression",
                "inside { } YAML cuts an expression at a comma or brace, and this one is incomplete",
            )
            .hint("put the whole expression in double quotes, or use the form `set: column = expression, …`");
        return None;
    }
    Some(text)
}

/// A map from names to expressions, e.g. of `set`.
pub fn sql_map(
    report: &mut Report<'_>,
    node: &Node,
    owner: &Range<usize>,
    what: &str,
) -> Option<Vec<(Text, Text)>> {
    let mut cut_before = false;
    let mut pairs = Vec::new();
    for entry in map(report, node, owner, what)? {
        let cut_here = matches!(&entry.value.kind, Kind::Scalar(value) if value.in_braces && is_cut(&value.text.text));
        if cut_before && entry.value.is_absent() {
            // The rest of the expression that was cut: reported with its beginning.
            continue;
        }
        cut_before |= cut_here;
        if let Some(expression) = sql(report, &entry.value, &entry.key.text.span, what) {
            pairs.push((entry.key.text.clone(), expression));
        }
    }
    Some(pairs)
}

pub fn scalar<'n>(
    report: &mut Report<'_>,
    node: &'n Node,
    owner: &Range<usize>,
    what: &str,
) -> Option<&'n Scalar> {
    match &node.kind {
        Kind::Scalar(scalar) if !scalar.is_absent() => Some(scalar),
        _ => {
            wrong_shape(report, node, owner, what, "a text");
            None
        }
    }
}

fn wrong_shape(
    report: &mut Report<'_>,
    node: &Node,
    owner: &Range<usize>,
    what: &str,
    wanted: &str,
) {
    let span = match node.kind {
        Kind::Scalar(_) if !node.is_absent() => node.span.clone(),
        _ => owner.clone(),
    };
    report.error(
        span,
        "wrong-shape",
        format!("{what} must be {wanted}, but {} stands here", node.what()),
    );
}

/// What people quote when they mean a text: a word, a date, a number, a path.
fn is_lone_word(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/'))
}

/// Parentheses, brackets or quotes are open at the end.
fn is_cut(text: &str) -> bool {
    let mut depth = 0_i32;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth -= 1,
            (None, _) => {}
        }
    }
    depth != 0 || quote.is_some()
}
