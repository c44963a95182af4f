//! Folds events into row changes. Knows nothing of Kafka, SQL or time.
//!
//! A batch goes through here in this order: [`Folder::plan`] (which rows does it touch), [`Folder::needs`] and
//! [`Folder::supply`] (the ones that memory lacks), [`Folder::supply_missing_as_absent`], [`Folder::fold`],
//! [`Folder::changes`], and, once they are in the database, [`Folder::committed`]; or [`Folder::discard`] if they never will be.

mod apply;
mod cache;
mod changes;
mod dispatch;
mod failure;
mod history;
mod index;
mod key;
mod plan;
mod prefetch;
mod prefix;
mod seen;
mod supply;
mod table;
mod trace;

#[cfg(test)]
mod tests;

pub use cache::SHARED_SLOT;
pub use changes::{Changes, Needs, Prefixes, Rows, TableChanges};
pub use failure::{EventFailure, Reason, RulePart, RulePlace};
pub use history::RowState;
pub use key::{key_fields, packed_key};
pub use plan::Batch;
pub use seen::{NewlySeen, Seen};
pub use supply::{LoadedRow, OwnershipConflict};
pub use trace::{Did, Note, Trace, TraceStep};

use crate::definition::Projection;
use crate::event::Event;
use crate::expression::program::Machine;
use apply::{Applier, EventLog};
use bumpalo::Bump;
use dispatch::Dispatch;
use plan::Planner;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use table::TableState;
use trace::Tracer;

/// Most rows that one event may reach by a rule on their first key columns: all are in memory at once.
pub const REACHED_ROWS_MAX: usize = 100_000;
/// Most names of unheard types that are counted one by one; events of further ones are counted together under
/// [`OTHER_TYPES`].
pub const UNHEARD_NAMES_MAX: usize = 1_000;
/// Longest name of an unheard type that is kept, in bytes.
const UNHEARD_NAME_BYTES_MAX: usize = 256;
/// Rows that eviction looks at before it measures again.
const EVICTION_STEP: u32 = 64;
/// See [`UNHEARD_NAMES_MAX`].
pub const OTHER_TYPES: &str = "(other types)";

/// Folds the events of one lane and generation, and keeps the rows of owned tables in memory between batches.
#[derive(Debug)]
pub struct Folder {
    projection: Arc<Projection>,
    dispatch: Dispatch,
    tables: Vec<TableState>,
    cache_bytes_max: usize,
    bulk: bool,
    machine: Machine,
    /// Values that live for a few events.
    scratch: Bump,
    key: Vec<u8>,
    log: EventLog,
    /// The owner slots of the batch at hand.
    slots: Vec<i32>,
    /// Events of unheard types by type: of the batch at hand, and of all committed ones.
    unheard_in_batch: BTreeMap<String, u64>,
    unheard: BTreeMap<String, u64>,
    /// How often an event was not above a row's version: in the batch at hand, and in all committed ones.
    stale_in_batch: u64,
    stale: u64,
    tracer: Tracer,
}

/// What to do when an event fails: the one place where a policy takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Fold what comes before it and stop there.
    Stop,
    /// Leave it out and go on.
    Skip,
    /// Leave it out together with every later event of the same key in that topic and partition, and go on.
    SetAside,
}

/// How far a batch was folded.
#[derive(Debug)]
pub struct FoldOutcome {
    /// Events that are dealt with, counted from the front: applied, or left out on purpose.
    pub folded: usize,
    /// The event that the fold stopped before.
    pub failure: Option<EventFailure>,
    /// Events left out, in their order.
    pub left_out: Vec<LeftOut>,
}

/// An event that a policy kept from being applied.
#[derive(Debug)]
pub struct LeftOut {
    /// Its place in the batch.
    pub event: usize,
    /// `None`: it only follows another one of its key.
    pub failure: Option<EventFailure>,
}

/// How often rows of owned tables were in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    pub hits: u64,
    pub misses: u64,
}

impl Folder {
    /// `shared[n]`: rows of table `n` are to be locked in every batch and never kept. `cache_bytes_max` bounds what rows take
    /// between batches.
    pub fn new(projection: Arc<Projection>, shared: &[bool], cache_bytes_max: usize) -> Folder {
        let tables = projection.tables.iter().zip(shared);
        let mut tables: Vec<TableState> = tables
            .map(|(table, shared)| TableState::new(table, *shared))
            .collect();
        for rule in projection.tables.iter().flat_map(|table| &table.rules) {
            for lookup in &rule.lookups {
                tables[lookup.table].looked_up = true;
            }
        }
        Folder {
            dispatch: Dispatch::new(&projection),
            tables,
            projection,
            cache_bytes_max,
            bulk: false,
            machine: Machine::default(),
            scratch: Bump::new(),
            key: Vec::new(),
            log: EventLog::default(),
            slots: Vec::new(),
            unheard_in_batch: BTreeMap::new(),
            unheard: BTreeMap::new(),
            stale_in_batch: 0,
            stale: 0,
            tracer: Tracer::default(),
        }
    }

    /// From now on every step is noted, for [`Folder::take_trace`]. For a batch of one event.
    pub fn tell(&mut self) {
        self.tracer = Tracer::telling();
        self.machine = Machine::telling();
    }

    /// What was done since the last time.
    pub fn take_trace(&mut self) -> Trace {
        self.tracer.take(&mut self.machine)
    }

    /// For the load of new tables that nobody else writes: a row that is not in memory does not exist, unless rows of its table
    /// have been evicted.
    pub fn set_bulk(&mut self, bulk: bool) {
        self.bulk = bulk;
    }

    /// The first pass: which rows the events touch. `slot_of(topic, partition)` is the checkpoint slot that owns rows.
    pub fn plan<'b>(
        &mut self,
        events: &'b [Event<'b>],
        slot_of: &dyn Fn(usize, i32) -> i32,
        arena: &'b Bump,
    ) -> Batch<'b> {
        self.slots.clear();
        let planner = Planner {
            projection: &self.projection,
            dispatch: &self.dispatch,
            tables: &mut self.tables,
            machine: &mut self.machine,
            scratch: &mut self.scratch,
            key: &mut self.key,
            ahead: Vec::new(),
            slots: &mut self.slots,
            tracer: &mut self.tracer,
            bulk: self.bulk,
            arena,
            batch: Batch::new(events),
        };
        planner.plan(slot_of)
    }

    /// The second pass: folds the batch in order. Every event is applied to all its rows or to none.
    pub fn fold(&mut self, batch: &Batch<'_>, on_failure: OnFailure) -> FoldOutcome {
        let mut outcome = FoldOutcome {
            folded: 0,
            failure: None,
            left_out: Vec::new(),
        };
        let mut held_back: HashSet<(usize, i32, &str)> = HashSet::new();
        let mut touches = &batch.touches[..];
        let mut planned = batch.failures.iter().peekable();
        for (event_index, event) in batch.events.iter().enumerate() {
            let others = touches
                .iter()
                .position(|touch| touch.event as usize != event_index);
            let (of_event, rest) = touches.split_at(others.unwrap_or(touches.len()));
            touches = rest;
            if let Some(soon) = touches.get(plan::AHEAD) {
                self.tables[usize::from(soon.table)].prefetch(soon);
            }
            let planned = planned.next_if(|failure| failure.event() == event_index);
            let key = event.key.map(|key| (event.topic, event.partition, key));
            if !held_back.is_empty() && key.is_some_and(|key| held_back.contains(&key)) {
                outcome.left_out.push(LeftOut::follower(event_index));
                continue;
            }
            let applied = match planned {
                Some(failure) => Err(failure.clone()),
                None => self.apply(batch, event_index, of_event),
            };
            let Err(failure) = applied else { continue };
            match on_failure {
                OnFailure::Stop => {
                    outcome.folded = event_index;
                    outcome.failure = Some(failure);
                    break;
                }
                OnFailure::Skip => {}
                OnFailure::SetAside => held_back.extend(key),
            }
            outcome.left_out.push(LeftOut::failed(event_index, failure));
        }
        if outcome.failure.is_none() {
            outcome.folded = batch.events.len();
        }
        self.count_unheard(batch, outcome.folded);
        outcome
    }

    fn apply(
        &mut self,
        batch: &Batch<'_>,
        event_index: usize,
        touches: &[plan::Touch],
    ) -> Result<(), EventFailure> {
        if event_index % 64 == 63 {
            self.scratch.reset();
        }
        let mut applier = Applier {
            projection: &self.projection,
            tables: &mut self.tables,
            machine: &mut self.machine,
            scratch: &self.scratch,
            log: &mut self.log,
            stale: &mut self.stale_in_batch,
            tracer: &mut self.tracer,
        };
        applier.event(batch, event_index, touches)
    }

    fn count_unheard(&mut self, batch: &Batch<'_>, folded: usize) {
        for &event in &batch.unheard {
            if (event as usize) < folded {
                let name = batch.events[event as usize].event_type;
                count(&mut self.unheard_in_batch, name, 1);
            }
        }
    }

    /// What the batch did, to be written. May be asked for again until [`Folder::committed`].
    pub fn changes(&self) -> Changes<'_> {
        let tables = self
            .tables
            .iter()
            .map(|state| TableChanges::of(&state.cache, state.states()));
        Changes {
            tables: tables.collect(),
        }
    }

    /// The changes are in the database: rows of shared tables are dropped, and rows beyond the limit, those not touched lately
    /// first. May be called when the changes have been handed over to be written, if [`Folder::forget_all`] follows should
    /// that fail.
    pub fn committed(&mut self) {
        for state in &mut self.tables {
            state.cache.committed(!state.shared);
            state.clear_history();
        }
        for (name, events) in std::mem::take(&mut self.unheard_in_batch) {
            count(&mut self.unheard, &name, events);
        }
        self.stale += std::mem::take(&mut self.stale_in_batch);
        self.evict();
    }

    /// The changes will never be in the database: memory goes back to what the database held before the batch.
    pub fn discard(&mut self) {
        self.unheard_in_batch.clear();
        self.stale_in_batch = 0;
        for state in &mut self.tables {
            state.cache.discard();
            state.clear_history();
        }
    }

    /// Forgets every row, because what the database holds is no longer known.
    pub fn forget_all(&mut self) {
        self.unheard_in_batch.clear();
        self.stale_in_batch = 0;
        for state in &mut self.tables {
            state.cache.clear();
            state.clear_history();
        }
    }

    /// Forgets the rows of a partition that is no longer ours. Between batches.
    pub fn forget_slot(&mut self, slot: i32) {
        for state in &mut self.tables {
            state.cache.forget_slot(slot);
            if let Some(history) = &mut state.history {
                history.forget_slot(slot);
            }
        }
    }

    /// What rows may take from now on.
    pub fn set_cache_bytes_max(&mut self, cache_bytes_max: usize) {
        self.cache_bytes_max = cache_bytes_max;
    }

    /// Memory that the rows at hand take; what is allocated stays at its highest.
    pub fn used_bytes(&self) -> usize {
        self.tables
            .iter()
            .map(|state| state.cache.used_bytes() + state.history_bytes())
            .sum()
    }

    /// Memory allocated for rows.
    pub fn memory_bytes(&self) -> usize {
        self.tables
            .iter()
            .map(|state| state.cache.allocated_bytes() + state.history_bytes())
            .sum()
    }

    /// Rows in memory.
    pub fn cached_rows(&self) -> usize {
        self.tables.iter().map(|state| state.cache.rows()).sum()
    }

    pub fn cache_counts(&self) -> CacheCounts {
        let owned = self.tables.iter().filter(|state| !state.shared);
        owned.fold(CacheCounts::default(), |counts, state| CacheCounts {
            hits: counts.hits + state.hits,
            misses: counts.misses + state.misses,
        })
    }

    /// How often a rule has done something to a row, be it undone afterwards.
    pub fn applied(&self, table: usize, rule: usize) -> u64 {
        self.tables[table].rules[rule].applied
    }

    /// Events, by type, that were folded although neither a rule nor `ignore` knows their type.
    pub fn unheard(&self) -> &BTreeMap<String, u64> {
        &self.unheard
    }

    /// How often an event was skipped for a row whose version it was not above.
    pub fn stale(&self) -> u64 {
        self.stale
    }

    fn evict(&mut self) {
        while self.used_bytes() > self.cache_bytes_max {
            let largest = self
                .tables
                .iter_mut()
                .max_by_key(|state| state.cache.used_bytes());
            match largest {
                Some(state) if state.cache.rows() > 0 => state.cache.evict(EVICTION_STEP),
                _ => break,
            }
        }
    }
}

impl LeftOut {
    fn failed(event: usize, failure: EventFailure) -> LeftOut {
        let failure = Some(failure);
        LeftOut { event, failure }
    }

    fn follower(event: usize) -> LeftOut {
        LeftOut {
            event,
            failure: None,
        }
    }
}

/// Counts under `name` while there is room for names.
fn count(counts: &mut BTreeMap<String, u64>, name: &str, events: u64) {
    if let Some(known) = counts.get_mut(name) {
        *known += events;
        return;
    }
    let fits = counts.len() < UNHEARD_NAMES_MAX && name.len() <= UNHEARD_NAME_BYTES_MAX;
    let name = if fits { name } else { OTHER_TYPES };
    *counts.entry(name.to_owned()).or_default() += events;
}

impl fmt::Display for OwnershipConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row belongs to another partition")
    }
}

impl std::error::Error for OwnershipConflict {}
