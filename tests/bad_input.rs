//! What cannot work says so once, clearly, with exit status 2; nobody is shown a panic.

use std::time::Duration;

use crate::support::definitions::counter;
use crate::support::space::Space;
use crate::support::wait::wait_until;
use crate::support::worker::Worker;

const IN_TIME: Duration = Duration::from_secs(60);

#[test]
fn a_broken_settings_file_is_refused() {
    let space = space("settings");
    let file = space.dir().join("broken.yaml");
    for (text, expected) in [
        ("kafka: { brokers: [", "broken.yaml"),
        ("kafka: { brokres: \"localhost:9092\" }", "brokres"),
        ("worker: { lanes: many }", "lanes"),
    ] {
        std::fs::write(&file, text).unwrap();
        let path = file.display().to_string();
        let name = format!("worker-{expected}");
        let worker = Worker::start(&name, space.dir(), &["run", "--config", &path], &[]);
        assert_refused(&worker, &[expected]);
    }
}

#[test]
fn a_missing_settings_file_is_named() {
    let space = space("no_settings");
    let worker = Worker::start(
        "worker",
        space.dir(),
        &["run", "--config", "nowhere.yaml"],
        &[],
    );
    assert_refused(&worker, &["nowhere.yaml"]);
}

#[test]
fn an_unreachable_broker_is_named() {
    let mut space = space("broker");
    space.settings.brokers = "127.0.0.1:1".to_owned();
    let worker = space.start_worker("worker");
    // Waiting for a broker that may come back is right, if it says so.
    wait_until("the broker to be named", IN_TIME, || {
        worker.log().contains("127.0.0.1:1")
    });
    assert_no_panic(&worker);
    if !worker.is_running() {
        assert_refused(&worker, &["127.0.0.1:1"]);
    }
}

#[test]
fn a_kafka_property_that_librdkafka_refuses_is_named() {
    let mut space = space("property");
    let property = ("socket.timeout.ms".to_owned(), "soon".to_owned());
    space.settings.kafka_properties.push(property);
    assert_refused(&space.start_worker("worker"), &["socket.timeout.ms"]);
}

#[test]
fn a_missing_topic_is_named() {
    let space = Space::new("topic");
    space.definition("small", &counter("small", "nobody-made-this"));
    let worker = space.start_worker("worker");
    wait_until("the topic to be named", IN_TIME, || {
        worker.log().contains("nobody-made-this")
    });
    assert_no_panic(&worker);
    if !worker.is_running() {
        assert_refused(&worker, &["nobody-made-this"]);
    }
}

#[test]
fn a_missing_role_of_readers_is_named() {
    let mut space = space("readers");
    space
        .settings
        .readers
        .push("nobody_of_that_name".to_owned());
    assert_refused(&space.start_worker("worker"), &["nobody_of_that_name"]);
}

#[test]
fn a_missing_user_is_named_without_the_password() {
    let mut space = space("user");
    let server = after_user(&space.settings.postgres_url);
    space.settings.postgres_url = format!("postgres://stranger:s3cr3t-word@{server}");
    let worker = space.start_worker("worker");
    assert_refused(&worker, &["stranger"]);
    assert!(!worker.log().contains("s3cr3t-word"));
}

#[test]
fn a_wrong_password_is_refused_and_not_shown() {
    let mut space = space("password");
    let server = after_user(&space.settings.postgres_url);
    space.settings.postgres_url = format!("postgres://postgres:s3cr3t-word@{server}");
    let worker = space.start_worker("worker");
    assert_refused(&worker, &["password"]);
    assert!(!worker.log().contains("s3cr3t-word"));
}

#[test]
fn a_missing_database_is_named() {
    let mut space = space("database");
    let url = space
        .settings
        .postgres_url
        .replace(&space.id, "no_such_database");
    space.settings.postgres_url = url;
    assert_refused(&space.start_worker("worker"), &["no_such_database"]);
}

#[test]
fn a_database_that_cannot_hold_every_text_is_refused() {
    let mut space = space("encoding");
    let latin = format!("{}_latin", space.id);
    let create = format!("create database {latin} encoding 'LATIN1' locale 'C' template template0");
    space.database.execute(&create);
    let (server, _) = space.settings.postgres_url.rsplit_once('/').unwrap();
    space.settings.postgres_url = format!("{server}/{latin}");
    assert_refused(&space.start_worker("worker"), &["LATIN1", "UTF8"]);
}

#[test]
fn a_column_type_that_postgres_refuses_is_placed() {
    for (kind, name) in [("numeric(2000,2)", "precision"), ("bigints", "unknown")] {
        let space = Space::new(name);
        let topic = space.topic("events", 1);
        let text = counter("small", &topic).replace("n: bigint", &format!("n: {kind}"));
        space.definition("small", &text);
        assert_refused(&space.start_worker("worker"), &["small.yaml", kind]);
    }
}

/// A space whose one definition is in order.
fn space(name: &str) -> Space {
    let space = Space::new(name);
    let topic = space.topic("events", 1);
    space.definition("small", &counter("small", &topic));
    space
}

fn after_user(url: &str) -> &str {
    url.split_once('@').expect("a url with a user").1
}

fn assert_refused(worker: &Worker, words: &[&str]) {
    let status = worker.wait(IN_TIME);
    let log = worker.log();
    assert_eq!(status.code(), Some(2), "{log}");
    for word in words {
        assert!(log.contains(word), "`{word}` is missing:\n{log}");
    }
    assert_no_panic(worker);
}

fn assert_no_panic(worker: &Worker) {
    let log = worker.log();
    for sign in ["panicked at", "stack backtrace", "RUST_BACKTRACE"] {
        assert!(!log.contains(sign), "{log}");
    }
}
