//! Rules that reach every row with the same first key columns.

use super::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const ORDERS: &str = "
projection: p
from: [t]
tables:
  lines:
    key:
      order_id: text = event.key
      line: integer = item.line
    columns:
      n: integer not null default 0
      state: text
      was: text
    rules:
      Placed:
        each: data.lines
        set: n = n + item.n, state = 'placed'
      Shipped:
        key: order_id = event.key
        when: state is distinct from 'held'
        set: state = 'shipped', was = old.state
      Held:
        key: order_id = event.key, line = data.line
        set: state = 'held'
        if_missing: skip
      Raised:
        key: order_id = event.key
        set: n = n * data.by
      Dropped:
        key: order_id = event.key
        delete: true
      Replaced:
        - key: order_id = event.key
          delete: true
        - each: data.lines
          set: n = item.n, was = old.state
      Completed:
        - each: data.lines
          set: n = item.n
        - key: order_id = event.key
          set: state = 'complete', was = old.state, n = n + coalesce(old.n, 1000)
      Checked:
        key: order_id = event.key
        set: was = 'checked'
        if_missing: fail
";

fn sent(events: &[String]) -> Vec<Sent<'_>> {
    let pairs = events.iter().map(|event| parts(event));
    // A key's partition is a function of the key.
    pairs
        .map(|(key, value)| (0, key.len() as i32, Some(key), value))
        .collect()
}

fn parts(event: &str) -> (&str, &str) {
    event.split_once(' ').expect("a key and a value")
}

/// `key Type`, and lines as `line:n`.
fn event(text: &str) -> String {
    let mut words = text.split(' ');
    let (key, kind) = (words.next().unwrap(), words.next().unwrap());
    let (lines, members): (Vec<&str>, Vec<&str>) = words.partition(|word| word.contains(':'));
    let lines: Vec<String> = lines
        .iter()
        .map(|line| line.split_once(':').unwrap())
        .map(|(line, n)| format!(r#"{{"line":{line},"n":{n}}}"#))
        .collect();
    let members: Vec<String> = members
        .iter()
        .map(|member| member.split_once('=').unwrap())
        .map(|(name, value)| format!(r#","{name}":{value}"#))
        .collect();
    format!(
        r#"{key} {{"type":"{kind}","data":{{"lines":[{}]{}}}}}"#,
        lines.join(","),
        members.join("")
    )
}

fn events(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| event(text)).collect()
}

#[test]
fn a_rule_on_a_prefix_reaches_every_row_that_is_there_by_then() {
    let cases: [(&[&str], &[&str]); 10] = [
        (
            &["a Placed 1:5 2:6", "aa Placed 1:7", "a Shipped"],
            &[
                "a 1 5 shipped placed",
                "a 2 6 shipped placed",
                "aa 1 7 placed -",
            ],
        ),
        // What comes later is not reached.
        (
            &["a Placed 1:5", "a Shipped", "a Placed 2:6"],
            &["a 1 5 shipped placed", "a 2 6 placed -"],
        ),
        (
            &["a Placed 1:5 2:6", "a Held line=2", "a Shipped"],
            &["a 1 5 shipped placed", "a 2 6 held -"],
        ),
        (&["a Placed 1:5 2:6", "a Dropped"], &[]),
        (&["a Dropped", "a Shipped"], &[]),
        (
            &["a Placed 1:5 2:6", "a Dropped", "a Placed 2:1"],
            &["a 2 1 placed -"],
        ),
        // Of one event a later rule does not create again what an earlier one deleted; `old` is the row before the event.
        (&["a Placed 1:5 2:6", "a Replaced 2:1 3:1"], &["a 3 1 - -"]),
        (&["a Replaced 3:1", "a Replaced 3:2 4:2"], &["a 4 2 - -"]),
        // A later rule sees what an earlier one of the same event created.
        (
            &["a Placed 1:5", "a Completed 1:7 2:3"],
            &["a 1 12 complete placed", "a 2 1003 complete -"],
        ),
        (&["a Placed 1:5", "a Checked"], &["a 1 5 placed checked"]),
    ];
    for shared in [false, true] {
        for (texts, rows) in &cases {
            let events = events(texts);
            for size in 1..=events.len() {
                let mut lane = lane(shared, 1 << 20);
                for batch in sent(&events).chunks(size) {
                    let outcome = lane.batch(batch, OnFailure::Stop);
                    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
                }
                assert_eq!(lane.rows(0), *rows, "{texts:?} in batches of {size}");
            }
        }
    }
}

/// The rows of the table belong to partitions, or are shared by them.
fn lane(shared: bool, cache_bytes_max: usize) -> Lane {
    let mut lane = Lane::new(ORDERS, cache_bytes_max);
    if shared {
        lane.folder = Folder::new(Arc::clone(&lane.projection), &[true], cache_bytes_max);
    }
    lane
}

#[test]
fn a_failure_on_one_row_undoes_the_others() {
    let mut lane = Lane::new(ORDERS, 1 << 20);
    let events = events(&["a Placed 1:5 2:2000000000 3:6", "a Raised by=2"]);
    let outcome = lane.batch(&sent(&events), OnFailure::Stop);
    let message = "table lines, rule Raised (line 26), set n: integer out of range (22003)";
    assert_eq!(failed(&outcome), (1, message.to_owned()));
    let placed = [
        "a 1 5 placed -",
        "a 2 2000000000 placed -",
        "a 3 6 placed -",
    ];
    assert_eq!(lane.rows(0), placed);
}

#[test]
fn a_rule_that_must_find_a_row_fails_without_any() {
    let mut lane = Lane::new(ORDERS, 1 << 20);
    let events = events(&["a Placed 1:5", "a Dropped", "a Checked"]);
    let outcome = lane.batch(&sent(&events), OnFailure::Stop);
    let message = "table lines, rule Checked (line 42): there is no such row (if_missing: fail)";
    assert_eq!(failed(&outcome), (2, message.to_owned()));
}

#[test]
fn a_row_of_another_partition_under_the_prefix_is_a_conflict() {
    let conflict = Some(OwnershipConflict { table: 0 });
    let (placed, dropped) = (event("a Placed 1:5"), event("a Dropped"));
    let (placed, dropped) = (parts(&placed).1, parts(&dropped).1);
    // Stored by another one.
    let mut lane = Lane::new(ORDERS, 1 << 20);
    lane.batch(&[(0, 3, Some("a"), placed)], OnFailure::Stop);
    let foreign: [Sent<'_>; 1] = [(0, 5, Some("a"), dropped)];
    assert_eq!(
        lane.try_batch(&foreign, OnFailure::Stop, true).err(),
        conflict
    );
    lane.folder.forget_all();
    assert_eq!(
        lane.try_batch(&foreign, OnFailure::Stop, true).err(),
        conflict
    );
    lane.folder.forget_all();
    // Not stored yet: met by both in one batch, in either order.
    let mut lane = Lane::new(ORDERS, 1 << 20);
    for bulk in [false, true] {
        lane.folder.set_bulk(bulk);
        let mut both: [Sent<'_>; 2] = [(0, 3, Some("a"), placed), (0, 5, Some("a"), dropped)];
        assert_eq!(lane.try_batch(&both, OnFailure::Stop, true).err(), conflict);
        lane.folder.forget_all();
        both.reverse();
        assert_eq!(lane.try_batch(&both, OnFailure::Stop, true).err(), conflict);
        lane.folder.forget_all();
    }
}

#[test]
fn in_bulk_a_prefix_is_loaded_only_once_rows_have_been_evicted() {
    let mut lane = lane(false, 1 << 20);
    lane.folder.set_bulk(true);
    let all = events(&["a Placed 1:5 2:6", "a Raised by=2", "a Raised by=3"]);
    for batch in sent(&all).chunks(1) {
        lane.batch(batch, OnFailure::Stop);
    }
    assert_eq!(lane.loaded_rows, 0);
    assert_eq!(lane.rows(0), ["a 1 30 placed -", "a 2 36 placed -"]);
    let mut lane = self::lane(false, 0);
    lane.folder.set_bulk(true);
    for batch in sent(&all).chunks(1) {
        lane.batch(batch, OnFailure::Stop);
    }
    assert_eq!(lane.loaded_rows, 4);
    assert_eq!(lane.rows(0), ["a 1 30 placed -", "a 2 36 placed -"]);
}

#[test]
fn neither_batches_nor_memory_nor_bulk_change_what_prefixes_reach() {
    let seed = rand::random();
    println!("seed {seed}");
    for round in 0..60 {
        same_rows_however_folded(seed, round);
    }
}

fn same_rows_however_folded(seed: u64, round: u64) {
    let mut rng = SmallRng::seed_from_u64(seed ^ round);
    let texts: Vec<String> = (0..300)
        .map(|_| {
            let key = "k".repeat(rng.random_range(1..6));
            let lines = rng.random_range(0..4);
            let lines: Vec<String> = (0..lines)
                .map(|_| {
                    let (line, n) = (rng.random_range(0..6), rng.random_range(0..9));
                    format!("{line}:{n}")
                })
                .collect();
            let lines = lines.join(" ");
            let text = match rng.random_range(0..20) {
                0..6 => format!("{key} Placed {lines}"),
                6..8 => format!("{key} Shipped"),
                8..10 => format!("{key} Held line={}", rng.random_range(0..6)),
                10..13 => format!("{key} Raised by={}", rng.random_range(-1000..1000)),
                13 => format!("{key} Dropped"),
                14..16 => format!("{key} Replaced {lines}"),
                16..18 => format!("{key} Completed {lines}"),
                _ => format!("{key} Checked"),
            };
            event(text.trim_end())
        })
        .collect();
    let all = sent(&texts);
    let mut singly = lane(true, 0);
    let mut expected_left_out = 0;
    for one in all.chunks(1) {
        expected_left_out += singly.batch(one, OnFailure::Skip).left_out.len();
    }
    let mut lane = lane(
        round.is_multiple_of(3),
        [0, 600, 1 << 20][rng.random_range(0..3)],
    );
    let bulk = round % 3 == 1;
    lane.folder.set_bulk(bulk);
    let (mut left_out, mut at) = (0, 0);
    while at < all.len() {
        let end = (at + rng.random_range(1..40)).min(all.len());
        match rng.random_range(0..8) {
            0 if !bulk => drop(lane.try_batch(&all[at..end], OnFailure::Skip, false)),
            1 if !bulk => lane.folder.forget_all(),
            2 if !bulk => lane.folder.forget_slot(1),
            3 => {
                let outcome = lane.batch(&all[at..end], OnFailure::Stop);
                at += outcome.folded;
                if outcome.failure.is_some() {
                    left_out += 1;
                    at += 1;
                }
            }
            _ => {
                left_out += lane.batch(&all[at..end], OnFailure::Skip).left_out.len();
                at = end;
            }
        }
    }
    assert_eq!(left_out, expected_left_out, "seed {seed} round {round}");
    assert_eq!(lane.rows(0), singly.rows(0), "seed {seed} round {round}");
    for slot in 0..6 {
        lane.folder.forget_slot(slot);
    }
    lane.folder.forget_slot(SHARED_SLOT);
    let used = lane.folder.tables[0].cache.used_bytes();
    assert_eq!(used, 0, "seed {seed} round {round}");
}
