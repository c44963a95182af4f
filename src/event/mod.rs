//! Events: what a Kafka record says once decoded. Knows nothing of rules, rows, Kafka clients or SQL.

mod decode;
mod error;
mod field;
pub mod json;
mod mark;
mod time;

pub use time::from_iso;

#[cfg(test)]
mod tests;

pub use decode::{Decoder, NO_TIMESTAMP, RECORD, TOMBSTONE};
pub use error::{DecodeError, DecodeErrorKind};
pub use mark::{Mark, fingerprint};
pub use time::from_kafka as time_from_kafka;

use crate::expression::value::Value;

/// A record as the source hands it over; nothing is copied out of the client's buffers.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Index into [`crate::definition::Projection::topics`].
    pub topic: usize,
    pub partition: i32,
    pub offset: i64,
    /// Kafka's timestamp in milliseconds since 1970, `None` if the broker gave none.
    pub timestamp_ms: Option<i64>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// In the record's order; a repeated name: the last one counts.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

impl Record<'_> {
    /// Kafka's timestamp in microseconds since 2000-01-01; `None` also outside of PostgreSQL's range.
    pub fn timestamp(&self) -> Option<i64> {
        time::from_kafka(self.timestamp_ms?)
    }
}

/// A decoded record. Times are microseconds since 2000-01-01 UTC.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    pub event_type: &'a str,
    pub id: Option<&'a str>,
    pub key: Option<&'a str>,
    pub subject: Option<&'a str>,
    pub source: Option<&'a str>,
    pub time: i64,
    pub version: Option<i64>,
    /// Index into [`crate::definition::Projection::topics`].
    pub topic: usize,
    pub topic_name: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: i64,
    /// By header slot (`Projection::header_names`).
    pub headers: &'a [Option<&'a str>],
    /// By member slot (`Projection::paths`): the payload members that some rule reads.
    pub members: &'a [Member<'a>],
}

/// One payload member (`data.<path>` or `item.<path>`).
#[derive(Clone, Copy, Debug)]
pub enum Member<'a> {
    /// Not there, or JSON null.
    Missing,
    /// A JSON string without escapes: what stands between its quotes.
    Text(&'a str),
    /// Any other JSON value: its bytes, whitespace trimmed, as they stand in the record.
    Json(&'a str),
    /// From formats that carry types (Avro, Protobuf), to come.
    Typed(Value<'a>),
}

/// A path below `data` or `item`: the elements of PostgreSQL's `#>>` text array.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Path(pub Vec<String>);
