//! What goes on around a worker that is nobody's fault: a clock that jumps, an output that takes nothing, a database that is slow, leaders
//! that move.

use std::fs::{self, File};
use std::process::Command;
use std::time::Duration;

use consolidator::demo::process::ServerProcess;
use rdkafka::config::ClientConfig;
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::support::database::Database;
use crate::support::definitions::{added, counter};
use crate::support::space::Space;
use crate::support::topic::{Producer, Record};
use crate::support::wait::{let_pass, wait_until};
use crate::support::worker::{BINARY, Worker, http_address, metrics};

const IN_TIME: Duration = Duration::from_secs(60);

/// Adds the seconds in the file that CLOCK_FILE names to the time of day, and nothing to the clocks that never jump.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
static long offset(void) {
    long seconds = 0;
    FILE *file = fopen(getenv("CLOCK_FILE"), "r");
    if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
    return seconds;
}
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, at);
    if (result == 0 && id == CLOCK_REALTIME) at->tv_sec += offset();
    return result;
}
"#;

#[test]
fn a_clock_that_jumps_changes_nothing_in_the_tables() {
    let mut space = Space::new("clock");
    let topic = define_counter(&space);
    let source = space.dir().join("clock.c");
    let library = space.dir().join("clock.so");
    let offset = space.dir().join("offset");
    fs::write(&source, CLOCK).unwrap();
    fs::write(&offset, "0").unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status();
    assert!(compiled.is_ok_and(|status| status.success()), "cc compiles");
    let text = |path: &std::path::Path| path.display().to_string();
    space.environment = vec![
        ("LD_PRELOAD".to_owned(), text(&library)),
        ("CLOCK_FILE".to_owned(), text(&offset)),
    ];
    let worker = space.start_worker("worker");
    let http = http_address(&space.dir().join("worker.settings.yaml"));
    let producer = Producer::new(space.kafka);
    let mut written = 0;
    // In 1970 (Linux takes no time before it), as it is, an hour on, an hour back, behind 2100, and as it was.
    for seconds in ["-1790000000", "0", "3600", "-3600", "2400000000", "0"] {
        fs::write(&offset, seconds).unwrap();
        producer.write(&topic, &added(written..written + 500));
        written += 500;
        space.wait_applied("counter", &[&topic], IN_TIME);
        let mut told = String::new();
        wait_until("the lag to be told", IN_TIME, || {
            told = metrics(&http);
            told.contains("consolidator_lag_seconds{")
        });
        let lags = told
            .lines()
            .filter(|line| line.starts_with("consolidator_lag_seconds{"));
        for lag in lags {
            assert!(!lag.contains(" -"), "at {seconds}: {lag}");
        }
    }
    assert_eq!(events(&space), written as i64);
    assert!(!worker.log().contains("panicked"), "{}", worker.log());
    ended(&worker);
}

#[test]
fn a_worker_whose_output_takes_nothing_folds_all_the_same() {
    let space = Space::new("mute");
    let topic = define_counter(&space);
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &added(0..500));
    // Every write fails with "no space left on device".
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(BINARY);
    let settings = space.write_settings("worker");
    command.args(["run", "--config", &settings]);
    command
        .current_dir(space.dir())
        .stdout(full())
        .stderr(full());
    let worker = ServerProcess::spawn(command, libc::SIGKILL).unwrap();
    space.wait_applied("counter", &[&topic], IN_TIME);
    // Poison and a table that is gone for a moment give it something to say.
    producer.write(&topic, &[Record::new("bad", "{")]);
    producer.write(&topic, &added(500..1_000));
    space.wait_applied("counter", &[&topic], IN_TIME);
    assert_eq!(events(&space), 1_000);
    worker.signal(libc::SIGTERM);
    let ended = worker.wait(IN_TIME).expect("it ends when asked");
    assert!(ended.success(), "{ended}");
}

#[test]
fn a_batch_slower_than_the_longest_time_between_polls_keeps_the_membership() {
    let mut space = Space::new("slow");
    let longest = ("max.poll.interval.ms".to_owned(), "6000".to_owned());
    space.settings.kafka_properties.push(longest);
    let topic = define_counter(&space);
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &added(0..500));
    let worker = space.start_worker("worker");
    space.wait_applied("counter", &[&topic], IN_TIME);
    let took_over = || worker.log().matches("took partitions over").count();
    let before = took_over();
    let holder = Database::at(space.database.url());
    holder.execute("begin; lock table consolidator_g1.counter in access exclusive mode");
    producer.write(&topic, &added(500..1_000));
    let_pass(Duration::from_secs(14));
    holder.execute("commit");
    space.wait_applied("counter", &[&topic], IN_TIME);
    assert_eq!(events(&space), 1_000);
    assert_eq!(
        took_over(),
        before,
        "the group never took its partitions back"
    );
    let lost = worker.log().contains("lost partitions") || worker.log().contains("a lane ended");
    assert!(!lost, "{}", worker.log());
    ended(&worker);
}

#[test]
fn leaders_and_coordinators_that_move_keep_no_partition_for_long() {
    let cluster = MockCluster::new(3).unwrap();
    let mut space = Space::new("moving");
    space.settings.brokers = cluster.bootstrap_servers();
    cluster.create_topic("events", 2, 3).unwrap();
    space.definition("counter", &counter("counter", "events"));
    let worker = space.start_worker("worker");
    let group = format!("{}.counter.g1", space.id);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    let mut written = 0;
    for broker in [1, 2, 3, 1] {
        for partition in 0..2 {
            cluster
                .partition_leader("events", partition, Some(broker))
                .unwrap();
        }
        let coordinator = MockCoordinator::Group(group.clone());
        cluster.coordinator(coordinator, broker % 3 + 1).unwrap();
        let producer: BaseProducer = config.create().unwrap();
        for (number, event) in added(written..written + 100).iter().enumerate() {
            let record = BaseRecord::to("events").partition(number as i32 % 2);
            let record = record.key(event.key.as_ref().unwrap());
            let record = record.payload(event.value.as_ref().unwrap());
            producer.send(record).unwrap();
        }
        producer.flush(IN_TIME).unwrap();
        written += 100;
        for partition in 0..2 {
            let last = (written / 2 - 1) as i64;
            space.wait_offset("counter", "events", partition, last, IN_TIME);
        }
    }
    assert_eq!(events(&space), written as i64);
    ended(&worker);
}

fn define_counter(space: &Space) -> String {
    let topic = space.topic("events", 2);
    space.definition("counter", &counter("counter", &topic));
    topic
}

fn events(space: &Space) -> i64 {
    space
        .database
        .number("select sum(n) from read_model.counter")
}

fn ended(worker: &Worker) {
    let status = worker.terminate(IN_TIME);
    assert!(status.success(), "{} ended with {status}", worker.name);
}
