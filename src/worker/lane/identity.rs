//! Whether the topics that are read are still those that were applied. Kafka is asked for their ids beside the work: whenever
//! partitions were taken over, before anything of them is read, and every so often after that.

use super::recovery::blames_no_event;
use super::{Lane, Trouble};
use crate::source::{SourceError, TopicIds, TopicPartition};
use crate::worker::partitions::Partition;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::debug;

/// How long what a topic made anew holds may be taken for what the old one held, at most. Reading on shows it earlier, unless the
/// new one is as long as the old one by then.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long Kafka may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a lane that waits for the answer looks for it.
const LOOK_EVERY: Duration = Duration::from_millis(2);

type Answer = Result<Vec<Option<String>>, SourceError>;

#[derive(Debug, Default)]
pub(super) struct Identity {
    question: Option<JoinHandle<Answer>>,
    asked_at: Option<Instant>,
    /// An answer to a question that was asked since partitions were last taken over.
    is_known: bool,
}

impl Identity {
    /// Partitions were taken over: what was asked before tells nothing of them.
    pub(super) fn forget(&mut self) {
        *self = Identity::default();
    }

    fn ask(&mut self, ids: impl FnOnce() -> TopicIds, runtime: &Handle) {
        let too_soon = |asked_at: Instant| asked_at.elapsed() < ASK_EVERY;
        if self.question.is_some() || self.asked_at.is_some_and(too_soon) {
            return;
        }
        self.asked_at = Some(Instant::now());
        let ids = ids();
        self.question = Some(runtime.spawn_blocking(move || ids.ask(ANSWER_TIMEOUT)));
    }

    fn answered(&mut self, runtime: &Handle) -> Option<Answer> {
        let question = self.question.take_if(|question| question.is_finished())?;
        self.is_known = true;
        // Finished: no wait. One that panicked gave no answer and is asked again.
        runtime.block_on(question).ok()
    }
}

impl Lane {
    /// False as long as it is not known which topics it is that the lane would read.
    pub(super) fn knows_topics(&mut self) -> Result<bool, Trouble> {
        if self.partitions.is_empty() {
            return Ok(true);
        }
        let consumer = &self.consumer;
        self.identity.ask(|| consumer.topic_ids(), &self.runtime);
        match self.identity.answered(&self.runtime) {
            Some(Ok(ids)) => self.compare_ids(ids)?,
            // What is read tells, too; nobody is kept from it by a question that only some may ask.
            Some(Err(error)) => debug!(lane = %self.name, "the topics' ids: {error}"),
            None => {}
        }
        if !self.identity.is_known {
            self.wait(async { tokio::time::sleep(LOOK_EVERY).await });
            let served = self.consumer.serve();
            self.noted.add(served);
        }
        Ok(self.identity.is_known)
    }

    fn compare_ids(&mut self, ids: Vec<Option<String>>) -> Result<(), Trouble> {
        for (topic, id) in ids.into_iter().enumerate() {
            let Some(id) = id else {
                continue;
            };
            let is_other = |owned: &&Partition| {
                let known = owned.topic_id.as_ref();
                owned.at.topic == topic && known.is_some_and(|known| *known != id)
            };
            let other = self.partitions.iter().find(is_other);
            if let Some(at) = other.map(|owned| owned.at) {
                return Err(self.made_anew(at));
            }
            if self.partitions.note_topic_id(topic, &id) {
                let name = self.work.projection.topics[topic].name.clone();
                let generation = self.work.generation;
                self.on_store(async |store| store.note_topic_id(generation, &name, &id).await)
                    .map_err(blames_no_event)?;
            }
        }
        Ok(())
    }

    fn made_anew(&mut self, at: TopicPartition) -> Trouble {
        // The next partition of the topic is met by the next answer: at once.
        self.identity.forget();
        let stop = self
            .report
            .other_log(at, "the topic was made anew under its old name");
        Trouble::Full(Box::new(stop))
    }
}
