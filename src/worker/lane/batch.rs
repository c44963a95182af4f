//! From records to a commit, where all tables are owned: events are folded ahead of their commits. The other way is in
//! [`super::locked`].

use super::chunk::{self, Aside, Chunk};
use super::duplicates::{newly_seen, sent};
use super::headers;
use super::{Lane, Received, Trouble, Work};
use crate::event::Event;
use crate::fold::{EventFailure, OwnershipConflict};
use crate::metrics::Phase;
use crate::source::{RecordBatch, TopicPartition};
use crate::store::encode::EncodedChanges;
use crate::store::{
    Claim, LaneStore, Layout, LetterChanges, Stop, StoreError, Transaction, handover,
};
use bumpalo::Bump;
use std::time::{Duration, Instant};

/// How often offsets are mirrored to Kafka, and the ends of idle partitions written down.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// Far behind, a batch is committed at the latest after this time, so that readers see progress.
const BATCH_AGE_MAX: Duration = Duration::from_secs(2);

impl Lane {
    /// Decodes and folds `records`; with a shared table, but in a load, commits them too.
    pub(super) fn fold_records(
        &mut self,
        records: &RecordBatch,
        arena: &Bump,
    ) -> Result<(), Trouble> {
        if records.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let work = self.work.clone();
        self.suspect = None;
        if self.is_searching() && records.len() == 1 {
            self.suspect = Some(Box::new(self.report.suspected(&records.record(0))));
        }
        assert!(!fails_at(records), "a fail point of a test");
        self.left_out.clear();
        self.partitions.came(records.last_marks());
        let (mut chunk, undecodable) = self.decode(&work, records, arena);
        self.work.counters.phase(Phase::Decode, started.elapsed());
        if let ([event], Some(suspect)) = (chunk.events, &mut self.suspect) {
            **suspect = self.report.refused(event);
        }
        self.leave_duplicates_out(&mut chunk, arena)?;
        if self.layout.any_shared() && !self.load.is_load() {
            self.apply_locked(chunk, records, arena)?;
        } else {
            self.fold_ahead(chunk, records, arena)?;
        }
        for (at, offset) in std::mem::take(&mut self.left_out) {
            self.partitions.left_out(at, offset);
        }
        if undecodable.is_none() {
            for at in self.partitions.pass_stops() {
                self.load.at_the_end(at);
            }
        }
        match undecodable {
            None => Ok(()),
            Some(stop) => Err(Trouble::Stop(Box::new(stop))),
        }
    }

    /// The events of `records` that are this lane's to apply. What cannot be decoded, or waits for an earlier event of its key, is set
    /// aside; if that stops the projection, nothing from there on is looked at.
    fn decode<'b>(
        &mut self,
        work: &'b Work,
        records: &'b RecordBatch,
        arena: &'b Bump,
    ) -> (Chunk<'b>, Option<Stop>) {
        let mut events = bumpalo::collections::Vec::with_capacity_in(records.len(), arena);
        let mut places = Vec::with_capacity(records.len());
        let mut asides = Vec::new();
        let mut undecodable = None;
        for place in 0..records.len() {
            let record = records.record(place);
            let at = TopicPartition {
                topic: record.topic,
                partition: record.partition,
            };
            if !self.partitions.accept(at, record.offset) {
                continue;
            }
            let (event, fault) = match work.decoders[record.topic].decode_in_place(&record, arena) {
                Ok(event) => {
                    events.push(event);
                    let event = &events[events.len() - 1];
                    if work.as_of.is_some_and(|as_of| event.time > as_of) {
                        self.left_out.push((at, event.offset));
                        events.pop();
                        continue;
                    }
                    match self.letters.keeps_out(event) {
                        None => {
                            places.push(place as u32);
                            continue;
                        }
                        Some(fault) => (events.pop(), fault),
                    }
                }
                Err(error) if self.letters.stops() => {
                    undecodable = Some(self.report.undecodable(&record, &error));
                    break;
                }
                Err(error) => {
                    self.letters.block(at, headers::text(record.key));
                    (None, Some(chunk::undecodable(&error)))
                }
            };
            asides.push(Aside {
                place,
                at,
                offset: record.offset,
                event,
                fault,
            });
        }
        let chunk = Chunk {
            events: events.into_bump_slice(),
            places,
            asides,
        };
        (chunk, undecodable)
    }

    /// Every table is owned, or this lane has all partitions: the rows that memory lacks are loaded, the events folded into rows in memory. The claim
    /// comes with the commit; until then nobody but this lane knows.
    fn fold_ahead<'b>(
        &mut self,
        mut chunk: Chunk<'b>,
        records: &RecordBatch,
        arena: &'b Bump,
    ) -> Result<(), Trouble> {
        let events = chunk.events;
        let partitions = &self.partitions;
        let batch = self.folder.plan(
            events,
            &|topic, partition| slot(partitions, topic, partition),
            arena,
        );
        self.load_ahead()?;
        let started = Instant::now();
        let mut outcome = self.folder.fold(&batch, self.letters.on_failure());
        self.work.counters.phase(Phase::Fold, started.elapsed());
        let failure = outcome.failure.take();
        if failure.is_some() {
            chunk.cut(outcome.folded);
        }
        self.note_folded(&chunk);
        let dealt = chunk.events.len() + chunk.asides.len();
        let asides = chunk.take_asides(outcome);
        self.letters.take_in(records, dealt, asides)?;
        match failure {
            None => Ok(()),
            Some(failure) => Err(self.stopped_by(events, &failure)),
        }
    }

    fn load_ahead(&mut self) -> Result<(), Trouble> {
        let mut started = None;
        for table in 0..self.layout.tables.len() {
            let needs = self.folder.needs(table);
            if needs.is_empty() {
                continue;
            }
            started.get_or_insert_with(Instant::now);
            let wanted = handover::wanted(&self.layout, table, &needs);
            let layout = self.layout.clone();
            let mut loaded =
                self.on_store(async |store| store.load_ahead(&layout, table, &wanted).await)?;
            handover::supply(&mut self.folder, table, &mut loaded)
                .map_err(|conflict| conflicting(&layout, conflict))?;
        }
        let layout = &self.layout;
        let supplied = self.folder.supply_missing_as_absent();
        supplied.map_err(|conflict| conflicting(layout, conflict))?;
        if let Some(started) = started {
            self.work.counters.phase(Phase::Load, started.elapsed());
        }
        Ok(())
    }

    /// Commits when it is time: near the end of the log at once (but at most once per linger), far behind when enough
    /// has gathered to make each row worth its write.
    pub(super) fn commit_if_due(&mut self, received: Received) -> Result<(), Trouble> {
        if !self.partitions.has_unsealed() {
            return Ok(());
        }
        let limits = &self.work.limits;
        let near_the_end = !received.is_full;
        let lingers = self.sealed_at.elapsed() < limits.batch_linger
            && self.pending_events < limits.batch_events;
        let full =
            self.folder.used_bytes() + self.letters.bytes() >= limits.memory.cache_bytes_max();
        let gathers = self.pending_events < self.batch_events_wanted()
            && self.pending_since.elapsed() < BATCH_AGE_MAX;
        let due = if self.is_searching() || full {
            true
        } else if near_the_end {
            !lingers
        } else {
            // What is in flight is waited for only when there is nothing better to do.
            self.in_flight.is_none() && !gathers
        };
        if due { self.seal_and_send() } else { Ok(()) }
    }

    /// Half of the gap: the further behind, the more events share the write of one row.
    fn batch_events_wanted(&self) -> usize {
        let behind = |at, accepted: i64| {
            self.consumer
                .end_offset(at)
                .map_or(0, |end| (end - accepted).max(0))
        };
        let gap: i64 = self
            .partitions
            .iter()
            .map(|owned| behind(owned.at, owned.accepted_offset))
            .sum();
        usize::try_from(gap / 2)
            .unwrap_or(usize::MAX)
            .max(self.work.limits.batch_events)
    }

    /// Commits everything folded, and waits for it.
    pub(super) fn flush(&mut self) -> Result<(), Trouble> {
        if !self.partitions.has_unsealed() || self.gives_way_to_others()? {
            return self.settle();
        }
        if self.load.is_load() {
            return self.write_load();
        }
        self.seal_and_send()?;
        self.settle()
    }

    /// Seals what is folded into one batch and sends it off; folding goes on meanwhile.
    fn seal_and_send(&mut self) -> Result<(), Trouble> {
        self.ensure_store()?;
        let layout = self.layout.clone();
        let claims = self.seal();
        let started = Instant::now();
        let mut changes = handover::changes(&layout, &self.folder.changes());
        changes.seen = newly_seen(self.seen.as_ref(), &claims);
        self.work.counters.phase(Phase::Write, started.elapsed());
        // From here on the rows in memory are ahead of the database by exactly this batch.
        self.folder.committed();
        sent(self.seen.as_mut(), &claims, &changes.seen);
        self.report.written(&changes, &self.folder);
        let mut store = self
            .store
            .take()
            .expect("a connection was just made sure of");
        let work = self.work.clone();
        let set_aside = self.letters.seal();
        self.in_flight = Some(self.runtime.spawn(async move {
            let outcome =
                commit_batch(&mut store, &work, &layout, &claims, &changes, &set_aside).await;
            (store, outcome)
        }));
        // A search wants to know about this very batch.
        if self.is_searching() {
            self.settle()
        } else {
            Ok(())
        }
    }

    /// The claims of everything folded since the last batch; once in a while of the idle partitions too, to write down their ends.
    pub(super) fn seal(&mut self) -> Vec<Claim> {
        self.sealed_at = Instant::now();
        self.load.sealed();
        self.sealed_events = std::mem::take(&mut self.pending_events);
        let with_idle = std::mem::take(&mut self.measure_next);
        let Lane {
            partitions,
            consumer,
            ..
        } = self;
        let end_offset_of = |at| consumer.end_offset(at);
        let mut claims = if with_idle {
            partitions.measure_idle(end_offset_of)
        } else {
            Vec::new()
        };
        claims.extend(partitions.seal(end_offset_of));
        claims
    }

    /// Waits for the commit in flight, if there is one, and takes its outcome.
    pub(super) fn settle(&mut self) -> Result<(), Trouble> {
        let Some(commit) = self.in_flight.take() else {
            return Ok(());
        };
        let ended = self.wait(commit);
        let (store, outcome) = ended.map_err(|error| {
            Trouble::Panicked(format!("a commit ended without an answer: {error}"))
        })?;
        self.store = Some(store);
        self.letters.committed(outcome?);
        self.went_through();
        Ok(())
    }

    pub(super) fn settle_if_done(&mut self) -> Result<(), Trouble> {
        match &self.in_flight {
            Some(commit) if commit.is_finished() => self.settle(),
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn note_folded(&mut self, chunk: &Chunk<'_>) {
        if self.pending_events == 0 {
            self.pending_since = Instant::now();
        }
        self.pending_events += chunk.events.len();
        for event in chunk.events {
            let at = chunk::place_of(event);
            self.partitions.folded(at, event.offset, event.time);
        }
        for aside in &chunk.asides {
            self.partitions.set_aside(aside.at, aside.offset);
        }
    }

    /// The sealed batch is durable.
    pub(super) fn went_through(&mut self) {
        self.suspect = None;
        self.partitions.committed();
        let partitions = &self.partitions;
        self.letters
            .forget_refused(|at, offset| partitions.is_committed(at, offset));
        let events = std::mem::take(&mut self.sealed_events);
        self.report
            .committed(events, &self.partitions, |at| self.consumer.end_offset(at));
        self.widen();
    }

    /// Once a second: mirrors the offsets to Kafka, and writes down how far the logs reach; a busy lane does so with its next batch.
    pub(super) fn measure_if_due(&mut self) -> Result<(), Trouble> {
        if self.measured_at.elapsed() < MEASURE_EVERY || self.partitions.is_empty() {
            return Ok(());
        }
        self.measured_at = Instant::now();
        let applied: Vec<(TopicPartition, i64)> = self
            .partitions
            .iter()
            .map(|owned| (owned.at, owned.committed_offset))
            .collect();
        self.consumer.mirror(&applied);
        if self.in_flight.is_some() || self.partitions.has_unsealed() {
            self.measure_next = true;
            return Ok(());
        }
        self.ensure_store()?;
        let claims = self.idle_claims();
        let (work, layout) = (self.work.clone(), self.layout.clone());
        self.on_store(async |store| {
            let nothing = (EncodedChanges::default(), LetterChanges::default());
            commit_batch(store, &work, &layout, &claims, &nothing.0, &nothing.1).await
        })
        .map(drop)
    }

    /// Claims that move nothing, of all partitions with nothing to commit.
    pub(super) fn idle_claims(&self) -> Vec<Claim> {
        self.partitions
            .measure_idle(|at| self.consumer.end_offset(at))
    }

    pub(super) fn stopped_by(&self, events: &[Event<'_>], failure: &EventFailure) -> Trouble {
        Trouble::Stop(Box::new(
            self.report.failed(&events[failure.event()], failure),
        ))
    }
}

/// One transaction of a projection whose tables are all owned: claim, write, commit. Gives how many letters the generation has, if
/// some are new.
async fn commit_batch(
    store: &mut LaneStore,
    work: &Work,
    layout: &Layout,
    claims: &[Claim],
    changes: &EncodedChanges,
    set_aside: &LetterChanges,
) -> Result<Option<i64>, StoreError> {
    let started = Instant::now();
    let mut transaction = store.begin(layout, claims).await?;
    transaction.write(changes).await?;
    commit(transaction, work, set_aside, started).await
}

/// The rest of it, when rows are written.
pub(super) async fn commit(
    mut transaction: Transaction<'_>,
    work: &Work,
    set_aside: &LetterChanges,
    started: Instant,
) -> Result<Option<i64>, StoreError> {
    let mut stored = None;
    if !set_aside.is_empty() {
        stored = Some(
            transaction
                .write_letters(work.generation, set_aside)
                .await?,
        );
    }
    work.counters.phase(Phase::Write, started.elapsed());
    let started = Instant::now();
    transaction.commit().await?;
    work.counters.phase(Phase::Commit, started.elapsed());
    Ok(stored)
}

/// True only where a test makes the program fail at a given offset.
fn fails_at(records: &RecordBatch) -> bool {
    fail::fail_point!("panic-at-offset", |offset| {
        let offset = offset.and_then(|offset| offset.parse().ok());
        records
            .records()
            .any(|record| Some(record.offset) == offset)
    });
    // Without fail points nothing is looked at.
    let _ = records;
    false
}

/// Events are only planned of partitions that are owned: [`super::Partitions::accept`] saw to it.
pub(super) fn slot(partitions: &super::Partitions, topic: usize, partition: i32) -> i32 {
    partitions
        .slot(TopicPartition { topic, partition })
        .expect("an accepted event is of an owned partition")
}

pub(super) fn conflicting(layout: &Layout, conflict: OwnershipConflict) -> StoreError {
    StoreError::ownership_conflict(layout, conflict.table)
}
