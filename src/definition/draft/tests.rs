//! Drafts of samples of many kinds: each must load, pass its own test, and say what is expected.

use std::sync::Arc;

use super::draft;
use crate::definition::testing::{self, OwnedRecord};
use crate::definition::{File, Severity, load_with_tests};

fn record(key: Option<&str>, value: &str) -> OwnedRecord {
    OwnedRecord {
        topic: 0,
        partition: 1,
        offset: None,
        timestamp_ms: Some(1_767_225_600_000),
        key: key.map(|key| key.as_bytes().to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers: Vec::new(),
    }
}

fn with_header(mut record: OwnedRecord, name: &str, value: &str) -> OwnedRecord {
    let value = value.as_bytes().to_vec();
    record.headers.push((name.to_owned(), Some(value)));
    record
}

fn tombstone(key: &str) -> OwnedRecord {
    OwnedRecord {
        value: None,
        ..record(Some(key), "")
    }
}

/// The text of a draft that loads without an error and whose own test passes.
fn sound(records: &[OwnedRecord]) -> String {
    let text = draft("orders", "shop.orders", records).unwrap().text;
    let file = File {
        file_name: "orders.yaml",
        text: &text,
    };
    let loaded = load_with_tests(file, None);
    let is_error = |found: &&crate::definition::Diagnostic| found.severity == Severity::Error;
    let errors: Vec<_> = loaded.diagnostics.iter().filter(is_error).collect();
    assert!(errors.is_empty(), "{errors:?}\n{text}");
    let projection = Arc::new(loaded.projection.unwrap());
    for test in &loaded.tests {
        let result = testing::run(&projection, test);
        assert!(result.passed(), "{:?}\n{text}", result.failures);
    }
    text
}

fn assert_has(text: &str, lines: &[&str]) {
    for line in lines {
        let same = |known: &str| known.split(" #").next().unwrap_or_default().trim() == *line;
        assert!(text.lines().any(same), "no line `{line}` in\n{text}");
    }
}

#[test]
fn plain_events_give_a_rule_for_each_type_and_types_that_fit_all_values() {
    let text = sound(&[
        record(
            Some("o-1"),
            r#"{"type":"Placed","id":"1","time":"2026-01-01T08:00:00Z","data":{"orderId":"o-1","total":12,"note":null,"paid":false,
               "placedOn":"2026-01-01","customer":"0190a8f1-7e0a-7c3e-9d5e-6a3c1f2b4d5e","order":"x","lines":[{"sku":"A"}],"ref":1}}"#,
        ),
        record(
            Some("o-2"),
            r#"{"type":"Placed","id":"2","time":"2026-01-01T08:00:00Z","data":{"orderId":"o-2","total":12.50,"paid":true,
               "placedOn":"2026-01-02","customer":"0190a8f1-7e0a-7c3e-9d5e-6a3c1f2b4d5f","order":"y","lines":[],"ref":"r","gift":{"to":"Ada"}}}"#,
        ),
        record(
            Some("o-1"),
            r#"{"type":"Order shipped","time":"2026-01-03T08:00:00Z","data":{"shippedAt":"2026-01-03T07:59:59+01:00","weight":99999999999999999999}}"#,
        ),
        tombstone("o-2"),
    ]);
    assert_has(
        &text,
        &[
            "envelope: plain",
            "order_id: text = event.key",
            "total: numeric",
            "note: text",
            "paid: boolean",
            "placed_on: date",
            "customer: uuid",
            "order_: text",
            "lines: jsonb",
            "ref: text",
            "gift: jsonb",
            "shipped_at: timestamptz",
            "weight: numeric",
            "changed_at: timestamptz",
            "gift = coalesce(data.gift, gift),",
            "order_ = data.order,",
            "\"Order shipped\":",
            "tombstone:",
            "tests:",
        ],
    );
    assert!(text.contains("# seen as bigint and text"), "{text}");
    assert!(text.contains("in 1 of 2 events"), "{text}");
}

#[test]
fn an_envelope_of_its_own_becomes_a_mapping() {
    let value = |kind: &str| {
        format!(
            r#"{{"meta":{{"eventType":"{kind}","eventId":7,"occurredAt":"2026-02-01T00:00:00Z"}},"payload":{{"carrier-name":"DHL"}}}}"#
        )
    };
    let text = sound(&[
        record(Some("s"), &value("Shipped")),
        record(Some("s"), &value("Lost")),
    ]);
    assert_has(
        &text,
        &[
            "type: body.meta.eventType",
            "time: body.meta.occurredAt",
            "id: body.meta.eventId",
            "data: body.payload",
            "carrier_name = data.\"carrier-name\",",
            "order_id: text = event.key",
        ],
    );
}

#[test]
fn a_type_in_a_header_is_found_and_the_test_carries_the_header() {
    let one = |kind: &str| {
        let made = record(Some("k"), r#"{"amount":1.5,"type":{"a":1}}"#);
        with_header(with_header(made, "ce_type", kind), "trace", "x")
    };
    let text = sound(&[one("Paid"), one("Refunded")]);
    assert_has(
        &text,
        &[
            "type: headers.ce_type",
            "\"ce_type\": \"Paid\"",
            "amount: numeric",
        ],
    );
    assert!(!text.contains("trace"), "{text}");
}

#[test]
fn a_type_whose_time_no_plain_envelope_could_read_is_a_mapping() {
    let text = sound(&[record(
        Some("k"),
        r#"{"type":"Paid","time":1767225600,"data":{"n":1}}"#,
    )]);
    assert_has(&text, &["type: body.type", "data: body.data", "n: bigint"]);
}

#[test]
fn records_without_a_type_are_taken_whole() {
    let text = sound(&[
        record(Some("a"), r#"{"id":"a","name":"x"}"#),
        record(Some("b"), r#"{"id":"b","name":"y"}"#),
    ]);
    assert_has(
        &text,
        &[
            "envelope: none",
            "id: text = event.key",
            "record:",
            "name: text",
        ],
    );
    let text = sound(&[record(Some("a"), "[1, 2]"), record(Some("b"), "3")]);
    assert_has(&text, &["value = data,", "value: jsonb"]);
}

#[test]
fn without_keys_a_member_that_repeats_is_the_key_or_every_event_has_a_row() {
    let value = |id: &str, account: &str| {
        format!(
            r#"{{"type":"Booked","data":{{"entryId":"{id}","accountNo":"{account}","amount":5}}}}"#
        )
    };
    let text = sound(&[
        record(None, &value("1", "A")),
        record(None, &value("2", "B")),
        record(None, &value("3", "A")),
    ]);
    assert_has(
        &text,
        &["account_no: text = data.accountNo", "entry_id: text"],
    );
    assert!(text.contains("# The records of this topic have no key."));
    let text = sound(&[record(None, r#"{"type":"Seen","data":{"x":1.5}}"#)]);
    assert_has(
        &text,
        &[
            "log_partition: integer = event.partition",
            "log_offset: bigint = event.offset",
        ],
    );
}

#[test]
fn odd_members_records_and_names_do_no_harm() {
    let many: Vec<String> = (0..80).map(|n| format!("\"m{n}\":{n}")).collect();
    let value = format!(
        r#"{{"type":"T","data":{{"":1,"a b":2,"A_B":3,"a\"q":4,"tab\there":5,"changed_at":"x","ümlaut":6,"a: #b":7,{}}}}}"#,
        many.join(",")
    );
    let text = sound(&[
        record(Some("k\u{7f}"), "not json"),
        record(Some("k: #"), &value),
        record(
            Some("'"),
            r#"{"type":"a: b #c","data":{"t":"2026-01-01T00:00:00","s":"2026"}}"#,
        ),
    ]);
    assert_has(
        &text,
        &["a_b: bigint", "a_b_2: bigint", "t: timestamp", "s: text"],
    );
    assert!(
        text.contains("# without a column: \"\", \"tab\\there\""),
        "{text}"
    );
    assert!(text.contains("1 of 3 records are no JSON"), "{text}");
}

#[test]
fn what_cannot_be_drafted_is_said() {
    let one = [record(Some("k"), r#"{"type":"T"}"#)];
    let binary = [record(Some("k"), "\u{0}\u{1}avro")];
    for (name, records, part) in [
        ("Orders", &one[..], "such as `orders`"),
        ("order", &one[..], "no name"),
        ("orders", &[], "no records"),
        ("orders", &binary[..], "none of the 1 records"),
    ] {
        let error = draft(name, "t", records).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn an_event_with_very_many_members_gets_columns_for_the_first_of_them() {
    let members: Vec<String> = (0..120).map(|n| format!("\"m{n}\":{n}")).collect();
    let value = format!(r#"{{"type":"T","data":{{{}}}}}"#, members.join(","));
    let text = sound(&[record(Some("k"), &value)]);
    assert_has(&text, &["m0: bigint", "m99: bigint"]);
    assert!(text.contains("# without a column: \"m100\","), "{text}");
}
