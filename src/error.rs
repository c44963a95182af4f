//! What a command ends with: an answer, or the one clear message why it could not run. Knows no module's errors.

use std::error::Error;
use std::fmt;

/// A command ran, and this is its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Exit status 0.
    Fine,
    /// The thing asked about is not fine (lint error, test failed, verify differs): exit status 1.
    NotFine,
    /// It could not run, and has said why: exit status 2.
    CouldNotRun,
}

impl Outcome {
    /// From an exit status.
    pub fn of_status(status: u8) -> Outcome {
        match status {
            0 => Outcome::Fine,
            1 => Outcome::NotFine,
            _ => Outcome::CouldNotRun,
        }
    }

    /// What the shell sees.
    pub fn status(self) -> u8 {
        match self {
            Outcome::Fine => 0,
            Outcome::NotFine => 1,
            Outcome::CouldNotRun => Failure::EXIT_STATUS,
        }
    }
}

/// A command could not run: exit status 2. Shown once, on stderr, as text for people.
#[derive(Debug)]
pub struct Failure {
    message: String,
    hint: Option<String>,
}

impl Failure {
    pub const EXIT_STATUS: u8 = 2;

    pub fn new(message: impl Into<String>) -> Failure {
        Failure {
            message: message.into(),
            hint: None,
        }
    }

    /// `context: error: its source: …`, each said once.
    pub fn from_error(context: impl Into<String>, error: &dyn Error) -> Failure {
        let mut message = context.into();
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // Many errors already end with the text of their source.
            if !text.is_empty() && !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            next = error.source();
        }
        Failure::new(message)
    }

    /// What the reader could do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot connect")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("refused"));
        let failure = Failure::from_error("postgres.url", &error).hint("is it running?");
        assert_eq!(
            failure.to_string(),
            "error: postgres.url: cannot connect: refused\n  hint: is it running?"
        );
    }
}
