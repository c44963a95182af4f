//! From records to a commit, where a table's rows are shared by partitions: claim, lock, load, fold, write and commit in one
//! transaction, one batch after the other.

use super::batch::{conflicting, slot};
use super::chunk::Chunk;
use super::duplicates::{newly_seen, sent};
use super::requests::Origin;
use super::{Lane, Trouble, Waiter};
use crate::fold::{EventFailure, Folder};
use crate::metrics::Phase;
use crate::source::RecordBatch;
use crate::store::{Claim, Layout, Transaction, handover};
use bumpalo::Bump;
use std::time::Instant;

impl Lane {
    /// One transaction from the claim over the locked rows to the commit. Where a failing event stops the
    /// projection, the events before it are committed by themselves.
    pub(super) fn apply_locked<'b>(
        &mut self,
        mut chunk: Chunk<'b>,
        records: &RecordBatch,
        arena: &'b Bump,
    ) -> Result<(), Trouble> {
        self.flush()?;
        let events = chunk.events;
        let Some(failure) = self.try_locked(&mut chunk, records, arena)? else {
            return Ok(());
        };
        chunk.cut(failure.event());
        match self.try_locked(&mut chunk, records, arena)? {
            None => Err(self.stopped_by(events, &failure)),
            Some(another) => Err(self.stopped_by(events, &another)),
        }
    }

    /// If an event fails and that stops the projection, nothing is committed, and the failure is returned.
    fn try_locked<'b>(
        &mut self,
        chunk: &mut Chunk<'b>,
        records: &RecordBatch,
        arena: &'b Bump,
    ) -> Result<Option<EventFailure>, Trouble> {
        if chunk.is_empty() {
            return Ok(None);
        }
        self.note_folded(chunk);
        let claims = self.seal();
        let failure = self.transact(chunk, Origin::Log(records), &claims, arena)?;
        match failure {
            None => self.went_through(),
            Some(_) => self.partitions.unseal(),
        }
        Ok(failure)
    }

    /// Begin to commit, on one screen, for events whose rows are locked. If the fold stops at an event nothing is committed.
    pub(super) fn transact<'b>(
        &mut self,
        chunk: &mut Chunk<'b>,
        origin: Origin<'_>,
        claims: &[Claim],
        arena: &'b Bump,
    ) -> Result<Option<EventFailure>, Trouble> {
        let partitions = &self.partitions;
        let slot_of = |topic, partition| slot(partitions, topic, partition);
        let batch = self.folder.plan(chunk.events, &slot_of, arena);
        self.ensure_store()?;

        let Lane {
            runtime,
            consumer,
            noted,
            heartbeat,
            store,
            folder,
            seen,
            layout,
            letters,
            work,
            report,
            ..
        } = self;
        let mut wait = Waiter {
            runtime,
            consumer,
            noted,
            heartbeat,
        };
        let store = store.as_mut().expect("a connection was just made sure of");
        let started = Instant::now();
        let mut transaction = wait.on(store.begin(layout, claims))?;
        load(&mut wait, &mut transaction, layout, folder)?;
        let started = work.counters.phase_since(Phase::Load, started);
        let mut outcome = folder.fold(&batch, origin.on_failure(letters));
        let started = work.counters.phase_since(Phase::Fold, started);
        if let Some(failure) = outcome.failure.take() {
            wait.on(transaction.rollback())?;
            folder.discard();
            return Ok(Some(failure));
        }
        let set_aside = match origin.settle(letters, chunk, outcome) {
            Ok(set_aside) => set_aside,
            Err(trouble) => {
                // Now: the lane may stand still for a while, and others want the rows.
                wait.on(transaction.rollback())?;
                return Err(trouble);
            }
        };
        let mut changes = handover::changes(layout, &folder.changes());
        changes.seen = newly_seen(seen.as_ref(), claims);
        wait.on(transaction.write(&changes))?;
        let mut stored = None;
        if !set_aside.is_empty() {
            stored = Some(wait.on(transaction.write_letters(work.generation, &set_aside))?);
        }
        let started = work.counters.phase_since(Phase::Write, started);
        wait.on(transaction.commit())?;
        work.counters.phase_since(Phase::Commit, started);
        folder.committed();
        sent(seen.as_mut(), claims, &changes.seen);
        letters.committed(stored);
        report.written(&changes, folder);
        Ok(None)
    }
}

/// Gives the folder all that it needs, locked.
fn load(
    wait: &mut Waiter<'_>,
    transaction: &mut Transaction<'_>,
    layout: &Layout,
    folder: &mut Folder,
) -> Result<(), Trouble> {
    for table in layout.loading_order() {
        let needs = folder.needs(table);
        if needs.is_empty() {
            continue;
        }
        let wanted = handover::wanted(layout, table, &needs);
        let mut loaded = wait.on(transaction.load(table, wanted))?;
        handover::supply(folder, table, &mut loaded)
            .map_err(|conflict| conflicting(layout, conflict))?;
    }
    let supplied = folder.supply_missing_as_absent();
    supplied.map_err(|conflict| conflicting(layout, conflict))?;
    Ok(())
}
