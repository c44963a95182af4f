//! Histories: which states events leave, and which leave none.

use super::*;

const KEPT: &str = "
projection: p
from: [t]
tables:
  c:
    history: true
    key: { id: text }
    columns:
      n: integer not null default 0
    rules:
      Add: { set: n = n + data.by }
      Same: { set: n = n }
      Fail: { set: n = 1 / (n - n) }
      Twice:
        - set: n = n + 1
        - set: n = n * 10
      Undone:
        - set: n = n + 1
        - set: n = n - 1
      Gone:
        - set: n = 7
        - delete: true
      Drop: { delete: true }
";

/// What the states of the first table are; in one batch, or each event in its own, with memory or without.
fn states(definition: &str, events: &[&str]) -> Vec<String> {
    let sent: Vec<Sent<'_>> = events
        .iter()
        .map(|event| (0, 0, Some("k"), *event))
        .collect();
    let mut outcomes = Vec::new();
    for size in [1, events.len()] {
        for cache_bytes_max in [0, 1 << 20] {
            let mut lane = Lane::new(definition, cache_bytes_max);
            let mut kept = Vec::new();
            for (number, batch) in sent.chunks(size).enumerate() {
                lane.batch(batch, OnFailure::Skip);
                let of_batch = lane.states[0].drain(..);
                // `k n time id type topic partition offset gone`; offsets begin anew with each batch.
                kept.extend(of_batch.map(|state| {
                    let words: Vec<&str> = state.split(' ').collect();
                    let offset: usize = words[words.len() - 2].parse().unwrap();
                    let gone = words[words.len() - 1];
                    format!("{} {gone} @{}", words[1], number * size + offset)
                }));
            }
            outcomes.push(kept);
        }
    }
    for other in &outcomes[1..] {
        assert_eq!(*other, outcomes[0]);
    }
    outcomes.remove(0)
}

const ADD: &str = r#"{"type":"Add","data":{"by":2}}"#;

#[test]
fn an_event_leaves_one_state_of_a_row_that_it_changes_and_none_of_others() {
    let events = [
        ADD,
        r#"{"type":"Same"}"#,
        r#"{"type":"Fail"}"#,
        r#"{"type":"Undone"}"#,
        r#"{"type":"Twice"}"#,
        r#"{"type":"Drop"}"#,
        r#"{"type":"Drop"}"#,
        r#"{"type":"Gone"}"#,
        ADD,
    ];
    let expected = ["2 false @0", "30 false @4", "- true @5", "2 false @8"];
    assert_eq!(states(KEPT, &events), expected);
}

#[test]
fn a_row_that_is_kept_for_its_versions_has_no_state_while_it_is_deleted() {
    let guarded = KEPT.replace(
        "    history: true",
        "    history: true\n    version: event.version",
    );
    let event = |kind: &str, version: i32| {
        format!(r#"{{"type":"{kind}","version":{version},"data":{{"by":2}}}}"#)
    };
    let events = [
        event("Add", 2),
        event("Add", 1),
        event("Drop", 3),
        event("Drop", 4),
        event("Add", 3),
        event("Add", 5),
    ];
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let expected = ["2 false @0", "- true @2", "2 false @5"];
    assert_eq!(states(&guarded, &events), expected);
}
