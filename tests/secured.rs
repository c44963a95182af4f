//! Kafka as it is met in earnest: behind TLS, and with a password.

use std::time::Duration;

use crate::support::kafka::KafkaServer;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record};

const IN_TIME: Duration = Duration::from_secs(60);

const DEFINITION: &str = "
projection: small
from: [secured-events]
tables:
  small:
    key:
      name: text = event.key
    columns:
      n: bigint not null default 0
    rules:
      Added:
        set: n = n + 1
";

#[test]
fn a_worker_reads_kafka_behind_tls_with_a_password_that_it_never_shows() {
    let (kafka, listener) = KafkaServer::start_secured("consolidator", "broker-secret");
    kafka.create_topic("secured-events", 1, &[]);
    let event = Record::new("a", r#"{"type":"Added"}"#);
    Producer::new(&kafka).write("secured-events", &[event.clone(), event]);

    let mut space = Space::new("secured");
    space.definition("small", DEFINITION);
    space.settings.brokers = listener.brokers;
    space.settings.kafka_properties.extend(listener.properties);
    let worker = space.start_worker("worker");
    space.wait_offset("small", "secured-events", 0, 1, IN_TIME);
    assert_eq!(space.database.number("select n from read_model.small"), 2);
    assert!(worker.terminate(IN_TIME).success());
    assert!(!worker.log().contains("broker-secret"), "{}", worker.log());
}
