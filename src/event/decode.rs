//! Records to events: the envelope of a topic and the payload members that its projection reads, taken out in one pass.
//! Knows nothing of rules and rows.

use super::error::{DecodeError, DecodeErrorKind};
use super::json::{self, Plan};
use super::{Event, Member, Path, Record, field, time};
use crate::definition::projection::{Envelope, EnvelopeField, EnvelopeMapping, Format, Projection};
use bumpalo::Bump;

/// The type of a record without a value, under any envelope.
pub const TOMBSTONE: &str = "tombstone";
/// The type of every other record where the envelope names none.
pub const RECORD: &str = "record";

/// As many members of a record as have their place on the stack.
const FEW_SLOTS: usize = 24;

/// What [`Event::timestamp`] says where Kafka has none: PostgreSQL's `-infinity`.
pub const NO_TIMESTAMP: i64 = i64::MIN;

/// Decodes the records of one topic of a projection.
#[derive(Debug)]
pub struct Decoder {
    topic_name: String,
    header_names: Vec<String>,
    /// Slots: the envelope's members, then the payload members, then, under the plain envelope, the payload members once more
    /// for a record that is its own payload.
    plan: Plan,
    event_type: Source,
    id: Source,
    subject: Source,
    source: Source,
    time: Source,
    version: Source,
    /// The slot of the first payload member.
    first_member: usize,
    members: usize,
    /// A record without a `data` member is its own payload.
    plain: bool,
}

/// Where a part of the envelope comes from.
#[derive(Clone, Copy, Debug)]
enum Source {
    Nowhere,
    Slot(usize),
    Header(usize),
}

/// What has been taken out of a record, before it is read.
struct Parts<'p, 'a> {
    value: &'a str,
    slots: &'p [Member<'a>],
    headers: &'a [Option<&'a str>],
    arena: &'a Bump,
}

impl Decoder {
    /// For records of `projection.topics[topic]`.
    pub fn new(projection: &Projection, topic: usize) -> Decoder {
        let topic = &projection.topics[topic];
        let Format::Json = topic.format;
        let plain = matches!(topic.envelope, Envelope::Plain);
        let mapping = match &topic.envelope {
            Envelope::Plain => plain_mapping(),
            Envelope::None => EnvelopeMapping::default(),
            Envelope::Mapping(mapping) => mapping.clone(),
        };
        let mut paths = Vec::new();
        let mut source = |field: Option<EnvelopeField>| match field {
            None => Source::Nowhere,
            Some(EnvelopeField::Header(slot)) => Source::Header(slot),
            Some(EnvelopeField::Member(path)) => {
                paths.push(path);
                Source::Slot(paths.len() - 1)
            }
        };
        let (event_type, id) = (source(mapping.event_type), source(mapping.id));
        let (subject, from) = (source(mapping.subject), source(mapping.source));
        let (time, version) = (source(mapping.time), source(mapping.version));
        let first_member = paths.len();
        let data = mapping.data.map_or_else(Vec::new, |path| path.0);
        paths.extend(
            projection
                .paths
                .iter()
                .map(|path| Path([&data[..], &path.0].concat())),
        );
        let mut plan = Plan::new(&paths);
        if plain {
            plan = Plan::new(paths.iter().chain(&projection.paths)).watch("data");
        }
        Decoder {
            topic_name: topic.name.clone(),
            header_names: projection.header_names.clone(),
            plan,
            event_type,
            id,
            subject,
            source: from,
            time,
            version,
            first_member,
            members: projection.paths.len(),
            plain,
        }
    }

    /// Decodes one record. What the event points to is in the record, in the arena or in the decoder.
    ///
    /// # Errors
    /// The record is not what its topic's envelope says.
    pub fn decode<'a>(
        &'a self,
        record: &Record<'a>,
        arena: &'a Bump,
    ) -> Result<Event<'a>, DecodeError> {
        self.decode_in_place(record, arena)
    }

    /// The same, compiled into the caller: an event is large, and is written where the caller keeps it.
    #[inline(always)]
    pub fn decode_in_place<'a>(
        &'a self,
        record: &Record<'a>,
        arena: &'a Bump,
    ) -> Result<Event<'a>, DecodeError> {
        // Only the payload members outlive this call.
        let mut few = [Member::Missing; FEW_SLOTS];
        let slots = match few.get_mut(..self.plan.slots()) {
            Some(slots) => slots,
            None => arena.alloc_slice_fill_copy(self.plan.slots(), Member::Missing),
        };
        let mut first_member = self.first_member;
        let mut value = "";
        if let Some(bytes) = record.value {
            value = json::text_of(bytes)?;
            let has_data = json::extract(value, &self.plan, slots)?;
            if self.plain && !has_data {
                first_member += self.members;
            }
        }
        let parts = Parts {
            value,
            slots,
            headers: self.headers(record, arena)?,
            arena,
        };
        let event_type = match record.value {
            Some(_) => parts.event_type(self.event_type)?,
            None => TOMBSTONE,
        };
        let timestamp = kafka_timestamp(record)?;
        Ok(Event {
            event_type,
            id: parts.text(self.id, "id")?,
            key: key(record)?,
            subject: parts.text(self.subject, "subject")?,
            source: parts.text(self.source, "source")?,
            time: parts.time(self.time, timestamp)?,
            version: parts.version(self.version)?,
            topic: record.topic,
            topic_name: &self.topic_name,
            partition: record.partition,
            offset: record.offset,
            timestamp: timestamp.unwrap_or(NO_TIMESTAMP),
            headers: parts.headers,
            members: arena
                .alloc_slice_copy(&parts.slots[first_member..first_member + self.members]),
        })
    }

    fn headers<'a>(
        &'a self,
        record: &Record<'a>,
        arena: &'a Bump,
    ) -> Result<&'a [Option<&'a str>], DecodeError> {
        if self.header_names.is_empty() {
            return Ok(&[]);
        }
        let texts = arena.alloc_slice_fill_copy(self.header_names.len(), None);
        for (text, name) in texts.iter_mut().zip(&self.header_names) {
            let last = record
                .headers
                .iter()
                .rev()
                .find(|(header, _)| header == name);
            if let Some((_, Some(bytes))) = last {
                *text = Some(utf8(bytes, DecodeErrorKind::Header, || {
                    format!("header {name}")
                })?);
            }
        }
        Ok(texts)
    }
}

fn plain_mapping() -> EnvelopeMapping {
    let member = |name: &str| Some(EnvelopeField::Member(Path(vec![name.to_owned()])));
    EnvelopeMapping {
        event_type: member("type"),
        id: member("id"),
        subject: member("subject"),
        source: member("source"),
        time: member("time"),
        version: member("version"),
        data: Some(Path(vec!["data".to_owned()])),
    }
}

fn key<'a>(record: &Record<'a>) -> Result<Option<&'a str>, DecodeError> {
    let what = || "the record key".to_owned();
    record
        .key
        .map(|bytes| utf8(bytes, DecodeErrorKind::Key, what))
        .transpose()
}

fn kafka_timestamp(record: &Record<'_>) -> Result<Option<i64>, DecodeError> {
    let Some(timestamp_ms) = record.timestamp_ms else {
        return Ok(None);
    };
    match time::from_kafka(timestamp_ms) {
        Some(timestamp) => Ok(Some(timestamp)),
        None => {
            let message = format!("Kafka's timestamp is out of range: {timestamp_ms} ms");
            Err(DecodeError::new(DecodeErrorKind::Time, message, None))
        }
    }
}

/// Bytes as PostgreSQL's text: UTF-8 without NUL.
fn utf8(
    bytes: &[u8],
    kind: DecodeErrorKind,
    what: impl FnOnce() -> String,
) -> Result<&str, DecodeError> {
    if let Some(text) = json::plain_ascii(bytes) {
        return Ok(text);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.contains(&0) => Ok(text),
        Ok(_) => {
            let message = format!("{} has a NUL byte, which text cannot hold", what());
            Err(DecodeError::new(kind, message, None))
        }
        Err(_) => {
            let message = format!("{} is not valid UTF-8", what());
            Err(DecodeError::new(kind, message, None))
        }
    }
}

impl<'a> Parts<'_, 'a> {
    fn event_type(&self, source: Source) -> Result<&'a str, DecodeError> {
        let error = |message: &str, at| DecodeError::new(DecodeErrorKind::EventType, message, at);
        match source {
            Source::Nowhere => Ok(RECORD),
            Source::Header(slot) => self.headers[slot]
                .ok_or_else(|| error("the header for event.type is missing", None)),
            Source::Slot(slot) => match self.slots[slot] {
                Member::Text(text) => Ok(text),
                Member::Json(raw) if raw.starts_with('"') => Ok(self.string(raw)),
                Member::Json(raw) => {
                    let message = "event.type is not a JSON string";
                    Err(error(message, Some(self.offset(raw))))
                }
                _ => Err(error("event.type is missing or null", None)),
            },
        }
    }

    /// As PostgreSQL's `#>>` gives it.
    fn text(&self, source: Source, name: &str) -> Result<Option<&'a str>, DecodeError> {
        match source {
            Source::Nowhere => Ok(None),
            Source::Header(slot) => Ok(self.headers[slot]),
            Source::Slot(slot) => match self.slots[slot] {
                Member::Text(text) => Ok(Some(text)),
                Member::Json(raw) if raw.starts_with('"') => Ok(Some(self.string(raw))),
                Member::Json(raw) => match field::text(raw, self.arena) {
                    Ok(text) => Ok(Some(text)),
                    Err(error) => {
                        let message = format!("event.{name}: {}", error.message());
                        let at = Some(self.offset(raw));
                        Err(DecodeError::new(DecodeErrorKind::Field, message, at))
                    }
                },
                _ => Ok(None),
            },
        }
    }

    fn time(&self, source: Source, timestamp: Option<i64>) -> Result<i64, DecodeError> {
        let error = |message: String, at| DecodeError::new(DecodeErrorKind::Time, message, at);
        let (text, at) = match source {
            Source::Nowhere => (None, None),
            Source::Header(slot) => (self.headers[slot], None),
            Source::Slot(slot) => match self.slots[slot] {
                Member::Text(text) => (Some(text), Some(self.offset(text) - 1)),
                // A bare number has no unit: rather an error than an event in the wrong century.
                Member::Json(raw) if !raw.starts_with('"') => {
                    let message = "event.time is not a JSON string".to_owned();
                    return Err(error(message, Some(self.offset(raw))));
                }
                Member::Json(raw) => (Some(self.string(raw)), Some(self.offset(raw))),
                _ => (None, None),
            },
        };
        match (text, timestamp) {
            (Some(text), _) => match time::from_iso(text) {
                Some(time) => Ok(time),
                None => field::timestamptz(text, self.arena)
                    .map_err(|cast| error(format!("event.time: {}", cast.message()), at)),
            },
            (None, Some(timestamp)) => Ok(timestamp),
            (None, None) => {
                let message = "there is no event.time, and Kafka gave the record no timestamp";
                Err(error(message.to_owned(), None))
            }
        }
    }

    fn version(&self, source: Source) -> Result<Option<i64>, DecodeError> {
        if let Source::Slot(slot) = source
            && let Member::Json(raw) = self.slots[slot]
            && let Some(number) = field::small_integer(raw)
        {
            return Ok(Some(number));
        }
        let Some(text) = self.text(source, "version")? else {
            return Ok(None);
        };
        match field::bigint(text, self.arena) {
            Ok(version) => Ok(Some(version)),
            Err(error) => {
                let at = match source {
                    Source::Slot(slot) => match self.slots[slot] {
                        Member::Text(text) => Some(self.offset(text) - 1),
                        Member::Json(raw) => Some(self.offset(raw)),
                        _ => None,
                    },
                    _ => None,
                };
                let message = format!("event.version: {}", error.message());
                Err(DecodeError::new(DecodeErrorKind::Version, message, at))
            }
        }
    }

    #[inline]
    fn string(&self, raw: &'a str) -> &'a str {
        field::unescaped(raw, self.arena)
    }

    /// Where a slice of the value begins in it.
    fn offset(&self, raw: &str) -> usize {
        (raw.as_ptr() as usize).saturating_sub(self.value.as_ptr() as usize)
    }
}
