//! Kafka behind TLS: who is let in, who is believed, and what happens when that changes.

use std::fs;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use consolidator::source::{Cluster, ErrorKind, KafkaSettings};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::{IN_TIME, PASSWORD, USER, counting, property, secured, trusting, write};
use crate::support::certificates::{Certificates, HOST};
use crate::support::kafka_rights::{Right, allow, forbid, set_password};
use crate::support::space::Space;
use crate::support::wait::wait_until;

/// A broker that refuses does so at once; the question itself would wait on.
const ASK: Duration = Duration::from_secs(4);

#[test]
fn a_worker_reads_kafka_behind_tls_with_a_password_that_it_never_shows() {
    let mut space = Space::new("secured");
    let topic = counting(&mut space, USER, secured().0.scram);
    write(&topic);
    let last = write(&topic);
    let password = space.dir().join("kafka-password");
    fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    with_password(&mut space, &password.display().to_string());
    let worker = space.start_worker("worker");
    space.wait_offset("small", &topic, 0, last, IN_TIME);
    assert_eq!(space.database.number("select n from read_model.small"), 2);
    assert!(worker.terminate(IN_TIME).success());
    assert!(!worker.log().contains(PASSWORD), "{}", worker.log());
}

#[test]
fn the_rights_that_the_manual_names_are_enough_and_let_nobody_write() {
    let mut space = Space::new("read_only");
    let topic = counting(&mut space, USER, secured().0.scram);
    property(&mut space, "security.protocol", "SASL_SSL");
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &space.settings.brokers)
        .set("log_level", "0")
        .set("sasl.mechanism", "SCRAM-SHA-512")
        .set("sasl.username", USER)
        .set("sasl.password", PASSWORD);
    for (name, value) in &space.settings.kafka_properties {
        if !["session.timeout.ms", "heartbeat.interval.ms"].contains(&name.as_str()) {
            config.set(name, value);
        }
    }
    config.set("message.timeout.ms", "10000");
    let producer: BaseProducer = config.create().unwrap();
    let record = BaseRecord::<str, str>::to(&topic).payload("{}");
    producer.send(record).unwrap();
    producer.flush(Duration::from_secs(20)).unwrap();
    assert_eq!(secured().0.server.offsets(&topic), [(0, 0)]);
}

#[test]
fn a_worker_shows_kafka_a_certificate_of_its_own() {
    let (kafka, certificates) = secured();
    let mut space = Space::new("mutual");
    let topic = counting(&mut space, "CN=worker", kafka.mutual);
    let last = write(&topic);
    property(&mut space, "security.protocol", "SSL");
    let own = certificates.client("worker");
    let file = |path: &std::path::Path| path.display().to_string();
    property(
        &mut space,
        "ssl.certificate.location",
        &file(&own.certificate),
    );
    property(&mut space, "ssl.key.location", &file(&own.key));
    let _worker = space.start_worker("worker");
    space.wait_offset("small", &topic, 0, last, IN_TIME);
}

#[test]
fn a_broker_with_a_wrong_certificate_or_none_is_refused() {
    let (kafka, certificates) = secured();
    let (ours, others) = (certificates.authority(), Certificates::new());
    let port_of_plain = kafka.server.brokers.rsplit(':').next().unwrap();
    let asked = [
        (
            format!("{HOST}:{}", kafka.mutual),
            others.authority(),
            "verify failed",
        ),
        (
            format!("127.0.0.1:{}", kafka.scram),
            ours.clone(),
            "verify failed",
        ),
        (
            format!("{HOST}:{}", kafka.expired),
            ours.clone(),
            "verify failed",
        ),
        (
            format!("{HOST}:{port_of_plain}"),
            ours.clone(),
            "SSL handshake failed",
        ),
        // It asks for a certificate of the client's, who has none.
        (format!("{HOST}:{}", kafka.mutual), ours.clone(), "alert"),
    ];
    std::thread::scope(|scope| {
        for (brokers, authority, reason) in &asked {
            scope.spawn(move || {
                let mut properties = trusting(authority);
                properties.push(("security.protocol".to_owned(), "SSL".to_owned()));
                let settings = KafkaSettings {
                    brokers: brokers.clone(),
                    group: "test".to_owned(),
                    properties: properties.into_iter().collect(),
                    ..KafkaSettings::default()
                };
                let cluster = Cluster::connect(&settings).unwrap();
                let error = cluster.check_topics(&["any".to_owned()], ASK).err();
                let error = error.unwrap_or_else(|| panic!("{brokers} was believed"));
                assert!(error.message.contains(reason), "{brokers}: {error}");
                let refused = [ErrorKind::Authentication, ErrorKind::Unreachable];
                assert!(refused.contains(&error.kind), "{brokers}: {error}");
            });
        }
    });
}

#[test]
fn a_token_is_read_from_its_file_again_when_it_ends_and_when_a_better_one_comes() {
    let mut space = Space::new("token");
    let topic = counting(&mut space, USER, secured().0.token);
    let first = write(&topic);
    let file = space.dir().join("token");
    fs::write(&file, token(USER, 6)).unwrap();
    property(&mut space, "security.protocol", "SASL_SSL");
    let more = format!("  token_file: \"{}\"", file.display());
    space.settings.kafka_lines.push(more);
    let worker = space.start_worker("worker");
    space.wait_offset("small", &topic, 0, first, IN_TIME);

    worker.wait_for_log("invalid_token", IN_TIME);
    wait_until("status to say so", IN_TIME, || {
        let status = space.run(&["status"]);
        String::from_utf8_lossy(&status.stdout).contains("put right what it logs in with")
    });
    let second = write(&topic);
    fs::write(&file, token(USER, 600)).unwrap();
    space.wait_offset("small", &topic, 0, second, IN_TIME);
    let signed = token(USER, 600);
    let claims = signed.split('.').nth(1).unwrap();
    assert!(!worker.log().contains(claims), "{}", worker.log());
}

#[test]
fn oauth_by_other_means_than_a_file_is_refused_with_what_to_do() {
    let mut space = Space::new("oidc");
    property(&mut space, "security.protocol", "SASL_SSL");
    property(&mut space, "sasl.mechanism", "OAUTHBEARER");
    let output = space.run(&["run"]);
    assert_eq!(output.status.code(), Some(2));
    let told = super::stderr(&output);
    assert!(told.contains("set `kafka.token_file`"), "{told}");
    property(&mut space, "sasl.oauthbearer.method", "oidc");
    let output = space.run(&["run"]);
    assert_eq!(output.status.code(), Some(2));
    let told = super::stderr(&output);
    assert!(told.contains("sasl.oauthbearer.method"), "{told}");
}

#[test]
fn a_right_that_was_taken_away_is_waited_for() {
    let kafka = &secured().0;
    let mut space = Space::new("rights");
    let topic = counting(&mut space, USER, kafka.scram);
    let first = write(&topic);
    let password = space.dir().join("password");
    fs::write(&password, PASSWORD).unwrap();
    with_password(&mut space, &password.display().to_string());
    let _worker = space.start_worker("worker");
    space.wait_offset("small", &topic, 0, first, IN_TIME);

    forbid(&kafka.server, USER, Right::ReadTopics(&topic));
    wait_until("status to say so", IN_TIME, || {
        let status = space.run(&["status"]);
        String::from_utf8_lossy(&status.stdout).contains("let the user read the topic")
    });
    let second = write(&topic);
    allow(&kafka.server, USER, Right::ReadTopics(&topic));
    space.wait_offset("small", &topic, 0, second, IN_TIME);
    wait_until("status to be content", IN_TIME, || {
        space.run(&["status"]).status.success()
    });
}

#[test]
fn a_password_that_was_changed_is_read_again_from_its_file() {
    let kafka = &secured().0;
    let mut space = Space::new("rotated");
    let user = format!("{}_user", space.id);
    set_password(&kafka.server, &user, "old-secret");
    let topic = counting(&mut space, &user, kafka.scram);
    let first = write(&topic);
    let password = space.dir().join("password");
    fs::write(&password, "old-secret").unwrap();
    with_password(&mut space, &password.display().to_string());
    property(&mut space, "sasl.username", &user);
    let worker = space.start_worker("worker");
    space.wait_offset("small", &topic, 0, first, IN_TIME);

    set_password(&kafka.server, &user, "new-secret");
    // The broker asks for it again every two seconds.
    worker.wait_for_log("Authentication failed", IN_TIME);
    let second = write(&topic);
    fs::write(&password, "new-secret").unwrap();
    space.wait_offset("small", &topic, 0, second, IN_TIME);
}

fn with_password(space: &mut Space, file: &str) {
    property(space, "security.protocol", "SASL_SSL");
    property(space, "sasl.mechanism", "SCRAM-SHA-512");
    property(space, "sasl.username", USER);
    property(space, "sasl.password_file", file);
}

/// Not signed, as only tests may.
fn token(user: &str, lifetime_seconds: u64) -> String {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let end = now + lifetime_seconds;
    let claims = format!(r#"{{"sub":"{user}","iat":{now},"exp":{end}}}"#);
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.", part(r#"{"alg":"none"}"#), part(&claims))
}
