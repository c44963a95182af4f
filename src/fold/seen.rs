//! `deduplicate`: which ids of events a partition has seen of late. Its time is the highest timestamp of its events, so that a replay
//! decides as the live fold did. Knows nothing of where ids are kept.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bumpalo::Bump;
use sha2::{Digest, Sha256};

use crate::definition::Projection;
use crate::event::{Event, NO_TIMESTAMP};
use crate::expression::program::{Env, Machine};
use crate::expression::value::Value;

/// A longer id is known by its digest: an index takes no longer ones.
const ID_BYTES_MAX: usize = 500;
/// Ids kept in memory between batches, for each partition.
const IDS_MAX: usize = 100_000;
/// Expired ids are removed when the partition's time has gone on by this part of `keep`.
const PRUNE_PART: i64 = 16;

/// The ids of a lane's partitions, by owner slot.
#[derive(Debug)]
pub struct Seen {
    projection: Arc<Projection>,
    machine: Machine,
    partitions: BTreeMap<i32, Partition>,
    /// Nothing is stored elsewhere: what is not in memory was not seen.
    complete: bool,
}

#[derive(Debug, Default)]
struct Partition {
    /// Highest timestamp; `None` before the first.
    clock: Option<i64>,
    /// By id: the time at which the event was applied; none: never, as the database says.
    ids: HashMap<Box<str>, Option<i64>>,
    /// What is not stored yet, in the order of offsets.
    pending: VecDeque<Pending>,
    /// The time at which expired ids were removed last.
    pruned_at: Option<i64>,
}

#[derive(Debug)]
struct Pending {
    offset: i64,
    clock: Option<i64>,
    id: Option<Box<str>>,
}

/// What to store with a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewlySeen {
    /// Slot, id, time of its partition.
    pub ids: Vec<(i32, String, i64)>,
    /// Slot, time.
    pub clocks: Vec<(i32, i64)>,
    /// Slot, time: ids seen before that count no more.
    pub expired: Vec<(i32, i64)>,
}

impl NewlySeen {
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.clocks.is_empty() && self.expired.is_empty()
    }
}

impl Seen {
    /// `None`: the projection does not say `deduplicate`.
    pub fn new(projection: &Arc<Projection>, complete: bool) -> Option<Seen> {
        projection.deduplicate.as_ref()?;
        Some(Seen {
            projection: Arc::clone(projection),
            machine: Machine::default(),
            partitions: BTreeMap::new(),
            complete,
        })
    }

    /// The events' ids. One that is null, or cannot be computed, is none.
    pub fn ids<'b>(&mut self, events: &[Event<'b>], arena: &'b Bump) -> Vec<Option<&'b str>> {
        let Some(deduplicate) = &self.projection.deduplicate else {
            return vec![None; events.len()];
        };
        let ids = events.iter().map(|event| {
            let env = Env {
                row: &[],
                old: &[],
                lookups: &[],
                event,
                item: &[],
                index: 0,
                arena,
            };
            match deduplicate.by.evaluate(&env, &mut self.machine) {
                Ok(Value::Text(id)) if id.len() > ID_BYTES_MAX => {
                    Some(&*arena.alloc_str(&digest(id)))
                }
                Ok(Value::Text(id)) => Some(&*arena.alloc_str(id)),
                Ok(_) | Err(_) => None,
            }
        });
        ids.collect()
    }

    /// Partitions, and ids by partition, of which memory does not know what the database says. Each once.
    pub fn unknown(&self, events: &[(i32, Option<&str>)]) -> (Vec<i32>, Vec<(i32, String)>) {
        let (mut slots, mut ids) = (Vec::new(), Vec::new());
        if self.complete {
            return (slots, ids);
        }
        for (slot, id) in events {
            let partition = self.partitions.get(slot);
            if partition.is_none() {
                slots.push(*slot);
            }
            if let Some(id) = id
                && partition.is_none_or(|partition| !partition.ids.contains_key(*id))
            {
                ids.push((*slot, (*id).to_owned()));
            }
        }
        slots.sort_unstable();
        slots.dedup();
        ids.sort_unstable();
        ids.dedup();
        (slots, ids)
    }

    /// What the database says of the unknown ones; of others it knows nothing.
    pub fn supply(
        &mut self,
        unknown: (Vec<i32>, Vec<(i32, String)>),
        clocks: Vec<(i32, i64)>,
        ids: Vec<(i32, String, i64)>,
    ) {
        for slot in unknown.0 {
            self.partitions.entry(slot).or_default();
        }
        for (slot, clock) in clocks {
            let partition = self.partitions.entry(slot).or_default();
            partition.clock = Some(clock);
            partition.pruned_at = Some(clock);
        }
        for (slot, id) in unknown.1 {
            let partition = self.partitions.entry(slot).or_default();
            partition.ids.insert(id.into(), None);
        }
        for (slot, id, seen_at) in ids {
            let partition = self.partitions.entry(slot).or_default();
            partition.ids.insert(id.into(), Some(seen_at));
        }
    }

    /// Takes an event in; true if its id was seen within `keep`. In the order of offsets.
    pub fn is_duplicate(&mut self, slot: i32, event: &Event<'_>, id: Option<&str>) -> bool {
        let keep = match &self.projection.deduplicate {
            Some(deduplicate) => deduplicate.keep_micros,
            None => return false,
        };
        let partition = self.partitions.entry(slot).or_default();
        if event.timestamp != NO_TIMESTAMP {
            partition.clock = partition.clock.max(Some(event.timestamp));
        }
        let now = partition.clock.unwrap_or(0);
        let within = |seen_at: &i64| now.saturating_sub(*seen_at) <= keep;
        let known = id.and_then(|id| partition.ids.get(id).copied().flatten());
        if known.as_ref().is_some_and(within) {
            partition.note(event.offset, None);
            return true;
        }
        if let Some(id) = id {
            partition.ids.insert(id.into(), Some(now));
        }
        partition.note(event.offset, id);
        if self.complete && partition.is_to_be_pruned(keep) {
            partition.pruned_at = Some(now);
            partition
                .ids
                .retain(|_, seen_at| seen_at.as_ref().is_some_and(within));
        }
        if self.complete {
            partition.pending.clear();
        }
        false
    }

    /// What has to be stored with a batch that moves partitions (slot, first offset not in it).
    pub fn newly_seen(&self, moves: &[(i32, i64)]) -> NewlySeen {
        let mut newly = NewlySeen::default();
        let Some(deduplicate) = &self.projection.deduplicate else {
            return newly;
        };
        for (slot, next_offset) in moves {
            let Some(partition) = self.partitions.get(slot) else {
                continue;
            };
            let mut clock = None;
            for pending in &partition.pending {
                if pending.offset >= *next_offset {
                    break;
                }
                clock = pending.clock;
                if let Some(id) = &pending.id {
                    newly
                        .ids
                        .push((*slot, id.to_string(), pending.clock.unwrap_or(0)));
                }
            }
            newly.clocks.extend(clock.map(|clock| (*slot, clock)));
            if let (Some(clock), true) = (clock, partition.is_to_be_pruned(deduplicate.keep_micros))
            {
                newly
                    .expired
                    .push((*slot, clock.saturating_sub(deduplicate.keep_micros)));
            }
        }
        newly
    }

    /// That batch is on its way: if it does not arrive, [`Seen::forget_all`] follows.
    pub fn sent(&mut self, moves: &[(i32, i64)], newly: &NewlySeen) {
        for (slot, next_offset) in moves {
            let Some(partition) = self.partitions.get_mut(slot) else {
                continue;
            };
            while partition
                .pending
                .front()
                .is_some_and(|pending| pending.offset < *next_offset)
            {
                partition.pending.pop_front();
            }
            if newly.expired.iter().any(|(expired, _)| expired == slot) {
                partition.pruned_at = partition.clock;
            }
            if partition.pending.is_empty() && partition.ids.len() > IDS_MAX {
                partition.ids.clear();
            }
        }
    }

    pub fn forget_all(&mut self) {
        self.partitions.clear();
    }

    pub fn forget_slot(&mut self, slot: i32) {
        self.partitions.remove(&slot);
    }
}

impl Partition {
    fn note(&mut self, offset: i64, id: Option<&str>) {
        let clock = self.clock;
        // Nothing to store but the time: the next one's will do.
        if id.is_none()
            && let Some(last) = self.pending.back_mut()
            && last.id.is_none()
        {
            (last.offset, last.clock) = (offset, clock);
            return;
        }
        let id = id.map(Box::from);
        self.pending.push_back(Pending { offset, clock, id });
    }

    fn is_to_be_pruned(&self, keep: i64) -> bool {
        let gone = self.pruned_at.zip(self.clock);
        gone.is_none_or(|(then, now)| now.saturating_sub(then) >= keep / PRUNE_PART)
    }
}

fn digest(id: &str) -> String {
    let bytes = Sha256::digest(id.as_bytes());
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
