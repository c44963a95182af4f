//! Owns the servers of the demonstration: librdkafka's mock broker inside this process and a throw-away
//! Postgres. Knows nothing of what is sent to them.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};

use super::postgres::{PostgresError, PostgresOptions, PostgresServer};

/// The mock broker makes a consumer group wait this long for more members (its own default is 3 s).
const GROUP_JOIN_DELAY: Duration = Duration::from_millis(100);
/// The database that the demonstration uses.
const DATABASE: &str = "postgres";

/// A topic of the embedded broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemoTopic {
    pub name: &'static str,
    pub partitions: i32,
}

/// An embedded broker and a throw-away Postgres; both end, and their data with them, when this is dropped.
pub struct DemoServers {
    /// For `kafka.brokers`.
    pub brokers: String,
    /// For `postgres.url`, with the superuser's password.
    pub postgres_url: String,
    /// What a person types to look at the tables.
    pub psql_command: String,
    _broker: EmbeddedBroker,
    _postgres: PostgresServer,
}

/// librdkafka's mock broker. Limits, as of librdkafka 2.12: it keeps the records of a partition in
/// memory, up to 100,000 batches and 5 MB, and drops the oldest beyond that; a group has one member
/// per partition assignment round and no transactions are checked.
struct EmbeddedBroker {
    /// The client inside which the broker lives.
    client: BaseProducer,
}

/// Why the demonstration has no servers.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("cannot start the embedded broker: {0}")]
    Broker(#[from] rdkafka::error::KafkaError),
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error("cannot start the sample events: {0}")]
    Events(std::io::Error),
}

impl DemoServers {
    /// Starts both servers and makes the topics. Blocks for a few seconds, for longer where Postgres must
    /// be fetched first.
    pub fn start(topics: &[DemoTopic]) -> Result<DemoServers, DemoError> {
        let broker = EmbeddedBroker::start(topics)?;
        let postgres = PostgresServer::start(PostgresOptions::default())?;
        let postgres_url = postgres.url(DATABASE);
        Ok(DemoServers {
            brokers: broker.address()?,
            psql_command: format!("psql '{postgres_url}'"),
            postgres_url,
            _broker: broker,
            _postgres: postgres,
        })
    }
}

impl EmbeddedBroker {
    fn start(topics: &[DemoTopic]) -> Result<EmbeddedBroker, DemoError> {
        let client: BaseProducer = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            // Only errors: librdkafka warns that a mock broker takes the place of a real one.
            .set("log_level", "3")
            .create()?;
        let broker = EmbeddedBroker { client };
        broker.shorten_group_joins();
        for topic in topics {
            let cluster = broker.cluster()?;
            cluster.create_topic(topic.name, topic.partitions, 1)?;
        }
        Ok(broker)
    }

    fn address(&self) -> Result<String, DemoError> {
        Ok(self.cluster()?.bootstrap_servers())
    }

    fn cluster(
        &self,
    ) -> Result<rdkafka::mocking::MockCluster<'_, impl rdkafka::ClientContext>, DemoError> {
        let cluster = self.client.client().mock_cluster();
        Ok(cluster.ok_or(rdkafka::error::KafkaError::MockCluster(
            rdkafka::error::RDKafkaErrorCode::Fail,
        ))?)
    }

    /// The safe wrapper has no call for this one setting.
    fn shorten_group_joins(&self) {
        let delay_ms = GROUP_JOIN_DELAY.as_millis() as i32;
        // SAFETY: the client outlives the call, and the mock cluster belongs to the client; a client
        // without one gives null, which is not passed on.
        unsafe {
            let cluster =
                rdkafka_sys::rd_kafka_handle_mock_cluster(self.client.client().native_ptr());
            if !cluster.is_null() {
                rdkafka_sys::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, delay_ms);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::{BaseConsumer, Consumer};

    use super::*;

    #[test]
    fn the_embedded_broker_has_the_topics_that_were_asked_for() {
        let topic = DemoTopic {
            name: "movements",
            partitions: 3,
        };
        let broker = EmbeddedBroker::start(&[topic]).unwrap();
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", broker.address().unwrap())
            .create()
            .unwrap();
        let metadata = consumer
            .fetch_metadata(Some("movements"), Duration::from_secs(5))
            .unwrap();
        assert_eq!(metadata.topics()[0].partitions().len(), 3);
    }
}
