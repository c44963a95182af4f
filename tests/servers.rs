//! The servers that tests stand on: that they are what the other tests take them for.

use std::time::Duration;

use crate::support::database::Database;
use crate::support::oracle::differences;
use crate::support::space::Space;
use crate::support::start_postgres;
use crate::support::topic::{Producer, Record, dump};

#[test]
fn records_come_back_from_kafka_as_they_were_written() {
    let space = Space::new("records");
    let topic = space.topic("events", 3);
    let producer = Producer::new(space.kafka);
    let mut records: Vec<Record> = (0..300)
        .map(|n| Record::new(&format!("k{n}"), format!("{{\"n\":{n}}}")).in_partition(n % 3))
        .collect();
    records[7].value = None;
    records[8].value = Some("tab\t, line\n, backslash \\ and ü".into());
    records[9].timestamp_ms = Some(1_646_125_200_000);
    let places = producer.write(&topic, &records);
    assert_eq!(places[5], (2, 1));

    assert_eq!(dump(space.kafka, &[&topic], &space.database), 300);
    let raw = |key: &str, column: &str| {
        let sql = format!("select {column} from raw where key = '{key}'");
        space.database.value(&sql)
    };
    assert_eq!(
        raw("k299", "partition || '/' || \"offset\"").as_deref(),
        Some("2/99")
    );
    assert_eq!(raw("k7", "value"), None);
    assert_eq!(
        raw("k8", "value").as_deref(),
        Some("tab\t, line\n, backslash \\ and ü")
    );
    assert_eq!(raw("k9", "at").as_deref(), Some("2022-03-01 09:00:00+00"));
}

#[test]
fn partitions_can_be_added_and_topics_deleted() {
    let space = Space::new("partitions");
    let topic = space.topic("events", 2);
    space.kafka.add_partitions(&topic, 5);
    assert_eq!(space.kafka.offsets(&topic), vec![(0, 0); 5]);
    space.kafka.delete_topic(&topic);
}

#[test]
fn postgres_orders_by_bytes_in_utf8_and_waits_for_the_disk() {
    let space = Space::new("postgres");
    let value = |sql: &str| space.database.value(sql).unwrap();
    assert_eq!(value("show server_encoding"), "UTF8");
    assert_eq!(value("show timezone"), "UTC");
    assert_eq!(value("show fsync"), "on");
    assert_eq!(value("select 'B' < 'a' and 'z' < 'ä'"), "t");
}

#[test]
fn a_postgres_stopped_immediately_comes_back_with_what_was_committed() {
    let mut server = start_postgres(&[]);
    let database = Database::at(&server.url("postgres"));
    database.execute("create table kept as select generate_series(1, 1000) as n");
    server.stop_immediate();
    assert!(database.try_query("select 1").is_err());
    server.start_again().unwrap();
    assert_eq!(database.number("select count(*) from kept"), 1000);
}

#[test]
fn the_comparison_finds_rows_that_only_one_side_has() {
    let space = Space::new("comparison");
    let found = |left, right| differences(&space.database, left, right).len();
    assert_eq!(found("values (1), (2), (2)", "values (2), (1), (2)"), 0);
    assert_eq!(found("values (1), (2), (2)", "values (1), (2)"), 1);
    assert_eq!(found("values (1, null::int)", "values (1, 3)"), 2);
}

#[test]
fn a_killed_kafka_comes_back_with_what_it_acknowledged() {
    let kafka = crate::support::kafka::KafkaServer::start();
    kafka.create_topic("events", 1, &[]);
    let producer = Producer::new(&kafka);
    let records: Vec<Record> = (0..100)
        .map(|n| Record::new(&n.to_string(), "{}"))
        .collect();
    producer.write("events", &records);
    kafka.kill();
    kafka.start_again();
    crate::support::wait::wait_until("the log's end", Duration::from_secs(30), || {
        kafka.offsets("events") == vec![(0, 100)]
    });
}
