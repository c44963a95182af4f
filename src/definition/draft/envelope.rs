//! Where the parts of an event stand in the records of a topic, by the names and values they usually have.
//! Knows nothing of columns.

use std::collections::HashSet;

use super::super::testing::OwnedRecord;
use super::json;
use crate::event::RECORD;
use crate::expression::cast::parse_text;
use crate::expression::value::{Modifier, Scalar, Type};

const TYPE_NAMES: &[&str] = &[
    "type",
    "eventType",
    "event_type",
    "eventName",
    "event_name",
    "event",
    "kind",
    "action",
    "op",
    "@type",
    "$type",
];
const ID_NAMES: &[&str] = &[
    "id",
    "eventId",
    "event_id",
    "messageId",
    "message_id",
    "uuid",
];
const TIME_NAMES: &[&str] = &[
    "time",
    "occurredAt",
    "occurred_at",
    "eventTime",
    "event_time",
    "timestamp",
    "createdAt",
    "created_at",
    "ts",
    "at",
];
const DATA_NAMES: &[&str] = &["data", "payload", "body", "content", "detail", "details"];
/// Members that hold the others.
const CONTAINERS: &[&str] = &["", "meta", "metadata", "header", "headers", "envelope"];
const TYPE_HEADERS: &[&str] = &[
    "ce_type",
    "type",
    "eventType",
    "event_type",
    "event-type",
    "x-event-type",
];
const ID_HEADERS: &[&str] = &["ce_id", "id", "eventId", "event_id", "event-id"];
const TIME_HEADERS: &[&str] = &["ce_time", "time", "eventTime", "event_time", "event-time"];
/// More types than these are no types but something that every event has of its own.
const DISTINCT_MAX: usize = 60;
const TYPE_LEN_MAX: usize = 100;

/// The envelope of a topic.
#[derive(Debug)]
pub struct Found {
    pub kind: Kind,
    event_type: Option<Place>,
    /// Path of the data within the value.
    data: Vec<String>,
    /// Plain: a record without it is its own data.
    data_optional: bool,
    /// Members at the top of the data that are the envelope's.
    pub taken: Vec<String>,
    /// Headers that it reads.
    pub headers: Vec<String>,
}

#[derive(Debug)]
pub enum Kind {
    Plain,
    Nothing,
    /// Part and place, as a definition writes them.
    Mapping(Vec<(&'static str, String)>),
}

/// Where a part stands.
#[derive(Debug, Clone, PartialEq)]
enum Place {
    Member(Vec<String>),
    Header(String),
}

type Sample<'s, 'r> = &'s [(&'r OwnedRecord, &'r str)];

impl Found {
    pub fn event_type<'r>(&self, record: &'r OwnedRecord, text: &'r str) -> Option<&'r str> {
        let Some(place) = &self.event_type else {
            return Some(RECORD);
        };
        match place {
            Place::Header(name) => header(record, name),
            Place::Member(path) => {
                let raw = json::at(text, path)?;
                // An escape in the name of a type is not worth a rule of its own.
                raw.strip_prefix('"')?
                    .strip_suffix('"')
                    .filter(|text| !text.contains('\\'))
            }
        }
    }

    pub fn data<'r>(&self, text: &'r str) -> &'r str {
        match json::at(text, &self.data) {
            Some(data) => data,
            None if self.data_optional => text,
            None => "null",
        }
    }
}

pub fn find(sample: Sample<'_, '_>) -> Found {
    let objects = sample.iter().all(|(_, text)| json::is_object(text));
    let of_header = || {
        let headers = TYPE_HEADERS
            .iter()
            .map(|name| Place::Header((*name).to_owned()));
        headers.into_iter().find(|place| is_type(sample, place))
    };
    let members = CONTAINERS.iter().flat_map(|container| {
        TYPE_NAMES
            .iter()
            .map(|name| Place::Member(path(container, name)))
    });
    let mut members = members.filter(|_| objects);
    let Some(place) = members
        .find(|place| is_type(sample, place))
        .or_else(of_header)
    else {
        return Found {
            kind: Kind::Nothing,
            event_type: None,
            data: Vec::new(),
            data_optional: false,
            taken: Vec::new(),
            headers: Vec::new(),
        };
    };
    if place == Place::Member(vec!["type".to_owned()]) && fits_plain(sample) {
        return plain(sample, place);
    }
    mapping(sample, place)
}

fn plain(sample: Sample<'_, '_>, place: Place) -> Found {
    let has_data = |(_, text): &(&OwnedRecord, &str)| json::at(text, &path("", "data")).is_some();
    let taken: &[&str] = match sample.iter().any(has_data) {
        true => &[],
        false => &["type", "time", "version"],
    };
    Found {
        kind: Kind::Plain,
        event_type: Some(place),
        data: path("", "data"),
        data_optional: true,
        taken: taken.iter().map(|name| (*name).to_owned()).collect(),
        headers: Vec::new(),
    }
}

fn mapping(sample: Sample<'_, '_>, place: Place) -> Found {
    let beside = match &place {
        Place::Member(path) if path.len() > 1 => path[0].as_str(),
        _ => "",
    };
    let first = |names: &[&str], headers: &[&str], fits: &dyn Fn(&str) -> bool| {
        let members = [beside, ""].into_iter().flat_map(|container| {
            names
                .iter()
                .map(move |name| Place::Member(path(container, name)))
        });
        let headers = headers.iter().map(|name| Place::Header((*name).to_owned()));
        let mut places: Vec<Place> = members.chain(headers).collect();
        if matches!(place, Place::Header(_)) {
            places.rotate_left(2 * names.len());
        }
        let everywhere = |candidate: &Place| {
            *candidate != place
                && sample.iter().all(|(record, text)| {
                    let found = text_at(record, text, candidate);
                    found.is_some_and(|text| fits(&text))
                })
        };
        places.into_iter().find(everywhere)
    };
    let time = first(TIME_NAMES, TIME_HEADERS, &is_time);
    let id = first(ID_NAMES, ID_HEADERS, &|text| !text.is_empty());
    let data = DATA_NAMES.iter().find(|name| {
        let all = sample
            .iter()
            .all(|(_, text)| json::at(text, &path("", name)).is_some_and(json::is_object));
        all && place != Place::Member(path("", name))
    });
    let parts = [
        ("type", Some(&place)),
        ("time", time.as_ref()),
        ("id", id.as_ref()),
    ];
    let written = parts
        .into_iter()
        .filter_map(|(part, place)| Some((part, place?.written())));
    let mut written: Vec<(&str, String)> = written.collect();
    if let Some(name) = data {
        written.push(("data", format!("body.{name}")));
    }
    let own = [Some(&place), time.as_ref()].into_iter().flatten();
    let taken = own.filter_map(|place| match place {
        Place::Member(path) if data.is_none() => path.first().cloned(),
        _ => None,
    });
    let places = [Some(&place), time.as_ref(), id.as_ref()];
    let headers = places
        .into_iter()
        .flatten()
        .filter_map(|place| match place {
            Place::Header(name) => Some(name.clone()),
            Place::Member(_) => None,
        });
    Found {
        kind: Kind::Mapping(written),
        headers: headers.collect(),
        taken: taken.collect(),
        event_type: Some(place),
        data: data.map_or_else(Vec::new, |name| path("", name)),
        data_optional: false,
    }
}

impl Place {
    /// `body.meta.type` or `headers."event-type"`.
    fn written(&self) -> String {
        let (root, names) = match self {
            Place::Member(path) => ("body", path.as_slice()),
            Place::Header(name) => ("headers", std::slice::from_ref(name)),
        };
        names.iter().fold(root.to_owned(), |all, name| {
            format!("{all}.{}", super::columns::quoted(name))
        })
    }
}

/// Every record has a short text there, and few different ones.
fn is_type(sample: Sample<'_, '_>, place: &Place) -> bool {
    let mut distinct = HashSet::new();
    for (record, text) in sample {
        let found = match place {
            Place::Header(_) => text_at(record, text, place),
            Place::Member(path) => json::at(text, path)
                .and_then(json::string)
                .map(String::from),
        };
        match found.filter(|found| is_type_name(found)) {
            Some(found) => _ = distinct.insert(found),
            None => return false,
        }
    }
    let few = distinct.len() <= 5 || distinct.len() * 2 <= sample.len();
    few && distinct.len() <= DISTINCT_MAX
}

/// As the name of a rule, it stands for itself.
fn is_type_name(text: &str) -> bool {
    let plain = super::is_printable(text) && !text.contains(['"', '\\', ',', '*']);
    plain && !text.is_empty() && text.len() <= TYPE_LEN_MAX && text.trim() == text
}

/// What the plain envelope reads besides the type can be read.
fn fits_plain(sample: Sample<'_, '_>) -> bool {
    sample.iter().all(|(_, text)| {
        let member = |name: &str| json::at(text, &path("", name)).filter(|raw| *raw != "null");
        let time = member("time").is_none_or(|raw| json::string(raw).is_some_and(|t| is_time(&t)));
        let is_bigint = |raw: &str| {
            let text = json::string(raw).unwrap_or(raw.into());
            text.parse::<i64>().is_ok()
        };
        time && member("version").is_none_or(is_bigint)
    })
}

pub fn is_time(text: &str) -> bool {
    const TIMESTAMPTZ: Type = Type {
        scalar: Scalar::TimestampTz,
        modifier: Modifier::None,
        array: false,
    };
    let dated = text.len() >= 10
        && text.as_bytes()[..10]
            .iter()
            .enumerate()
            .all(|(at, byte)| match at {
                4 | 7 => *byte == b'-',
                _ => byte.is_ascii_digit(),
            });
    dated && parse_text(text, &TIMESTAMPTZ, &bumpalo::Bump::new()).is_ok()
}

fn text_at(record: &OwnedRecord, text: &str, place: &Place) -> Option<String> {
    match place {
        Place::Header(name) => header(record, name).map(str::to_owned),
        Place::Member(path) => {
            let raw = json::at(text, path).filter(|raw| *raw != "null")?;
            (!raw.starts_with(['{', '[']))
                .then(|| json::string(raw).unwrap_or(raw.into()).into_owned())
        }
    }
}

/// A repeated header: the last one counts.
fn header<'r>(record: &'r OwnedRecord, name: &str) -> Option<&'r str> {
    let mut headers = record.headers.iter().rev();
    let (_, value) = headers.find(|(known, _)| known == name)?;
    std::str::from_utf8(value.as_deref()?).ok()
}

fn path(container: &str, name: &str) -> Vec<String> {
    let steps = [container, name]
        .into_iter()
        .filter(|step| !step.is_empty());
    steps.map(str::to_owned).collect()
}
