//! Why a record is no event.

use super::json::JsonError;
use std::fmt;

/// What is wrong with a record, for people and for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecodeErrorKind {
    /// The value is not what PostgreSQL takes as jsonb.
    Json,
    /// The record key is not UTF-8 text.
    Key,
    /// A header that some rule or the envelope reads is not UTF-8 text.
    Header,
    /// No event type, or not a string.
    EventType,
    /// `event.time` is no timestamptz, or there is none and Kafka gave no timestamp either.
    Time,
    /// `event.version` is no bigint.
    Version,
    /// Another part of the envelope cannot be read as text.
    Field,
}

/// A record that cannot be decoded. Boxed inside, so that results stay small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError(Box<Failure>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    kind: DecodeErrorKind,
    message: String,
    offset: Option<usize>,
}

impl DecodeError {
    #[cold]
    pub(super) fn new(
        kind: DecodeErrorKind,
        message: impl Into<String>,
        offset: Option<usize>,
    ) -> DecodeError {
        let message = message.into();
        DecodeError(Box::new(Failure {
            kind,
            message,
            offset,
        }))
    }

    pub fn kind(&self) -> DecodeErrorKind {
        self.0.kind
    }

    /// A sentence without the offset.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The byte of the record's value that it is about, if it is about one.
    pub fn offset(&self) -> Option<usize> {
        self.0.offset
    }
}

impl From<JsonError> for DecodeError {
    #[cold]
    fn from(error: JsonError) -> DecodeError {
        let message = format!("the value is not valid JSON: {}", error.fault.message());
        DecodeError::new(DecodeErrorKind::Json, message, Some(error.offset))
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match self.0.offset {
            Some(offset) => write!(f, " (at byte {offset} of the value)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for DecodeError {}
