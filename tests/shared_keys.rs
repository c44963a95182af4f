//! One key in several partitions, on purpose: nothing is lost and nothing counted twice, although the
//! definition reads as if every key had one partition.

use std::time::Duration;

use crate::support::oracle::{assert_same, differences};
use crate::support::space::Space;
use crate::support::topic::{Producer, Record, dump};

const IN_TIME: Duration = Duration::from_secs(120);
const KEYS: usize = 500;
/// Of the negative control, at most.
const ROUNDS: usize = 20;

const COUNTS: &str = "
projection: counts
from: [TOPICS]
tables:
  counts:
    key:
      name: text = event.key
    columns:
      n: bigint not null default 0
      total: numeric(20,2) not null default 0
    rules:
      Added:
        set: n = n + 1, total = total + data.amount
";

const ORACLE: &str = "
    select key, count(*), sum((value::jsonb->'data'->>'amount')::numeric)::numeric(20,2)
    from raw group by key";

#[test]
fn a_key_that_its_producer_spreads_over_partitions_is_counted_exactly() {
    let space = Space::new("spread");
    let topic = space.topic("additions", 6);
    space.definition("counts", &COUNTS.replace("TOPICS", &topic));
    let producer = Producer::new(space.kafka);
    // Half of the events are there before the first build begins, half come while it is live.
    let spread = |n: usize| added(n).in_partition((n / KEYS % 6) as i32);
    write(&producer, &topic, 0..20_000, spread);
    let workers = [
        space.start_worker("worker-0"),
        space.start_worker("worker-1"),
    ];
    write(&producer, &topic, 20_000..40_000, spread);
    space.wait_applied("counts", &[&topic], IN_TIME);
    write(&producer, &topic, 40_000..60_000, spread);
    check(&space, &[&topic], 60_000);
    drop(workers);
}

#[test]
fn keys_that_move_when_partitions_are_added_are_counted_exactly() {
    let mut space = Space::new("raised");
    let refresh = (
        "topic.metadata.refresh.interval.ms".to_owned(),
        "1000".to_owned(),
    );
    space.settings.kafka_properties.push(refresh);
    let topic = space.topic("additions", 6);
    space.definition("counts", &COUNTS.replace("TOPICS", &topic));
    let workers = [
        space.start_worker("worker-0"),
        space.start_worker("worker-1"),
    ];
    write(&Producer::new(space.kafka), &topic, 0..20_000, added);
    space.wait_applied("counts", &[&topic], IN_TIME);
    space.kafka.add_partitions(&topic, 9);
    // A new producer knows nine partitions and puts most keys elsewhere.
    write(&Producer::new(space.kafka), &topic, 20_000..60_000, added);
    check(&space, &[&topic], 60_000);
    drop(workers);
}

#[test]
fn a_table_that_two_topics_feed_under_one_key_is_counted_exactly() {
    let space = Space::new("two_topics");
    let topics = [space.topic("web", 3), space.topic("shop", 3)];
    space.definition("counts", &COUNTS.replace("TOPICS", &topics.join(", ")));
    let producer = Producer::new(space.kafka);
    for topic in &topics {
        write(&producer, topic, 0..10_000, added);
    }
    let workers = [
        space.start_worker("worker-0"),
        space.start_worker("worker-1"),
    ];
    for round in 1..5 {
        for topic in &topics {
            write(&producer, topic, round * 5_000..(round + 1) * 5_000, added);
        }
    }
    check(&space, &[&topics[0], &topics[1]], 60_000);
    drop(workers);
}

/// The negative control: rows that two workers read and write without a lock lose updates, and that is found out.
#[test]
fn without_the_lock_on_shared_rows_lost_updates_are_found_out() {
    let mut space = Space::new("unlocked");
    space.environment = vec![(
        "FAILPOINTS".to_owned(),
        // Time enough between reading a row and writing it for the other worker to do the same.
        "shared-rows-without-lock=return;batch-claimed=sleep(50)".to_owned(),
    )];
    let topic = space.topic("additions", 6);
    space.definition("counts", &COUNTS.replace("TOPICS", &topic));
    let spread = |n: usize| added(n).in_partition((n / KEYS % 6) as i32);
    let producer = Producer::new(space.kafka);
    write(&producer, &topic, 0..6_000, spread);
    let _workers = [
        space.start_worker("worker-0"),
        space.start_worker("worker-1"),
    ];
    let product = "select name, n, total from read_model.counts";
    // Until two met: a worker that is alone for a while loses nothing.
    let found = (1..=ROUNDS).any(|round| {
        write(
            &producer,
            &topic,
            round * 6_000..(round + 1) * 6_000,
            spread,
        );
        space.wait_applied("counts", &[&topic], IN_TIME);
        dump(space.kafka, &[&topic], &space.database);
        !differences(&space.database, product, ORACLE).is_empty()
    });
    assert!(found, "nothing was lost although no row was locked");
}

fn check(space: &Space, topics: &[&str], events: u64) {
    space.wait_applied("counts", topics, IN_TIME);
    assert_eq!(dump(space.kafka, topics, &space.database), events);
    let product = "select name, n, total from read_model.counts";
    assert_same(&space.database, "counts", product, ORACLE);
}

fn write(
    producer: &Producer,
    topic: &str,
    numbers: std::ops::Range<usize>,
    record: impl Fn(usize) -> Record,
) {
    let numbers: Vec<usize> = numbers.collect();
    for chunk in numbers.chunks(1_000) {
        let records: Vec<Record> = chunk.iter().map(|number| record(*number)).collect();
        producer.write(topic, &records);
    }
}

fn added(number: usize) -> Record {
    let (whole, cents) = (number % 97, number % 100);
    let value = format!(r#"{{"type":"Added","data":{{"amount":{whole}.{cents:02}}}}}"#);
    Record::new(&format!("k{}", number % KEYS), value)
}
