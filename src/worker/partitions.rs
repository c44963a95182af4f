//! The partitions that a lane owns, and how far each has got: accepted, folded, sealed into a batch, committed.
//! Offsets only move forward here; a step back is a [`Partitions::restart`]. Knows nothing of Kafka clients or SQL.

use crate::event::Mark;
use crate::source::TopicPartition;
use crate::store::{Checkpoint, Claim};
use std::collections::BTreeMap;

/// One owned partition. Every offset is "the first not yet …".
#[derive(Debug, Clone)]
pub struct Partition {
    pub at: TopicPartition,
    /// The value of `"$owner"` on the rows of this partition.
    pub slot: i32,
    /// The fence: what the checkpoint row must still say when a batch is committed.
    pub epoch: i64,
    /// What the checkpoint row says.
    pub committed_offset: i64,
    /// What the checkpoint will say once the batch in flight is committed.
    pub sealed_offset: i64,
    /// First offset not yet folded into rows in memory.
    pub folded_offset: i64,
    /// First offset not yet accepted from the source.
    pub accepted_offset: i64,
    /// Event time (µs since 2000) of the last folded event; `None` before the first.
    pub as_of: Option<i64>,
    /// Events folded and not yet sealed.
    pub events: i64,
    /// The last record that came; it may not be folded yet.
    pub last: Option<Mark>,
    /// Kafka's id of the topic that was applied, once it is known.
    pub topic_id: Option<String>,
}

/// All partitions of one lane.
#[derive(Debug, Default)]
pub struct Partitions {
    owned: Vec<Partition>,
    /// First offsets that are not to be accepted.
    stops: BTreeMap<TopicPartition, i64>,
    /// Partitions of which records at or beyond their stop have come: all before it have been accepted.
    beyond: Vec<TopicPartition>,
    /// Records come in runs of one partition: the index met last.
    last: usize,
}

impl Partitions {
    /// Starts, or starts again, from a stored checkpoint; what was folded and not committed is forgotten. True if the checkpoint has moved,
    /// and nobody had it in between: a commit of ours without an answer took effect.
    pub fn restart(&mut self, at: TopicPartition, checkpoint: &Checkpoint) -> bool {
        let fresh = Partition {
            at,
            slot: checkpoint.slot,
            epoch: checkpoint.epoch,
            committed_offset: checkpoint.next_offset,
            sealed_offset: checkpoint.next_offset,
            folded_offset: checkpoint.next_offset,
            accepted_offset: checkpoint.next_offset,
            as_of: None,
            events: 0,
            last: None,
            topic_id: checkpoint.topic_id.clone(),
        };
        match self.index(at) {
            Some(index) => {
                let before = std::mem::replace(&mut self.owned[index], fresh);
                before.epoch + 1 == checkpoint.epoch
                    && before.committed_offset < checkpoint.next_offset
            }
            None => {
                self.owned.push(fresh);
                false
            }
        }
    }

    pub fn remove(&mut self, at: TopicPartition) -> Option<Partition> {
        let index = self.index(at)?;
        self.last = 0;
        Some(self.owned.swap_remove(index))
    }

    pub fn is_empty(&self) -> bool {
        self.owned.is_empty()
    }

    pub fn holds(&self, at: TopicPartition) -> bool {
        self.index(at).is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Partition> {
        self.owned.iter()
    }

    /// The slot of an owned partition.
    pub fn slot(&self, at: TopicPartition) -> Option<i32> {
        self.owned
            .iter()
            .find(|owned| owned.at == at)
            .map(|owned| owned.slot)
    }

    fn get_mut(&mut self, at: TopicPartition) -> Option<&mut Partition> {
        if self.owned.get(self.last).is_none_or(|met| met.at != at) {
            self.last = self.index(at)?;
        }
        self.owned.get_mut(self.last)
    }

    fn index(&self, at: TopicPartition) -> Option<usize> {
        self.owned.iter().position(|owned| owned.at == at)
    }

    /// Takes a record in; false for one of a partition that is not owned, or an offset already taken in (what a client
    /// still had queued before a seek or a revocation).
    pub fn accept(&mut self, at: TopicPartition, offset: i64) -> bool {
        if offset >= self.stop_of(at) {
            if !self.beyond.contains(&at) {
                self.beyond.push(at);
            }
            return false;
        }
        match self.get_mut(at) {
            Some(owned) if offset >= owned.accepted_offset => {
                owned.accepted_offset = offset + 1;
                true
            }
            Some(_) | None => false,
        }
    }

    /// The last records of what has come.
    pub fn came(&mut self, marks: Vec<(TopicPartition, Mark)>) {
        for (at, mark) in marks {
            if let Some(owned) = self.get_mut(at) {
                owned.last = Some(mark);
            }
        }
    }

    /// The topic's id, for those of its partitions that know none; true if there are any.
    pub fn note_topic_id(&mut self, topic: usize, id: &str) -> bool {
        let mut noted = false;
        for owned in &mut self.owned {
            if owned.at.topic == topic && owned.topic_id.is_none() {
                owned.topic_id = Some(id.to_owned());
                noted = true;
            }
        }
        noted
    }

    /// The event at `offset`, and everything before it, has been folded.
    pub fn folded(&mut self, at: TopicPartition, offset: i64, event_time: i64) {
        if let Some(owned) = self.get_mut(at) {
            assert!(
                offset >= owned.folded_offset,
                "events are folded in the order of their offsets"
            );
            owned.folded_offset = offset + 1;
            owned.as_of = Some(event_time);
            owned.events += 1;
        }
    }

    /// The event at `offset` is not to be applied; everything before it has been folded.
    pub fn left_out(&mut self, at: TopicPartition, offset: i64) {
        if let Some(owned) = self.get_mut(at) {
            owned.folded_offset = owned.folded_offset.max(offset + 1);
        }
    }

    /// The record at `offset` will not be folded, and everything before it has been dealt with.
    pub fn set_aside(&mut self, at: TopicPartition, offset: i64) {
        if let Some(owned) = self.get_mut(at) {
            owned.folded_offset = owned.folded_offset.max(offset + 1);
            owned.events += 1;
        }
    }

    /// The checkpoint is past the offset, or somebody else's.
    pub fn is_committed(&self, at: TopicPartition, offset: i64) -> bool {
        self.index(at)
            .is_none_or(|index| self.owned[index].committed_offset > offset)
    }

    /// The first offset that is not to be accepted. A partition that came up after the stops were set has nothing before them.
    fn stop_of(&self, at: TopicPartition) -> i64 {
        if self.stops.is_empty() {
            return i64::MAX;
        }
        self.stops.get(&at).copied().unwrap_or(0)
    }

    /// From now on nothing at or beyond these offsets is accepted.
    pub fn set_stops(&mut self, stops: BTreeMap<TopicPartition, i64>) {
        self.stops = stops;
        self.beyond.clear();
    }

    /// What was accepted has been folded: partitions that have come to their stop stand exactly there.
    pub fn pass_stops(&mut self) -> Vec<TopicPartition> {
        let beyond = std::mem::take(&mut self.beyond);
        for at in &beyond {
            if let Some(stop) = self.stops.get(at).copied() {
                self.passed(*at, stop);
            }
        }
        beyond
    }

    /// Everything below `next_offset` has been accepted and folded, or holds nothing to fold (markers, holes).
    pub fn passed(&mut self, at: TopicPartition, next_offset: i64) {
        let next_offset = next_offset.min(self.stop_of(at));
        if let Some(owned) = self.get_mut(at)
            && owned.accepted_offset == owned.folded_offset
            && next_offset > owned.folded_offset
        {
            owned.folded_offset = next_offset;
            owned.accepted_offset = next_offset;
        }
    }

    pub fn has_unsealed(&self) -> bool {
        self.owned
            .iter()
            .any(|owned| owned.folded_offset > owned.sealed_offset)
    }

    /// The claims of the next batch: every owned partition that moved, from what is committed to what is folded.
    /// `end_offset_of` gives the end of the log as last heard of.
    pub fn seal(&mut self, end_offset_of: impl Fn(TopicPartition) -> Option<i64>) -> Vec<Claim> {
        let mut claims = Vec::new();
        for owned in &mut self.owned {
            if owned.folded_offset == owned.sealed_offset {
                continue;
            }
            assert!(
                owned.sealed_offset == owned.committed_offset,
                "a batch is sealed only when none is in flight"
            );
            owned.sealed_offset = owned.folded_offset;
            claims.push(owned.claim(end_offset_of(owned.at)));
            owned.events = 0;
        }
        claims
    }

    /// Claims that move nothing, to write down the ends of partitions with nothing to commit. Only when nothing is in flight.
    pub fn measure_idle(
        &self,
        end_offset_of: impl Fn(TopicPartition) -> Option<i64>,
    ) -> Vec<Claim> {
        let stand = |owned: &Partition| Claim {
            next: owned.committed_offset,
            as_of: None,
            events: 0,
            last: None,
            ..owned.claim(end_offset_of(owned.at))
        };
        self.owned
            .iter()
            .filter(|owned| owned.folded_offset == owned.sealed_offset)
            .map(stand)
            .collect()
    }

    /// The sealed batch is durable.
    pub fn committed(&mut self) {
        for owned in &mut self.owned {
            owned.committed_offset = owned.sealed_offset;
        }
    }

    /// The batch just sealed was rolled back; its records are still at hand and will be folded again.
    pub fn unseal(&mut self) {
        for owned in &mut self.owned {
            owned.sealed_offset = owned.committed_offset;
            owned.folded_offset = owned.committed_offset;
            owned.events = 0;
        }
    }
}

impl Partition {
    fn claim(&self, end_offset: Option<i64>) -> Claim {
        Claim {
            slot: self.slot,
            epoch: self.epoch,
            expected: self.committed_offset,
            next: self.sealed_offset,
            // A log that is known to reach further than was last heard is not behind itself.
            end_offset: end_offset.map(|end| end.max(self.sealed_offset)),
            as_of: self.as_of,
            events: self.events,
            last: self.last.filter(|last| last.offset < self.sealed_offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: TopicPartition = TopicPartition {
        topic: 0,
        partition: 3,
    };

    fn checkpoint(next_offset: i64, epoch: i64) -> Checkpoint {
        Checkpoint {
            topic: "t".into(),
            partition: 3,
            slot: 7,
            begin_offset: 0,
            next_offset,
            epoch,
            topic_id: None,
            last_offset: None,
            last_epoch: None,
            last_fingerprint: None,
        }
    }

    fn started_at(next_offset: i64) -> Partitions {
        let mut partitions = Partitions::default();
        assert!(!partitions.restart(AT, &checkpoint(next_offset, 2)));
        partitions
    }

    #[test]
    fn a_checkpoint_that_moved_between_two_epochs_of_ours_was_moved_by_us() {
        for (next_offset, epoch, by_us) in [(15, 3, true), (10, 3, false), (15, 4, false)] {
            let mut partitions = started_at(10);
            let moved = partitions.restart(AT, &checkpoint(next_offset, epoch));
            assert_eq!(moved, by_us, "{next_offset} {epoch}");
        }
    }

    #[test]
    fn a_record_is_accepted_once_and_only_of_an_owned_partition() {
        let mut partitions = started_at(10);
        assert!(!partitions.accept(AT, 9));
        assert!(partitions.accept(AT, 10));
        assert!(!partitions.accept(AT, 10));
        assert!(partitions.accept(AT, 15), "offsets have holes");
        assert!(!partitions.accept(
            TopicPartition {
                topic: 1,
                partition: 3
            },
            16
        ));
    }

    #[test]
    fn a_claim_moves_from_what_is_committed_to_what_is_folded() {
        let mut partitions = started_at(10);
        partitions.accept(AT, 12);
        partitions.folded(AT, 12, 99);
        let claims = partitions.seal(|_| Some(20));
        let expected = Claim {
            slot: 7,
            expected: 10,
            next: 13,
            epoch: 2,
            end_offset: Some(20),
            as_of: Some(99),
            events: 1,
            last: None,
        };
        assert_eq!(claims, [expected]);
        partitions.committed();
        assert!(!partitions.has_unsealed());
        assert!(partitions.seal(|_| None).is_empty());
    }

    #[test]
    fn the_end_of_a_partition_moves_the_checkpoint_only_when_all_before_it_is_folded() {
        let mut partitions = started_at(10);
        partitions.accept(AT, 10);
        partitions.passed(AT, 12);
        assert!(
            !partitions.has_unsealed(),
            "the accepted record is not folded yet"
        );
        partitions.folded(AT, 10, 0);
        partitions.passed(AT, 12);
        assert_eq!(partitions.seal(|_| None)[0].next, 12);
    }
}
