//! A text that never reaches a log, an error, a metric or the terminal.

use std::fmt;

/// What stands in place of a secret.
pub const HIDDEN: &str = "***";

/// Shown only by [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    /// Of a URL everything but what could be a password: scheme, user, host, database.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.0).unwrap_or_else(|| HIDDEN.to_owned()))
    }
}

/// `None` where the text has not the plain form of a URL, so that nothing is guessed.
fn without_password(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (rest, parameters) = rest.split_at(end);
    if parameters.contains('@') {
        return None;
    }
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, rest),
    };
    let plain = |text: &str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-:/,[]%".contains(c))
    };
    let scheme_ok = scheme.chars().all(|c| c.is_ascii_lowercase());
    if !plain(place) || !scheme_ok {
        return None;
    }
    Some(
        match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
            None => format!("{scheme}://{place}"),
            Some((user, _)) if !plain(user) => format!("{scheme}://{HIDDEN}@{place}"),
            Some((user, "")) => format!("{scheme}://{user}@{place}"),
            Some((user, _)) => format!("{scheme}://{user}:{HIDDEN}@{place}"),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            (
                "postgres://u:s3cret@db:5432/app?password=s3cret",
                "postgres://u:***@db:5432/app",
            ),
            ("postgres://u:s3c@ret@db/app", "postgres://u:***@db/app"),
            ("postgres://u@db/app", "postgres://u@db/app"),
            ("postgres://db/app", "postgres://db/app"),
            ("host=db password=s3cret", "***"),
            ("s3cret", "***"),
        ] {
            assert_eq!(Secret::new(url).to_string(), shown);
            assert_eq!(format!("{:?}", Secret::new(url)), "***");
        }
    }

    #[test]
    fn a_password_with_a_slash_or_a_question_mark_is_not_shown() {
        for url in [
            "postgres://u:s3/cret@db/app",
            "postgres://u:s3?cret@db/app",
            "postgres://u:s3#cret@db/app",
        ] {
            assert!(
                !Secret::new(url).to_string().contains("cret"),
                "{}",
                Secret::new(url)
            );
            assert!(
                !Secret::new(url).to_string().contains("s3"),
                "{}",
                Secret::new(url)
            );
        }
    }
}
