//! Where the logs of partitions begin that are met for the first time: asked of Kafka on a thread of its own, as the answer
//! may be long in coming. Takes nothing over itself.

use crate::source::{Cluster, SourceError, TopicPartition};
use crate::worker::Work;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// How long Kafka may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before partitions that gave no answer are asked for again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

type Answers = Vec<(TopicPartition, Result<i64, SourceError>)>;

#[derive(Debug, Default)]
pub(super) struct Begins {
    /// Given by the group, without a checkpoint, not taken over yet.
    pub(super) wanted: Vec<TopicPartition>,
    question: Option<JoinHandle<Answers>>,
    asked_at: Option<Instant>,
}

impl Begins {
    /// Asks for all that is wanted, unless a question is under way or was just answered.
    pub(super) fn ask(&mut self, work: &Arc<Work>, runtime: &Handle) {
        let too_soon = |asked_at: Instant| asked_at.elapsed() < ASK_AGAIN_AFTER;
        if self.wanted.is_empty() {
            self.asked_at = None;
            return;
        }
        if self.question.is_some() || self.asked_at.is_some_and(too_soon) {
            return;
        }
        self.asked_at = Some(Instant::now());
        let (work, wanted) = (work.clone(), self.wanted.clone());
        self.question = Some(runtime.spawn_blocking(move || ask(&work, &wanted)));
    }

    /// The answers, once they are there.
    pub(super) fn answered(&mut self, runtime: &Handle) -> Option<Answers> {
        let question = self.question.take_if(|question| question.is_finished())?;
        // Finished: no wait. One that panicked gave no answer and is asked again.
        Some(runtime.block_on(question).unwrap_or_default())
    }
}

fn ask(work: &Work, wanted: &[TopicPartition]) -> Answers {
    let cluster = match Cluster::connect(&work.kafka) {
        Ok(cluster) => cluster,
        Err(error) => return wanted.iter().map(|at| (*at, Err(error.clone()))).collect(),
    };
    let mut by_topic: BTreeMap<usize, Vec<i32>> = BTreeMap::new();
    for at in wanted {
        by_topic.entry(at.topic).or_default().push(at.partition);
    }
    let mut answers = Vec::with_capacity(wanted.len());
    for (topic, partitions) in by_topic {
        let name = &work.projection.topics[topic].name;
        let begins = cluster.begins(name, &partitions, ANSWER_TIMEOUT);
        let places = partitions
            .into_iter()
            .map(|partition| TopicPartition { topic, partition });
        answers.extend(places.zip(begins));
    }
    answers
}
