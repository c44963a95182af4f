//! What `try` tells of events, over definitions written here.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::{Defaults, Trial, read, to_json, to_text};
use crate::definition::{File, load_traced};

const STOCK: &str = "
projection: stock
from:
  - topic: stock
    ignore: [Seen]
  - other
tables:
  items:
    key: { sku: text }
    columns:
      units: bigint not null default 0
      sold_out: boolean
    rules:
      Received:
        set: units = units + data.units
      Sold:
        - when: units >= data.units
          if_missing: skip
          set: units = units - data.units, sold_out = units = data.units
        - topic: other
          set: units = 0
      Gone:
        delete: true
  lines:
    key: { sku: text = event.key, no: int = item.no }
    columns:
      note: text
    rules:
      Received:
        each: data.lines
        when: item.no > 0
        set: note = item.note
      Marked:
        key: sku = event.key
        set: note = data.note
";

fn accounts(defaults: &Defaults, events: &[&str]) -> (Vec<Json>, String) {
    accounts_of(STOCK, defaults, events)
}

fn accounts_of(definition: &str, defaults: &Defaults, events: &[&str]) -> (Vec<Json>, String) {
    let file = File {
        file_name: "stock.yaml",
        text: definition,
    };
    let projection = Arc::new(load_traced(file, None).projection.unwrap());
    let mut trial = Trial::new(&projection);
    let (mut found, mut text) = (Vec::new(), String::new());
    for event in events {
        for record in read(&projection, "--event", event, defaults).unwrap() {
            let account = trial.fold(&record);
            found.push(to_json(&projection, &account));
            text += &to_text(&projection, &account, false);
        }
    }
    (found, text)
}

/// The account of a rule, by table and its place in it.
fn rule<'j>(account: &'j Json, table: &str, nth: usize) -> &'j Json {
    let rules = account["rules"].as_array().unwrap().iter();
    rules
        .filter(|rule| rule["table"] == table)
        .nth(nth)
        .unwrap()
}

#[test]
fn an_event_shows_every_value_and_the_row_before_and_after() {
    let (accounts, text) = accounts(
        &Defaults::default(),
        &[
            r#"{"type": "Received", "key": "A", "data": {"units": 5, "lines": [{"no": 1, "note": "x"}, {"no": 0}]}}"#,
            "{ type: Sold, key: A, data: { units: 5 } }",
        ],
    );
    let [received, sold] = accounts.as_slice() else {
        panic!("{accounts:?}")
    };
    let set = &rule(received, "items", 0)["steps"][0]["rows"][0]["expressions"][0];
    assert_eq!(
        *set,
        json!({"part": "set", "column": "units", "expression": "units + data.units", "type": "bigint", "value": 5, "error": null})
    );
    let lines = rule(received, "lines", 0);
    assert_eq!(lines["each"][0]["type"], "jsonb");
    assert_eq!(
        lines["steps"][0]["rows"][0]["key"],
        json!({"sku": "A", "no": 1})
    );
    assert_eq!(lines["steps"][1]["outcome"], "`when` is not true: skipped");
    assert_eq!(rule(received, "items", 1)["meets"], "other_type");
    assert_eq!(
        sold["rows"],
        json!([{"table": "items", "key": {"sku": "A"}, "before": {"sku": "A", "units": 5, "sold_out": null},
                "after": {"sku": "A", "units": 0, "sold_out": true}}])
    );
    assert_eq!(rule(sold, "items", 2)["meets"], "other_topic");
    assert!(text.contains("    - units: 5\n    + units: 0\n"), "{text}");
    assert!(
        text.contains("set units     0     bigint   units - data.units\n"),
        "{text}"
    );
}

#[test]
fn why_a_rule_does_nothing_is_said() {
    let (accounts, text) = accounts(
        &Defaults::default(),
        &[
            "{ type: Sold, key: A, data: { units: 1 } }",
            "{ type: Received, key: A, data: { units: 1 } }",
            "{ type: Sold, key: A, data: { units: 2 } }",
            "{ type: Marked, key: A, data: { note: x } }",
            "{ type: Gone, key: A }",
            "{ type: Gone, key: A }",
            "{ type: Seen, key: A }",
            "{ type: Unheard, key: A }",
        ],
    );
    let outcome = |at: usize, table: &str, nth: usize| {
        let step = &rule(&accounts[at], table, nth)["steps"][0];
        let row = &step["rows"][0]["outcome"];
        if row.is_null() {
            step["outcome"].clone()
        } else {
            row.clone()
        }
    };
    assert_eq!(outcome(0, "items", 1), "there is no such row: skipped");
    assert_eq!(outcome(2, "items", 1), "`when` is not true: skipped");
    assert_eq!(outcome(3, "lines", 1), "no row with this key: skipped");
    assert_eq!(outcome(4, "items", 3), "deleted");
    assert_eq!(accounts[4]["rows"][0]["after"], Json::Null);
    assert_eq!(outcome(5, "items", 3), "there is no such row: skipped");
    assert!(
        text.contains("when     false  boolean  units >= data.units\n"),
        "{text}"
    );
    assert!(
        text.contains("no rule is for it: its type stands under `ignore`"),
        "{text}"
    );
    assert!(
        text.contains("`status` would count its type as unheard of"),
        "{text}"
    );
    assert!(text.contains("items, sku = A: the row is gone\n"), "{text}");
}

#[test]
fn an_event_that_fails_says_where_and_changes_nothing() {
    let (accounts, text) = accounts(
        &Defaults::default(),
        &[
            r#"{"type": "Received", "key": "A", "data": {"units": "many"}}"#,
            r#"{"type": "Received", "data": {"units": 1}}"#,
            r#"{"no": "type"}"#,
        ],
    );
    let errors: Vec<&Json> = accounts.iter().map(|account| &account["error"]).collect();
    assert_eq!(errors[0]["column"], "units");
    assert_eq!(errors[0]["line"], 15);
    let failed = &rule(&accounts[0], "items", 0)["steps"][0]["rows"][0];
    assert_eq!(failed["outcome"], Json::Null);
    assert!(
        failed["expressions"][0]["error"]
            .as_str()
            .unwrap()
            .contains("\"many\"")
    );
    assert_eq!(errors[1]["part"], "key");
    assert_eq!(rule(&accounts[1], "lines", 0)["meets"], "not_asked");
    assert_eq!(errors[2]["table"], Json::Null);
    assert_eq!(accounts[2]["event"], Json::Null);
    assert!(accounts.iter().all(|account| account["rows"] == json!([])));
    assert_eq!(
        text.matches("the event changes nothing").count(),
        3,
        "{text}"
    );
}

#[test]
fn events_are_read_as_under_given_or_as_records_with_what_the_flags_say() {
    let flags = Defaults {
        key: Some("K".to_owned()),
        event_type: Some("Received".to_owned()),
        ..Defaults::default()
    };
    // Data of the type that the flag names, the form of `given`, and one event on each line.
    let forms = [
        "{\"units\": 2}",
        "{ key: L, data: { units: 3 } }",
        "{\"units\": 1}\n{\"units\": 1}\n",
    ];
    let (accounts, _) = accounts(&flags, &forms);
    let rows: Vec<String> = accounts
        .iter()
        .map(|a| a["rows"][0]["after"].to_string())
        .collect();
    let row =
        |sku: &str, units: i32| format!(r#"{{"sku":"{sku}","sold_out":null,"units":{units}}}"#);
    assert_eq!(rows, [row("K", 2), row("L", 3), row("K", 3), row("K", 4)]);
}

#[test]
fn what_is_no_event_of_the_definition_is_refused() {
    let file = File {
        file_name: "stock.yaml",
        text: STOCK,
    };
    let projection = load_traced(file, None).projection.unwrap();
    for (event, part) in [
        ("{ topic: stok, type: Sold }", "`stok`"),
        ("{ type: Sold, partition: x }", "a partition is a number"),
        ("{ key: A, data: {} }", "needs the key `type`"),
    ] {
        let error = read(&projection, "--event", event, &Defaults::default()).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_duplicate_changes_nothing_and_is_called_one() {
    let stock = STOCK.replace(
        "tables:\n  items",
        "deduplicate: { by: event.id, keep: 7 days }\ntables:\n  items",
    );
    let event = "{ type: Received, key: A, id: e-1, data: { units: 2 } }";
    let (accounts, text) = accounts_of(&stock, &Defaults::default(), &[event, event]);
    let row = json!({ "sku": "A", "units": 2, "sold_out": null });
    assert_eq!(accounts[0]["rows"][0]["after"], row);
    assert_eq!(accounts[0]["duplicate"], false);
    assert_eq!(accounts[1]["rows"], json!([]));
    assert_eq!(accounts[1]["duplicate"], true);
    assert_eq!(accounts[1]["applied"], false);
    assert!(
        text.contains("a duplicate of an earlier event: it changes nothing"),
        "{text}"
    );
}
