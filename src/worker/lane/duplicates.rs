//! `deduplicate`: leaves events out whose id the partition has seen of late. Knows nothing of how ids are kept.

use super::{Lane, Trouble};
use crate::event::Event;
use crate::fold::{NewlySeen, Seen};
use crate::metrics::SkipReason;
use crate::source::TopicPartition;
use crate::store::Claim;
use bumpalo::Bump;

impl Lane {
    /// The events that were not seen before, in their order; the others are noted as left out.
    pub(super) fn leave_duplicates_out<'b>(
        &mut self,
        events: &'b [Event<'b>],
        arena: &'b Bump,
    ) -> Result<&'b [Event<'b>], Trouble> {
        let Some(seen) = &mut self.seen else {
            return Ok(events);
        };
        let partitions = &self.partitions;
        let at = |event: &Event<'_>| TopicPartition {
            topic: event.topic,
            partition: event.partition,
        };
        let slots: Vec<i32> = events
            .iter()
            .map(|event| super::batch::slot(partitions, event.topic, event.partition))
            .collect();
        let ids = seen.ids(events, arena);
        let asked: Vec<(i32, Option<&str>)> =
            slots.iter().copied().zip(ids.iter().copied()).collect();
        let unknown = seen.unknown(&asked);
        if !unknown.0.is_empty() || !unknown.1.is_empty() {
            let generation = self.work.generation;
            let (clocks, known) =
                self.on_store(async |store| store.load_seen(generation, &unknown).await)?;
            if let Some(seen) = &mut self.seen {
                seen.supply(unknown, clocks, known);
            }
        }
        let Some(seen) = &mut self.seen else {
            return Ok(events);
        };
        let mut fresh = Vec::with_capacity(events.len());
        let left_out = self.left_out.len();
        for (event, (slot, id)) in events.iter().zip(asked) {
            match seen.is_duplicate(slot, event, id) {
                true => self.left_out.push((at(event), event.offset)),
                false => fresh.push(*event),
            }
        }
        let duplicates = (self.left_out.len() - left_out) as u64;
        self.work
            .counters
            .skipped(SkipReason::Duplicate, duplicates);
        Ok(arena.alloc_slice_copy(&fresh))
    }
}

/// What has to be stored with a batch that makes these claims.
pub(super) fn newly_seen(seen: Option<&Seen>, claims: &[Claim]) -> NewlySeen {
    seen.map(|seen| seen.newly_seen(&moves(claims)))
        .unwrap_or_default()
}

/// That batch is on its way.
pub(super) fn sent(seen: Option<&mut Seen>, claims: &[Claim], newly: &NewlySeen) {
    if let Some(seen) = seen {
        seen.sent(&moves(claims), newly);
    }
}

fn moves(claims: &[Claim]) -> Vec<(i32, i64)> {
    claims
        .iter()
        .map(|claim| (claim.slot, claim.next))
        .collect()
}
