//! Rows that are reached by their first key columns: read all together, and kept apart from those who would add to them.

use consolidator::definition;
use consolidator::store::{Transaction, Wanted};

use super::*;
use crate::support::block_on;

const LINES: &str = "
projection: lines
from: [events]
tables:
  lines:
    key:
      order_id: text = data.order
      line: integer = data.line
    columns:
      n: bigint not null default 0
    rules:
      Placed:
        set: n = data.n
      Raised:
        key: order_id = event.key
        set: n = n + 1
";

const GUARDS: &str = "select order_id from consolidator_g1.\"lines$prefix\" order by 1";

struct World {
    base: Base,
    layout: Arc<Layout>,
    lanes: Vec<(LaneStore, Checkpoint)>,
}

/// Some lanes with a partition each, and a table that they share.
async fn world(lanes: i32) -> World {
    let base = base().await;
    let loaded = definition::load("lines.yaml", LINES);
    let projection = loaded.projection.expect("a definition without errors");
    let generation = base.generation(&projection).await;
    let layout = Arc::new(Layout::new(&projection, generation.id, &[]).unwrap());
    assert_eq!((generation.id, layout.shared()), (1, vec![true]));
    let mut taken = Vec::new();
    for number in 0..lanes {
        let mut lane = base.lane("lane").await;
        let start = lane.take_over(generation.id, &partitions(&[number])).await;
        let checkpoint = start.unwrap().checkpoints.remove(0);
        taken.push((lane, checkpoint));
    }
    World {
        base,
        layout,
        lanes: taken,
    }
}

fn line(number: i32) -> Cell {
    Cell::from_value(Value::Int32(number))
}

fn orders(layout: &Layout, orders: &[&str]) -> EncodedKeys {
    let mut encoder = KeysEncoder::for_prefixes(&layout.tables[0], 1);
    for order in orders {
        encoder.push(&[text(order)]);
    }
    encoder.finish()
}

fn whole_order(layout: &Layout, order: &str) -> Wanted {
    Wanted {
        prefixes: vec![(1, orders(layout, &[order]))],
        guards: orders(layout, &[order]),
        ..Wanted::default()
    }
}

fn one_line(layout: &Layout, order: &str, number: i32) -> Wanted {
    let mut keys = KeysEncoder::new(&layout.tables[0]);
    keys.push(&[text(order), line(number)]);
    Wanted {
        keys: keys.finish(),
        guards: orders(layout, &[order]),
        ..Wanted::default()
    }
}

fn inserted(layout: &Layout, order: &str, number: i32, n: i64) -> EncodedChanges {
    let mut rows = RowsEncoder::new(&layout.tables[0], Purpose::Insert, 1);
    let n = Cell::from_value(Value::Int64(n));
    rows.push(&[text(order), line(number), n], -1);
    EncodedChanges {
        tables: vec![EncodedTable {
            states: EncodedRows::none(),
            table: 0,
            inserts: rows.finish(),
            updates: EncodedRows::none(),
            deletes: EncodedKeys::default(),
        }],
        ..EncodedChanges::default()
    }
}

fn deleted(layout: &Layout, order: &str, number: i32) -> EncodedChanges {
    let mut deletes = KeysEncoder::for_deletes(&layout.tables[0]);
    deletes.push_owned(&[text(order), line(number)], -1);
    EncodedChanges {
        tables: vec![EncodedTable {
            states: EncodedRows::none(),
            table: 0,
            inserts: EncodedRows::none(),
            updates: EncodedRows::none(),
            deletes: deletes.finish(),
        }],
        ..EncodedChanges::default()
    }
}

/// A batch that wants something and makes something of it; gives how many rows it found.
async fn batch(
    (lane, checkpoint): &mut (LaneStore, Checkpoint),
    layout: &Layout,
    wanted: Wanted,
    made: &EncodedChanges,
) -> (usize, usize) {
    let claims = [claim(checkpoint, 1)];
    let mut tx: Transaction<'_> = lane.begin(layout, &claims).await.unwrap();
    let loaded = tx.load(0, wanted).await.unwrap();
    let by_prefix = loaded.by_prefix.iter().map(|(_, rows)| rows.len()).sum();
    tx.write(made).await.unwrap();
    tx.commit().await.unwrap();
    checkpoint.next_offset += 1;
    (loaded.by_key.len(), by_prefix)
}

#[test]
fn whoever_reaches_an_order_keeps_others_from_adding_lines_to_it() {
    block_on(async {
        let World {
            base,
            layout,
            mut lanes,
        } = world(3).await;
        let (mut third, mut second, mut first) =
            (lanes.remove(2), lanes.remove(1), lanes.remove(0));
        let claims = [claim(&first.1, 1)];
        let mut tx = first.0.begin(&layout, &claims).await.unwrap();
        let found = tx.load(0, whole_order(&layout, "o1")).await.unwrap();
        assert!(found.by_prefix[0].1.is_empty());
        // Another order is nobody's concern.
        let made = inserted(&layout, "o2", 7, 1);
        batch(&mut third, &layout, one_line(&layout, "o2", 7), &made).await;
        let other = Arc::clone(&layout);
        let waiting = tokio::spawn(async move {
            let made = inserted(&other, "o1", 7, 1);
            batch(&mut second, &other, one_line(&other, "o1", 7), &made).await;
            second
        });
        let mut sql = base.sql().await;
        let blocked = "select count(*) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        while rows(&mut sql, blocked).await == ["0"] {}
        // What is there now is what was there when it was read.
        let lines = "select order_id from consolidator_g1.lines";
        assert_eq!(rows(&mut sql, lines).await, ["o2"]);
        tx.write(&EncodedChanges::default()).await.unwrap();
        tx.commit().await.unwrap();
        first.1.next_offset += 1;
        let mut second = waiting.await.unwrap();
        let nothing = EncodedChanges::default();
        let seen = batch(&mut first, &layout, whole_order(&layout, "o1"), &nothing).await;
        assert_eq!(seen, (0, 1));
        // A guard stays as long as its order has lines.
        assert_eq!(rows(&mut sql, GUARDS).await, ["o1", "o2"]);
        let gone = deleted(&layout, "o1", 7);
        batch(&mut second, &layout, one_line(&layout, "o1", 7), &gone).await;
        assert_eq!(rows(&mut sql, GUARDS).await, ["o2"]);
        let seen = batch(&mut first, &layout, whole_order(&layout, "o1"), &nothing).await;
        assert_eq!(seen, (0, 0));
        assert_eq!(rows(&mut sql, GUARDS).await, ["o2"]);
    });
}

#[test]
fn a_placeholder_is_no_row_of_its_prefix() {
    block_on(async {
        let World {
            base,
            layout,
            mut lanes,
        } = world(1).await;
        let wanted = Wanted {
            keys: one_line(&layout, "o1", 7).keys,
            ..whole_order(&layout, "o1")
        };
        let seen = batch(&mut lanes[0], &layout, wanted, &EncodedChanges::default()).await;
        assert_eq!(seen, (0, 0));
        let mut sql = base.sql().await;
        assert!(
            rows(&mut sql, "select * from consolidator_g1.lines")
                .await
                .is_empty()
        );
        assert!(rows(&mut sql, GUARDS).await.is_empty());
    });
}
