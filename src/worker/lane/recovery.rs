//! What a lane does after an error: carries out the answers of [`crate::worker::policy`]. Every way back leads through
//! the same door: forget what is not committed, take the partitions over again, read on from the stored checkpoints.

use super::{CHUNK_RECORDS, Lane, LaneExit, Trouble};
use crate::source::{SourceError, TopicPartition};
use crate::store::{ErrorKind, Fault, LaneStore, Stop, StoreError};
use crate::worker::policy::{Action, answer, backoff, source_answer};
use std::time::{Duration, Instant};
use tracing::{debug, error, info, warn};

/// How long a rival's open transaction is waited for before its session is ended.
const RIVAL_WAIT: Duration = Duration::from_secs(5);
/// A lane that has had no connection to Postgres for this long leaves its group: others may have one.
const CUT_OFF_MAX: Duration = Duration::from_secs(60);
/// By how much less is taken in at once while an event is searched. To begin anew at the checkpoints takes some twenty times as long as a
/// commit: with half as much each time a search begins anew a dozen times, so only four times.
const NARROWER: usize = 16;

impl Lane {
    /// Puts the lane back into a state to go on from, or says how it ends.
    pub(super) fn answer(&mut self, trouble: Trouble) -> Result<(), LaneExit> {
        let mut trouble = trouble;
        loop {
            self.heartbeat.tick();
            let outcome = match trouble {
                Trouble::Asked => return Err(LaneExit::Asked),
                Trouble::Broken(message) => return Err(LaneExit::Failed(message)),
                Trouble::Stop(stop) => match self.record_stop(&stop) {
                    Ok(true) if stop.alone => self.set_apart(&stop),
                    Ok(true) => return Err(LaneExit::Stopped),
                    Ok(false) => self.start_again(),
                    Err(trouble) => Err(trouble),
                },
                Trouble::Full(stop) => match self.go_back() {
                    Ok(()) => Err(Trouble::Stop(stop)),
                    Err(trouble) => Err(trouble),
                },
                Trouble::Systemic(reason) => self.stand_still(&reason),
                Trouble::Store(error) => self.recover(&error),
                Trouble::Source(error) => self.recover_from_kafka(error),
                Trouble::Panicked(words) => self.recover_from_panic(&words),
            };
            match outcome {
                Ok(()) => return Ok(()),
                // Why the projection stands still is written down all the same.
                Err(stop @ Trouble::Stop(_)) => trouble = stop,
                Err(_) if self.control.is_asked() => return Err(LaneExit::Asked),
                Err(next) => trouble = next,
            }
        }
    }

    fn recover(&mut self, error: &StoreError) -> Result<(), Trouble> {
        let answer = answer(error.kind);
        self.report.trouble(error.kind);
        match answer.action {
            Action::StartAgain => info!(lane = %self.name, "{error}: {}", answer.hint),
            Action::Reconnect | Action::GiveUpOwnership { .. } | Action::FindEvent => {
                warn!(lane = %self.name, "{error}: {}", answer.hint);
            }
            Action::Wait => error!(lane = %self.name, "{error}: {}", answer.hint),
        }
        self.abandon();
        self.noted.add(self.consumer.serve());
        self.give_back_revoked()?;
        let mut gets_on = false;
        match answer.action {
            Action::StartAgain => {}
            Action::Reconnect => self.store = None,
            Action::Wait => {
                self.store = None;
                self.tell_waiting(&error.to_string(), answer.hint);
            }
            Action::GiveUpOwnership { table } => {
                let layout = self.layout.clone();
                self.on_store(async |store| store.give_up_ownership(&layout, table).await)
                    .map_err(blames_no_event)?;
            }
            Action::FindEvent => {
                if !self.load.follows() {
                    self.want_keys()?;
                }
                gets_on = self.narrow(Blame::Event(refused(error)))?;
            }
        }
        if !gets_on {
            self.wait_before_next_try()?;
        }
        self.start_again()
    }

    /// Leaves word where `status` and readers look, if the server takes it.
    pub(super) fn tell_waiting(&mut self, reason: &str, hint: &str) {
        let (store, name) = (self.work.store.clone(), self.name.clone());
        let generation = self.work.generation;
        let told = self.wait(async { store.note_waiting(generation, &name, reason, hint).await });
        match told {
            Ok(()) => self.told_waiting = true,
            Err(error) => debug!(lane = %self.name, "{error}"),
        }
    }

    /// After a batch went through, takes it back.
    pub(super) fn tell_going_on(&mut self) {
        if !self.told_waiting || self.attempt > 0 || self.refused.is_some() {
            return;
        }
        self.told_waiting = false;
        let (store, name) = (self.work.store.clone(), self.name.clone());
        let generation = self.work.generation;
        let told = self.wait(async { store.clear_waiting(generation, &name).await });
        if let Err(error) = told {
            // It counts for nothing soon, as nobody repeats it.
            debug!(lane = %self.name, "{error}");
        }
    }

    /// A call to Kafka failed: what a second try may mend is tried again, anything else is for a new client.
    fn recover_from_kafka(&mut self, error: SourceError) -> Result<(), Trouble> {
        let answer = source_answer(error.kind);
        let told = format!("Kafka: {error}: {}", answer.hint);
        if !answer.again {
            return Err(Trouble::Broken(told));
        }
        warn!(lane = %self.name, projection = %self.work.projection.name, "{told}");
        self.abandon();
        self.give_back_revoked()?;
        self.wait_before_next_try()?;
        self.start_again()
    }

    /// A fault of this program. If it comes with an event, that event is searched as one that PostgreSQL refuses is, so that
    /// the projection stops there and says so; otherwise the lane ends and is started anew.
    fn recover_from_panic(&mut self, words: &str) -> Result<(), Trouble> {
        error!(lane = %self.name, "a fault of this program: {words}; looking for the event that it comes with");
        if self.chunk_records == 1 && self.suspect.is_none() {
            return Err(Trouble::Broken(format!("it panicked: {words}")));
        }
        self.renew();
        self.noted.add(self.consumer.serve());
        self.give_back_revoked()?;
        self.narrow(Blame::Program(format!(
            "this program fails at the event, which is a fault of the program: {words}"
        )))?;
        self.wait_before_next_try()?;
        self.start_again()
    }

    /// Nothing that was folded is kept, and nothing was at fault.
    fn go_back(&mut self) -> Result<(), Trouble> {
        self.abandon();
        self.noted.add(self.consumer.serve());
        self.give_back_revoked()?;
        self.start_again()
    }

    /// More events fail than can be their own fault: nothing of that is kept, and it is tried again until it is over.
    fn stand_still(&mut self, reason: &str) -> Result<(), Trouble> {
        let hint = "see what they have in common; if the definition is wrong, put it right: a rebuild begins by itself. It goes on by itself";
        error!(lane = %self.name, projection = %self.work.projection.name, "{reason}: {hint}");
        self.abandon();
        self.noted.add(self.consumer.serve());
        self.give_back_revoked()?;
        self.tell_waiting(reason, hint);
        self.wait_before_next_try()?;
        self.start_again()
    }

    /// As [`abandon`](Lane::abandon), trusting nothing that may have been left half done.
    fn renew(&mut self) {
        self.new_folder();
        self.records = super::empty_batch(&self.work);
        self.arena = bumpalo::Bump::new();
        self.abandon();
        // With whatever it has open.
        self.store = None;
    }

    /// Forgets everything that is folded and not committed. A commit in flight ends first, either way: what it did is
    /// read from the checkpoints.
    pub(super) fn abandon(&mut self) {
        if let Some(commit) = self.in_flight.take() {
            // A commit that panicked took its connection with it; the next use opens another.
            self.store = self.wait(commit).ok().map(|(store, _outcome)| store);
        }
        self.folder.forget_all();
        self.load.begins_again();
        if let Some(seen) = &mut self.seen {
            seen.forget_all();
        }
        self.letters.abandon();
        self.pending_events = 0;
    }

    /// Gives back at once what the group wants back; only when nothing folded is left to commit. A lane that cannot reach
    /// Postgres must not keep the group waiting.
    pub(super) fn give_back_revoked(&mut self) -> Result<(), Trouble> {
        let revoked = self.noted.take_revoked();
        if revoked.is_empty() {
            return Ok(());
        }
        self.forget(&revoked);
        self.consumer.revoke(&revoked)?;
        info!(lane = %self.name, partitions = revoked.len(), "gave partitions back with what was not committed");
        Ok(())
    }

    /// Takes the partitions that the lane holds over again, and reads on from their checkpoints.
    pub(super) fn start_again(&mut self) -> Result<(), Trouble> {
        if self.partitions.is_empty() {
            return Ok(());
        }
        let held = self.held_with_checkpoint()?;
        let offsets = self.take_over(&held)?;
        // What was noted of places in the logs belongs to what is forgotten.
        self.noted.drop_places();
        // To start a partition that is to be given back would answer the group, and have two readers for a while.
        self.noted.add(self.consumer.serve());
        self.give_back_revoked()?;
        for start in offsets {
            if self.partitions.holds(start.at) {
                // What told that a log is another one may have been forgotten with the rest.
                self.consumer.restart(start)?;
            }
        }
        Ok(())
    }

    /// A checkpoint that the lane has met may be gone: with a server that was lost, and its place taken by one that had not heard of it
    /// yet. Such a partition begins anew, where its log does.
    fn held_with_checkpoint(&mut self) -> Result<Vec<(TopicPartition, i64)>, Trouble> {
        let known = self.known_partitions()?;
        let held = self.partitions.iter().map(|owned| owned.at);
        let (there, gone): (Vec<_>, Vec<_>) = held.partition(|at| known.contains_key(at));
        for at in gone {
            warn!(lane = %self.name, partition = %self.report.place(at), "its checkpoint is gone: it begins anew");
            self.forget(&[at]);
            self.consumer.set_apart(at)?;
            self.begins.wanted.push(at);
        }
        Ok(there.into_iter().map(|at| (at, 0)).collect())
    }

    /// Takes in ever less at once until a batch of one event is refused: that is the event. True if that got the search on.
    fn narrow(&mut self, blame: Blame) -> Result<bool, Trouble> {
        if self.chunk_records > 1 {
            // The search gets on: no reason to wait longer than before.
            self.attempt = 0;
            self.search_left = match self.is_searching() {
                true => self.chunk_records,
                false => self.sealed_events.max(self.chunk_records),
            };
            self.chunk_records = self.chunk_records.div_ceil(NARROWER);
            return Ok(true);
        }
        self.search_left = 0;
        let Some(mut stop) = self.suspect.take() else {
            return Ok(false);
        };
        stop.reason = match blame {
            Blame::Event(fault) => {
                let reason = fault.reason.clone();
                if self.letters.refuse(&stop, fault) {
                    return Ok(true);
                }
                reason
            }
            Blame::Program(reason) => reason,
        };
        Err(Trouble::Stop(stop))
    }

    /// After a batch that went through: behind what was refused, back towards the full size.
    pub(super) fn widen(&mut self) {
        self.attempt = 0;
        self.search_left = self.search_left.saturating_sub(self.chunk_records);
        if self.search_left == 0 {
            self.chunk_records = (self.chunk_records * 2).min(CHUNK_RECORDS);
        }
    }

    /// Some batch was refused for an event's sake, and the event is not found yet.
    pub(super) fn is_searching(&self) -> bool {
        self.chunk_records < CHUNK_RECORDS
    }

    /// Longer with every try in a row. The membership is kept meanwhile.
    fn wait_before_next_try(&mut self) -> Result<(), Trouble> {
        let until = Instant::now() + backoff(self.attempt, rand::random());
        self.attempt = self.attempt.saturating_add(1);
        while Instant::now() < until {
            if self.control.is_asked() {
                return Err(Trouble::Asked);
            }
            let pause = until
                .saturating_duration_since(Instant::now())
                .min(Duration::from_millis(100));
            self.wait(async { tokio::time::sleep(pause).await });
            self.give_back_revoked()?;
        }
        Ok(())
    }

    /// Makes sure of a connection with nothing in flight on it.
    pub(super) fn ensure_store(&mut self) -> Result<(), Trouble> {
        self.settle()?;
        if self.store.is_none() {
            let (store, name) = (self.work.store.clone(), self.name.clone());
            let connected =
                self.wait(async { LaneStore::connect(&store, &name, RIVAL_WAIT).await });
            match connected {
                Ok(lane_store) => self.store = Some(lane_store),
                Err(error) => return Err(self.cut_off(error)),
            }
            self.cut_off_since = None;
        }
        Ok(())
    }

    /// No connection: tried again for a while, then the lane makes room for others.
    fn cut_off(&mut self, error: StoreError) -> Trouble {
        let since = *self.cut_off_since.get_or_insert_with(Instant::now);
        if since.elapsed() < CUT_OFF_MAX {
            return Trouble::Store(error);
        }
        let told = format!(
            "no connection to Postgres for {} s ({error}); it leaves the group, so that workers that have one can take over",
            since.elapsed().as_secs()
        );
        // At once: the supervisor may be cut off as well.
        error!(lane = %self.name, "{told}");
        Trouble::Broken(told)
    }

    /// Runs a call on the lane's connection.
    pub(super) fn on_store<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut LaneStore) -> Result<T, StoreError>,
    ) -> Result<T, Trouble> {
        self.ensure_store()?;
        let mut store = self
            .store
            .take()
            .expect("a connection was just made sure of");
        let outcome = self.wait(call(&mut store));
        self.store = Some(store);
        Ok(outcome?)
    }

    /// Commits what was folded before the event, then writes down why the projection stands still; false if that is no
    /// longer for this lane to say.
    fn record_stop(&mut self, stop: &Stop) -> Result<bool, Trouble> {
        self.flush()?;
        if self.owned_place(stop).is_none() {
            return Ok(false);
        }
        // After the flush every partition is idle, so this claims them all.
        let claims = self.idle_claims();
        let layout = self.layout.clone();
        self.on_store(async |store| {
            let mut transaction = store.begin(&layout, &claims).await?;
            transaction.record_stop(stop).await?;
            transaction.commit().await
        })
        .map_err(blames_no_event)?;
        let what = if stop.alone { "a partition of " } else { "" };
        error!(lane = %self.name, topic = stop.topic, partition = stop.partition, offset = stop.offset, key = stop.key,
            rule = stop.rule, "{what}projection {} stops: {}", self.work.projection.name, stop.reason);
        Ok(true)
    }
}

/// Whose fault it is that a batch does not go through.
enum Blame {
    /// An event's: then the projection's policy.
    Event(Fault),
    /// This program's: the projection stops.
    Program(String),
}

/// What PostgreSQL said, as it is kept.
pub(super) fn refused(error: &StoreError) -> Fault {
    Fault {
        sqlstate: error.sqlstate.as_deref().map(str::to_owned),
        reason: format!("PostgreSQL refused what the event makes of the row: {error}"),
        ..Fault::default()
    }
}

/// For what writes no rows: an event has no part in it, whatever PostgreSQL says.
pub(super) fn blames_no_event(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Store(error) if error.kind == ErrorKind::EventFault => {
            Trouble::Store(StoreError {
                kind: ErrorKind::Unexpected,
                ..error
            })
        }
        other => other,
    }
}
