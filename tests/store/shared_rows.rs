use consolidator::store::{SHARED, Transaction};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::support::block_on;

const LANES: i32 = 4;
const BATCHES: i64 = 60;
const KEYS: u32 = 40;

/// Each lane has a partition of its own and adds to random counters, some of them missing, some of them deleted by others meanwhile
/// (a deleted counter starts again; the deleter keeps what it took away).
#[test]
fn rows_met_from_several_lanes_lose_no_update() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    block_on(async {
        let base = base().await;
        let (generation, layout) = counters_in(&base, false).await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..LANES {
            let mut lane = LaneStore::connect(&base.store, "lane", Duration::from_secs(60))
                .await
                .unwrap();
            let layout = Arc::clone(&layout);
            let mut random = SmallRng::seed_from_u64(seed + number as u64);
            tasks.spawn(async move {
                let start = lane
                    .take_over(generation.id, &partitions(&[number]))
                    .await
                    .unwrap();
                let mut checkpoint = start.checkpoints[0].clone();
                let (mut added, mut taken) = (0, 0);
                for _ in 0..BATCHES {
                    let mut tx = lane.begin(&layout, &[claim(&checkpoint, 1)]).await.unwrap();
                    let (plus, minus) = batch(&mut tx, &layout, &mut random).await;
                    tx.commit().await.unwrap();
                    added += plus;
                    taken += minus;
                    checkpoint.next_offset += 1;
                }
                (added, taken)
            });
        }
        let sums = tasks.join_all().await;
        let expected: i64 = sums.iter().map(|(added, taken)| added - taken).sum();
        let mut sql = base.sql().await;
        let seen =
            "select coalesce(sum(n), 0), count(*) filter (where n = 0) from read_model.counter";
        assert_eq!(rows(&mut sql, seen).await, [format!("{expected}|0")]);
        let owners = format!(
            "select count(*) from consolidator_g{}.counter where \"$owner\" <> -1",
            generation.id
        );
        assert_eq!(rows(&mut sql, &owners).await, ["0"]);
    });
}

/// Rows with arrays go through a temporary table, the new ones and the changed ones one after the other.
#[test]
fn new_and_changed_rows_with_arrays_are_written_in_one_batch() {
    block_on(async {
        let base = base().await;
        let mut projection = counters(false);
        projection.tables[0].columns[2].column_type.array = true;
        let generation = base.generation(&projection).await;
        let layout = Layout::new(&projection, generation.id, &[]).unwrap();
        let mut lane = base.lane("a").await;
        let parts = partitions(&[0]);
        let mut checkpoint = lane
            .take_over(generation.id, &parts)
            .await
            .unwrap()
            .checkpoints[0]
            .clone();
        for (inserts, updates) in [
            (vec![counter("a", 1)], vec![]),
            (vec![counter("b", 1)], vec![counter("a", 2)]),
            (
                vec![counter("c", 1)],
                vec![counter("a", 3), counter("b", 2)],
            ),
        ] {
            let mut tx = lane.begin(&layout, &[claim(&checkpoint, 1)]).await.unwrap();
            let wanted = keys(&layout.tables[0], &["a", "b", "c"]);
            tx.lock_shared(0, wanted).await.unwrap();
            tx.write(&changes(&layout, SHARED, &inserts, &updates))
                .await
                .unwrap();
            tx.commit().await.unwrap();
            checkpoint.next_offset += 1;
        }
        let mut sql = base.sql().await;
        let seen = "select id, n from read_model.counter order by id";
        assert_eq!(rows(&mut sql, seen).await, ["a|3", "b|2", "c|1"]);
    });
}

/// What the batch added, and what it took away with the rows it deleted.
async fn batch(tx: &mut Transaction<'_>, layout: &Layout, random: &mut SmallRng) -> (i64, i64) {
    let mut ids: Vec<String> = (0..random.random_range(1..15))
        .map(|_| format!("k{:02}", random.random_range(0..KEYS)))
        .collect();
    ids.sort();
    ids.dedup();
    let refs: Vec<&str> = ids.iter().map(String::as_str).collect();
    let table = &layout.tables[0];
    let found = tx.lock_shared(0, keys(table, &refs)).await.unwrap();
    let mut before: Vec<Option<i64>> = vec![None; ids.len()];
    for row in found.iter() {
        assert!(row.cells[0].same(&text(&ids[row.key])));
        let Value::Int64(n) = row.cells[1].value() else {
            panic!("a counter counts");
        };
        before[row.key] = Some(n);
    }
    let (mut inserts, mut updates) = (Vec::new(), Vec::new());
    let mut deletes = KeysEncoder::for_deletes(table);
    let (mut added, mut taken) = (0, 0);
    for (id, before) in ids.iter().zip(before) {
        match (before, random.random_range(0..6)) {
            (None, 0..=2) => {}
            (None, _) => {
                inserts.push(counter(id, 1));
                added += 1;
            }
            (Some(n), 0) => {
                deletes.push_owned(&[text(id)], -1);
                taken += n;
            }
            (Some(n), _) => {
                updates.push(counter(id, n + 1));
                added += 1;
            }
        }
    }
    let mut write = changes(layout, -1, &inserts, &updates);
    write.tables[0].deletes = deletes.finish();
    tx.write(&write).await.unwrap();
    (added, taken)
}

#[test]
fn a_missing_key_that_two_lanes_want_is_made_by_one_and_seen_by_the_other() {
    block_on(async {
        let base = base().await;
        let (generation, layout) = counters_in(&base, false).await;
        let (mut one, mut two) = (base.lane("one").await, base.lane("two").await);
        let first = one
            .take_over(generation.id, &partitions(&[0]))
            .await
            .unwrap()
            .checkpoints;
        let second = two
            .take_over(generation.id, &partitions(&[1]))
            .await
            .unwrap()
            .checkpoints;
        let mut tx = one.begin(&layout, &[claim(&first[0], 1)]).await.unwrap();
        assert!(
            tx.lock_shared(0, keys(&layout.tables[0], &["x"]))
                .await
                .unwrap()
                .is_empty()
        );
        let other = Arc::clone(&layout);
        let waiting = tokio::spawn(async move {
            let mut tx = two.begin(&other, &[claim(&second[0], 1)]).await.unwrap();
            let found = tx
                .lock_shared(0, keys(&other.tables[0], &["x"]))
                .await
                .unwrap();
            let seen: Vec<String> = found
                .iter()
                .map(|row| format!("{:?}", row.cells[1].value()))
                .collect();
            tx.write(&EncodedChanges::default()).await.unwrap();
            tx.commit().await.unwrap();
            seen
        });
        let mut sql = base.sql().await;
        let blocked = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        while rows(&mut sql, blocked).await == ["0"] {}
        tx.write(&changes(&layout, -1, &[counter("x", 41)], &[]))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(waiting.await.unwrap(), ["Int64(41)"]);
    });
}

#[test]
fn rows_of_any_owner_are_usable_after_the_ownership_was_given_up() {
    block_on(async {
        let base = base().await;
        let (generation, layout) = counters_in(&base, true).await;
        let mut lane = base.lane("a").await;
        let start = lane
            .take_over(generation.id, &partitions(&[0, 1]))
            .await
            .unwrap()
            .checkpoints;
        let mut tx = lane.begin(&layout, &[claim(&start[0], 1)]).await.unwrap();
        tx.write(&changes(
            &layout,
            1,
            &[counter("a", 1), counter("b", 1)],
            &[],
        ))
        .await
        .unwrap();
        tx.commit().await.unwrap();

        assert!(lane.give_up_ownership(&layout, 0).await.unwrap());
        let start = lane
            .take_over(generation.id, &partitions(&[0, 1]))
            .await
            .unwrap();
        let layout = Layout::new(&counters(true), generation.id, &start.shared_tables).unwrap();
        assert_eq!(layout.shared(), [true]);
        let mut tx = lane
            .begin(&layout, &[claim(&start.checkpoints[1], 1)])
            .await
            .unwrap();
        let found = tx
            .lock_shared(0, keys(&layout.tables[0], &["a", "b", "c"]))
            .await
            .unwrap();
        assert_eq!(found.len(), 2);
        tx.write(&changes(
            &layout,
            -1,
            &[counter("c", 3)],
            &[counter("a", 2)],
        ))
        .await
        .unwrap();
        tx.commit().await.unwrap();
        let mut sql = base.sql().await;
        let seen = format!(
            "select id, n, \"$owner\" from consolidator_g{}.counter order by id",
            generation.id
        );
        assert_eq!(rows(&mut sql, &seen).await, ["a|2|-1", "b|1|1", "c|3|-1"]);
    });
}
