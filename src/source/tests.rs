//! Basics against librdkafka's mock cluster. What the mock cannot do (transactions, retention, KIP-848)
//! is tested against real brokers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use super::*;

const LIMITS: Limits = Limits {
    queue_bytes: 16 << 20,
};
const PATIENCE: Duration = Duration::from_secs(30);

struct Mock {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
}

impl Mock {
    fn with_topic(topic: &str, partitions: i32) -> Mock {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(topic, partitions, 1).unwrap();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .create()
            .unwrap();
        Mock { cluster, producer }
    }

    fn settings(&self, properties: &[(&str, &str)]) -> KafkaSettings {
        let mut all: BTreeMap<String, String> =
            [("session.timeout.ms".to_owned(), "6000".to_owned())].into();
        all.extend(properties.iter().map(|(k, v)| ((*k).into(), (*v).into())));
        KafkaSettings {
            brokers: self.cluster.bootstrap_servers(),
            group: "test".to_owned(),
            properties: all,
            ..KafkaSettings::default()
        }
    }

    /// Writes the numbers, each to partition `number % partitions`.
    fn write(&self, topic: &str, partitions: i32, numbers: std::ops::Range<i32>) {
        for number in numbers {
            let (key, value) = (format!("k{number}"), number.to_string());
            let record = BaseRecord::to(topic)
                .partition(number % partitions)
                .key(&key)
                .payload(&value)
                .timestamp(1_700_000_000_000 + i64::from(number))
                .headers(OwnedHeaders::new().insert(Header {
                    key: "n",
                    value: Some(&value),
                }));
            self.producer.send(record).unwrap();
        }
        self.producer.flush(PATIENCE).unwrap();
    }
}

/// A lane whose checkpoints are in memory.
struct Member {
    lane: LaneConsumer,
    batch: RecordBatch,
    events: Vec<SourceEvent>,
}

/// What all members together have applied: the checkpoints, and the values per partition.
#[derive(Default)]
struct Database {
    next_offset: BTreeMap<TopicPartition, i64>,
    values: Vec<i32>,
}

impl Member {
    fn join(kafka: &KafkaSettings, topic: &str) -> Member {
        let lane = LaneConsumer::join(kafka, "test.p.g1", &[topic.to_owned()], LIMITS).unwrap();
        Member {
            lane,
            batch: RecordBatch::with_headers(true),
            events: Vec::new(),
        }
    }

    /// One turn of a lane: poll, apply, answer.
    fn turn(&mut self, database: &mut Database) {
        let events = self
            .lane
            .poll(Duration::from_millis(100), 1000, &mut self.batch);
        for record in self.batch.records() {
            let at = TopicPartition {
                topic: record.topic,
                partition: record.partition,
            };
            let next_offset = database.next_offset.entry(at).or_insert(0);
            assert_eq!(record.offset, *next_offset, "{at:?}");
            *next_offset = record.offset + 1;
            let value = std::str::from_utf8(record.value.unwrap()).unwrap();
            assert_eq!(record.key, Some(format!("k{value}").as_bytes()));
            assert_eq!(record.headers, [("n", Some(value.as_bytes()))]);
            let number: i32 = value.parse().unwrap();
            let written_at = 1_700_000_000_000 + i64::from(number);
            assert_eq!(record.timestamp_ms, Some(written_at));
            database.values.push(number);
        }
        self.batch.clear();
        for event in events {
            match &event {
                SourceEvent::Assigned(list) => {
                    let start = |at: &TopicPartition| {
                        (*at, database.next_offset.get(at).copied().unwrap_or(0))
                    };
                    let starts: Vec<_> = list.iter().map(start).collect();
                    self.lane.assign(&starts).unwrap();
                }
                SourceEvent::Revoked(list) | SourceEvent::Lost(list) => {
                    self.lane.revoke(list).unwrap();
                }
                _ => {}
            }
            self.events.push(event);
        }
    }

    fn until(&mut self, database: &mut Database, done: impl Fn(&Member, &Database) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self, database) {
            assert!(Instant::now() < deadline, "events: {:?}", self.events);
            self.turn(database);
        }
    }
}

fn at(partition: i32) -> TopicPartition {
    TopicPartition {
        topic: 0,
        partition,
    }
}

fn sorted(database: &Database) -> Vec<i32> {
    let mut values = database.values.clone();
    values.sort_unstable();
    values
}

#[test]
fn a_lane_reads_every_record_once_from_the_offsets_it_is_given() {
    let mock = Mock::with_topic("orders", 3);
    mock.write("orders", 3, 0..3000);
    let mut member = Member::join(&mock.settings(&[]), "orders");
    let mut database = Database::default();
    database.next_offset.insert(at(1), 990);
    member.until(&mut database, |_, database| {
        database.next_offset.values().sum::<i64>() >= 3000
    });
    assert_eq!(database.values.len(), 2010);
    assert_eq!(member.lane.position(at(1)), Some(1000));
    member.lane.close();
}

#[test]
fn the_end_of_a_partition_is_told_with_its_offset_also_of_an_empty_one() {
    let mock = Mock::with_topic("orders", 2);
    mock.write("orders", 1, 0..7);
    let mut member = Member::join(&mock.settings(&[]), "orders");
    member.until(&mut Database::default(), |member, _| {
        let end = |partition, next_offset| SourceEvent::EndOfPartition {
            at: at(partition),
            next_offset,
        };
        member.events.contains(&end(0, 7)) && member.events.contains(&end(1, 0))
    });
    assert_eq!(member.lane.end_offset(at(0)), Some(7));
    assert_eq!(member.lane.position(at(1)), Some(0));
}

#[test]
fn a_checkpoint_that_kafka_does_not_hold_stops_its_partition_until_it_is_moved() {
    let mock = Mock::with_topic("orders", 2);
    mock.write("orders", 2, 0..20);
    let mut member = Member::join(&mock.settings(&[]), "orders");
    let mut database = Database::default();
    database.next_offset.insert(at(0), 1000);
    let stopped = |event: &SourceEvent| matches!(event, SourceEvent::OutOfRange { at: stopped, .. } if *stopped == at(0));
    member.until(&mut database, |member, database| {
        member.events.iter().any(stopped) && database.values.len() == 10
    });
    database.next_offset.insert(at(0), 4);
    member.lane.seek(at(0), 4).unwrap();
    member.until(&mut database, |_, database| database.values.len() == 16);
}

/// Members come and go while records are written; every record is applied once, in order.
fn handed_over_without_loss(properties: &[(&str, &str)]) {
    let mock = Mock::with_topic("orders", 4);
    let kafka = mock.settings(properties);
    let mut database = Database::default();
    let mut first = Member::join(&kafka, "orders");
    mock.write("orders", 4, 0..1000);
    first.until(&mut database, |_, database| database.values.len() >= 500);
    let mut second = Member::join(&kafka, "orders");
    let deadline = Instant::now() + PATIENCE;
    while second.lane.assignment().count() == 0 || first.lane.assignment().count() == 4 {
        assert!(Instant::now() < deadline, "{:?}", second.events);
        first.turn(&mut database);
        second.turn(&mut database);
    }
    mock.write("orders", 4, 1000..2000);
    while database.values.len() < 2000 {
        assert!(
            Instant::now() < deadline,
            "{:?}\n{:?}\n{:?}",
            database.next_offset,
            first.events,
            second.events
        );
        first.turn(&mut database);
        second.turn(&mut database);
    }
    first.lane.close();
    mock.write("orders", 4, 2000..3000);
    second.until(&mut database, |_, database| database.values.len() >= 3000);
    assert_eq!(sorted(&database), (0..3000).collect::<Vec<_>>());
}

#[test]
fn partitions_change_hands_without_a_record_lost_or_doubled_cooperatively() {
    handed_over_without_loss(&[]);
}

#[test]
fn partitions_change_hands_without_a_record_lost_or_doubled_eagerly() {
    handed_over_without_loss(&[("partition.assignment.strategy", "range")]);
}

#[test]
fn partitions_of_one_assignment_may_be_started_one_after_the_other() {
    for strategy in ["cooperative-sticky", "range"] {
        let mock = Mock::with_topic("orders", 2);
        mock.write("orders", 2, 0..20);
        let kafka = mock.settings(&[("partition.assignment.strategy", strategy)]);
        let mut lane = LaneConsumer::join(&kafka, "g", &["orders".to_owned()], LIMITS).unwrap();
        let mut batch = RecordBatch::default();
        let deadline = Instant::now() + PATIENCE;
        let mut started = 0;
        while batch.len() < 20 {
            assert!(Instant::now() < deadline, "{strategy}: {}", batch.len());
            for event in lane.poll(Duration::from_millis(50), 100, &mut batch) {
                if matches!(event, SourceEvent::Assigned(_)) {
                    lane.assign(&[(at(0), 0)]).unwrap();
                    started = 1;
                }
            }
            if started == 1 && batch.len() == 10 {
                lane.assign(&[(at(1), 0)]).unwrap();
                started = 2;
            }
        }
        let offsets: Vec<i64> = batch.records().map(|record| record.offset).collect();
        assert_eq!(offsets, [(0..10), (0..10)].map(Vec::from_iter).concat());
    }
}

#[test]
fn a_batch_outlives_the_lane_that_filled_it() {
    let mock = Mock::with_topic("orders", 1);
    mock.write("orders", 1, 0..10);
    let kafka = mock.settings(&[]);
    let mut lane = LaneConsumer::join(&kafka, "g", &["orders".to_owned()], LIMITS).unwrap();
    let mut batch = RecordBatch::with_headers(true);
    let deadline = Instant::now() + PATIENCE;
    while batch.len() < 10 {
        assert!(Instant::now() < deadline);
        for event in lane.poll(Duration::from_millis(50), 100, &mut batch) {
            if let SourceEvent::Assigned(list) = event {
                let starts: Vec<_> = list.into_iter().map(|at| (at, 0)).collect();
                lane.assign(&starts).unwrap();
            }
        }
    }
    lane.close();
    let values: Vec<&[u8]> = batch.records().filter_map(|record| record.value).collect();
    assert_eq!(values[9], b"9");
    assert_eq!(batch.bytes(), 10 * 3);
    assert_eq!(batch.record(3).headers, [("n", Some(&b"3"[..]))]);
}

#[test]
fn records_beyond_the_limits_of_a_batch_wait_for_the_next() {
    let mock = Mock::with_topic("orders", 1);
    mock.write("orders", 1, 0..100);
    let mut member = Member::join(&mock.settings(&[]), "orders");
    let mut database = Database::default();
    let deadline = Instant::now() + PATIENCE;
    let mut batch = RecordBatch::default();
    member.until(&mut database, |_, database| !database.values.is_empty());
    member.lane.seek(at(0), 0).unwrap();
    while batch.len() < 7 {
        assert!(Instant::now() < deadline);
        member.lane.poll(Duration::from_millis(50), 7, &mut batch);
    }
    assert_eq!(batch.len(), 7);
    assert_eq!(member.lane.position(at(0)), Some(7));
}

#[test]
fn a_wait_ends_when_the_waker_is_used() {
    let mock = Mock::with_topic("orders", 1);
    let mut member = Member::join(&mock.settings(&[]), "orders");
    let mut database = Database::default();
    member.until(&mut database, |member, _| {
        let ended = |event: &SourceEvent| matches!(event, SourceEvent::EndOfPartition { .. });
        member.events.iter().any(ended)
    });
    let waker = member.lane.waker();
    let waiting = Instant::now();
    let thread = std::thread::spawn(move || waker.wake());
    member.lane.poll(PATIENCE, 10, &mut member.batch);
    thread.join().unwrap();
    assert!(waiting.elapsed() < PATIENCE / 2);
}

#[test]
fn a_lane_that_reaches_no_broker_closes_soon() {
    let mock = Mock::with_topic("orders", 1);
    let mut unreachable = mock.settings(&[]);
    unreachable.brokers = "127.0.0.1:1".to_owned();
    let mut member = Member::join(&unreachable, "orders");
    member.until(&mut Database::default(), |member, _| {
        let down = |event: &SourceEvent| {
            matches!(
                event,
                SourceEvent::Error {
                    kind: ErrorKind::Unreachable,
                    fatal: false,
                    ..
                }
            )
        };
        member.events.iter().any(down)
    });
    let closing = Instant::now();
    member.lane.close();
    assert!(closing.elapsed() < Duration::from_secs(8));
}

#[test]
fn a_lane_closes_soon_after_its_broker_went_away() {
    let mock = Mock::with_topic("orders", 1);
    mock.write("orders", 1, 0..10);
    let mut member = Member::join(&mock.settings(&[]), "orders");
    let mut database = Database::default();
    member.until(&mut database, |_, database| database.values.len() == 10);
    member.lane.mirror(&[(at(0), 10)]);
    mock.cluster.broker_down(1).unwrap();
    let closing = Instant::now();
    drop(member);
    assert!(closing.elapsed() < Duration::from_secs(8));
}

#[test]
fn a_lane_that_left_a_rebalance_unanswered_closes_soon() {
    let mock = Mock::with_topic("orders", 1);
    let kafka = mock.settings(&[]);
    let mut lane = LaneConsumer::join(&kafka, "g", &["orders".to_owned()], LIMITS).unwrap();
    let mut batch = RecordBatch::default();
    let deadline = Instant::now() + PATIENCE;
    while lane
        .poll(Duration::from_millis(50), 1, &mut batch)
        .is_empty()
    {
        assert!(Instant::now() < deadline);
    }
    let closing = Instant::now();
    lane.close();
    assert!(closing.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_lane_waits_for_a_topic_that_is_not_there_yet() {
    let mock = Mock::with_topic("other", 1);
    let kafka = mock.settings(&[("topic.metadata.refresh.interval.ms", "500")]);
    let mut member = Member::join(&kafka, "orders");
    member.turn(&mut Database::default());
    mock.cluster.create_topic("orders", 1, 1).unwrap();
    mock.write("orders", 1, 0..10);
    member.until(&mut Database::default(), |member, _| {
        member.lane.position(at(0)) == Some(10)
    });
}

#[test]
fn the_cluster_tells_where_partitions_end() {
    let mock = Mock::with_topic("orders", 2);
    mock.write("orders", 2, 0..9);
    let cluster = Cluster::connect(&mock.settings(&[])).unwrap();
    let ends = cluster.ends("orders", 2, PATIENCE).unwrap();
    assert_eq!(
        ends.iter().map(|end| end.end_offset).collect::<Vec<_>>(),
        [5, 4]
    );
}

#[test]
fn a_partition_without_a_leader_does_not_hide_where_the_others_begin() {
    let mock = Mock::with_topic("orders", 3);
    mock.write("orders", 3, 0..9);
    mock.cluster.partition_leader("orders", 1, None).unwrap();
    let cluster = Cluster::connect(&mock.settings(&[])).unwrap();
    let begins = cluster.begins("orders", &[2, 1, 0], Duration::from_secs(1));
    assert_eq!((&begins[0], &begins[2]), (&Ok(0), &Ok(0)));
    assert!(begins[1].is_err(), "{begins:?}");
}

#[test]
fn an_assignment_may_be_answered_before_any_of_it_can_start() {
    for strategy in ["cooperative-sticky", "range"] {
        let mock = Mock::with_topic("orders", 2);
        mock.write("orders", 2, 0..20);
        let kafka = mock.settings(&[("partition.assignment.strategy", strategy)]);
        let mut lane = LaneConsumer::join(&kafka, "g", &["orders".to_owned()], LIMITS).unwrap();
        let mut batch = RecordBatch::default();
        let deadline = Instant::now() + PATIENCE;
        let wait = Duration::from_millis(50);
        let is_given = |event: &SourceEvent| matches!(event, SourceEvent::Assigned(_));
        while !lane.poll(wait, 100, &mut batch).iter().any(is_given) {
            assert!(Instant::now() < deadline, "{strategy}");
        }
        lane.assign_later().unwrap();
        lane.poll(wait, 100, &mut batch);
        assert!(batch.is_empty());
        lane.assign(&[(at(0), 0), (at(1), 0)]).unwrap();
        while batch.len() < 20 {
            assert!(Instant::now() < deadline, "{strategy}: {}", batch.len());
            lane.poll(wait, 100, &mut batch);
        }
    }
}

#[test]
fn a_cluster_that_cannot_be_reached_is_an_error_in_time() {
    let mock = Mock::with_topic("orders", 1);
    let mut unreachable = mock.settings(&[]);
    unreachable.brokers = "127.0.0.1:1".to_owned();
    let cluster = Cluster::connect(&unreachable).unwrap();
    let asking = Instant::now();
    let timeout = Duration::from_secs(1);
    let error = cluster
        .check_topics(&["orders".to_owned()], timeout)
        .unwrap_err();
    assert!(asking.elapsed() < Duration::from_secs(5), "{error}");
    let error = cluster.ends("orders", 1, timeout).unwrap_err();
    assert!(asking.elapsed() < Duration::from_secs(5), "{error}");
}

#[test]
fn a_wrong_property_is_named_without_its_value() {
    let mock = Mock::with_topic("orders", 1);
    let join = |name, value| {
        let kafka = mock.settings(&[(name, value)]);
        LaneConsumer::join(&kafka, "g", &["orders".to_owned()], LIMITS)
            .err()
            .unwrap()
    };
    let error = join("no.such.property", "hush");
    assert_eq!(error.kind, ErrorKind::Configuration);
    assert!(error.message.contains("no.such.property"), "{error}");
    assert!(!error.message.contains("hush"), "{error}");
    let error = join("auto.offset.reset", "earliest");
    assert!(error.message.contains("never skip"), "{error}");
}
