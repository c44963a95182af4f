//! How a Kafka client of ours is configured: our defaults, what users may override, what they may
//! not. Knows nothing of lanes, records or the cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use rdkafka::config::ClientConfig;
use serde::Deserialize;

use super::error::{ErrorKind, SourceError};
use super::raw::{Client, Login};

/// Where Kafka is and how to speak to it; the `kafka:` section of the settings.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// `host:port,…`, librdkafka's `bootstrap.servers`.
    pub brokers: String,
    /// Prefix of every consumer group: `<group>.<projection>.g<generation>`.
    pub group: String,
    /// Any librdkafka property, except those that [`owned_properties`] lists.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    /// Properties that stand in files: read again for every new client, so that they may change under a running worker.
    #[serde(default)]
    pub files: BTreeMap<String, PathBuf>,
    /// Holds the token for OAUTHBEARER.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
}

/// Never shows a property's value that could be a secret.
impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: BTreeMap<&str, &str> = self
            .properties
            .iter()
            .map(|(name, value)| (name.as_str(), shown_value(name, value)))
            .collect();
        f.debug_struct("KafkaSettings")
            .field("brokers", &self.brokers)
            .field("group", &self.group)
            .field("properties", &shown)
            .field("files", &self.files)
            .field("token_file", &self.token_file)
            .finish()
    }
}

/// How much a lane may hold in librdkafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of records fetched but not yet polled, librdkafka's own bookkeeping included (half of
    /// it is set aside for that). Fetching stops above it, so the most that is held is this plus
    /// one answer per broker, see [`Limits::memory_bytes_max`].
    pub queue_bytes: usize,
}

impl Limits {
    /// What a lane's client holds at most with `brokers` leaders answering at once: the queue limit,
    /// and for each broker one answer that was asked for just below the limit. A single record
    /// batch larger than the answer limit comes alone and whole; compressed answers count here as
    /// they are on the wire (records of ten bytes, well compressed, were seen to take 30 MiB more).
    pub fn memory_bytes_max(&self, brokers: usize) -> usize {
        self.queue_bytes + brokers * fetch_bytes(self.queue_bytes)
    }

    /// Records queued at most, so that their bookkeeping stays within its half.
    fn queue_records_max(&self) -> usize {
        (self.queue_bytes / 2 / RECORD_OVERHEAD_BYTES).clamp(1_000, 10_000_000)
    }

    fn queue_kbytes_max(&self) -> usize {
        (self.queue_bytes / 2 / 1024).clamp(1, 2_097_151)
    }
}

/// Properties that the exactly-once contract rests on, each with the reason. Setting one is an error.
pub fn owned_properties() -> &'static [(&'static str, &'static str)] {
    &[
        ("bootstrap.servers", "set `kafka.brokers`"),
        ("metadata.broker.list", "set `kafka.brokers`"),
        ("group.id", "set `kafka.group`"),
        ("group.instance.id", "all lanes of a process would share it"),
        (
            "enable.auto.commit",
            "offsets are kept in Postgres, with the rows",
        ),
        (
            "enable.auto.offset.store",
            "offsets are kept in Postgres, with the rows",
        ),
        (
            "auto.commit.interval.ms",
            "offsets are kept in Postgres, with the rows",
        ),
        (
            "auto.offset.reset",
            "a checkpoint that Kafka no longer holds must stop its partition, never skip",
        ),
        (
            "enable.partition.eof",
            "the end of a partition is how a lane knows that it has caught up",
        ),
        (
            "isolation.level",
            "records of open and aborted transactions must not be folded",
        ),
        (
            "allow.auto.create.topics",
            "reading must not create a topic",
        ),
        ("queued.max.messages.kbytes", "set `worker.memory_limit`"),
        ("log.queue", "librdkafka's log goes into the worker's own"),
    ]
}

/// Milliseconds until a fetch that a full queue had held back is tried again. librdkafka's default
/// of one second starves a lane that empties its queue in a tenth of it; 0 would spin.
const FETCH_QUEUE_BACKOFF_MS: u32 = 10;
/// Milliseconds that a broker holds a fetch for which it has nothing. A new record ends the wait at
/// once (`fetch.min.bytes` is 1), so this only decides how often an idle lane asks, and how long a
/// newly assigned partition waits for the fetch that is on its way.
const FETCH_WAIT_MAX_MS: u32 = 100;
/// New partitions and recreated topics are noticed within this time.
const METADATA_REFRESH_MS: u32 = 30_000;
const SESSION_TIMEOUT_MS: u32 = 45_000;
/// Members learn of a rebalance with their next heartbeat, and one that leaves meanwhile waits for
/// the slowest of them. (Three seconds by default.)
const HEARTBEAT_MS: u32 = 1_000;
/// What librdkafka allocates beside each queued record (an operation of some 400 bytes).
const RECORD_OVERHEAD_BYTES: usize = 400;
const FETCH_BYTES_MAX: usize = 16 << 20;
const FETCH_BYTES_MIN: usize = 64 << 10;
/// More gains nothing, and an answer of tiny or well compressed records takes many times its size.
/// librdkafka's default.
const REQUEST_BYTES_MAX: usize = 1_000_000;
const PARTITION_FETCH_BYTES_MAX: usize = 1 << 20;

/// Bytes that one fetch answer may have, for a queue of that size.
fn fetch_bytes(queue_bytes: usize) -> usize {
    (queue_bytes / 4).clamp(FETCH_BYTES_MIN, FETCH_BYTES_MAX)
}

impl KafkaSettings {
    /// What every client of ours has in common.
    ///
    /// # Errors
    /// A property that is ours is set.
    pub(super) fn client_config(&self) -> Result<ClientConfig, SourceError> {
        self.refuse_owned()?;
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "consolidator")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false")
            .set("log.queue", "true")
            .set("log.connection.close", "false")
            .set("socket.keepalive.enable", "true")
            .set("statistics.interval.ms", "0")
            .set("enable.metrics.push", "false")
            .set("reconnect.backoff.max.ms", "5000")
            // OpenSSL is our own and has no idea where this machine keeps its certificate authorities.
            .set("ssl.ca.location", "probe");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        for (name, file) in &self.files {
            // While a file cannot be read, what it held before has to do.
            if let Ok(text) = std::fs::read_to_string(file) {
                config.set(name, text.trim_end_matches(['\n', '\r']));
            }
        }
        if self.token_file.is_some() && !self.sets("sasl.mechanisms") {
            config.set("sasl.mechanisms", "OAUTHBEARER");
        }
        Ok(config)
    }

    /// For a client of rdkafka's own.
    pub(super) fn login(&self) -> Login {
        Login {
            token_file: self.token_file.clone(),
        }
    }

    /// A lane's client: a member of `group`.
    ///
    /// # Errors
    /// A property that is ours is set.
    pub(super) fn lane_config(
        &self,
        group: &str,
        limits: Limits,
    ) -> Result<ClientConfig, SourceError> {
        let mut config = self.client_config()?;
        let fetch = fetch_bytes(limits.queue_bytes);
        let defaults = [
            ("session.timeout.ms", SESSION_TIMEOUT_MS.to_string()),
            ("heartbeat.interval.ms", self.heartbeat_ms().to_string()),
            ("fetch.queue.backoff.ms", FETCH_QUEUE_BACKOFF_MS.to_string()),
            ("fetch.wait.max.ms", FETCH_WAIT_MAX_MS.to_string()),
            ("fetch.min.bytes", "1".to_owned()),
            ("fetch.max.bytes", fetch.to_string()),
            // About requests, of which a consumer makes no large ones; librdkafka wants it below what is fetched.
            (
                "message.max.bytes",
                fetch.min(REQUEST_BYTES_MAX).to_string(),
            ),
            (
                "fetch.message.max.bytes",
                fetch.min(PARTITION_FETCH_BYTES_MAX).to_string(),
            ),
            (
                "queued.min.messages",
                limits.queue_records_max().to_string(),
            ),
            ("check.crcs", "true".to_owned()),
            (
                "topic.metadata.refresh.interval.ms",
                METADATA_REFRESH_MS.to_string(),
            ),
        ];
        for (name, value) in defaults {
            if !self.sets(name) {
                config.set(name, value);
            }
        }
        // Under KIP-848 the broker decides these, and librdkafka refuses them: not even the user's
        // are handed on, so that settings may name both protocols' properties.
        if self.group_protocol() == "consumer" {
            config.remove("session.timeout.ms");
            config.remove("heartbeat.interval.ms");
        } else if !self.sets("partition.assignment.strategy") {
            config.set("partition.assignment.strategy", "cooperative-sticky");
        }
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set(
                "queued.max.messages.kbytes",
                limits.queue_kbytes_max().to_string(),
            );
        Ok(config)
    }

    /// Whether librdkafka, as it was built, takes the properties all together. Opens no connection.
    ///
    /// # Errors
    /// The property that it refuses, and why.
    pub fn check(&self) -> Result<(), SourceError> {
        let limits = Limits {
            queue_bytes: FETCH_BYTES_MAX,
        };
        let mut config = self.lane_config(&self.group, limits)?;
        config.remove("bootstrap.servers");
        let oauth = |name| {
            config
                .get(name)
                .is_some_and(|text| text.eq_ignore_ascii_case("OAUTHBEARER"))
        };
        let others = [
            "enable.sasl.oauthbearer.unsecure.jwt",
            "sasl.oauthbearer.method",
        ];
        let by_hand = self.token_file.is_none() && !others.iter().any(|name| self.sets(name));
        if by_hand && (oauth("sasl.mechanism") || oauth("sasl.mechanisms")) {
            return Err(SourceError::new(
                ErrorKind::Configuration,
                "for OAUTHBEARER set `kafka.token_file`, the file that holds the token",
            ));
        }
        Client::new(&config, None).map(drop)
    }

    /// Tells whether anything that a client logs in with has changed: two marks differ if a file of theirs does.
    pub(super) fn login_mark(&self) -> u64 {
        const PLACES: [&str; 4] = [
            "ssl.certificate.location",
            "ssl.key.location",
            "ssl.keystore.location",
            "ssl.ca.location",
        ];
        let places = PLACES
            .iter()
            .filter_map(|name| self.properties.get(*name))
            .map(Path::new);
        let files = self
            .files
            .values()
            .chain(&self.token_file)
            .map(PathBuf::as_path);
        let mut mark = DefaultHasher::new();
        for file in places.chain(files).filter(|file| file.is_file()) {
            std::fs::read(file).unwrap_or_default().hash(&mut mark);
        }
        mark.finish()
    }

    /// A third of the session at most.
    fn heartbeat_ms(&self) -> u32 {
        let session = self.properties.get("session.timeout.ms");
        let session = session.and_then(|ms| ms.parse().ok());
        (session.unwrap_or(SESSION_TIMEOUT_MS) / 3).clamp(1, HEARTBEAT_MS)
    }

    fn group_protocol(&self) -> &str {
        self.properties
            .get("group.protocol")
            .map_or("classic", String::as_str)
    }

    fn sets(&self, name: &str) -> bool {
        let alias = match name {
            "fetch.message.max.bytes" => "max.partition.fetch.bytes",
            "sasl.mechanisms" => "sasl.mechanism",
            _ => name,
        };
        self.properties.contains_key(name) || self.properties.contains_key(alias)
    }

    fn refuse_owned(&self) -> Result<(), SourceError> {
        for (name, reason) in owned_properties() {
            if self.properties.contains_key(*name) {
                return Err(SourceError::new(
                    ErrorKind::Configuration,
                    format!("the Kafka property `{name}` cannot be set: {reason}"),
                ));
            }
        }
        Ok(())
    }
}

/// The value of a property as it may be shown: secrets are replaced.
pub fn shown_value<'v>(name: &str, value: &'v str) -> &'v str {
    if is_secret(name) { "***" } else { value }
}

/// Whether the value of this property must not be shown.
pub(super) fn is_secret(name: &str) -> bool {
    const PARTS: [&str; 6] = [
        "password",
        "secret",
        "key.pem",
        "token",
        "oauthbearer",
        "jaas",
    ];
    PARTS.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(properties: &[(&str, &str)]) -> KafkaSettings {
        KafkaSettings {
            brokers: "localhost:9092".to_owned(),
            group: "g".to_owned(),
            properties: properties
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            ..KafkaSettings::default()
        }
    }

    const LIMITS: Limits = Limits {
        queue_bytes: 64 << 20,
    };

    #[test]
    fn a_user_may_override_a_default() {
        let config = settings(&[("session.timeout.ms", "6000"), ("check.crcs", "false")])
            .lane_config("g.p.g1", LIMITS)
            .unwrap();
        assert_eq!(config.get("session.timeout.ms"), Some("6000"));
        assert_eq!(config.get("check.crcs"), Some("false"));
        assert_eq!(
            config.get("partition.assignment.strategy"),
            Some("cooperative-sticky")
        );
    }

    #[test]
    fn a_property_that_the_contract_rests_on_is_refused_with_its_reason() {
        for (name, reason) in owned_properties() {
            let error = settings(&[(name, "x")])
                .lane_config("g.p.g1", LIMITS)
                .unwrap_err();
            assert_eq!(error.kind, ErrorKind::Configuration);
            assert!(error.message.contains(name) && error.message.contains(reason));
        }
    }

    #[test]
    fn the_new_group_protocol_is_left_to_the_broker() {
        let config = settings(&[("group.protocol", "consumer")])
            .lane_config("g.p.g1", LIMITS)
            .unwrap();
        assert_eq!(config.get("session.timeout.ms"), None);
        assert_eq!(config.get("partition.assignment.strategy"), None);
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", settings(&[("sasl.password", "hush")]));
        assert!(!shown.contains("hush"), "{shown}");
    }
}
