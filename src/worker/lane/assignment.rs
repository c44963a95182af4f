//! Partitions that come and go. The source only notes a rebalance; here the lane answers it, once the database has said
//! where to read on (assigned) or has everything that was folded (revoked).

use super::recovery::blames_no_event;
use super::{Lane, Trouble};
use crate::fold::Folder;
use crate::source::{SourceError, SourceEvent, Start, TopicPartition};
use crate::store::{Known, Layout, Partition, Stop};
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::{debug, info, warn};

/// What becomes of a partition that has a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    Folded,
    /// It alone has stopped.
    Stopped,
}

impl Lane {
    /// Acts on everything noted, oldest first. What fails stays noted and is met again after the recovery.
    pub(super) fn act_on_noted(&mut self) -> Result<(), Trouble> {
        while let Some(event) = self.noted.next() {
            self.act_on(&event)?;
            self.noted.done(&event);
        }
        Ok(())
    }

    fn act_on(&mut self, event: &SourceEvent) -> Result<(), Trouble> {
        match event {
            SourceEvent::Assigned(partitions) => self.take_up(partitions)?,
            SourceEvent::Revoked(partitions) => self.hand_back(partitions)?,
            SourceEvent::Lost(partitions) => self.let_go(partitions)?,
            SourceEvent::EndOfPartition { at, next_offset } => self.at_the_end(*at, *next_offset),
            // Of a partition that is somebody else's by now it tells nothing: he reads elsewhere.
            SourceEvent::OutOfRange { at, .. }
            | SourceEvent::OtherLog { at, .. }
            | SourceEvent::Damaged { at, .. }
                if !self.partitions.holds(*at) => {}
            SourceEvent::OutOfRange {
                at,
                offset,
                message,
            } => self.out_of_range(*at, *offset, message)?,
            SourceEvent::OtherLog { at, message } => {
                let stop = self.report.other_log(*at, message);
                return Err(Trouble::Full(Box::new(stop)));
            }
            SourceEvent::Damaged {
                at,
                offset,
                message,
            } => return Err(stop(self.report.damaged(*at, *offset, message))),
            SourceEvent::PartitionError { at, kind, message } => {
                self.kafka_trouble(Some(*at), *kind, message);
            }
            SourceEvent::Error {
                message,
                fatal: true,
                ..
            } => return Err(Trouble::Broken(format!("Kafka: {message}"))),
            SourceEvent::Error {
                kind,
                message,
                fatal: false,
            } => self.kafka_trouble(None, *kind, message),
        }
        Ok(())
    }

    /// Takes partitions over in the database, then reads on from where their checkpoints say. Those that have none yet wait
    /// for [`Lane::take_up_new`].
    fn take_up(&mut self, assigned: &[TopicPartition]) -> Result<(), Trouble> {
        if assigned.is_empty() {
            // All of it was taken back meanwhile.
            return Ok(());
        }
        if !self.load.is_load() {
            self.flush()?;
        }
        let known = self.known_partitions()?;
        let mut starts = Vec::new();
        for at in assigned {
            match known.get(at) {
                Some(Standing::Stopped) if self.apart.contains(at) => {}
                Some(Standing::Stopped) => self.apart.push(*at),
                Some(Standing::Folded) => starts.push((*at, 0)),
                None if self.begins.wanted.contains(at) => {}
                None => self.begins.wanted.push(*at),
            }
        }
        if starts.is_empty() {
            return Ok(self.consumer.assign_later()?);
        }
        self.take_over_and_read(&starts)
    }

    /// Partitions that are met for the first time begin where their logs do, which Kafka is asked beside the work: one whose
    /// leader is away holds up nothing but itself.
    pub(super) fn take_up_new(&mut self) -> Result<(), Trouble> {
        let begun = match self.begins.answered(&self.runtime) {
            None => {
                self.begins.ask(&self.work, &self.runtime);
                return Ok(());
            }
            Some(answers) => self.begun(answers),
        };
        if begun.is_empty() {
            return Ok(());
        }
        if !self.load.is_load() {
            self.flush()?;
        }
        self.take_over_and_read(&begun)?;
        self.begins
            .wanted
            .retain(|at| !begun.iter().any(|(begun, _)| begun == at));
        Ok(())
    }

    /// Those that are still wanted, with where they begin.
    fn begun(
        &mut self,
        answers: Vec<(TopicPartition, Result<i64, SourceError>)>,
    ) -> Vec<(TopicPartition, i64)> {
        let mut begun = Vec::new();
        for (at, answer) in answers {
            match answer {
                Ok(begin_offset) if self.begins.wanted.contains(&at) => {
                    begun.push((at, begin_offset));
                }
                Ok(_given_back_meanwhile) => {}
                Err(error) => self
                    .report
                    .kafka_trouble(Some(at), error.kind, &error.message),
            }
        }
        begun
    }

    pub(super) fn take_over_and_read(
        &mut self,
        starts: &[(TopicPartition, i64)],
    ) -> Result<(), Trouble> {
        let starts = self.take_over(starts)?;
        self.consumer.start(&starts)?;
        self.identity.forget();
        info!(lane = %self.name, partitions = %self.report.offsets(&starts), "took partitions over");
        Ok(())
    }

    /// Raises the epochs, and starts the lane's own record of each partition anew from its checkpoint, which begins at the
    /// offset given if there is none.
    pub(super) fn take_over(
        &mut self,
        starts: &[(TopicPartition, i64)],
    ) -> Result<Vec<Start>, Trouble> {
        let generation = self.work.generation;
        let topics = &self.work.projection.topics;
        let start = |(at, begin_offset): &(TopicPartition, i64)| Partition {
            topic: topics[at.topic].name.clone(),
            partition: at.partition,
            begin_offset: *begin_offset,
        };
        let parts: Vec<Partition> = starts.iter().map(start).collect();
        let taken = self
            .on_store(async |store| store.take_over(generation, &parts).await)
            .map_err(blames_no_event)?;
        self.adopt_layout(&taken.shared_tables)?;
        self.took_over_in_load(&taken.checkpoints)?;
        let places: Vec<TopicPartition> = starts.iter().map(|(at, _)| *at).collect();
        self.letters.restart(&places, &taken.set_aside);
        let mut offsets = Vec::with_capacity(taken.checkpoints.len());
        for checkpoint in &taken.checkpoints {
            let of_checkpoint = |at: &TopicPartition| {
                at.partition == checkpoint.partition
                    && self.work.projection.topics[at.topic].name == checkpoint.topic
            };
            if let Some((at, _)) = starts.iter().find(|(at, _)| of_checkpoint(at)) {
                if self.partitions.restart(*at, checkpoint) {
                    // The tries are not in vain: the next one need not wait longer.
                    self.attempt = 0;
                }
                self.load.forget(*at);
                offsets.push(Start {
                    at: *at,
                    next_offset: checkpoint.next_offset,
                    last: checkpoint.last(),
                });
            }
        }
        Ok(offsets)
    }

    /// Those that the generation has a checkpoint of.
    pub(super) fn known_partitions(
        &mut self,
    ) -> Result<BTreeMap<TopicPartition, Standing>, Trouble> {
        let generation = self.work.generation;
        let known = self
            .on_store(async |store| store.known_partitions(generation).await)
            .map_err(blames_no_event)?;
        let topics = &self.work.projection.topics;
        let place = |known: Known| {
            let topic = topics.iter().position(|topic| topic.name == known.topic)?;
            let standing = if known.stands {
                Standing::Stopped
            } else {
                Standing::Folded
            };
            let partition = known.partition;
            Some((TopicPartition { topic, partition }, standing))
        };
        Ok(known.into_iter().filter_map(place).collect())
    }

    /// Tables may have gone over to the locked way since; rows in memory belong to the way before.
    fn adopt_layout(&mut self, shared_tables: &[String]) -> Result<(), Trouble> {
        let layout = Layout::new(&self.work.projection, self.work.generation, shared_tables)?;
        if layout.shared() != self.layout.shared() {
            self.layout = Arc::new(layout);
            self.new_folder();
        }
        Ok(())
    }

    /// One without rows.
    pub(super) fn new_folder(&mut self) {
        self.folder = Folder::new(
            self.work.projection.clone(),
            &self.layout.shared(),
            self.work.limits.memory.cache_bytes_max(),
        );
        self.folder.set_bulk(self.load.is_load());
        self.report.new_folder();
    }

    /// Commits what was folded, then gives the partitions back.
    fn hand_back(&mut self, revoked: &[TopicPartition]) -> Result<(), Trouble> {
        let unwritten = self.gives_back_unwritten()?;
        if !unwritten {
            self.flush()?;
        }
        let all_again = unwritten && self.loads_alone();
        if all_again {
            // Rows hold events of partitions that go and of others that stay.
            self.abandon();
        }
        self.release(revoked);
        self.forget(revoked);
        self.consumer.revoke(revoked)?;
        info!(lane = %self.name, partitions = revoked.len(), "gave partitions back");
        if all_again {
            // Somebody else is in the group, and nobody has everything any more.
            self.leave_load()?;
            self.start_again()?;
        }
        Ok(())
    }

    /// The group has already given the partitions to others: what was folded and not committed is theirs to fold.
    fn let_go(&mut self, lost: &[TopicPartition]) -> Result<(), Trouble> {
        warn!(lane = %self.name, partitions = lost.len(), "lost partitions: the group went on without this lane");
        // A batch may hold lost partitions and kept ones: all of it goes, and the kept ones start again.
        self.abandon();
        self.give_back_revoked()?;
        self.start_again()
    }

    /// So that nobody takes this session for the owner any more: a lane that has given partitions back, or has left, is no rival.
    pub(super) fn release(&mut self, gone: &[TopicPartition]) {
        let held: Vec<(i32, i64)> = self
            .partitions
            .iter()
            .filter(|owned| gone.contains(&owned.at))
            .map(|owned| (owned.slot, owned.epoch))
            .collect();
        let Some(mut store) = self.store.take_if(|_| !held.is_empty()) else {
            return;
        };
        let generation = self.work.generation;
        let given_up = self.wait(async { store.release(generation, &held).await });
        self.store = Some(store);
        if let Err(error) = given_up {
            debug!("the checkpoints still name this lane as their owner: {error}");
        }
    }

    pub(super) fn forget(&mut self, gone: &[TopicPartition]) {
        self.begins.wanted.retain(|at| !gone.contains(at));
        self.apart.retain(|at| !gone.contains(at));
        for at in gone {
            self.load.forget(*at);
            self.letters.forget(*at);
            if let Some(owned) = self.partitions.remove(*at) {
                self.folder.forget_slot(owned.slot);
                if let Some(seen) = &mut self.seen {
                    seen.forget_slot(owned.slot);
                }
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
            self.refused = None;
        }
    }
}

fn stop(stop: Stop) -> Trouble {
    Trouble::Stop(Box::new(stop))
}
