//! What stays in memory between batches, and that it changes nothing.

use super::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

#[test]
fn rows_in_memory_are_not_loaded_again_and_unchanged_ones_not_written() {
    let mut lane = Lane::new(COUNTER, 1 << 20);
    let (note, drop) = (event_text("Note note=\"x\""), event_text("Drop"));
    lane.batch(&[(0, 0, Some("a"), &note)], OnFailure::Stop);
    assert_eq!((lane.loaded_rows, lane.written_rows), (0, 1));
    lane.batch(&[(0, 0, Some("a"), &note)], OnFailure::Stop);
    assert_eq!((lane.loaded_rows, lane.written_rows), (0, 1));
    assert_eq!(
        lane.folder.cache_counts(),
        CacheCounts { hits: 1, misses: 1 }
    );
    // What is not there is not remembered as such: another worker may have made it since.
    lane.batch(
        &[(0, 0, Some("a"), &drop), (0, 0, Some("b"), &drop)],
        OnFailure::Stop,
    );
    assert_eq!((lane.written_rows, lane.folder.cached_rows()), (2, 0));
    lane.batch(
        &[(0, 0, Some("a"), &note), (0, 0, Some("a"), &drop)],
        OnFailure::Stop,
    );
    assert_eq!(lane.written_rows, 2);
    lane.folder.forget_slot(0);
    assert_eq!(lane.folder.cached_rows(), 0);
}

#[test]
fn a_row_of_another_partition_is_a_conflict() {
    let add = event_text("Add by=1");
    let mut lane = Lane::new(COUNTER, 1 << 20);
    lane.batch(&[(0, 3, Some("a"), &add)], OnFailure::Stop);
    let conflict = OwnershipConflict { table: 0 };
    // Also while the right owner has the row in memory, and whatever the event does with it.
    let skip = event_text("OnlyThere");
    for sent in [
        vec![(0, 5, Some("a"), add.as_str())],
        vec![(0, 3, Some("a"), &add), (0, 5, Some("a"), &skip)],
    ] {
        let outcome = lane.try_batch(&sent, OnFailure::Stop, true);
        assert_eq!(outcome.err(), Some(conflict));
        lane.folder.discard();
    }
    lane.folder.forget_all();
    let both: [Sent<'_>; 2] = [(0, 3, Some("a"), &add), (0, 5, Some("a"), &skip)];
    assert_eq!(
        lane.try_batch(&both, OnFailure::Stop, true).err(),
        Some(conflict)
    );
    lane.folder.discard();
    lane.batch(&[(0, 3, Some("a"), &add)], OnFailure::Stop);
    assert_eq!(lane.rows(0), ["a 2 - 2"]);
}

#[test]
fn rows_that_partitions_share_are_locked_and_never_kept() {
    let mut lane = Lane::new(LINES, 1 << 20);
    let placed = r#"{"type":"Placed","data":{"lines":[{"line":1,"sku":"a","quantity":2}]}}"#;
    let sent: [Sent<'_>; 2] = [(0, 0, Some("o"), placed), (0, 1, Some("p"), placed)];
    lane.batch(&sent, OnFailure::Stop);
    assert_eq!(lane.rows(1), ["a 4"]);
    assert_eq!(
        lane.database.0[1].values().next().map(|row| row.1),
        Some(SHARED_SLOT)
    );
    assert_eq!(lane.folder.cached_rows(), 2);
    lane.batch(&sent, OnFailure::Stop);
    assert_eq!(
        (lane.rows(1), lane.loaded_rows),
        (vec!["a 8".to_owned()], 1)
    );
}

#[test]
fn neither_batches_nor_memory_change_the_result() {
    let seed = rand::random();
    println!("seed {seed}");
    for round in 0..40 {
        same_rows_however_folded(seed, round);
    }
}

fn same_rows_however_folded(seed: u64, round: u64) {
    let mut rng = SmallRng::seed_from_u64(seed ^ round);
    let kinds = [
        "Add by=1",
        "Add by=-7",
        "Add by=2147483647",
        "Note note=\"a\"",
        "Swap",
        "Drop",
        "Reset",
        "Twice",
        "OnlyThere",
        "MustBeThere",
        "Big",
        "Flagged flag=true",
        "NoNumber",
        "Unknown",
        "Note note=\"longer-than-what-fits-into-a-cell-without-an-allocation\"",
    ];
    let events: Vec<(String, String)> = (0..300)
        .map(|_| {
            let key = rng.random_range(0..12);
            let key = if key > 9 {
                format!("a key that is too long to stand inline {key}")
            } else {
                key.to_string()
            };
            (key, event_text(kinds[rng.random_range(0..kinds.len())]))
        })
        .collect();
    // A key's partition is a function of the key.
    let sent = |n: usize| -> Sent<'_> {
        let (key, value) = &events[n];
        (
            0,
            key.len() as i32 % 2 + i32::from(key.ends_with('1')) * 2,
            Some(key),
            value,
        )
    };
    let all: Vec<Sent<'_>> = (0..events.len()).map(sent).collect();
    let on_failure = [OnFailure::Skip, OnFailure::SetAside][round as usize % 2];
    let mut whole = Lane::new(COUNTER, 1 << 20);
    let expected_left_out = whole.batch(&all, OnFailure::Skip).left_out.len();
    let mut lane = Lane::new(COUNTER, [0, 600, 1 << 20][rng.random_range(0..3)]);
    let mut left_out = 0;
    let mut at = 0;
    while at < all.len() {
        let end = (at + rng.random_range(1..40)).min(all.len());
        match rng.random_range(0..8) {
            0 => drop(lane.try_batch(&all[at..end], on_failure, false)),
            1 => lane.folder.forget_all(),
            2 => lane.folder.forget_slot(1),
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
    assert_eq!(lane.rows(0), whole.rows(0), "seed {seed} round {round}");
    lane.folder.forget_all();
    assert_eq!(lane.folder.tables[0].cache.used_bytes(), 0);
}

#[test]
fn what_rows_take_is_counted_and_bounded() {
    let mut lane = Lane::new(COUNTER, 20_000);
    let add = event_text(
        "Note note=\"a-note-that-does-not-fit-into-its-cell,so-that-it-has-to-be-counted\"",
    );
    for batch in 0..20 {
        let keys: Vec<String> = (0..100).map(|n| format!("{batch}-{n}")).collect();
        let sent: Vec<Sent<'_>> = keys
            .iter()
            .map(|key| (0, 0, Some(key.as_str()), add.as_str()))
            .collect();
        lane.batch(&sent, OnFailure::Stop);
        let used = lane.folder.tables[0].cache.used_bytes();
        assert!(used <= 20_000, "{used}");
        assert!(lane.folder.cached_rows() > 10);
    }
    lane.folder.forget_slot(0);
    assert_eq!(lane.folder.tables[0].cache.used_bytes(), 0);
    assert!(lane.folder.memory_bytes() < 1 << 20);
}

#[test]
fn in_bulk_nothing_is_loaded_until_rows_have_been_evicted() {
    let mut lane = Lane::new(COUNTER, 0);
    lane.folder.set_bulk(true);
    let add = event_text("Add by=1");
    lane.batch(&[(0, 0, Some("a"), &add)], OnFailure::Stop);
    assert!(lane.folder.needs(0).rows.is_empty());
    lane.batch(&[(0, 0, Some("a"), &add)], OnFailure::Stop);
    assert_eq!(
        (lane.loaded_rows, lane.rows(0)),
        (1, vec!["a 2 - 2".to_owned()])
    );
}
