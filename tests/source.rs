//! The source against real brokers: what the mock cluster cannot show. Rebalances under load in every
//! protocol, transactions, logs that were cut off.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use consolidator::source::{
    Cluster, KafkaSettings, LaneConsumer, Limits, RecordBatch, SourceEvent, TopicPartition,
};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::{block_on, kafka};

const LIMITS: Limits = Limits {
    queue_bytes: 16 << 20,
};
const PATIENCE: Duration = Duration::from_secs(60);

/// A topic of the test's own, and how to reach it.
struct Log {
    topic: String,
    settings: KafkaSettings,
}

impl Log {
    fn new(name: &str, partitions: i32, properties: &[(&str, &str)]) -> Log {
        let topic = format!("{name}-{:08x}", rand::random::<u32>());
        kafka().create_topic(&topic, partitions, &[]);
        let settings = KafkaSettings {
            brokers: kafka().brokers.clone(),
            group: "test".to_owned(),
            properties: properties
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..KafkaSettings::default()
        };
        Log { topic, settings }
    }

    fn producer(&self, properties: &[(&str, &str)]) -> BaseProducer {
        let mut config = kafka().client_config();
        for (name, value) in properties {
            config.set(*name, *value);
        }
        config.create().unwrap()
    }

    fn write(&self, producer: &BaseProducer, partition: i32, count: usize) {
        self.send(producer, partition, count);
        producer.flush(PATIENCE).unwrap();
    }

    fn send(&self, producer: &BaseProducer, partition: i32, count: usize) {
        for _ in 0..count {
            let record = BaseRecord::<(), str>::to(&self.topic).partition(partition);
            producer.send(record.payload("x")).unwrap();
        }
    }

    fn join(&self) -> Member {
        let topics = [self.topic.clone()];
        let lane = LaneConsumer::join(&self.settings, &self.topic, &topics, LIMITS).unwrap();
        Member {
            lane,
            batch: RecordBatch::default(),
            unanswered: Vec::new(),
        }
    }
}

/// A lane, and the rebalances that its database has not answered yet.
struct Member {
    lane: LaneConsumer,
    batch: RecordBatch,
    unanswered: Vec<TopicPartition>,
}

/// What all members have applied: per partition the next offset.
type Applied = BTreeMap<i32, i64>;

impl Member {
    /// One turn; asserts that records come without gap or repetition. Assignments are answered one
    /// turn later than they come.
    fn turn(&mut self, applied: &mut Applied) -> Vec<SourceEvent> {
        let answered = std::mem::take(&mut self.unanswered);
        let start = |at: &TopicPartition| (*at, applied.get(&at.partition).copied().unwrap_or(0));
        let starts: Vec<_> = answered.iter().map(start).collect();
        self.lane.assign(&starts).unwrap();
        let wait = Duration::from_millis(20);
        let events = self.lane.poll(wait, 3000, &mut self.batch);
        for record in self.batch.records() {
            let next_offset = applied.entry(record.partition).or_insert(0);
            assert_eq!(
                record.offset, *next_offset,
                "partition {}",
                record.partition
            );
            *next_offset += 1;
        }
        self.batch.clear();
        for (at, position) in self.lane.positions() {
            let next_offset = applied.get(&at.partition).copied().unwrap_or(0);
            assert_eq!(position, next_offset, "partition {}", at.partition);
        }
        for event in &events {
            match event {
                SourceEvent::Assigned(list) => self.unanswered.extend(list),
                SourceEvent::Revoked(list) | SourceEvent::Lost(list) => {
                    self.unanswered.retain(|at| !list.contains(at));
                    self.lane.revoke(list).unwrap();
                }
                _ => {}
            }
        }
        events
    }

    /// Polls until the end of partition 0 is told at that offset; gives the number of records.
    fn read_to(&mut self, start: i64, end: i64) -> usize {
        let deadline = Instant::now() + PATIENCE;
        let mut records = 0;
        loop {
            assert!(Instant::now() < deadline, "the end is not told at {end}");
            let wait = Duration::from_millis(50);
            let events = self.lane.poll(wait, 1000, &mut self.batch);
            records += self.batch.len();
            self.batch.clear();
            for event in events {
                match event {
                    SourceEvent::Assigned(list) => {
                        let starts: Vec<_> = list.iter().map(|at| (*at, start)).collect();
                        self.lane.assign(&starts).unwrap();
                    }
                    SourceEvent::EndOfPartition { next_offset, .. } if next_offset == end => {
                        return records;
                    }
                    _ => {}
                }
            }
        }
    }
}

const ONLY: TopicPartition = TopicPartition {
    topic: 0,
    partition: 0,
};

/// Members join and leave by turns while records are written.
fn members_come_and_go(properties: &[(&str, &str)]) {
    const PARTITIONS: i32 = 6;
    const ROUNDS: i32 = 180;
    let log = Log::new("rebalances", PARTITIONS, properties);
    let producer = log.producer(&[]);
    let mut applied = Applied::new();
    let mut members = vec![log.join()];
    let mut written = 0;
    for round in 0..ROUNDS {
        for partition in 0..PARTITIONS {
            // Uneven, so that some members stand at the end of a partition when a rebalance comes.
            let count = ((round * 7 + partition * 13) % 50) as usize;
            log.send(&producer, partition, count);
            written += count as i64;
        }
        producer.flush(PATIENCE).unwrap();
        match round % 60 {
            20 => members.push(log.join()),
            50 => members.remove(0).lane.close(),
            _ => {}
        }
        for member in &mut members {
            member.turn(&mut applied);
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while applied.values().sum::<i64>() < written {
        assert!(Instant::now() < deadline, "of {written}: {applied:?}");
        for member in &mut members {
            member.turn(&mut applied);
        }
    }
}

#[test]
fn members_come_and_go_without_a_record_lost_or_doubled_cooperatively() {
    members_come_and_go(&[("session.timeout.ms", "6000")]);
}

#[test]
fn members_come_and_go_without_a_record_lost_or_doubled_eagerly() {
    members_come_and_go(&[("partition.assignment.strategy", "range")]);
}

#[test]
fn members_come_and_go_without_a_record_lost_or_doubled_in_the_new_protocol() {
    members_come_and_go(&[("group.protocol", "consumer")]);
}

#[test]
fn the_end_is_told_behind_markers_and_aborted_records_and_before_an_open_transaction() {
    let log = Log::new("transactions", 1, &[]);
    let producer = log.producer(&[("transactional.id", &log.topic)]);
    producer.init_transactions(PATIENCE).unwrap();
    let transaction = |count: usize, commits: bool| {
        producer.begin_transaction().unwrap();
        log.write(&producer, 0, count);
        match commits {
            true => producer.commit_transaction(PATIENCE).unwrap(),
            false => producer.abort_transaction(PATIENCE).unwrap(),
        }
    };
    // Offsets 0..10 and a marker, 11..21 and a marker.
    transaction(10, true);
    transaction(10, false);
    let mut member = log.join();
    assert_eq!(member.read_to(0, 22), 10);
    assert_eq!(member.lane.position(ONLY), Some(22));
    assert_eq!(member.lane.end_offset(ONLY), Some(22));
    // Nothing to apply from within the aborted ones, and still the end.
    member.lane.seek(ONLY, 15).unwrap();
    assert_eq!(member.read_to(15, 22), 0);

    producer.begin_transaction().unwrap();
    log.write(&producer, 0, 5);
    log.write(&log.producer(&[]), 0, 1);
    let cluster = Cluster::connect(&log.settings).unwrap();
    let ends = cluster.ends(&log.topic, 1, PATIENCE).unwrap();
    assert_eq!(
        ends[0].end_offset, 22,
        "an open transaction is beyond the end"
    );
    producer.abort_transaction(PATIENCE).unwrap();
    assert_eq!(member.read_to(15, 29), 1);
    assert_eq!(member.lane.position(ONLY), Some(29));
}

#[test]
fn offsets_that_the_log_does_not_hold_are_out_of_range() {
    let log = Log::new("cut", 1, &[]);
    log.write(&log.producer(&[]), 0, 100);
    let mut cut = TopicPartitionList::new();
    cut.add_partition_offset(&log.topic, 0, Offset::Offset(40))
        .unwrap();
    let admin: rdkafka::admin::AdminClient<_> = kafka().client_config().create().unwrap();
    let options = rdkafka::admin::AdminOptions::new();
    block_on(admin.delete_records(&cut, &options)).unwrap();
    let cluster = Cluster::connect(&log.settings).unwrap();
    let ends = cluster.ends(&log.topic, 1, PATIENCE).unwrap();
    assert_eq!((ends[0].begin_offset, ends[0].end_offset), (40, 100));

    let mut member = log.join();
    for wrong in [10, 1000] {
        let mut applied = Applied::from([(0, wrong)]);
        member.lane.seek(ONLY, wrong).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let stopped = |event: &SourceEvent| matches!(event, SourceEvent::OutOfRange { offset, .. } if *offset == Some(wrong));
        while !member.turn(&mut applied).iter().any(stopped) {
            assert!(Instant::now() < deadline, "{wrong} is not out of range");
        }
        assert_eq!(member.lane.position(ONLY), Some(wrong));
    }
    member.lane.seek(ONLY, 40).unwrap();
    assert_eq!(member.read_to(40, 100), 60);
}

#[test]
fn topics_are_told_apart_by_id_and_missing_ones_are_named() {
    let log = Log::new("topics", 3, &[]);
    let cluster = Cluster::connect(&log.settings).unwrap();
    let ask = || {
        let names = [log.topic.clone(), "no-such-topic".to_owned()];
        cluster.check_topics(&names, PATIENCE).unwrap()
    };
    let topics = ask();
    let first = topics[0].clone().unwrap();
    assert_eq!(first.partitions, 3);
    assert!(first.id.is_some());
    let missing = topics[1].clone().unwrap_err();
    assert!(missing.message.contains("no-such-topic"), "{missing}");
}
