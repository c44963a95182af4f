//! Rules that read rows of other tables.

use super::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// `products` is looked up by what stands in the payload, `orders` by the event's own key.
const SALES: &str = "
projection: p
from: [t]
tables:
  products:
    key: { sku: text = event.key }
    columns:
      price: integer not null
      seen: integer not null default 0
    rules:
      Priced:
        set: price = data.price
      Withdrawn:
        delete: true
      Counted:
        set: seen = seen + 1
        if_missing: skip
  orders:
    key: { id: text = event.key }
    columns:
      total: integer not null default 0
      note: text
    rules:
      Ordered:
        lookup: { product: { table: products, key: { sku: data.sku } } }
        set: total = total + coalesce(product.price, 0) * data.n
      Picked:
        each: data.lines
        lookup:
          product: { table: products, key: sku = item.sku }
        when: product.price > 10
        set: total = total + product.price
      Counted:
        lookup: { product: { table: products, key: { sku: event.key } } }
        set: note = product.seen
      Strict:
        lookup: { product: { table: products, key: { sku: data.sku } } }
        set: total = 100 / product.price
  lines:
    key:
      id: text = event.key
      n: integer = data.n
    columns:
      order_total: integer
      state: text
    rules:
      Ordered:
        lookup: { o: { table: orders } }
        set: order_total = o.total
      Closed:
        key: id = event.key
        lookup: { o: { table: orders } }
        set: state = 'closed at ' || o.total
";

fn sent(events: &[(String, String)]) -> Vec<Sent<'_>> {
    events
        .iter()
        .map(|(key, value)| (0, key.len() as i32, Some(key.as_str()), value.as_str()))
        .collect()
}

fn events(texts: &[&str]) -> Vec<(String, String)> {
    let one = |text: &&str| {
        let (key, event) = text.split_once(' ').unwrap();
        (key.to_owned(), event_text(event))
    };
    texts.iter().map(one).collect()
}

fn folded(texts: &[&str], batch: usize) -> Lane {
    let mut lane = Lane::new(SALES, 1 << 20);
    for events in sent(&events(texts)).chunks(batch) {
        let outcome = lane.batch(events, OnFailure::Stop);
        assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    }
    lane
}

#[test]
fn a_table_that_is_looked_up_from_several_partitions_is_shared() {
    let lane = Lane::new(SALES, 1 << 20);
    let owned: Vec<bool> = lane
        .projection
        .tables
        .iter()
        .map(|table| table.owned)
        .collect();
    assert_eq!(owned, [false, true, true]);
}

#[test]
fn a_lookup_gives_the_row_as_it_is_before_the_event_or_nulls() {
    let cases: [(&[&str], usize, &[&str]); 8] = [
        (
            &[r#"s Priced price=5"#, r#"o Ordered sku="s" n=3"#],
            1,
            &["o 15 -"],
        ),
        (&[r#"o Ordered sku="s" n=3"#], 1, &["o 0 -"]),
        (&[r#"o Ordered sku=null n=3"#], 1, &["o 0 -"]),
        (
            &[
                "s Priced price=5",
                r#"o Ordered sku="s" n=1"#,
                "s Priced price=7",
                r#"o Ordered sku="s" n=1"#,
                "s Withdrawn",
                r#"o Ordered sku="s" n=1"#,
            ],
            1,
            &["o 12 -"],
        ),
        // What an earlier table made of this very event is not seen.
        (
            &["s Priced price=5", "s Counted", "s Counted"],
            1,
            &["s 0 1"],
        ),
        (
            &[
                "s Priced price=11",
                "t Priced price=9",
                r#"o Picked lines=[{"sku":"s"},{"sku":"t"},{"sku":"s"},{}]"#,
            ],
            1,
            &["o 22 -"],
        ),
        (&[r#"o Ordered sku="s" n=1"#], 2, &["o 1 - -"]),
        (
            &[
                "s Priced price=5",
                r#"o Ordered sku="s" n=1"#,
                r#"o Ordered sku="s" n=2"#,
                "o Closed",
            ],
            2,
            &["o 1 - closed at 15", "o 2 5 closed at 15"],
        ),
    ];
    for (texts, table, rows) in cases {
        for batch in 1..=texts.len() {
            let lane = folded(texts, batch);
            assert_eq!(lane.rows(table), rows, "{texts:?} in batches of {batch}");
        }
    }
}

#[test]
fn a_lookup_changes_nothing_in_the_table_it_reads() {
    let lane = folded(&[r#"o Ordered sku="s" n=3"#], 1);
    assert!(lane.rows(0).is_empty());
    assert_eq!(lane.written_rows, 2);
}

#[test]
fn the_keys_of_lookups_are_locked_where_partitions_share_the_table() {
    let mut lane = Lane::new(SALES, 1 << 20);
    let events = events(&[r#"o Ordered sku="s" n=3"#]);
    let arena = Bump::new();
    let decode = |(_, _, key, value): &Sent<'_>| {
        let record = Record {
            topic: 0,
            partition: 0,
            offset: 0,
            timestamp_ms: Some(0),
            key: key.map(|key| arena.alloc_str(key).as_bytes()),
            value: Some(arena.alloc_str(value).as_bytes()),
            headers: &[],
        };
        lane.decoders[0].decode(&record, &arena).unwrap()
    };
    let decoded: Vec<Event<'_>> = sent(&events).iter().map(decode).collect();
    lane.folder
        .plan(&decoded, &|_, partition| partition, &arena);
    let needs: Vec<(bool, usize)> = (0..3)
        .map(|table| lane.folder.needs(table))
        .map(|needs| (needs.lock, needs.rows.len()))
        .collect();
    assert_eq!(needs, [(true, 1), (false, 1), (false, 1)]);
}

#[test]
fn a_row_of_another_partition_that_is_looked_up_is_a_conflict() {
    let mut lane = Lane::new(SALES, 1 << 20);
    let (ordered, closed) = (event_text(r#"Ordered sku="s" n=3"#), event_text("Closed"));
    lane.batch(&[(0, 3, Some("o"), &ordered)], OnFailure::Stop);
    let outcome = lane.try_batch(&[(0, 5, Some("o"), &closed)], OnFailure::Stop, true);
    assert_eq!(outcome.err(), Some(OwnershipConflict { table: 1 }));
}

#[test]
fn an_event_that_fails_on_a_lookup_says_so() {
    let mut lane = Lane::new(SALES, 1 << 20);
    let all = events(&["s Priced price=0", r#"o Strict sku="s""#]);
    let outcome = lane.batch(&sent(&all), OnFailure::Stop);
    let message = "table orders, rule Strict (line 37), set total: division by zero (22012)";
    assert_eq!(failed(&outcome), (1, message.to_owned()));
}

#[test]
fn neither_batches_nor_memory_change_what_lookups_find() {
    let seed = rand::random();
    println!("seed {seed}");
    for round in 0..40 {
        same_rows_however_folded(seed, round);
    }
}

fn same_rows_however_folded(seed: u64, round: u64) {
    let mut rng = SmallRng::seed_from_u64(seed ^ round);
    let texts: Vec<String> = (0..300)
        .map(|_| {
            let key = "k".repeat(rng.random_range(1..6));
            let sku = "k".repeat(rng.random_range(1..6));
            let n = rng.random_range(0..5);
            match rng.random_range(0..12) {
                0..3 => format!("{key} Priced price={}", rng.random_range(0..20)),
                3 => format!("{key} Withdrawn"),
                4..6 => format!("{key} Counted"),
                6..8 => format!(r#"{key} Ordered sku="{sku}" n={n}"#),
                8..10 => format!(r#"{key} Picked lines=[{{"sku":"{sku}"}},{{"sku":"k"}}]"#),
                10 => format!(r#"{key} Strict sku="{sku}""#),
                _ => format!("{key} Closed"),
            }
        })
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let texts = events(&texts);
    let all = sent(&texts);
    let mut singly = Lane::new(SALES, 0);
    for one in all.chunks(1) {
        singly.batch(one, OnFailure::Skip);
    }
    let mut lane = Lane::new(SALES, [0, 600, 1 << 20][rng.random_range(0..3)]);
    if round.is_multiple_of(2) {
        let projection = Arc::clone(&lane.projection);
        lane.folder = Folder::new(projection, &[true; 3], 1 << 20);
    }
    let mut at = 0;
    while at < all.len() {
        let end = (at + rng.random_range(1..40)).min(all.len());
        match rng.random_range(0..6) {
            0 => drop(lane.try_batch(&all[at..end], OnFailure::Skip, false)),
            1 => lane.folder.forget_all(),
            _ => {
                lane.batch(&all[at..end], OnFailure::Skip);
                at = end;
            }
        }
    }
    for table in 0..3 {
        let place = format!("table {table} seed {seed} round {round}");
        assert_eq!(lane.rows(table), singly.rows(table), "{place}");
    }
}
