//! Looks into JSON texts that were checked once. Knows nothing of events.

use std::borrow::Cow;

use crate::event::json::{self, Plan};
use crate::expression::jsonb_walk::{Kind, elements, kind, members, string_text};

/// The bytes as JSON text that PostgreSQL takes, without white space around it.
pub fn text_of(bytes: &[u8]) -> Option<&str> {
    let text = json::text_of(bytes).ok()?.trim();
    json::extract(text, &Plan::default(), &mut []).ok()?;
    Some(text)
}

/// The members of an object in their order, a repeated one once, with its last value.
pub fn object(text: &str) -> Vec<(Cow<'_, str>, &str)> {
    let mut found: Vec<(Cow<'_, str>, &str)> = Vec::new();
    for (raw, value) in members(text) {
        let name = name(raw);
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => found.push((name, value)),
        }
    }
    found
}

fn name(raw: &str) -> Cow<'_, str> {
    match raw.contains('\\') {
        true => Cow::Owned(string_text(&format!("\"{raw}\"")).into_owned()),
        false => Cow::Borrowed(raw),
    }
}

/// The value at a path of member names.
pub fn at<'t>(text: &'t str, path: &[String]) -> Option<&'t str> {
    path.iter().try_fold(text, |text, step| {
        let found = object(text).into_iter().find(|(name, _)| name == step);
        found.map(|(_, value)| value)
    })
}

pub fn is_object(text: &str) -> bool {
    kind(text) == Kind::Object
}

/// The text of a JSON string.
pub fn string(text: &str) -> Option<Cow<'_, str>> {
    (kind(text) == Kind::String).then(|| string_text(text))
}

pub fn kind_of(text: &str) -> Kind {
    kind(text)
}

/// What the elements of an array are; `None` if it is empty.
pub fn kind_of_elements(text: &str) -> Option<Kind> {
    elements(text).next().map(kind)
}
