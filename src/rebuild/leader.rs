//! Drives generations from state to state. One process leads a generation, by a lease that it renews; whoever gets the lease goes
//! on from what is stored. Every move is made by the store, guarded by the state it moves from, so that even two leaders do no harm.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::task::{self, JoinError, JoinSet};
use tracing::{debug, error, info, warn};

use super::Logs;
use super::compare::{self, Compared};
use super::switch_to;
use crate::settings::Settings;
use crate::source::ErrorKind as SourceErrorKind;
use crate::store::{
    ErrorKind, Generation, Goal, Gone, Led, Phase, Prepared, ReadSettings, State, Store,
    StoreError, SwitchOrder, Switched,
};
use crate::worker::{News, Shutdown, survive};

/// How often the stored states are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The lease is renewed when less than this is left of it.
const RENEW_BELOW_S: f64 = 5.0;
/// Shorter logs are folded as live is: a load would save less than its steps take.
const LOAD_OFFSETS_MIN: i64 = 20_000;
/// How long one look waits for the checkpoints to pass the ends that it asked for.
const CATCH_UP_LOOK: Duration = Duration::from_secs(2);
/// How often what lanes are to do is looked for.
const LANES_EVERY: Duration = Duration::from_millis(50);
/// Leads what nobody else leads.
pub struct Leader {
    work: Steps,
    name: String,
    /// The one generation to lead; `None`: all.
    only: Option<i64>,
    steps: JoinSet<()>,
    /// The generation of each step under way.
    running: BTreeMap<task::Id, i64>,
}

/// What a step needs.
#[derive(Clone)]
struct Steps {
    store: Store,
    logs: Logs,
    read: ReadSettings,
    grace: Duration,
    /// Leads whatever there is, not one generation that it was begun for.
    everything: bool,
    /// Told of every move, and tells of lanes that stand still.
    news: News,
}

impl Leader {
    /// `name` is this process's among others.
    pub fn new(
        settings: &Settings,
        store: &Store,
        name: String,
        only: Option<i64>,
        news: News,
    ) -> Leader {
        Leader {
            work: Steps {
                store: store.clone(),
                logs: Logs::new(&settings.kafka),
                read: crate::worker::read_settings(settings),
                grace: settings.rebuild.grace,
                everything: only.is_none(),
                news,
            },
            name,
            only,
            steps: JoinSet::new(),
            running: BTreeMap::new(),
        }
    }

    /// Leads until the end is asked for; a step that is under way is dropped then, and whoever leads next makes it again.
    pub async fn run(mut self, shutdown: Shutdown) {
        while !shutdown.is_asked() {
            survive(self.look()).await;
            tokio::select! {
                () = shutdown.asked() => {}
                Some(ended) = self.steps.join_next_with_id() => self.ended(ended),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        self.steps.abort_all();
        if let Err(error) = self.work.store.stop_leading(&self.name).await {
            debug!("the lease runs out by itself: {error}");
        }
    }

    fn ended(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let step = match &ended {
            Ok((step, ())) => *step,
            Err(error) => error.id(),
        };
        let generation = self.running.remove(&step);
        if let Err(error) = ended {
            error!(
                generation,
                "a step of its build ended without an answer: {error}"
            );
        }
    }

    /// Starts a step for every generation that is ours to lead and has none.
    async fn look(&mut self) {
        fail::fail_point!("look-at-builds");
        let led = match self.work.store.led_generations().await {
            Ok(led) => led,
            Err(error) => {
                warn!("cannot read which generations are being built: {error}");
                return;
            }
        };
        for led in led {
            let id = led.generation.id;
            if self.only.is_some_and(|only| only != id) || !self.leads(&led).await {
                continue;
            }
            if self.running.values().all(|running| *running != id) {
                let step = self.steps.spawn(self.work.clone().step(led));
                self.running.insert(step.id(), id);
            }
        }
    }

    async fn leads(&self, led: &Led) -> bool {
        let ours = led.generation.leader.as_deref() == Some(self.name.as_str());
        if ours && led.lease_left.is_some_and(|left| left > RENEW_BELOW_S) {
            return true;
        }
        if !ours && led.lease_left.is_some_and(|left| left > 0.0) {
            return false;
        }
        let lead = self.work.store.lead(led.generation.id, &self.name).await;
        lead.unwrap_or_else(|error| {
            warn!(
                generation = led.generation.id,
                "cannot take the lead: {error}"
            );
            false
        })
    }
}

/// What came of a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stepped {
    Moved,
    Not,
    /// It is tried again after a while, whatever lanes tell meanwhile.
    Failed,
}

impl Steps {
    /// If the generation does not move, only after a while: the next step would find things as they are.
    async fn step(self, led: Led) {
        let mut news = self.news.listen();
        let stepped = self.try_step(&led).await;
        if stepped == Stepped::Moved {
            self.news.tell();
            return;
        }
        let building = led.generation.state == State::Building;
        let lanes_move = building && led.generation.phase != Phase::Measure;
        match stepped {
            Stepped::Not if lanes_move => news.heard_within(LANES_EVERY).await,
            Stepped::Not => news.heard_within(LOOK_EVERY).await,
            Stepped::Moved | Stepped::Failed => tokio::time::sleep(LOOK_EVERY).await,
        }
    }

    async fn try_step(&self, led: &Led) -> Stepped {
        let generation = &led.generation;
        let (name, id) = (&generation.projection, generation.id);
        match self.drive(led).await {
            Ok(true) => Stepped::Moved,
            Ok(false) => Stepped::Not,
            Err(error) if error.kind == ErrorKind::Refused => {
                error!(projection = %name, generation = id, "its build does not go on: {error}");
                let reason = error.to_string();
                if let Err(error) = self.store.set_reason(id, Some(&reason)).await {
                    debug!("{error}");
                }
                Stepped::Failed
            }
            Err(error) => {
                warn!(projection = %name, generation = id, "a step of its build is tried again: {error}");
                Stepped::Failed
            }
        }
    }

    async fn drive(&self, led: &Led) -> Result<bool, StoreError> {
        let generation = &led.generation;
        let building = generation.state == State::Building;
        if building && generation.goal == Goal::Verify && self.everything {
            // Whoever began it would lead it, if it were still there.
            let reason = "the `verify` that it was built for has ended";
            return self.store.give_up(generation.id, reason).await;
        }
        match generation.state {
            State::Building => match generation.phase {
                Phase::Measure => self.measure(generation).await,
                Phase::Load => self.end_load(generation).await,
                Phase::Drain => self.end_drain(generation).await,
                Phase::Index => self.build_keys(generation).await,
                Phase::Follow if led.fed && generation.goal != Goal::Verify => {
                    if generation.goal != Goal::Freeze && generation.stop_at.is_some() {
                        // Whoever compared it before did not come to the end.
                        self.store.clear_stop_at(generation.id).await?;
                    }
                    self.catch_up(led).await
                }
                Phase::Follow => Ok(false),
            },
            State::CaughtUp => self.switch(generation).await,
            State::Grace => {
                self.gone(generation, self.store.retire(generation).await?)
                    .await
            }
            State::Failed | State::Retired => {
                self.gone(generation, self.store.clean_up(generation).await?)
                    .await
            }
            State::Held | State::Live | State::Frozen => Ok(false),
        }
    }

    /// Long logs are loaded into tables without keys; short ones are folded as live is.
    async fn measure(&self, generation: &Generation) -> Result<bool, StoreError> {
        let projection = generation.meant()?;
        let ends = match self.logs.ends(&generation.topics).await {
            Ok(ends) => ends,
            // A partition without a leader must not keep the others waiting.
            Err(error) if error.kind == SourceErrorKind::Transient => {
                return self.store.begin_build(generation.id, None).await;
            }
            Err(error) => {
                warn!(projection = %generation.projection, generation = generation.id, "waiting for Kafka: {error}");
                return Ok(false);
            }
        };
        // Which ids were seen is asked of the database, batch by batch.
        let loads = projection.deduplicate.is_none()
            && ends.missing.is_empty()
            && ends.offsets() >= LOAD_OFFSETS_MIN;
        let partitions = i32::try_from(ends.partitions.len()).unwrap_or(i32::MAX);
        let partitions = loads.then_some(partitions);
        self.store.begin_build(generation.id, partitions).await
    }

    /// Over when every lane stands still with all it folded durable, or when some lane cannot go on without keys.
    async fn end_load(&self, generation: &Generation) -> Result<bool, StoreError> {
        let load = self.store.load_state(generation.id).await?;
        if load.keys_wanted {
            return self
                .store
                .set_phase(generation.id, Phase::Load, Phase::Drain)
                .await;
        }
        let expected = generation.partitions.map_or(1, i64::from);
        let all = load.known >= expected && load.parked == load.known;
        if all {
            return self
                .store
                .set_phase(generation.id, Phase::Load, Phase::Index)
                .await;
        }
        Ok(false)
    }

    async fn end_drain(&self, generation: &Generation) -> Result<bool, StoreError> {
        let load = self.store.load_state(generation.id).await?;
        if load.moving > 0 {
            return Ok(false);
        }
        self.store
            .set_phase(generation.id, Phase::Drain, Phase::Index)
            .await
    }

    async fn build_keys(&self, generation: &Generation) -> Result<bool, StoreError> {
        let projection = generation.meant()?;
        for table in 0..projection.tables.len() {
            fail::fail_point!("index-table");
            let Err(error) = self
                .store
                .build_keys(generation.id, &projection, table)
                .await
            else {
                continue;
            };
            let shared = match error.kind {
                ErrorKind::OwnershipConflict { table } => Some(table),
                ErrorKind::EventFault => None,
                _ => return Err(error),
            };
            let why = match shared {
                Some(_) => "one key came from two partitions: it begins anew, with locked rows",
                None => {
                    "an index does not take a row: it begins anew, with the indexes in place, so that the event is found"
                }
            };
            warn!(projection = %generation.projection, generation = generation.id, "the load cannot stand, as {why}: {error}");
            self.store
                .start_over(generation.id, &projection, shared)
                .await?;
            return Ok(true);
        }
        self.store
            .set_phase(generation.id, Phase::Index, Phase::Follow)
            .await
    }

    /// Caught up: at or past the ends that Kafka gave when asked.
    async fn catch_up(&self, led: &Led) -> Result<bool, StoreError> {
        let generation = &led.generation;
        if !led.visible && generation.partitions.is_some() && !led.analyzed {
            // Once, while lanes catch up: most of a load is there by now.
            let projection = generation.meant()?;
            self.store.analyze(generation.id, &projection).await?;
        }
        let ends = match self.logs.ends(&generation.topics).await {
            Ok(ends) => ends,
            Err(error) => {
                debug!(projection = %generation.projection, generation = generation.id, "waiting for Kafka: {error}");
                tokio::time::sleep(LOOK_EVERY).await;
                return Ok(false);
            }
        };
        let mut targets = ends.partitions;
        if generation.goal == Goal::Freeze {
            // A partition that came up since is no part of it.
            let stops = generation.stops();
            let stop_of = |topic: &str, partition: i32| stops.get(topic)?.get(&partition);
            for ((topic, partition), (_, end)) in &mut targets {
                *end = stop_of(topic, *partition).copied().unwrap_or(0);
            }
        }
        let asked = Instant::now();
        loop {
            let positions = self.store.positions(generation.id).await?;
            let is_past = |((topic, partition), (_, end)): (&(String, i32), &(i64, i64))| {
                let at = positions
                    .iter()
                    .find(|at| at.topic == *topic && at.partition == *partition);
                at.is_some_and(|at| at.next_offset >= *end)
            };
            if targets.iter().all(is_past) {
                break;
            }
            if asked.elapsed() >= CATCH_UP_LOOK {
                return Ok(false);
            }
            tokio::time::sleep(LANES_EVERY).await;
        }
        fail::fail_point!("caught-up");
        self.after_catch_up(led).await
    }

    async fn after_catch_up(&self, led: &Led) -> Result<bool, StoreError> {
        let generation = &led.generation;
        if led.visible {
            return self.caught_up(generation, State::Live).await;
        }
        let projection = generation.meant()?;
        self.store.analyze(generation.id, &projection).await?;
        if generation.compare && !generation.compared {
            self.compare(generation).await?;
        }
        let hole = self.store.find_hole(generation.id).await?;
        if let Some(hole) = &hole {
            warn!(projection = %generation.projection, generation = generation.id,
                "the log does not reach back to where the live one began: {hole}");
            self.store.record_hole(generation.id, Some(hole)).await?;
        }
        let next = match generation.goal {
            Goal::Switch if hole.is_none() => State::CaughtUp,
            Goal::Switch | Goal::Hold => State::Held,
            Goal::Freeze => {
                return self.store.freeze(generation, &projection, &self.read).await;
            }
            Goal::Verify => State::Frozen,
        };
        self.caught_up(generation, next).await
    }

    /// Differences are told and hold nothing up; nor does a live generation that cannot be compared with.
    async fn compare(&self, generation: &Generation) -> Result<(), StoreError> {
        let Some(live) = self
            .store
            .visible_generation(&generation.projection)
            .await?
        else {
            return Ok(());
        };
        let live = self.store.generation(live).await?;
        let ends = match self.logs.ends(&generation.topics).await {
            Ok(ends) => ends.offsets_by_topic(),
            Err(error) => {
                return Err(StoreError::refused(
                    "comparing generations",
                    format!("Kafka does not say where its logs end: {error}"),
                ));
            }
        };
        let compared =
            match compare::at_equal_offsets(&self.store, &live, generation, &ends, &[]).await {
                Err(error) if error.kind == ErrorKind::Refused => vec![Compared {
                    note: Some(error.to_string()),
                    ..Compared::default()
                }],
                compared => compared?,
            };
        for table in &compared {
            info!(projection = %generation.projection, generation = generation.id, table = %table.table, same = table.same,
                missing = table.missing, extra = table.extra, differing = table.differing, apart = table.apart, note = table.note,
                "compared with live at equal offsets");
        }
        let text = serde_json::json!(compared).to_string();
        self.store.record_compared(generation.id, &text).await
    }

    async fn caught_up(&self, generation: &Generation, next: State) -> Result<bool, StoreError> {
        let moved = self.store.caught_up(generation.id, next).await?;
        if moved {
            info!(projection = %generation.projection, generation = generation.id, "caught up: {next}");
        }
        Ok(moved)
    }

    async fn switch(&self, generation: &Generation) -> Result<bool, StoreError> {
        let projection = generation.meant()?;
        let set_aside = self.store.count_letters(generation.id).await?;
        if set_aside > 0 {
            return self.hold_with_letters(generation, set_aside).await;
        }
        let order = SwitchOrder {
            backwards: false,
            incompatible: false,
            accept_dead_letters: false,
            grace: Some(self.grace),
        };
        match switch_to(&self.store, generation, &projection, &self.read, order).await? {
            Switched::Done { outgoing, waited } => {
                info!(projection = %generation.projection, generation = generation.id, outgoing,
                    "readers are switched; live's commits waited {waited:?}");
                Ok(true)
            }
            Switched::Already => Ok(false),
            Switched::Behind {
                topic,
                partition,
                events,
            } => {
                debug!(projection = %generation.projection, generation = generation.id, topic, partition, events,
                    "not switched yet: it would take readers back in time");
                Ok(false)
            }
            Switched::SetAside(set_aside) => self.hold_with_letters(generation, set_aside).await,
            Switched::NotPrepared(Prepared::Incompatible(lost)) => {
                let reason = format!("readers would lose something: {}", lost.join("; "));
                warn!(projection = %generation.projection, generation = generation.id,
                    "it is held: {reason}; `consolidator switch {} --incompatible` does it all the same", generation.projection);
                self.store
                    .set_state(generation.id, State::CaughtUp, State::Held, Some(&reason))
                    .await
            }
            Switched::NotPrepared(Prepared::Ready | Prepared::Waiting { .. }) => Ok(false),
        }
    }

    /// Readers are not shown what lacks events, unless somebody says so.
    async fn hold_with_letters(
        &self,
        generation: &Generation,
        set_aside: i64,
    ) -> Result<bool, StoreError> {
        let (name, id) = (&generation.projection, generation.id);
        let reason = format!(
            "{set_aside} events are set aside: `consolidator dead-letters list {name} --generation {id}` tells why; \
             `consolidator switch {name} --accept-dead-letters` shows it to readers all the same"
        );
        warn!(projection = %name, generation = id, "it is held: {reason}");
        self.store
            .set_state(id, State::CaughtUp, State::Held, Some(&reason))
            .await
    }

    async fn gone(&self, generation: &Generation, gone: Gone) -> Result<bool, StoreError> {
        match gone {
            Gone::Done => {
                info!(projection = %generation.projection, generation = generation.id, "a step towards its end is made");
                Ok(true)
            }
            Gone::Waiting { what, pids } => {
                let reason = format!("it goes when these are over: {what} {pids:?}");
                self.store.set_reason(generation.id, Some(&reason)).await?;
                Ok(false)
            }
        }
    }
}
