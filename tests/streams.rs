//! Streams that are not what they were: a topic made anew, a log cut off, offsets that are gone in one partition of several: each stops
//! that partition and says why; the others go on. And a log that its broker compacts.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::Duration;

use crate::support::definitions::counter;
use crate::support::kafka::KafkaServer;
use crate::support::oracle::assert_same;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record, dump};
use crate::support::wait::wait_until;
use crate::support::worker::Worker;

const IN_TIME: Duration = Duration::from_secs(60);

const STATES: &str = "
projection: states
from: [TOPIC]
tables:
  states:
    key:
      name: text = event.key
    columns:
      v: bigint
    rules:
      Set:
        set: v = data.v
      tombstone:
        delete: true
";

#[test]
fn a_topic_made_anew_while_the_worker_runs_stops_its_partitions_until_a_rebuild() {
    let space = Space::new("anew");
    let topic = define_counter(&space);
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &added("old", 0..40, 0));
    producer.write(&topic, &added("old", 0..40, 1));
    let worker = space.start_worker("worker");
    space.wait_applied("counter", &[&topic], IN_TIME);
    make_anew(&space, &topic);
    // As long as the old one was, and longer: reading on would find records.
    producer.write(&topic, &added("new", 0..60, 0));
    producer.write(&topic, &added("new", 0..60, 1));
    wait_for_stops(&space, 2);
    let told = "select bool_and(other_log), bool_and(reason like '%not what was applied%'), bool_and(hint like '%rebuild%') \
        from consolidator.stop";
    assert_eq!(space.database.query(told)[0], texts(&["t", "t", "t"]));
    let refused = space.run(&["resume", "counter"]);
    assert_eq!(refused.status.code(), Some(2));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        text.contains("rebuild counter") && text.contains(&format!("{topic} [1]")),
        "{text}"
    );

    let rebuilt = space.run(&["rebuild", "counter"]);
    let text = String::from_utf8_lossy(&rebuilt.stdout).into_owned();
    assert!(text.contains("made anew"), "{text}");
    assert_eq!(old_events(&space), 80, "readers keep what they had");
    let switched = space.run(&["switch", "counter", "--accept-hole"]);
    assert!(switched.status.success(), "{switched:?}");
    assert_eq!(events(&space), 120);
    assert_eq!(old_events(&space), 0);
    ended(worker);
}

#[test]
fn a_topic_made_anew_while_no_worker_ran_is_told_by_its_id_even_if_it_holds_the_same() {
    let space = Space::new("anew_stopped");
    let topic = define_counter(&space);
    let producer = Producer::new(space.kafka);
    // In both partitions: one without records may not have been taken over when the first worker ends.
    let same: Vec<Record> = (0..2)
        .flat_map(|partition| added("same", 0..20, partition))
        .map(|record| Record {
            timestamp_ms: Some(1_700_000_000_000),
            ..record
        })
        .collect();
    producer.write(&topic, &same);
    let worker = space.start_worker("first");
    space.wait_applied("counter", &[&topic], IN_TIME);
    ended(worker);
    make_anew(&space, &topic);
    producer.write(&topic, &same);
    for partition in 0..2 {
        producer.write(&topic, &added("new", 20..30, partition));
    }
    let worker = space.start_worker("second");
    wait_for_stops(&space, 2);
    assert_eq!(events(&space), 40);
    // As where a cluster was moved with its records: the operator says that they are the same.
    let resumed = space.run(&["resume", "counter", "--accept-hole"]);
    assert!(resumed.status.success(), "{resumed:?}");
    space.wait_applied("counter", &[&topic], IN_TIME);
    assert_eq!(events(&space), 60);
    ended(worker);
}

#[test]
fn a_log_that_was_cut_off_and_written_on_stops_that_partition_and_the_others_go_on() {
    let mut space = Space::new("cut");
    // One that may be killed.
    space.kafka = Box::leak(Box::new(KafkaServer::start()));
    space.settings.brokers = space.kafka.brokers.clone();
    let topic = define_counter(&space);
    let producer = Producer::new(space.kafka);
    for first in [0, 10, 20] {
        producer.write(&topic, &added("old", first..first + 10, 0));
        producer.write(&topic, &added("old", first..first + 10, 1));
    }
    let running = space.start_worker("running");
    space.wait_applied("counter", &[&topic], IN_TIME);
    space.kafka.kill();
    // An unclean leader: it never had the last ten records.
    cut_to_batches(&space.kafka.first_segment(&topic, 0), 2);
    space.kafka.start_again();
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &added("new", 0..50, 0));
    producer.write(&topic, &added("new", 0..50, 1));
    wait_for_stops(&space, 1);
    let place = "select partition, alone, reason from consolidator.stop";
    let told = space.database.query(place).remove(0);
    assert_eq!(told[..2], texts(&["0", "t"]), "{told:?}");
    space.wait_offset("counter", &topic, 1, 79, IN_TIME);
    assert_eq!(events(&space), 60 + 50, "partition 0 stands where it was");
    ended(running);

    // Nor does one that starts later, and knows only what is stored, read on.
    space.database.execute("delete from consolidator.stop");
    let later = space.start_worker("later");
    wait_for_stops(&space, 1);
    let reason = "select reason like '%not what was applied%' from consolidator.stop";
    assert_eq!(space.database.query(reason)[0], texts(&["t"]));
    assert_eq!(events(&space), 60 + 50);
    ended(later);
    space.kafka.kill();
}

#[test]
fn a_hole_in_one_partition_stops_that_one_and_the_others_go_on() {
    let space = Space::new("one_hole");
    let topic = define_counter(&space);
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &added("a", 0..10, 0));
    producer.write(&topic, &added("a", 0..10, 1));
    let worker = space.start_worker("first");
    space.wait_applied("counter", &[&topic], IN_TIME);
    ended(worker);
    producer.write(&topic, &added("b", 0..90, 0));
    space.kafka.delete_below(&topic, 60);
    let workers = ["second", "third"].map(|name| space.start_worker(name));
    wait_for_stops(&space, 1);
    producer.write(&topic, &added("b", 0..90, 1));
    space.wait_offset("counter", &topic, 1, 99, IN_TIME);
    assert_eq!(events(&space), 10 + 100);
    let status = space.run(&["status"]);
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        text.contains("--accept-hole") && text.contains(&topic),
        "{text}"
    );
    // Who has it after a rebalance does not read on either, and goes on once it may.
    let [second, third] = workers;
    ended(second);
    let resumed = space.run(&["resume", "counter", "--accept-hole"]);
    assert!(resumed.status.success(), "{resumed:?}");
    space.wait_applied("counter", &[&topic], IN_TIME);
    assert_eq!(events(&space), 10 + 40 + 100);
    ended(third);
}

#[test]
fn a_compacted_topic_gives_the_fold_of_what_survives() {
    let space = Space::new("compacted");
    let topic = format!("{}.states", space.id);
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "100"),
    ];
    space.kafka.create_topic(&topic, 2, &configs);
    space.definition("states", &STATES.replace("TOPIC", &topic));
    let producer = Producer::new(space.kafka);
    let mut written = 0;
    let mut write = || {
        producer.write(&topic, &states(written..written + 300));
        written += 300;
        written as u64
    };
    // What is written meanwhile makes new segments: only those before the last one are compacted.
    wait_until("the broker to compact the log", IN_TIME, || {
        let written = write();
        dump(space.kafka, &[&topic], &space.database) < written / 2
    });
    let worker = space.start_worker("worker");
    space.wait_applied("states", &[&topic], IN_TIME);
    write();
    space.wait_applied("states", &[&topic], IN_TIME);
    ended(worker);
    dump(space.kafka, &[&topic], &space.database);
    let oracle = "select key, (value::jsonb->'data'->>'v')::bigint from \
        (select distinct on (key) key, value from raw order by key, \"offset\" desc) r where value is not null";
    let product = "select * from read_model.states";
    assert_same(&space.database, "states", product, oracle);
}

/// Every third key is deleted now and then.
fn states(numbers: std::ops::Range<usize>) -> Vec<Record> {
    let event = |number: usize| {
        let key = format!("k{}", number % 61);
        let value = format!(r#"{{"type":"Set","data":{{"v":{number}}}}}"#);
        let gone = (number % 61).is_multiple_of(3) && number.is_multiple_of(2);
        Record {
            value: (!gone).then(|| value.into_bytes()),
            ..Record::new(&key, "")
        }
    };
    numbers.map(event).collect()
}

/// A topic of two partitions, and the definition that counts its events.
fn define_counter(space: &Space) -> String {
    let topic = space.topic("events", 2);
    space.definition("counter", &counter("counter", &topic));
    topic
}

fn added(name: &str, numbers: std::ops::Range<usize>, partition: i32) -> Vec<Record> {
    let event = |number| {
        let value = format!(r#"{{"type":"Added","id":"{name}{number}","data":{{}}}}"#);
        // Keys of their own for each partition: every partition owns its rows.
        let key = format!("{name}-{partition}-{}", number % 7);
        Record::new(&key, value).in_partition(partition)
    };
    numbers.map(event).collect()
}

fn make_anew(space: &Space, topic: &str) {
    space.kafka.delete_topic(topic);
    space.kafka.create_topic_when_free(topic, 2);
}

/// Leaves only the first batches of a log.
fn cut_to_batches(segment: &Path, count: usize) {
    let bytes = fs::read(segment).unwrap();
    let mut end = 0;
    for _ in 0..count {
        // Kafka's record batch: an offset of 8 bytes, then the length of what follows.
        let length = bytes[end + 8..end + 12].try_into().expect("four bytes");
        end += 12 + u32::from_be_bytes(length) as usize;
    }
    assert!(end < bytes.len(), "there is something to cut");
    let file = OpenOptions::new().write(true).open(segment).unwrap();
    file.set_len(end as u64).unwrap();
}

fn wait_for_stops(space: &Space, count: i64) {
    let stops = "select count(*) from consolidator.stop";
    wait_until("partitions to stop", IN_TIME, || {
        let counted = space.database.try_query(stops);
        counted.is_ok_and(|rows| rows[0][0] == Some(count.to_string()))
    });
}

fn events(space: &Space) -> i64 {
    space
        .database
        .number("select sum(n) from read_model.counter")
}

fn old_events(space: &Space) -> i64 {
    space
        .database
        .number("select sum(n) from read_model.counter where name like 'old%'")
}

fn texts(values: &[&str]) -> Vec<Option<String>> {
    values
        .iter()
        .map(|value| Some((*value).to_owned()))
        .collect()
}

fn ended(worker: Worker) {
    let status = worker.terminate(IN_TIME);
    assert!(status.success(), "{} ended with {status}", worker.name);
}
