//! What goes wrong around a worker: each is told where people look, and nothing is lost, skipped or blamed wrongly.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::support::definitions::{added, counter};
use crate::support::proxy::Proxy;
use crate::support::space::Space;
use crate::support::topic::Producer;
use crate::support::wait::wait_until;
use crate::support::worker::{http_address, is_ready};

const IN_TIME: Duration = Duration::from_secs(60);

#[test]
fn a_worker_with_more_lanes_than_partitions_becomes_ready() {
    for protocol in ["classic", "consumer"] {
        let mut space = Space::new("standby");
        space.settings.worker = vec!["lanes: 3".to_owned()];
        let protocol = ("group.protocol".to_owned(), protocol.to_owned());
        space.settings.kafka_properties.push(protocol);
        define_counter(&space);
        let _worker = space.start_worker("worker");
        let http = http_address(&space.dir().join("worker.settings.yaml"));
        wait_until("the worker to be ready", IN_TIME, || is_ready(&http));
    }
}

/// A member that left without a word would be waited for in the next rebalance until its session timed out.
#[test]
fn a_lane_without_partitions_that_ends_keeps_its_successor_from_nothing() {
    let mut space = Space::new("idlelane");
    space.settings.worker = vec!["lanes: 3".to_owned()];
    let longer_than_the_test = ("session.timeout.ms".to_owned(), "250000".to_owned());
    space.settings.kafka_properties.push(longer_than_the_test);
    let topic = define_counter(&space);
    let producer = Producer::new(space.kafka);
    for (number, name) in ["first", "second", "third"].into_iter().enumerate() {
        producer.write(&topic, &added(number * 10..number * 10 + 10));
        let worker = space.start_worker(name);
        let http = http_address(&space.dir().join(format!("{name}.settings.yaml")));
        wait_until("the worker to be ready", IN_TIME, || is_ready(&http));
        space.wait_applied("counter", &[&topic], IN_TIME);
        assert!(worker.terminate(IN_TIME).success());
        assert!(
            !worker.log().contains("did not confirm"),
            "{}",
            worker.log()
        );
    }
}

#[test]
fn a_damaged_batch_of_the_log_stops_the_projection_at_its_offset_and_nothing_is_skipped() {
    let space = Space::new("damaged");
    let topic = define_counter(&space);
    let producer = Producer::new(space.kafka);
    for first in [0, 10, 20] {
        producer.write(&topic, &added(first..first + 10));
    }
    damage_batch(&space.kafka.first_segment(&topic, 0), 1);
    let worker = space.start_worker("worker");
    wait_for_stop(&space);
    let stop =
        "select \"offset\", reason like '%damaged%', hint is not null from consolidator.stop";
    assert_eq!(one_row(&space, stop), ["10", "t", "t"]);
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

#[test]
fn a_worker_that_was_frozen_past_retention_does_not_stop_what_its_successor_folds() {
    let space = Space::new("zombie");
    let topic = define_counter(&space);
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &added(0..10));
    let frozen = space.start_worker("frozen");
    space.wait_applied("counter", &[&topic], IN_TIME);
    frozen.freeze();
    producer.write(&topic, &added(10..100));
    let successor = space.start_worker("successor");
    space.wait_applied("counter", &[&topic], IN_TIME);
    space.kafka.delete_below(&topic, 60);
    frozen.thaw();
    let gave_way = |log: String| log.contains("lost partitions") || log.contains("back with what");
    wait_until("the frozen worker gives way", IN_TIME, || {
        gave_way(frozen.log())
    });
    producer.write(&topic, &added(100..110));
    space.wait_applied("counter", &[&topic], IN_TIME);
    assert_eq!(
        space
            .database
            .number("select count(*) from consolidator.stop"),
        0
    );
    assert_eq!(
        space
            .database
            .number("select sum(n) from read_model.counter"),
        110
    );
    for worker in [frozen, successor] {
        assert!(worker.terminate(IN_TIME).success());
    }
}

#[test]
fn a_partition_whose_next_offset_is_gone_stops_and_goes_on_only_if_that_is_accepted() {
    let space = Space::new("hole");
    let topic = define_counter(&space);
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &added(0..10));
    let worker = space.start_worker("first");
    space.wait_applied("counter", &[&topic], IN_TIME);
    assert!(worker.terminate(IN_TIME).success());
    producer.write(&topic, &added(10..100));
    space.kafka.delete_below(&topic, 60);
    let worker = space.start_worker("second");
    wait_for_stop(&space);
    let stop = "select log_begin, hint like '%--accept-hole%' from consolidator.stop";
    assert_eq!(one_row(&space, stop), ["60", "t"]);
    let refused = space.run(&["resume", "counter"]);
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        told.contains("offsets 10 to 59") && told.contains("--accept-hole"),
        "{told}"
    );

    assert!(
        space
            .run(&["resume", "counter", "--accept-hole"])
            .status
            .success()
    );
    producer.write(&topic, &added(100..110));
    space.wait_applied("counter", &[&topic], IN_TIME);
    let sum = "select sum(n) from read_model.counter";
    assert_eq!(space.database.number(sum), 10 + 50);
    let hole = "select from_offset, to_offset, accept_hole from consolidator.hole h join consolidator.checkpoint c \
        using (generation, topic, partition)";
    assert_eq!(one_row(&space, hole), ["10", "60", "f"]);
    for command in ["status", "plan"] {
        let output = space.run(&[command]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("offsets 10 to 59"), "{command}: {text}");
    }
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn an_event_whose_row_postgres_refuses_is_found_among_many_and_named() {
    let space = Space::new("refused");
    let topic = define_counter(&space);
    let worker = space.start_worker("worker");
    space.wait_applied("counter", &[&topic], IN_TIME);
    wait_for_table(&space);
    space
        .database
        .execute("alter table consolidator_g1.counter add check (name <> 'bad')");
    let mut events = added(0..3_000);
    events[1_234].key = Some("bad".to_owned());
    Producer::new(space.kafka).write(&topic, &events);
    wait_for_stop(&space);
    let stop = "select \"offset\", key, event_type from consolidator.stop";
    assert_eq!(one_row(&space, stop), ["1234", "bad", "Added"]);
    assert_eq!(
        space
            .database
            .number("select sum(n) from read_model.counter"),
        1_234
    );
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn an_event_at_which_the_program_fails_is_found_and_stops_the_projection() {
    let mut space = Space::new("panics");
    let fail_point = (
        "FAILPOINTS".to_owned(),
        "panic-at-offset=return(1234)".to_owned(),
    );
    space.environment = vec![fail_point];
    let topic = define_counter(&space);
    Producer::new(space.kafka).write(&topic, &added(0..3_000));
    let worker = space.start_worker("worker");
    wait_for_stop(&space);
    let stop = "select \"offset\", reason like '%fault of the program%' from consolidator.stop";
    assert_eq!(one_row(&space, stop), ["1234", "t"]);
    assert_eq!(
        space
            .database
            .number("select sum(n) from read_model.counter"),
        1_234
    );
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn a_fault_of_the_program_beside_its_lanes_is_told_and_ends_neither_the_worker_nor_its_builds() {
    let mut space = Space::new("panicbeside");
    let once =
        ["look-at-lanes", "look-at-builds"].map(|point| format!("{point}=1*off->1*panic->off"));
    space.environment = vec![("FAILPOINTS".to_owned(), once.join(";"))];
    let topic = define_counter(&space);
    Producer::new(space.kafka).write(&topic, &added(0..100));
    let worker = space.start_worker("worker");
    space.wait_applied("counter", &[&topic], IN_TIME);
    let live = "select count(*) from consolidator.pointer";
    wait_until("the first build to end", IN_TIME, || {
        space.database.number(live) == 1
    });
    let told = worker.log().matches("going on with what is stored").count();
    assert_eq!(told, 2);
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn a_worker_whose_generation_is_gone_blames_no_event_and_ends_when_asked() {
    let space = Space::new("gone");
    let topic = define_counter(&space);
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &added(0..10));
    let worker = space.start_worker("worker");
    space.wait_applied("counter", &[&topic], IN_TIME);
    // The list of generations is kept from the worker, so that it does not end its lanes by itself.
    space.database.execute(
        "alter table consolidator.projection rename to hidden;
         delete from consolidator.pointer; delete from consolidator.generation",
    );
    producer.write(&topic, &added(10..20));
    worker.wait_for_log("checkpoints were still ours", IN_TIME);
    worker.wait_for_log("violates foreign key", IN_TIME);
    assert!(!worker.log().contains("looking for the event"));
    assert!(worker.terminate(Duration::from_secs(20)).success());
}

#[test]
fn a_partition_without_a_leader_waits_and_the_others_are_folded() {
    let cluster = MockCluster::new(1).unwrap();
    let mut space = Space::new("leaderless");
    space.settings.brokers = cluster.bootstrap_servers();
    let refresh = "topic.metadata.refresh.interval.ms";
    space
        .settings
        .kafka_properties
        .push((refresh.to_owned(), "1000".to_owned()));
    cluster.create_topic("events", 2, 1).unwrap();
    space.definition(
        "counter",
        &format!("on_error: stop{}", counter("counter", "events")),
    );
    let events = |count: i64| {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers());
        let producer: BaseProducer = config.create().unwrap();
        for (number, event) in added(0..count as usize).iter().enumerate() {
            let record = BaseRecord::to("events").partition(number as i32 % 2);
            let record = record.key(event.key.as_ref().unwrap());
            producer
                .send(record.payload(event.value.as_ref().unwrap()))
                .unwrap();
        }
        producer.flush(IN_TIME).unwrap();
    };
    events(20);
    cluster.partition_leader("events", 1, None).unwrap();
    let worker = space.start_worker("worker");
    space.wait_offset("counter", "events", 0, 9, IN_TIME);
    assert_eq!(
        space
            .database
            .number("select sum(n) from read_model.counter"),
        10
    );
    cluster.partition_leader("events", 1, Some(1)).unwrap();
    space.wait_offset("counter", "events", 1, 9, IN_TIME);
    assert_eq!(
        space
            .database
            .number("select sum(n) from read_model.counter"),
        20
    );
    assert!(!worker.log().contains("a lane ended"), "{}", worker.log());
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn a_worker_that_is_cut_off_from_postgres_makes_room_for_one_that_is_not() {
    let mut space = Space::new("cut_off");
    let direct = space.settings.postgres_url.clone();
    let (user, server) = direct.split_once('@').unwrap();
    let (server, database) = server.split_once('/').unwrap();
    let proxy = Proxy::to(server);
    let topic = space.topic("events", 4);
    space.definition(
        "counter",
        &format!("on_error: stop{}", counter("counter", &topic)),
    );
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &added(0..100));
    space.settings.postgres_url = format!("{user}@127.0.0.1:{}/{database}", proxy.port);
    let cut_off = space.start_worker("cut_off");
    space.wait_applied("counter", &[&topic], IN_TIME);
    proxy.cut();
    space.settings.postgres_url = direct;
    let other = space.start_worker("other");
    // A share at once, since the group asks for it; the rest when the one that is cut off leaves.
    other.wait_for_log("took partitions over", Duration::from_secs(40));
    producer.write(&topic, &added(100..200));
    space.wait_applied("counter", &[&topic], Duration::from_secs(120));
    cut_off.wait_for_log("leaves the group", IN_TIME);
    proxy.mend();
    cut_off.wait_for_log_after("leaves the group", "took partitions over", IN_TIME);
    assert_eq!(
        space
            .database
            .number("select sum(n) from read_model.counter"),
        200
    );
    for worker in [cut_off, other] {
        assert!(worker.terminate(IN_TIME).success());
    }
}

#[test]
fn what_a_lane_waits_for_is_told_where_readers_look_until_it_goes_on() {
    let space = Space::new("waiting");
    let topic = define_counter(&space);
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &added(0..10));
    let worker = space.start_worker("worker");
    space.wait_applied("counter", &[&topic], IN_TIME);
    let rename = |from: &str, to: &str| {
        let rename = format!("alter table consolidator_g1.{from} rename to {to}");
        space.database.execute(&rename);
    };
    rename("counter", "hidden");
    producer.write(&topic, &added(10..20));
    wait_for_state(&space, "waiting");
    let told = "select reason like '%counter%', hint is not null from consolidator.waiting";
    assert_eq!(one_row(&space, told), ["t", "t"]);
    assert!(String::from_utf8_lossy(&space.run(&["status"]).stdout).contains("waiting"));
    rename("hidden", "counter");
    space.wait_applied("counter", &[&topic], IN_TIME);
    wait_for_state(&space, "live");
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn a_generation_that_this_version_cannot_read_is_told_once_and_kept_in_view() {
    let space = Space::new("unreadable");
    let topic = define_counter(&space);
    let worker = space.start_worker("worker");
    Producer::new(space.kafka).write(&topic, &added(0..10));
    space.wait_applied("counter", &[&topic], IN_TIME);
    wait_for_state(&space, "live");
    assert!(space.run(&["pause", "counter"]).status.success());
    let idle = "select count(*) from consolidator.checkpoint where owner_pid is not null";
    wait_until("the lanes to end", IN_TIME, || {
        space.database.number(idle) == 0
    });
    let definition = "update consolidator.generation set definition = 'projection: 7'";
    space.database.execute(definition);
    assert!(space.run(&["resume", "counter"]).status.success());
    wait_for_state(&space, "waiting");
    let repeated = "select count(*) from consolidator.waiting where told_at > since";
    wait_until("it to be told again", IN_TIME, || {
        space.database.number(repeated) == 1
    });
    assert_eq!(worker.log().matches("cannot fold it").count(), 1);
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
fn define_counter(space: &Space) -> String {
    let topic = space.topic("events", 1);
    space.definition(
        "counter",
        &format!("on_error: stop{}", counter("counter", &topic)),
    );
    topic
}

fn wait_for_stop(space: &Space) {
    let stops = "select count(*) from consolidator.stop";
    wait_until("the projection to stop", IN_TIME, || {
        let counted = space.database.try_query(stops);
        counted.is_ok_and(|rows| rows[0][0].as_deref() == Some("1"))
    });
}

fn wait_for_table(space: &Space) {
    let table = "select count(*) from consolidator_g1.counter";
    wait_until("the table to be made", IN_TIME, || {
        space.database.try_query(table).is_ok()
    });
}

/// The values of the one row that a query gives.
fn one_row(space: &Space, sql: &str) -> Vec<String> {
    let rows = space.database.query(sql);
    assert_eq!(rows.len(), 1, "{rows:?}");
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    rows[0].iter().map(value).collect()
}

fn wait_for_state(space: &Space, state: &str) {
    let states = "select state from consolidator.freshness";
    wait_until(&format!("the state `{state}`"), IN_TIME, || {
        space.database.value(states).as_deref() == Some(state)
    });
}
