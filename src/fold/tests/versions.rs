//! Guards against stale and repeated events: what they skip, and what they keep of a deleted row.

use super::*;

const GUARDED: &str = "
projection: p
from: [t]
tables:
  c:
    key: { id: text }
    columns:
      n: integer not null default 0
      note: text
    version: data.v::bigint
    rules:
      Add:
        - set: n = n + data.by
        - set: note = 'added'
      Reset: { set: n = data.by }
      Fail: { set: n = 1 / (n - n) }
      Drop: { delete: true }
  d:
    key: { id: text }
    columns:
      price: integer
      stock: integer
    rules:
      Priced: { version: data.v::bigint, set: price = data.by }
      Counted: { version: data.v::bigint, set: stock = data.by }
      Drop: { delete: true }
";

/// Every event in a batch of its own, or all in one; with room for rows in memory, or without.
fn folded(events: &[&str], table: usize) -> Vec<String> {
    let values: Vec<String> = events.iter().map(|event| event_text(event)).collect();
    let sent: Vec<Sent<'_>> = values
        .iter()
        .map(|value| (0, 0, Some("k"), value.as_str()))
        .collect();
    let mut outcomes: Vec<(Vec<String>, u64)> = Vec::new();
    for cache_bytes_max in [0, 1 << 20] {
        for batch in [1, 2, sent.len()] {
            let mut lane = Lane::new(GUARDED, cache_bytes_max);
            for events in sent.chunks(batch) {
                lane.batch(events, OnFailure::Skip);
            }
            outcomes.push((lane.rows(table), lane.folder.stale()));
        }
    }
    let first = outcomes[0].clone();
    assert!(
        outcomes.iter().all(|outcome| *outcome == first),
        "{events:?}: {outcomes:?}"
    );
    let mut rows = first.0;
    rows.push(format!("stale {}", first.1));
    rows
}

#[test]
fn what_is_not_above_the_last_version_applied_is_skipped_and_counted() {
    let cases: [(&[&str], &[&str]); 8] = [
        (
            &["Add v=1 by=5", "Add v=2 by=6"],
            &["k 11 added 2 false", "stale 0"],
        ),
        (
            &["Add v=2 by=5", "Add v=1 by=6", "Add v=2 by=7"],
            &["k 5 added 2 false", "stale 2"],
        ),
        (
            &["Add v=9 by=5", "Add v=10 by=1"],
            &["k 6 added 10 false", "stale 0"],
        ),
        // An event that fails leaves no version behind.
        (
            &["Add v=1 by=5", "Fail v=5", "Add v=2 by=1"],
            &["k 6 added 2 false", "stale 0"],
        ),
        (&["Add by=5"], &["stale 0"]),
        // The version outlives the row.
        (
            &["Add v=3 by=5", "Drop v=7", "Add v=5 by=1"],
            &["k 0 - 7 true", "stale 1"],
        ),
        (
            &["Add v=3 by=5", "Drop v=7", "Reset v=8 by=1"],
            &["k 1 - 8 false", "stale 0"],
        ),
        // A stale event does not delete, and a row that never was is not kept.
        (
            &["Drop v=9", "Add v=3 by=5", "Drop v=2"],
            &["k 5 added 3 false", "stale 1"],
        ),
    ];
    for (events, rows) in cases {
        assert_eq!(folded(events, 0), rows, "{events:?}");
    }
}

#[test]
fn a_rules_own_version_guards_its_columns_alone() {
    let events = [
        "Priced v=5 by=50",
        "Counted v=2 by=20",
        "Priced v=4 by=40",
        "Counted v=3 by=30",
    ];
    assert_eq!(folded(&events, 1), ["k 50 30 5 3 false", "stale 1"]);
    let events = [
        "Priced v=5 by=50",
        "Drop v=1",
        "Priced v=5 by=40",
        "Counted v=1 by=1",
    ];
    assert_eq!(folded(&events, 1), ["k - 1 5 1 false", "stale 1"]);
}
