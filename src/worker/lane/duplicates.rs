//! `deduplicate`: leaves events out whose id the partition has seen of late. Knows nothing of how ids are kept.

use super::chunk::{Chunk, place_of};
use super::{Lane, Trouble};
use crate::event::Event;
use crate::fold::{NewlySeen, Seen};
use crate::metrics::SkipReason;
use crate::store::Claim;
use bumpalo::Bump;
use std::collections::HashSet;

impl Lane {
    /// Takes events that were seen before out of the chunk, also out of what is set aside in it: a letter that is applied one day is no
    /// duplicate then. They are noted as left out.
    pub(super) fn leave_duplicates_out<'b>(
        &mut self,
        chunk: &mut Chunk<'b>,
        arena: &'b Bump,
    ) -> Result<(), Trouble> {
        if self.seen.is_none() {
            return Ok(());
        }
        let (places, events): (Vec<usize>, Vec<Event<'b>>) = chunk.decoded().into_iter().unzip();
        let events = arena.alloc_slice_copy(&events);
        let duplicates = self.duplicates(events, arena)?;
        let duplicates: HashSet<usize> = duplicates.into_iter().map(|at| places[at]).collect();
        if duplicates.is_empty() {
            return Ok(());
        }
        self.work
            .counters
            .skipped(SkipReason::Duplicate, duplicates.len() as u64);
        for (place, event) in places.iter().zip(events) {
            if duplicates.contains(place) {
                self.left_out.push((place_of(event), event.offset));
            }
        }
        chunk.retain(|place| !duplicates.contains(&place), arena);
        Ok(())
    }

    /// Which of the events were seen before, as indices.
    fn duplicates<'b>(
        &mut self,
        events: &'b [Event<'b>],
        arena: &'b Bump,
    ) -> Result<Vec<usize>, Trouble> {
        let Some(seen) = &mut self.seen else {
            return Ok(Vec::new());
        };
        let partitions = &self.partitions;
        let slot = |event: &Event<'_>| super::batch::slot(partitions, event.topic, event.partition);
        let ids = seen.ids(events, arena);
        let asked: Vec<(i32, Option<&str>)> = events.iter().map(slot).zip(ids).collect();
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
            return Ok(Vec::new());
        };
        let events = events.iter().zip(asked).enumerate();
        let duplicates =
            events.filter(|(_, (event, (slot, id)))| seen.is_duplicate(*slot, event, *id));
        Ok(duplicates.map(|(at, _)| at).collect())
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
