//! A given event to the record that a producer would send: the topic's envelope put around its data. Knows nothing of rules.

use bumpalo::Bump;

use super::read::push_text;
use super::{Given, Payload};
use crate::definition::projection::{Envelope, EnvelopeField, EnvelopeMapping, Projection};
use crate::event::Path;
use crate::expression::cast::parse_text;
use crate::expression::value::{Modifier, Scalar, Type, Value};

/// Kafka's timestamp of an event that gives no time: 2000-01-01.
const DEFAULT_TIMESTAMP_MS: i64 = 946_684_800_000;

const TIMESTAMPTZ: Type = Type {
    scalar: Scalar::TimestampTz,
    modifier: Modifier::None,
    array: false,
};

/// What [`crate::event::Record`] borrows from.
#[derive(Debug, Clone)]
pub struct OwnedRecord {
    /// Index into the projection's topics.
    pub topic: usize,
    pub partition: i32,
    /// `None`: the one that follows in its partition.
    pub offset: Option<i64>,
    pub timestamp_ms: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

pub fn record(projection: &Projection, given: &Given) -> OwnedRecord {
    let named = given.topic.as_ref();
    let topic = named
        .and_then(|name| {
            projection
                .topics
                .iter()
                .position(|topic| topic.name == name.text)
        })
        .unwrap_or(0);
    let mut headers = given.headers.clone();
    let tombstone = given
        .event_type
        .as_ref()
        .is_some_and(|name| name.text == "tombstone");
    let value = match (&given.payload, &projection.topics[topic].envelope) {
        (Payload::Value(value), _) => value.clone(),
        (Payload::Absent, _) if tombstone => None,
        (_, Envelope::Plain) => Some(plain(given)),
        (Payload::Data(data), Envelope::None) => Some(data.clone()),
        (Payload::Absent, Envelope::None) => Some("{}".to_owned()),
        (_, Envelope::Mapping(mapping)) => Some(mapped(
            given,
            mapping,
            &projection.header_names,
            &mut headers,
        )),
    };
    let headers = headers.into_iter();
    OwnedRecord {
        topic,
        partition: given.partition,
        offset: None,
        timestamp_ms: Some(timestamp_ms(given.time.as_deref())),
        key: given.key.as_ref().map(|key| key.clone().into_bytes()),
        value: value.map(String::into_bytes),
        headers: headers
            .map(|(name, value)| (name, value.map(String::into_bytes)))
            .collect(),
    }
}

/// The parts of an event besides its data, as JSON.
fn parts(given: &Given) -> Vec<(&'static str, String)> {
    let text = |text: &str| {
        let mut out = String::new();
        push_text(text, &mut out);
        out
    };
    let parts = [
        (
            "type",
            given.event_type.as_ref().map(|name| text(name.as_str())),
        ),
        ("id", given.id.as_deref().map(text)),
        ("subject", given.subject.as_deref().map(text)),
        ("source", given.source.as_deref().map(text)),
        ("time", given.time.as_deref().map(text)),
        ("version", given.version.clone()),
    ];
    parts
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

fn plain(given: &Given) -> String {
    let mut value = Tree::default();
    for (name, part) in parts(given) {
        value.put(&[name.to_owned()], part);
    }
    if let Payload::Data(data) = &given.payload {
        value.put(&["data".to_owned()], data.clone());
    }
    value.json()
}

fn mapped(
    given: &Given,
    mapping: &EnvelopeMapping,
    header_names: &[String],
    headers: &mut Vec<(String, Option<String>)>,
) -> String {
    let mut value = Tree::default();
    if let Payload::Data(data) = &given.payload {
        let whole = Path(Vec::new());
        value.put(&mapping.data.as_ref().unwrap_or(&whole).0, data.clone());
    }
    for (name, part) in parts(given) {
        let place = match name {
            "type" => &mapping.event_type,
            "id" => &mapping.id,
            "subject" => &mapping.subject,
            "source" => &mapping.source,
            "time" => &mapping.time,
            _ => &mapping.version,
        };
        match place {
            None => {}
            Some(EnvelopeField::Member(path)) => value.put(&path.0, part),
            Some(EnvelopeField::Header(slot)) => {
                let text = serde_json::from_str::<String>(&part).unwrap_or(part);
                headers.push((header_names[*slot].clone(), Some(text)));
            }
        }
    }
    value.json()
}

/// A JSON object under construction, of pieces that stay as they are.
#[derive(Default)]
struct Tree {
    /// A value that was put here as a whole.
    whole: Option<String>,
    members: Vec<(String, Tree)>,
}

impl Tree {
    fn put(&mut self, path: &[String], json: String) {
        let Some((name, rest)) = path.split_first() else {
            self.whole = Some(json);
            return;
        };
        let known = self.members.iter().position(|(member, _)| member == name);
        let index = known.unwrap_or_else(|| {
            self.members.push((name.clone(), Tree::default()));
            self.members.len() - 1
        });
        self.members[index].1.put(rest, json);
    }

    fn json(&self) -> String {
        let whole = self.whole.as_deref();
        if self.members.is_empty()
            && let Some(whole) = whole
        {
            return whole.to_owned();
        }
        // Members of an object that was put here as a whole stand beside those that were put one by one.
        let inner = whole.and_then(|whole| whole.trim().strip_prefix('{')?.strip_suffix('}'));
        let mut pieces: Vec<String> = inner
            .filter(|inner| !inner.trim().is_empty())
            .map(str::to_owned)
            .into_iter()
            .collect();
        for (name, member) in &self.members {
            let mut piece = String::new();
            push_text(name, &mut piece);
            pieces.push(format!("{piece}: {}", member.json()));
        }
        format!("{{{}}}", pieces.join(", "))
    }
}

fn timestamp_ms(time: Option<&str>) -> i64 {
    let arena = Bump::new();
    match time.map(|text| parse_text(text, &TIMESTAMPTZ, &arena)) {
        Some(Ok(Value::TimestampTz(micros))) => {
            (micros.div_euclid(1000)).saturating_add(DEFAULT_TIMESTAMP_MS)
        }
        _ => DEFAULT_TIMESTAMP_MS,
    }
}

#[cfg(test)]
mod tests {
    use super::Tree;

    #[test]
    fn pieces_are_put_together_without_touching_their_digits() {
        let mut tree = Tree::default();
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        tree.put(&path("a.data"), "{\"n\": 1.500}".into());
        tree.put(&path("a.data.kind"), "\"x\"".into());
        tree.put(&path("t"), "1".into());
        assert_eq!(
            tree.json(),
            r#"{"a": {"data": {"n": 1.500, "kind": "x"}}, "t": 1}"#
        );
    }
}
