//! The load of a new generation: its tables have no keys yet, so rows are kept in memory and each is written once, by COPY. When
//! the lane is at the end of its logs, or can no longer go on so, it writes what it has and stands still until the keys are there.

use super::batch::commit;
use super::{Lane, Trouble, Waiter};
use crate::source::TopicPartition;
use crate::store::{Checkpoint, Layout, Phase, handover};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is folded and not durable is folded again after a crash: no more than this.
const LOAD_MAX: Duration = Duration::from_secs(60);
/// Where one lane loads alone: what it has no room or no time for is folded row by row under locks, which takes far longer.
const LOAD_ALONE_MAX: Duration = Duration::from_secs(600);
/// How long a lane that loads alone waits for the partitions that it lacks.
const ALL_WITHIN: Duration = Duration::from_secs(60);
/// What is asked back earlier than this is folded again by whoever gets it, which costs less than to end the load.
const GIVEN_BACK_UNWRITTEN: Duration = Duration::from_secs(5);
/// Offsets of a partition that a load leaves to be folded as live does, if its end is not reached within [`NEAR_FOR`].
const LEFT_MAX: i64 = 2_000;
/// How long a load that has come near the end tries to reach it: rows that the rest touches are written a second time.
const NEAR_FOR: Duration = Duration::from_millis(50);
/// How often the lane says how far it has read.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// How often a lane that stands still looks around.
const STAND_STILL: Duration = Duration::from_millis(20);

/// How a lane folds at this moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pace {
    /// Rows stay in memory; nothing was written yet.
    Load,
    /// Everything is written; nothing is folded until the keys are there.
    Parked,
    /// As live is.
    Follow,
}

/// What a lane knows of its load.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) pace: Pace,
    /// Partitions that have been at their end.
    ended: BTreeSet<TopicPartition>,
    began_at: Instant,
    noted_at: Instant,
    /// When all partitions were near their ends for the first time.
    near_since: Option<Instant>,
    /// The database has been told that the lane stands still.
    told: bool,
}

impl Load {
    pub(super) fn new(phase: Phase) -> Load {
        let now = Instant::now();
        Load {
            pace: match phase {
                Phase::Load => Pace::Load,
                Phase::Measure | Phase::Drain | Phase::Index => Pace::Parked,
                Phase::Follow => Pace::Follow,
            },
            ended: BTreeSet::new(),
            began_at: now,
            noted_at: now,
            near_since: None,
            told: false,
        }
    }

    pub(super) fn is_load(&self) -> bool {
        self.pace == Pace::Load
    }

    pub(super) fn follows(&self) -> bool {
        self.pace == Pace::Follow
    }

    /// What was folded is thrown away.
    pub(super) fn begins_again(&mut self) {
        self.began_at = Instant::now();
        self.near_since = None;
    }

    pub(super) fn at_the_end(&mut self, at: TopicPartition) {
        self.ended.insert(at);
    }

    pub(super) fn forget(&mut self, at: TopicPartition) {
        self.ended.remove(&at);
    }

    /// The first batch of a load is the last one: a second would have to find the rows of the first.
    pub(super) fn sealed(&mut self) {
        if self.is_load() {
            self.pace = Pace::Parked;
        }
    }
}

impl Lane {
    /// Follows the generation's phase; false while the lane stands still.
    pub(super) fn keep_pace(&mut self) -> Result<bool, Trouble> {
        match (self.load.pace, self.control.phase()) {
            (Pace::Follow, _) => return Ok(true),
            (Pace::Load | Pace::Parked, Phase::Follow) => {
                self.follow()?;
                return Ok(true);
            }
            (Pace::Load, Phase::Drain | Phase::Index) => self.park()?,
            (Pace::Load, Phase::Load | Phase::Measure) => {
                if self.has_all()? {
                    return Ok(true);
                }
            }
            (Pace::Parked, _) => {}
        }
        self.tell_that_parked()?;
        self.measure_if_due()?;
        self.wait(async { tokio::time::sleep(STAND_STILL).await });
        let served = self.consumer.serve();
        self.noted.add(served);
        Ok(false)
    }

    fn follow(&mut self) -> Result<(), Trouble> {
        self.load.pace = Pace::Follow;
        self.folder.set_bulk(false);
        if !self.layout.any_shared() {
            return Ok(());
        }
        // Row by row from now on: what the load took in memory is for others again.
        self.abandon();
        self.new_folder();
        self.start_again()
    }

    /// Rows of several partitions are in the lane's memory, and nobody else has any.
    pub(super) fn loads_alone(&self) -> bool {
        self.load.is_load() && self.layout.any_shared()
    }

    /// Everything that the load is of. A lane that does not get it leaves the load, before it has folded anything.
    fn has_all(&mut self) -> Result<bool, Trouble> {
        if !self.loads_alone() {
            return Ok(true);
        }
        let has = self.partitions.iter().count();
        let is_alone = self.apart.is_empty() && self.work.alone.is_some_and(|all| has >= all);
        // Where it began before anybody knew that rows are shared, others may have partitions.
        let in_vain = self.work.alone.is_none() || !self.apart.is_empty();
        if !is_alone && (in_vain || self.load.began_at.elapsed() >= ALL_WITHIN) {
            self.leave_load()?;
        }
        Ok(is_alone)
    }

    /// With nothing folded that is not written.
    pub(super) fn leave_load(&mut self) -> Result<(), Trouble> {
        self.load.pace = Pace::Parked;
        self.want_keys()
    }

    /// Before rows of several partitions are written: has another lane partitions after all, such as were added since they were
    /// counted? Of two lanes that load, the later one to take partitions over finds the other's checkpoints; what it has folded is
    /// thrown away.
    pub(super) fn gives_way_to_others(&mut self) -> Result<bool, Trouble> {
        if !self.loads_alone() {
            return Ok(false);
        }
        let known = self.known_partitions()?;
        let others = known.keys().any(|at| !self.partitions.holds(*at));
        if others {
            self.abandon();
            self.leave_load()?;
            self.start_again()?;
        }
        Ok(others)
    }

    /// The generation is to stand still elsewhere: what was turned away comes again.
    pub(super) fn adopt_stops(&mut self) -> Result<(), Trouble> {
        let Some(stops) = self.control.changed_stops() else {
            return Ok(());
        };
        let mut by_partition = BTreeMap::new();
        for (topic, definition) in self.work.projection.topics.iter().enumerate() {
            for (partition, offset) in stops.get(&definition.name).into_iter().flatten() {
                let at = TopicPartition {
                    topic,
                    partition: *partition,
                };
                by_partition.insert(at, *offset);
            }
        }
        self.partitions.set_stops(by_partition);
        let from: Vec<(TopicPartition, i64)> = self
            .partitions
            .iter()
            .map(|owned| (owned.at, owned.accepted_offset))
            .collect();
        for (at, next_offset) in from {
            self.consumer.seek(at, next_offset)?;
        }
        Ok(())
    }

    /// After records were folded in memory: is the load over for this lane?
    pub(super) fn load_on(&mut self) -> Result<(), Trouble> {
        fail::fail_point!("load-on");
        let (lanes, load_max) = match self.loads_alone() {
            true => (self.work.limits.lanes, LOAD_ALONE_MAX),
            false => (1, LOAD_MAX),
        };
        let full = self.folder.memory_bytes() + self.letters.bytes()
            >= self.work.limits.memory.cache_bytes_max() * lanes;
        if full || self.load.began_at.elapsed() >= load_max {
            self.want_keys()?;
            return self.park();
        }
        if self.is_over() {
            return self.park();
        }
        self.note_reading_if_due()
    }

    /// All partitions are read to their ends, or nearly so for a while: as events arrive, the ends themselves are hardly ever met.
    fn is_over(&mut self) -> bool {
        if self.partitions.is_empty() {
            return false;
        }
        let (mut ended, mut near) = (true, true);
        for partition in self.partitions.iter() {
            let read = partition.folded_offset - partition.committed_offset;
            let end = self.consumer.end_offset(partition.at);
            let left = end.map_or(i64::MAX, |end| end - partition.folded_offset);
            let has_ended = left <= 0 || self.load.ended.contains(&partition.at);
            ended &= has_ended;
            near &= has_ended || left <= LEFT_MAX.min(read / 8);
        }
        if !near {
            return false;
        }
        let since = *self.load.near_since.get_or_insert_with(Instant::now);
        ended || since.elapsed() >= NEAR_FOR
    }

    /// Writes what is folded, and stands still from now on.
    fn park(&mut self) -> Result<(), Trouble> {
        self.flush()?;
        self.load.pace = Pace::Parked;
        fail::fail_point!("load-parked");
        self.tell_that_parked()
    }

    /// Writes what is folded, in one transaction. Rows go from memory to the server as it takes them.
    pub(super) fn write_load(&mut self) -> Result<(), Trouble> {
        self.ensure_store()?;
        let layout = match self.loads_alone() {
            true => Arc::new(Layout::for_load(
                &self.work.projection,
                self.work.generation,
            )?),
            false => self.layout.clone(),
        };
        let claims = self.seal();
        let set_aside = self.letters.seal();
        let Lane {
            runtime,
            consumer,
            noted,
            heartbeat,
            store,
            folder,
            letters,
            work,
            report,
            seen,
            ..
        } = self;
        let mut wait = Waiter {
            runtime,
            consumer,
            noted,
            heartbeat,
        };
        let store = store.as_mut().expect("a connection was just made sure of");
        debug_assert!(seen.is_none(), "what deduplicates is not loaded");
        report.cache_bytes(folder.memory_bytes() as i64);
        let changes = folder.changes();
        let rows: Vec<usize> = changes
            .tables
            .iter()
            .map(|table| table.inserts.len())
            .collect();
        let stored = wait.on(async {
            let started = Instant::now();
            let mut transaction = store.begin(&layout, &claims).await?;
            handover::load(&mut transaction, &changes).await?;
            commit(transaction, work, &set_aside, started).await
        })?;
        folder.committed();
        letters.committed(stored);
        report.rows_written(rows.into_iter().enumerate(), folder);
        self.went_through();
        Ok(())
    }

    fn tell_that_parked(&mut self) -> Result<(), Trouble> {
        if self.load.told || self.load.pace != Pace::Parked {
            return Ok(());
        }
        let held: Vec<(i32, i64)> = self
            .partitions
            .iter()
            .map(|owned| (owned.slot, owned.epoch))
            .collect();
        let generation = self.work.generation;
        self.on_store(async |store| store.park(generation, &held).await)?;
        self.load.told = true;
        self.control.parked();
        Ok(())
    }

    /// The load cannot go on without keys: all lanes end it.
    pub(super) fn want_keys(&mut self) -> Result<(), Trouble> {
        let generation = self.work.generation;
        self.on_store(async |store| store.want_keys(generation).await)
    }

    /// What has rows already, or comes to a lane that has written, is folded on when the keys are there.
    pub(super) fn took_over_in_load(&mut self, taken: &[Checkpoint]) -> Result<(), Trouble> {
        self.load.told = false;
        let has_rows = |checkpoint: &Checkpoint| checkpoint.next_offset > checkpoint.begin_offset;
        match self.load.pace {
            Pace::Follow => Ok(()),
            Pace::Parked => self.want_keys(),
            Pace::Load if taken.iter().any(has_rows) => self.leave_load(),
            Pace::Load => Ok(()),
        }
    }

    /// Before partitions are given back in a load; true if what was folded of them is to be thrown away.
    pub(super) fn gives_back_unwritten(&mut self) -> Result<bool, Trouble> {
        if !self.load.is_load() {
            return Ok(false);
        }
        let is_young = self.load.began_at.elapsed() < GIVEN_BACK_UNWRITTEN;
        if is_young || !self.partitions.has_unsealed() {
            return Ok(true);
        }
        self.want_keys()?;
        self.park()?;
        Ok(false)
    }

    fn note_reading_if_due(&mut self) -> Result<(), Trouble> {
        if self.load.noted_at.elapsed() < NOTE_EVERY || self.partitions.is_empty() {
            return Ok(());
        }
        self.load.noted_at = Instant::now();
        let read: Vec<(i32, i64, Option<i64>)> = self
            .partitions
            .iter()
            .map(|owned| {
                (
                    owned.slot,
                    owned.folded_offset,
                    self.consumer.end_offset(owned.at),
                )
            })
            .collect();
        let generation = self.work.generation;
        self.on_store(async |store| store.note_reading(generation, &read).await)
    }
}
