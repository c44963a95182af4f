//! The ends of topics that no lane measures: of what is paused, stopped, or left by its workers. Asks Kafka, briefly; without an
//! answer the last measurement stands, with its age.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Status, is_worked_on};
use crate::source::{Cluster, KafkaSettings, SourceError};
use crate::store::{GenerationStatus, PartitionStatus};

/// How long Kafka may take to answer for one topic.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long Kafka is left alone after it has not answered.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Asks Kafka where lanes do not. Connects when there is something to ask.
pub struct Measurer {
    kafka: KafkaSettings,
    cluster: Option<Arc<Cluster>>,
    unanswered_at: Option<Instant>,
}

impl Measurer {
    pub fn new(kafka: &KafkaSettings) -> Measurer {
        Measurer {
            kafka: kafka.clone(),
            cluster: None,
            unanswered_at: None,
        }
    }

    /// Puts what Kafka says in the place of measurements that nobody renews.
    pub async fn measure(&mut self, status: &mut Status) {
        let all = status.projections.iter_mut();
        let mut unmeasured: Vec<&mut GenerationStatus> = all
            .flat_map(|projection| &mut projection.generations)
            .filter(|generation| generation.state.is_fed())
            .filter(|generation| !generation.partitions.iter().all(is_worked_on))
            .collect();
        let lately = |at: Instant| at.elapsed() < ASK_AGAIN_AFTER;
        if unmeasured.is_empty() || self.unanswered_at.is_some_and(lately) {
            return;
        }
        let mut sizes: BTreeMap<String, usize> = BTreeMap::new();
        for partition in unmeasured.iter().flat_map(|one| &one.partitions) {
            let size = sizes.entry(partition.topic.clone()).or_default();
            let count = usize::try_from(partition.partition).map_or(0, |number| number + 1);
            *size = count.max(*size);
        }
        let (cluster, kafka) = (self.cluster.take(), self.kafka.clone());
        let asked = tokio::task::spawn_blocking(move || ask(cluster, &kafka, &sizes)).await;
        let Ok(Ok((cluster, ends))) = asked else {
            self.unanswered_at = Some(Instant::now());
            return;
        };
        self.cluster = Some(cluster);
        for partition in unmeasured.iter_mut().flat_map(|one| &mut one.partitions) {
            let number = usize::try_from(partition.partition).unwrap_or(usize::MAX);
            if let Some(end) = ends.get(&partition.topic).and_then(|ends| ends.get(number)) {
                note(partition, *end);
            }
        }
    }
}

type EndOffsets = BTreeMap<String, Vec<i64>>;

fn ask(
    cluster: Option<Arc<Cluster>>,
    kafka: &KafkaSettings,
    sizes: &BTreeMap<String, usize>,
) -> Result<(Arc<Cluster>, EndOffsets), SourceError> {
    let cluster = match cluster {
        Some(cluster) => cluster,
        None => Arc::new(Cluster::connect(kafka)?),
    };
    let mut ends = EndOffsets::new();
    for (topic, partitions) in sizes {
        let of_topic = cluster.ends(topic, *partitions, ANSWER_MAX)?;
        let of_topic = of_topic.iter().map(|end| end.end_offset).collect();
        ends.insert(topic.clone(), of_topic);
    }
    Ok((cluster, ends))
}

fn note(partition: &mut PartitionStatus, end_offset: i64) {
    let now = Timestamp::now();
    partition.end_offset = Some(end_offset.max(partition.next_offset));
    partition.measured_at = Some(format!("{now:.3}"));
    partition.measured_ago = Some(0.0);
    partition.lag_seconds = match partition.gap() {
        Some(0) => Some(0.0),
        _ => {
            let as_of = partition
                .as_of
                .as_deref()
                .and_then(|at| at.parse::<Timestamp>().ok());
            as_of.map(|at| now.duration_since(at).as_secs_f64().max(0.0))
        }
    };
}
