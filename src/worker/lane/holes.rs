//! A partition that stops by itself while the others go on: its next offset is no longer there, or its log is another one. It names
//! the reason, goes on behind a hole if an operator has said so, and is taken up again once its stop is cleared.

use super::assignment::Standing;
use super::recovery::blames_no_event;
use super::{Lane, Trouble};
use crate::source::{Cluster, Ends, ErrorKind, SourceError, TopicPartition};
use crate::store::{Claim, Hole, Stop};
use std::time::{Duration, Instant};
use tracing::warn;

/// How long Kafka may take to say where a log begins and ends.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a lane looks whether a partition that has stopped may go on.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Lane {
    pub(super) fn out_of_range(
        &mut self,
        at: TopicPartition,
        offset: Option<i64>,
        message: &str,
    ) -> Result<(), Trouble> {
        // What is folded is before the hole.
        self.flush()?;
        let Some(ends) = self.ask_ends(at) else {
            let told = format!("{message}; and no answer where the log begins and ends");
            let error = SourceError {
                kind: ErrorKind::Timeout,
                message: told,
            };
            return Err(Trouble::Source(error));
        };
        let owned = self.partitions.iter().find(|owned| owned.at == at);
        let Some((slot, epoch, from_offset)) =
            owned.map(|owned| (owned.slot, owned.epoch, owned.committed_offset))
        else {
            return Ok(());
        };
        if (ends.begin_offset..=ends.end_offset).contains(&from_offset) {
            // Only the last applied record is gone, or a new leader did not know yet how far its log reaches.
            return Ok(self.consumer.seek(at, from_offset)?);
        }
        let hole_end = Some(ends.begin_offset).filter(|begin| *begin > from_offset);
        let generation = self.work.generation;
        let accepts = match hole_end {
            Some(_) => self.on_store(async |store| store.accepts_hole(generation, slot).await)?,
            None => false,
        };
        let (Some(to_offset), true) = (hole_end, accepts) else {
            let stop = self.report.out_of_range(at, offset, message, hole_end);
            return Err(Trouble::Stop(Box::new(stop)));
        };
        let hole = Hole {
            topic: self.work.projection.topics[at.topic].name.clone(),
            partition: at.partition,
            from_offset,
            to_offset,
            accepted_at: None,
        };
        let claim = Claim {
            slot,
            epoch,
            expected: from_offset,
            next: to_offset,
            end_offset: None,
            as_of: None,
            events: 0,
            last: None,
        };
        let layout = self.layout.clone();
        self.on_store(async |store| {
            let mut transaction = store.begin(&layout, &[claim]).await?;
            transaction.record_hole(generation, &hole).await?;
            transaction.commit().await
        })
        .map_err(blames_no_event)?;
        warn!(lane = %self.name, projection = %self.work.projection.name, generation, "goes on without {hole}, as accepted");
        self.start_again()
    }

    /// `None`: Kafka does not say.
    fn ask_ends(&mut self, at: TopicPartition) -> Option<Ends> {
        let work = self.work.clone();
        let question = self.runtime.spawn_blocking(move || {
            let cluster = Cluster::connect(&work.kafka).ok()?;
            let name = &work.projection.topics[at.topic].name;
            cluster
                .ends_of(name, &[at.partition], ANSWER_TIMEOUT)
                .ok()?
                .pop()
        });
        self.wait(question).ok().flatten()
    }

    /// The stop is written down. The partition stays the lane's, unread, while the others go on.
    pub(super) fn set_apart(&mut self, stop: &Stop) -> Result<(), Trouble> {
        if let Some(at) = self.owned_place(stop) {
            self.release(&[at]);
            self.forget(&[at]);
            self.consumer.set_apart(at)?;
            self.apart.push(at);
        }
        Ok(())
    }

    /// The partition that stops, if it is the lane's.
    pub(super) fn owned_place(&self, stop: &Stop) -> Option<TopicPartition> {
        let topics = &self.work.projection.topics;
        let is_there = |at: &TopicPartition| {
            stop.partition == Some(at.partition)
                && stop.topic.as_ref() == Some(&topics[at.topic].name)
        };
        self.partitions.iter().map(|owned| owned.at).find(is_there)
    }

    /// Partitions whose stops were cleared are read on.
    pub(super) fn take_up_apart_if_due(&mut self) -> Result<(), Trouble> {
        if self.apart.is_empty() || self.looked_at_apart.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.looked_at_apart = Instant::now();
        if !self.load.is_load() {
            self.flush()?;
        }
        let known = self.known_partitions()?;
        let folded = |at: &TopicPartition| known.get(at) == Some(&Standing::Folded);
        let starts: Vec<(TopicPartition, i64)> = self
            .apart
            .iter()
            .copied()
            .filter(folded)
            .map(|at| (at, 0))
            .collect();
        if starts.is_empty() {
            return Ok(());
        }
        self.take_over_and_read(&starts)?;
        self.apart
            .retain(|at| !starts.iter().any(|(started, _)| started == at));
        Ok(())
    }
}
