//! What rules do to rows, and what failures undo.

use super::*;

fn counter(events: &[&str]) -> (Lane, FoldOutcome) {
    let mut lane = Lane::new(COUNTER, 1 << 20);
    let values: Vec<String> = events.iter().map(|event| event_text(event)).collect();
    let sent: Vec<Sent<'_>> = values
        .iter()
        .map(|value| (0, 0, Some("k"), value.as_str()))
        .collect();
    let outcome = lane.batch(&sent, OnFailure::Stop);
    (lane, outcome)
}

#[test]
fn rules_change_rows_as_their_definition_says() {
    let cases: [(&[&str], &[&str]); 17] = [
        (&["Add by=5", "Add by=-2"], &["k 3 - 2"]),
        (&["Add by=5", "Swap"], &["k 1 - 5"]),
        (&["Add by=5", "Drop"], &[]),
        (&["Drop"], &[]),
        (&["Add by=5", "Drop", "Add by=7"], &["k 7 - 1"]),
        // A row that an event deleted is not created again by its later rules, but by later events.
        (&["Add by=5", "Reset"], &[]),
        (&["Reset"], &["k 100 - 0"]),
        (&["Add by=5", "Reset", "Reset"], &["k 100 - 0"]),
        // Each rule sees what the one before left; old is the row before the event, nulls if there was none.
        (&["Add by=3", "Twice"], &["k 43 - 1"]),
        (&["OnlyThere"], &[]),
        (&["Add by=1", "OnlyThere"], &["k 1001 - 1"]),
        (&["Add by=1", "MustBeThere"], &["k 2001 - 1"]),
        (&["Add by=5", "Big"], &["k 5 - 1"]),
        (&["Add by=6", "Big"], &["k 6 big 1"]),
        (&["Big"], &[]),
        (&["Flagged flag=null", "Flagged flag=false"], &[]),
        (
            &["Flagged flag=true", "Unknown", "Known"],
            &["k 0 flagged 0"],
        ),
    ];
    for (events, rows) in cases {
        let (lane, outcome) = counter(events);
        assert!(
            outcome.failure.is_none(),
            "{events:?}: {:?}",
            outcome.failure
        );
        assert_eq!(outcome.folded, events.len());
        assert_eq!(lane.rows(0), rows, "{events:?}");
    }
}

#[test]
fn a_failing_event_changes_nothing_and_stops_the_batch_before_it() {
    let cases: [(&[&str], usize, &str, &[&str]); 5] = [
        (
            &["Add by=5", "Add by=2147483647", "Add by=1"],
            1,
            "table c, rule Add (line 14), set n: integer out of range (22003)",
            &["k 5 - 1"],
        ),
        (
            &["Note note=\"x\"", "NoNumber", "Add by=1"],
            1,
            "table c, rule NoNumber (line 16), set n: a not-null column is null at the end of the event",
            &["k 0 x 0"],
        ),
        (
            &["MustBeThere"],
            0,
            "table c, rule MustBeThere (line 26): there is no such row (if_missing: fail)",
            &[],
        ),
        // The second of two rules fails: what the first one did is undone, be it the creation of the row.
        (
            &["Twice"],
            0,
            "table c, rule Twice (line 24), set n: a not-null column is null at the end of the event",
            &[],
        ),
        (
            &["Add by=1", "Flagged flag=7.5"],
            1,
            "table c, rule Flagged (line 28), when: invalid input syntax for type boolean: \"7.5\" (22P02)",
            &["k 1 - 1"],
        ),
    ];
    for (events, folded, message, rows) in cases {
        let (lane, outcome) = counter(events);
        assert_eq!(failed(&outcome), (folded, message.to_owned()), "{events:?}");
        assert_eq!(lane.rows(0), rows, "{events:?}");
    }
}

#[test]
fn a_record_without_a_key_fails_where_the_key_is_needed() {
    let mut lane = Lane::new(COUNTER, 1 << 20);
    let (add, unknown) = (event_text("Add by=1"), event_text("Unknown"));
    let outcome = lane.batch(
        &[(0, 0, None, &unknown), (0, 0, None, &add)],
        OnFailure::Stop,
    );
    let message = "table c, rule Add (line 14), key id: a key column must not be null";
    assert_eq!(failed(&outcome), (1, message.to_owned()));
    assert_eq!(
        lane.folder.unheard(),
        &BTreeMap::from([("Unknown".to_owned(), 1)])
    );
}

#[test]
fn a_policy_leaves_out_the_event_or_also_those_that_follow_under_its_key() {
    let (good, bad) = (event_text("Add by=1"), event_text("Add by=\"x\""));
    let sent: [Sent<'_>; 5] = [
        (0, 0, Some("a"), &bad),
        (0, 0, Some("a"), &good),
        (0, 0, Some("b"), &good),
        (0, 0, None, &good),
        (0, 0, Some("a"), &good),
    ];
    let left_out = |outcome: &FoldOutcome| -> Vec<(usize, bool)> {
        assert!(outcome.failure.is_none());
        assert_eq!(outcome.folded, 5);
        outcome
            .left_out
            .iter()
            .map(|event| (event.event, event.failure.is_some()))
            .collect()
    };
    let mut lane = Lane::new(COUNTER, 1 << 20);
    let outcome = lane.batch(&sent, OnFailure::Skip);
    assert_eq!(left_out(&outcome), [(0, true), (3, true)]);
    assert_eq!(lane.rows(0), ["a 2 - 2", "b 1 - 1"]);
    let mut lane = Lane::new(COUNTER, 1 << 20);
    let outcome = lane.batch(&sent, OnFailure::SetAside);
    assert_eq!(
        left_out(&outcome),
        [(0, true), (1, false), (3, true), (4, false)]
    );
    assert_eq!(lane.rows(0), ["b 1 - 1"]);
}

#[test]
fn each_runs_a_rule_once_per_element() {
    let mut lane = Lane::new(LINES, 1 << 20);
    let placed = r#"{"type":"Placed","data":{"lines":[
        {"line":1,"sku":"a","quantity":2},{"line":2,"sku":"b","quantity":0},{"line":1.0,"sku":"c","quantity":3}]}}"#;
    // A line's number is equal to another one whatever its decimal places, as it is to PostgreSQL.
    lane.batch(&[(0, 0, Some("o"), placed)], OnFailure::Stop);
    assert_eq!(lane.rows(0), ["o 1 c 2 5"]);
    assert_eq!(lane.rows(1), ["a 2", "b 0", "c 3"]);
    let cancelled = r#"{"type":"Cancelled","data":{"lines":[7, 1.00]}}"#;
    let nothing = r#"{"type":"Cancelled","data":{}}"#;
    lane.batch(
        &[(0, 0, Some("o"), nothing), (0, 0, Some("o"), cancelled)],
        OnFailure::Stop,
    );
    assert!(lane.rows(0).is_empty());
    let wrong = r#"{"type":"Cancelled","data":{"lines":{"a":1}}}"#;
    let outcome = lane.batch(&[(0, 0, Some("o"), wrong)], OnFailure::Stop);
    let message = "table lines, rule Cancelled (line 19), each: not a JSON array";
    assert_eq!(failed(&outcome), (0, message.to_owned()));
}

#[test]
fn an_event_applies_to_all_its_tables_or_to_none() {
    let mut lane = Lane::new(LINES, 1 << 20);
    let good = r#"{"type":"Placed","data":{"lines":[{"line":1,"sku":"a","quantity":2}]}}"#;
    let bad = r#"{"type":"Placed","data":{"lines":[
        {"line":1,"sku":"b","quantity":5},{"line":2,"sku":"a","quantity":2147483647}]}}"#;
    let outcome = lane.batch(
        &[(0, 0, Some("o"), good), (0, 0, Some("o"), bad)],
        OnFailure::Stop,
    );
    let message = "table totals, rule Placed (line 26), set n: integer out of range (22003)";
    assert_eq!(failed(&outcome), (1, message.to_owned()));
    assert_eq!(
        (lane.rows(0), lane.rows(1)),
        (vec!["o 1 a 0 2".to_owned()], vec!["a 2".to_owned()])
    );
}
