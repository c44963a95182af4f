//! How far the logs of a projection's topics reach, asked of Kafka. One connection, made when it is first needed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::source::{Cluster, ErrorKind, KafkaSettings, SourceError};
use crate::store::Offsets;

/// How long Kafka may take for an answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the logs begin and end, as of when it was asked.
#[derive(Clone, Debug, Default)]
pub struct LogEnds {
    /// By topic and partition: the first offset that is there (inclusive), and the end (exclusive).
    pub partitions: BTreeMap<(String, i32), (i64, i64)>,
    /// Topics that do not exist.
    pub missing: Vec<String>,
}

impl LogEnds {
    /// The ends, by topic and partition.
    pub fn offsets_by_topic(&self) -> Offsets {
        let mut offsets = Offsets::new();
        for ((topic, partition), (_, end)) in &self.partitions {
            let topic = offsets.entry(topic.clone()).or_default();
            topic.insert(*partition, *end);
        }
        offsets
    }

    /// Offsets between beginnings and ends: events at most, since offsets have holes.
    pub fn offsets(&self) -> i64 {
        self.partitions
            .values()
            .map(|(begin, end)| end - begin)
            .sum()
    }
}

/// Asks Kafka; cheap to clone.
#[derive(Clone)]
pub struct Logs {
    kafka: KafkaSettings,
    cluster: Arc<Mutex<Option<Arc<Cluster>>>>,
}

impl Logs {
    pub fn new(kafka: &KafkaSettings) -> Logs {
        Logs {
            kafka: kafka.clone(),
            cluster: Arc::default(),
        }
    }

    /// The ends of all partitions of these topics now.
    ///
    /// # Errors
    /// Kafka did not answer in time, or refused us.
    pub async fn ends(&self, topics: &[String]) -> Result<LogEnds, SourceError> {
        let (logs, topics) = (self.clone(), topics.to_vec());
        let ask = move || {
            let answer = logs.ask(&topics);
            if answer.is_err() {
                // The next question comes from a new client, which reads its credentials anew.
                *logs.cluster.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            answer
        };
        let asked = tokio::task::spawn_blocking(ask).await;
        asked.unwrap_or_else(|error| {
            Err(SourceError {
                kind: ErrorKind::Fatal,
                message: error.to_string(),
            })
        })
    }

    fn ask(&self, topics: &[String]) -> Result<LogEnds, SourceError> {
        let cluster = self.connected()?;
        let mut answer = LogEnds::default();
        for (topic, described) in topics
            .iter()
            .zip(cluster.check_topics(topics, ASK_TIMEOUT)?)
        {
            let described = match described {
                Ok(described) => described,
                Err(error) if error.kind == ErrorKind::UnknownTopic => {
                    answer.missing.push(topic.clone());
                    continue;
                }
                Err(error) => return Err(error),
            };
            for ends in cluster.ends(topic, described.partitions, ASK_TIMEOUT)? {
                answer.partitions.insert(
                    (topic.clone(), ends.partition),
                    (ends.begin_offset, ends.end_offset),
                );
            }
        }
        Ok(answer)
    }

    fn connected(&self) -> Result<Arc<Cluster>, SourceError> {
        let mut cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = &*cluster {
            return Ok(cluster.clone());
        }
        let fresh = Arc::new(Cluster::connect(&self.kafka)?);
        *cluster = Some(fresh.clone());
        Ok(fresh)
    }
}
