//! Ids that were seen: what is a duplicate, and what is to be stored with which batch.

use super::*;
use crate::event::Event;

const ONCE: &str = "
projection: p
from: [t]
deduplicate: { by: event.id, keep: 10 seconds }
tables:
  c:
    key: { id: text }
    columns:
      n: integer not null default 0
    rules:
      Add: { set: n = n + 1 }
";

const SECOND: i64 = 1_000_000;

fn seen(complete: bool) -> Seen {
    let projection = Arc::new(load("test.yaml", ONCE).projection.unwrap());
    Seen::new(&projection, complete).unwrap()
}

/// Of partition 3 of the topic.
fn event(offset: i64, timestamp: i64) -> Event<'static> {
    Event {
        event_type: "Add",
        id: None,
        key: Some("k"),
        subject: None,
        source: None,
        time: 0,
        version: None,
        topic: 0,
        topic_name: "t",
        partition: 3,
        offset,
        timestamp: timestamp * SECOND,
        headers: &[],
        members: &[],
    }
}

/// Offset, Kafka's timestamp in seconds, id; gives what is a duplicate.
fn taken_in(seen: &mut Seen, events: &[(i64, i64, Option<&str>)]) -> Vec<bool> {
    events
        .iter()
        .map(|(offset, timestamp, id)| seen.is_duplicate(3, &event(*offset, *timestamp), *id))
        .collect()
}

#[test]
fn an_id_counts_for_as_long_as_is_kept_from_the_event_that_was_applied() {
    let events = [
        (0, 100, Some("a")),
        (1, 105, Some("a")),
        // Late, and still a repetition: the partition's time does not go back.
        (2, 90, Some("a")),
        (3, 110, Some("a")),
        (4, 111, Some("a")),
        (5, 121, Some("a")),
        (6, 122, None),
        (7, 122, None),
    ];
    let expected = [false, true, true, true, false, true, false, false];
    for complete in [true, false] {
        assert_eq!(taken_in(&mut seen(complete), &events), expected);
    }
}

#[test]
fn what_a_batch_stores_is_what_stands_before_its_offset() {
    let mut seen = seen(false);
    let events = [
        (0, 100, Some("a")),
        (1, 101, Some("a")),
        (2, 102, Some("b")),
        (3, 103, Some("c")),
    ];
    taken_in(&mut seen, &events);
    let first = seen.newly_seen(&[(3, 3)]);
    let ids: Vec<&str> = first.ids.iter().map(|(_, id, _)| id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(first.clocks, [(3, 102 * SECOND)]);
    // Until it is sent it can be asked for again: its transaction may be tried anew.
    assert_eq!(seen.newly_seen(&[(3, 3)]), first);
    seen.sent(&[(3, 3)], &first);
    let second = seen.newly_seen(&[(3, 4)]);
    assert_eq!(second.ids, [(3, "c".to_owned(), 103 * SECOND)]);
    assert_eq!(second.clocks, [(3, 103 * SECOND)]);
    seen.sent(&[(3, 4)], &second);
    assert_eq!(seen.newly_seen(&[(3, 4)]), NewlySeen::default());
}

#[test]
fn what_memory_does_not_know_is_asked_for_once_and_believed() {
    let mut seen = seen(false);
    let events = [(3, Some("a")), (3, None), (3, Some("b")), (3, Some("a"))];
    let unknown = seen.unknown(&events);
    assert_eq!(unknown.0, [3]);
    assert_eq!(unknown.1, [(3, "a".to_owned()), (3, "b".to_owned())]);
    seen.supply(
        unknown,
        vec![(3, 100 * SECOND)],
        vec![(3, "a".to_owned(), 95 * SECOND)],
    );
    assert_eq!(seen.unknown(&events), (Vec::new(), Vec::new()));
    let events = [
        (10, 50, Some("a")),
        (11, 50, Some("b")),
        (12, 106, Some("a")),
    ];
    assert_eq!(taken_in(&mut seen, &events), [true, false, false]);
}
