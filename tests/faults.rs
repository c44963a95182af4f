//! What goes wrong around a worker: each is told where people look, and nothing is lost, skipped or blamed wrongly.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::space::Space;
use crate::support::topic::{Producer, Record};
use crate::support::wait::wait_until;
use crate::support::worker::{http_address, is_ready};

const IN_TIME: Duration = Duration::from_secs(60);

const COUNTER: &str = "
projection: counter
from: [TOPIC]
tables:
  counter:
    key:
      name: text = event.key
    columns:
      n: bigint not null default 0
    rules:
      Added:
        set: n = n + 1
";

#[test]
fn a_worker_with_more_lanes_than_partitions_becomes_ready() {
    for protocol in ["classic", "consumer"] {
        let mut space = Space::new("standby");
        space.settings.worker = vec!["lanes: 3".to_owned()];
        let protocol = ("group.protocol".to_owned(), protocol.to_owned());
        space.settings.kafka_properties.push(protocol);
        counter(&space);
        let _worker = space.start_worker("worker");
        let http = http_address(&space.dir().join("worker.settings.yaml"));
        wait_until("the worker to be ready", IN_TIME, || is_ready(&http));
    }
}

#[test]
fn a_damaged_batch_of_the_log_stops_the_projection_at_its_offset_and_nothing_is_skipped() {
    let space = Space::new("damaged");
    let topic = counter(&space);
    let producer = Producer::new(space.kafka);
    for first in [0, 10, 20] {
        producer.write(&topic, &added(first..first + 10));
    }
    damage_batch(&space.kafka.first_segment(&topic, 0), 1);
    let worker = space.start_worker("worker");
    wait_for_stop(&space);
    let stop =
        "select \"offset\", reason like '%damaged%', hint is not null from consolidator.stop";
    let row = &space.database.query(stop)[0];
    let expected = [Some("10"), Some("t"), Some("t")];
    assert_eq!(
        row.iter().map(Option::as_deref).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(
        space
            .database
            .number("select next_offset from consolidator.checkpoint"),
        10
    );
    assert_eq!(
        space
            .database
            .number("select sum(n) from read_model.counter"),
        10
    );
    assert!(worker.terminate(IN_TIME).success());
}

/// Flips a byte in the last record of a batch: the checksum over the batch no longer holds.
fn damage_batch(segment: &Path, number: usize) {
    let mut bytes = fs::read(segment).unwrap();
    let mut start = 0;
    for _ in 0..number {
        start += batch_length(&bytes[start..]);
    }
    let last = start + batch_length(&bytes[start..]) - 3;
    bytes[last] ^= 0x55;
    fs::write(segment, bytes).unwrap();
}

/// Kafka's record batch: an offset of 8 bytes, then the length of what follows.
fn batch_length(batch: &[u8]) -> usize {
    let length = batch[8..12].try_into().expect("four bytes");
    12 + u32::from_be_bytes(length) as usize
}

/// A topic of one partition, and the definition that counts its events.
fn counter(space: &Space) -> String {
    let topic = space.topic("events", 1);
    space.definition("counter", &COUNTER.replace("TOPIC", &topic));
    topic
}

fn added(numbers: std::ops::Range<usize>) -> Vec<Record> {
    let event = |number| {
        let value = format!(r#"{{"type":"Added","id":"e{number}","data":{{}}}}"#);
        Record::new(&format!("k{}", number % 7), value)
    };
    numbers.map(event).collect()
}

fn wait_for_stop(space: &Space) {
    let stops = "select count(*) from consolidator.stop";
    wait_until("the projection to stop", IN_TIME, || {
        let counted = space.database.try_query(stops);
        counted.is_ok_and(|rows| rows[0][0].as_deref() == Some("1"))
    });
}
