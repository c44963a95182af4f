//! Servers as they are met in earnest: behind TLS, asking who is there, and granting no more than is needed.

mod canary;
mod injection;
mod kafka;
mod postgres;
mod roles;

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::certificates::{Certificates, HOST};
use crate::support::definitions::counter;
use crate::support::kafka::{KafkaServer, SecuredKafka};
use crate::support::kafka_rights::{Right, allow};
use crate::support::space::Space;
use crate::support::topic::{Producer, Record};

const IN_TIME: Duration = Duration::from_secs(60);
const USER: &str = "consolidator";
const PASSWORD: &str = "broker-secret";

/// One broker for the tests here.
fn secured() -> &'static (SecuredKafka, Certificates) {
    static SECURED: OnceLock<(SecuredKafka, Certificates)> = OnceLock::new();
    SECURED.get_or_init(|| {
        let certificates = Certificates::new();
        let kafka = KafkaServer::start_secured(&certificates, USER, PASSWORD);
        (kafka, certificates)
    })
}

/// What every client of that broker has in common.
fn trusting(authority: &Path) -> Vec<(String, String)> {
    let properties = [
        ("ssl.ca.location", authority.display().to_string()),
        // The servers of tests listen on 127.0.0.1.
        ("broker.address.family", "v4".to_owned()),
    ];
    properties
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
}

/// A projection that counts the records of a topic by key, and its topic; `user` may read both, and nothing else.
fn counting(space: &mut Space, user: &str, port: u16) -> String {
    let (kafka, certificates) = secured();
    let topic = format!("{}.events", space.id);
    kafka.server.create_topic(&topic, 1, &[]);
    allow(&kafka.server, user, Right::ReadTopics(&topic));
    allow(&kafka.server, user, Right::ReadGroups(&space.id));
    space.definition("small", &counter("small", &topic));
    space.settings.brokers = format!("{HOST}:{port}");
    let trusting = trusting(&certificates.authority());
    space.settings.kafka_properties.extend(trusting);
    topic
}

fn property(space: &mut Space, name: &str, value: &str) {
    let property = (name.to_owned(), value.to_owned());
    space.settings.kafka_properties.push(property);
}

/// Writes one event, as the administrator, and gives its offset.
fn write(topic: &str) -> i64 {
    let event = Record::new("a", r#"{"type":"Added"}"#);
    let places = Producer::new(&secured().0.server).write(topic, &[event]);
    places[0].1
}

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
