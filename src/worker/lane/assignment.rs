//! Partitions that come and go. The source only notes a rebalance; here the lane answers it, once the database has said
//! where to read on (assigned) or has everything that was folded (revoked).

use super::{Lane, Trouble};
use crate::fold::Folder;
use crate::source::{Cluster, SourceEvent, TopicPartition};
use crate::store::{Layout, Partition};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// How long Kafka may take to say where a log begins.
const ENDS_TIMEOUT: Duration = Duration::from_secs(10);

impl Lane {
    /// Acts on everything noted, oldest first. What fails stays noted and is met again after the recovery.
    pub(super) fn act_on_noted(&mut self) -> Result<(), Trouble> {
        while let Some(event) = self.noted.first().cloned() {
            match &event {
                SourceEvent::Assigned(partitions) => self.take_up(partitions)?,
                SourceEvent::Revoked(partitions) => self.hand_back(partitions)?,
                SourceEvent::Lost(partitions) => self.let_go(partitions)?,
                SourceEvent::EndOfPartition { at, next_offset } => {
                    self.at_the_end(*at, *next_offset)
                }
                SourceEvent::OutOfRange {
                    at,
                    offset,
                    message,
                } => {
                    return Err(Trouble::Stop(Box::new(
                        self.report.out_of_range(*at, *offset, message),
                    )));
                }
                SourceEvent::PartitionError { at, message, .. } => {
                    self.report.kafka_trouble(Some(*at), message)
                }
                SourceEvent::Error {
                    message,
                    fatal: true,
                    ..
                } => return Err(Trouble::Broken(message.clone())),
                SourceEvent::Error {
                    message,
                    fatal: false,
                    ..
                } => self.report.kafka_trouble(None, message),
            }
            self.noted.remove(0);
        }
        Ok(())
    }

    /// Takes partitions over in the database, then reads on from where their checkpoints say.
    fn take_up(&mut self, assigned: &[TopicPartition]) -> Result<(), Trouble> {
        if !self.load.is_load() {
            self.flush()?;
        }
        let offsets = self.take_over(assigned)?;
        self.consumer.assign(&offsets)?;
        self.control.join();
        info!(lane = %self.name, partitions = %self.report.offsets(&offsets), "took partitions over");
        Ok(())
    }

    /// Raises the epochs, and starts the lane's own record of each partition anew from its checkpoint.
    pub(super) fn take_over(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, i64)>, Trouble> {
        let starts = self.starts(partitions)?;
        let generation = self.work.generation;
        let taken = self.on_store(async |store| store.take_over(generation, &starts).await)?;
        self.adopt_layout(&taken.shared_tables)?;
        self.took_over_in_load(&taken.checkpoints)?;
        let mut offsets = Vec::with_capacity(taken.checkpoints.len());
        for checkpoint in &taken.checkpoints {
            let of_checkpoint = |at: &&TopicPartition| {
                at.partition == checkpoint.partition
                    && self.work.projection.topics[at.topic].name == checkpoint.topic
            };
            if let Some(at) = partitions.iter().find(of_checkpoint) {
                self.partitions.restart(*at, checkpoint);
                self.load.forget(*at);
                offsets.push((*at, checkpoint.next_offset));
            }
        }
        Ok(offsets)
    }

    /// Where each partition starts if it has no checkpoint yet: the beginning of the log, asked of Kafka only then.
    fn starts(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Partition>, Trouble> {
        let generation = self.work.generation;
        let known = self.on_store(async |store| store.known_partitions(generation).await)?;
        let mut starts = Vec::with_capacity(partitions.len());
        for at in partitions {
            let topic = self.work.projection.topics[at.topic].name.clone();
            let is_known = known
                .iter()
                .any(|(name, partition)| *name == topic && *partition == at.partition);
            let begin_offset = if is_known {
                0
            } else {
                self.beginning(&topic, at.partition)?
            };
            starts.push(Partition {
                topic,
                partition: at.partition,
                begin_offset,
            });
        }
        Ok(starts)
    }

    fn beginning(&mut self, topic: &str, partition: i32) -> Result<i64, Trouble> {
        let kafka = self.work.kafka.clone();
        let topic = topic.to_owned();
        let partitions = usize::try_from(partition).map_or(1, |partition| partition + 1);
        // The call blocks: elsewhere, so that the membership is kept meanwhile.
        let asked = tokio::task::spawn_blocking;
        let _inside = self.runtime.enter();
        let asking =
            asked(move || Cluster::connect(&kafka)?.ends(&topic, partitions, ENDS_TIMEOUT));
        let ends = self
            .wait(asking)
            .map_err(|error| Trouble::Broken(error.to_string()))??;
        let ours = ends.iter().find(|ends| ends.partition == partition);
        ours.map(|ends| ends.begin_offset)
            .ok_or_else(|| Trouble::Broken("Kafka left a partition out".to_owned()))
    }

    /// Tables may have gone over to the locked way since; rows in memory belong to the way before.
    fn adopt_layout(&mut self, shared_tables: &[String]) -> Result<(), Trouble> {
        let layout = Layout::new(&self.work.projection, self.work.generation, shared_tables)?;
        if layout.shared() != self.layout.shared() {
            self.folder = Folder::new(
                self.work.projection.clone(),
                &layout.shared(),
                self.work.limits.cache_bytes_max,
            );
            self.folder.set_bulk(self.load.is_load());
            self.report.new_folder();
            self.layout = Arc::new(layout);
        }
        Ok(())
    }

    /// Commits what was folded, then gives the partitions back.
    fn hand_back(&mut self, revoked: &[TopicPartition]) -> Result<(), Trouble> {
        if !self.gives_back_unwritten()? {
            self.flush()?;
        }
        self.forget(revoked);
        self.consumer.revoke(revoked)?;
        info!(lane = %self.name, partitions = revoked.len(), "gave partitions back");
        Ok(())
    }

    /// The group has already given the partitions to others: what was folded and not committed is theirs to fold.
    fn let_go(&mut self, lost: &[TopicPartition]) -> Result<(), Trouble> {
        warn!(lane = %self.name, partitions = lost.len(), "lost partitions: the group went on without this lane");
        // A batch may hold lost partitions and kept ones: all of it goes, and the kept ones start again.
        self.abandon();
        self.forget(lost);
        self.consumer.revoke(lost)?;
        self.start_again()
    }

    fn forget(&mut self, gone: &[TopicPartition]) {
        for at in gone {
            self.load.forget(*at);
            if let Some(owned) = self.partitions.remove(*at) {
                self.folder.forget_slot(owned.slot);
                self.report.forget(*at);
            }
        }
    }

    /// Everything below `next_offset` was handed over and folded: the checkpoint may move over markers and holes. Not
    /// further than the source itself says: an end that was noted before a step back is no longer true.
    fn at_the_end(&mut self, at: TopicPartition, next_offset: i64) {
        if let Some(position) = self.consumer.position(at) {
            self.partitions.passed(at, next_offset.min(position));
            self.load.at_the_end(at);
        }
    }
}
