//! Records to events, envelope by envelope.

use super::*;
use crate::definition::projection::{
    Envelope, EnvelopeField, EnvelopeMapping, Format, OnError, Projection, Topic,
};
use bumpalo::Bump;

fn path(text: &str) -> Path {
    match text {
        "" => Path(Vec::new()),
        text => Path(text.split('.').map(str::to_owned).collect()),
    }
}

fn decoder(envelope: Envelope, paths: &[&str], headers: &[&str]) -> Decoder {
    let topic = Topic {
        name: "orders".to_owned(),
        format: Format::Json,
        envelope,
        ignore: Vec::new(),
    };
    let projection = Projection {
        name: "p".to_owned(),
        description: None,
        text: String::new(),
        fold_fingerprint: String::new(),
        text_fingerprint: String::new(),
        topics: vec![topic],
        tables: Vec::new(),
        views: Vec::new(),
        on_error: OnError::Stop,
        deduplicate: None,
        paths: paths.iter().map(|text| path(text)).collect(),
        header_names: headers.iter().map(|name| (*name).to_owned()).collect(),
    };
    Decoder::new(&projection, 0)
}

fn record(value: &str) -> Record<'_> {
    Record {
        topic: 0,
        partition: 3,
        offset: 42,
        timestamp_ms: Some(946_684_800_001),
        key: Some(b"K-1"),
        value: Some(value.as_bytes()),
        headers: &[],
    }
}

/// Members as they stand in the record.
fn members(event: &Event<'_>) -> Vec<Option<String>> {
    let raw = |member: &Member<'_>| match *member {
        Member::Text(text) => Some(format!("\"{text}\"")),
        Member::Json(raw) => Some(raw.to_owned()),
        _ => None,
    };
    event.members.iter().map(raw).collect()
}

fn refusal(decoder: &Decoder, record: &Record<'_>) -> (DecodeErrorKind, String, Option<usize>) {
    let arena = Bump::new();
    match decoder.decode(record, &arena) {
        Ok(event) => panic!("decoded: {event:?}"),
        Err(error) => (error.kind(), error.message().to_owned(), error.offset()),
    }
}

#[test]
fn a_plain_envelope_gives_every_part_of_an_event() {
    let decoder = decoder(Envelope::Plain, &["units", "", "type"], &[]);
    let arena = Bump::new();
    let value = r#"{"type":"So\u006cd","id":7,"subject":{"b":1,"a":[1.0]},"source":"s","version":"12",
        "time":"2000-01-01T00:00:01Z","data":{"units":5,"type":"inner"},"units":6}"#;
    let event = decoder.decode(&record(value), &arena).unwrap();
    assert_eq!(event.event_type, "Sold");
    assert_eq!(event.id, Some("7"));
    assert_eq!(event.subject, Some(r#"{"a": [1.0], "b": 1}"#));
    assert_eq!(event.source, Some("s"));
    assert_eq!(event.version, Some(12));
    assert_eq!(event.time, 1_000_000);
    assert_eq!(event.timestamp, 1_000);
    assert_eq!(
        (event.topic_name, event.partition, event.offset),
        ("orders", 3, 42)
    );
    assert_eq!(event.key, Some("K-1"));
    let data = r#"{"units":5,"type":"inner"}"#;
    assert_eq!(
        members(&event),
        [
            Some("5".to_owned()),
            Some(data.to_owned()),
            Some("\"inner\"".to_owned())
        ]
    );
}

#[test]
fn a_plain_record_without_data_is_its_own_payload() {
    let decoder = decoder(Envelope::Plain, &["units", "type", ""], &[]);
    let arena = Bump::new();
    let value = r#"{"type":"Sold","units":6}"#;
    let event = decoder.decode(&record(value), &arena).unwrap();
    assert_eq!(
        members(&event),
        [
            Some("6".to_owned()),
            Some("\"Sold\"".to_owned()),
            Some(value.to_owned())
        ]
    );
    assert_eq!(event.time, event.timestamp);
    assert_eq!((event.id, event.version), (None, None));
    let value = r#"{"type":"Sold","units":6,"data":null}"#;
    let event = decoder.decode(&record(value), &arena).unwrap();
    assert_eq!(members(&event), [None, None, None]);
}

#[test]
fn no_envelope_takes_any_value_as_data() {
    let decoder = decoder(Envelope::None, &["", "a.1"], &[]);
    let arena = Bump::new();
    let event = decoder.decode(&record(r#" {"a":[1,2]} "#), &arena).unwrap();
    assert_eq!(event.event_type, RECORD);
    assert_eq!(
        members(&event),
        [Some(r#"{"a":[1,2]}"#.to_owned()), Some("2".to_owned())]
    );
    let event = decoder.decode(&record("17"), &arena).unwrap();
    assert_eq!(members(&event), [Some("17".to_owned()), None]);
}

#[test]
fn a_mapping_takes_parts_from_members_and_headers() {
    let mapping = EnvelopeMapping {
        event_type: Some(EnvelopeField::Member(path("body.eventType"))),
        id: Some(EnvelopeField::Header(1)),
        time: Some(EnvelopeField::Member(path("body.occurredAt"))),
        data: Some(path("body.payload")),
        ..EnvelopeMapping::default()
    };
    let decoder = decoder(Envelope::Mapping(mapping), &["x"], &["trace", "event_id"]);
    let arena = Bump::new();
    let value =
        r#"{"body":{"eventType":"A","occurredAt":"2 January 2000","payload":{"x":1}},"x":2}"#;
    let headers: [(&str, Option<&[u8]>); 4] = [
        ("event_id", Some(b"old")),
        ("other", Some(b"\xff")),
        ("event_id", Some(b"new")),
        ("trace", None),
    ];
    let mut record = record(value);
    record.headers = &headers;
    let event = decoder.decode(&record, &arena).unwrap();
    assert_eq!((event.event_type, event.id), ("A", Some("new")));
    assert_eq!(event.time, 86_400_000_000);
    assert_eq!(event.headers, [None, Some("new")]);
    assert_eq!(members(&event), [Some("1".to_owned())]);
    record.value = Some(br#"{"body":{"eventType":"A"},"x":2}"#);
    assert_eq!(members(&decoder.decode(&record, &arena).unwrap()), [None]);
    record.value = None;
    let tombstone = decoder.decode(&record, &arena).unwrap();
    assert_eq!(
        (tombstone.event_type, tombstone.id),
        (TOMBSTONE, Some("new"))
    );
    let broken: [(&str, Option<&[u8]>); 1] = [("trace", Some(b"\xff"))];
    record.headers = &broken;
    assert_eq!(
        refusal(&decoder, &record),
        (
            DecodeErrorKind::Header,
            "header trace is not valid UTF-8".to_owned(),
            None
        )
    );
}

#[test]
fn what_cannot_be_an_event_is_refused_with_kind_message_and_offset() {
    use DecodeErrorKind::*;
    let decoder = decoder(Envelope::Plain, &["units"], &[]);
    let cases = [
        ("{}", EventType, "event.type is missing or null", None),
        ("[]", EventType, "event.type is missing or null", None),
        (
            r#"{"type":null}"#,
            EventType,
            "event.type is missing or null",
            None,
        ),
        (
            r#"{"type": 5}"#,
            EventType,
            "event.type is not a JSON string",
            Some(9),
        ),
        (
            r#"{"type":"A","#,
            Json,
            "the value is not valid JSON: the text ends in the middle of a value",
            Some(12),
        ),
        (
            "",
            Json,
            "the value is not valid JSON: the text ends in the middle of a value",
            Some(0),
        ),
        (
            r#"{"type":"A","time":1643673600}"#,
            Time,
            "event.time is not a JSON string",
            Some(19),
        ),
        (
            r#"{"type":"A","time":"soon"}"#,
            Time,
            "event.time: ",
            Some(19),
        ),
        (
            r#"{"type":"A","version":1.5}"#,
            Version,
            "event.version: invalid input syntax for type bigint: \"1.5\"",
            Some(22),
        ),
    ];
    for (value, kind, message, offset) in cases {
        let refused = refusal(&decoder, &record(value));
        assert_eq!((refused.0, refused.2), (kind, offset), "{value}");
        assert!(refused.1.starts_with(message), "{value}: {}", refused.1);
    }
    let mut bad_key = record("{}");
    bad_key.key = Some(b"\xc3");
    bad_key.value = None;
    assert_eq!(
        refusal(&decoder, &bad_key),
        (Key, "the record key is not valid UTF-8".to_owned(), None)
    );
    bad_key.key = Some(b"a\0b");
    assert_eq!(refusal(&decoder, &bad_key).0, Key);
}

#[test]
fn without_any_time_there_is_no_event() {
    let decoder = decoder(Envelope::Plain, &[], &[]);
    let arena = Bump::new();
    let mut untimed = record(r#"{"type":"A"}"#);
    untimed.timestamp_ms = None;
    assert_eq!(refusal(&decoder, &untimed).0, DecodeErrorKind::Time);
    untimed.value = Some(br#"{"type":"A","time":"infinity"}"#);
    let event = decoder.decode(&untimed, &arena).unwrap();
    assert_eq!((event.time, event.timestamp), (i64::MAX, NO_TIMESTAMP));
}
