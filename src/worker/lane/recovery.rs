//! What a lane does after an error: carries out the answers of [`crate::worker::policy`]. Every way back leads through
//! the same door: forget what is not committed, take the partitions over again, read on from the stored checkpoints.

use super::{CHUNK_RECORDS, Lane, LaneExit, Trouble};
use crate::source::{SourceEvent, TopicPartition};
use crate::store::{LaneStore, Stop, StoreError};
use crate::worker::policy::{Action, answer, backoff};
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// How long a rival's open transaction is waited for before its session is ended.
const RIVAL_WAIT: Duration = Duration::from_secs(5);

impl Lane {
    /// Puts the lane back into a state to go on from, or says how it ends.
    pub(super) fn answer(&mut self, trouble: Trouble) -> Result<(), LaneExit> {
        let mut trouble = trouble;
        loop {
            let outcome = match trouble {
                Trouble::Asked => return Err(LaneExit::Asked),
                Trouble::Broken(message) => return Err(LaneExit::Failed(message)),
                Trouble::Stop(stop) => match self.record_stop(*stop) {
                    Ok(()) => return Err(LaneExit::Stopped),
                    Err(trouble) => Err(trouble),
                },
                Trouble::Store(error) => self.recover(&error),
            };
            match outcome {
                Ok(()) => return Ok(()),
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
        match answer.action {
            Action::StartAgain => {}
            Action::Reconnect | Action::Wait => self.store = None,
            Action::GiveUpOwnership { table } => {
                let layout = self.layout.clone();
                self.on_store(async |store| store.give_up_ownership(&layout, table).await)?;
            }
            Action::FindEvent => {
                if !self.load.follows() {
                    self.want_keys()?;
                }
                self.narrow(error)?;
            }
        }
        if answer.action != Action::FindEvent {
            self.wait_before_next_try()?;
        }
        self.start_again()
    }

    /// Forgets everything that is folded and not committed. A commit in flight ends first, either way: what it did is
    /// read from the checkpoints.
    pub(super) fn abandon(&mut self) {
        if let Some(commit) = self.in_flight.take() {
            // A commit that panicked took its connection with it; the next use opens another.
            self.store = self.wait(commit).ok().map(|(store, _outcome)| store);
        }
        self.folder.forget_all();
        self.pending_events = 0;
    }

    /// Takes the partitions that the lane holds over again, and reads on from their checkpoints.
    pub(super) fn start_again(&mut self) -> Result<(), Trouble> {
        let held: Vec<TopicPartition> = self.partitions.iter().map(|owned| owned.at).collect();
        if held.is_empty() {
            return Ok(());
        }
        let offsets = self.take_over(&held)?;
        // Ends that were noted before belong to what is forgotten.
        self.noted
            .retain(|event| !matches!(event, SourceEvent::EndOfPartition { .. }));
        for (at, next_offset) in offsets {
            self.consumer.seek(at, next_offset)?;
        }
        Ok(())
    }

    /// Halves what is taken in at once until a batch of one event is refused: that is the event.
    fn narrow(&mut self, error: &StoreError) -> Result<(), Trouble> {
        if self.chunk_records == 1
            && let Some(mut stop) = self.suspect.take()
        {
            stop.reason = format!("PostgreSQL refused what the event makes of the row: {error}");
            return Err(Trouble::Stop(stop));
        }
        self.chunk_records = (self.chunk_records / 2).max(1);
        Ok(())
    }

    /// After a batch that went through, back towards the full size.
    pub(super) fn widen(&mut self) {
        self.attempt = 0;
        self.chunk_records = (self.chunk_records * 2).min(CHUNK_RECORDS);
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
        }
        Ok(())
    }

    /// Makes sure of a connection with nothing in flight on it.
    pub(super) fn ensure_store(&mut self) -> Result<(), Trouble> {
        self.settle()?;
        if self.store.is_none() {
            let (store, name) = (self.work.store.clone(), self.name.clone());
            let lane_store =
                self.wait(async { LaneStore::connect(&store, &name, RIVAL_WAIT).await })?;
            self.store = Some(lane_store);
        }
        Ok(())
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

    /// Commits what was folded before the event, then writes down why the projection stands still.
    fn record_stop(&mut self, stop: Stop) -> Result<(), Trouble> {
        self.flush()?;
        let store = self.work.store.clone();
        self.wait(async { store.record_stop(&stop).await })?;
        error!(lane = %self.name, topic = stop.topic, partition = stop.partition, offset = stop.offset, key = stop.key,
            rule = stop.rule, "projection {} stops: {}", self.work.projection.name, stop.reason);
        Ok(())
    }
}
