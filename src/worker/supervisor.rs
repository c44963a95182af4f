//! Starts and ends lanes so that they match what is stored: every fed generation that is neither paused nor stopped has
//! its lanes. One projection's trouble never ends another's lanes. Folds nothing itself.

use super::control::{LaneControl, LaneExit, News, Shutdown, survive, words_of};
use super::lane::Lane;
use super::{Work, start};
use crate::admin::http::Health;
use crate::error::Failure;
use crate::metrics::GenerationProgress;
use crate::rebuild::Leader;
use crate::settings::Settings;
use crate::store::{
    CONTROL_CONNECTIONS, ErrorKind, Fed, Generation, Phase, State, Store, StoreError, TopicProgress,
};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{debug, error, info, warn};

/// How often the stored state is looked at: the time until a `pause` or `resume` takes effect.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The same where one build is all there is to do: its lanes wait for each of its phases.
const LOOK_AT_BUILD_EVERY: Duration = Duration::from_millis(100);
/// How long after a failed start or a failed lane the next try comes.
const RESTART_AFTER: Duration = Duration::from_secs(2);
/// How often it is told that a generation cannot have lanes.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// A lane that does not come by for this long hangs. It comes by also while it waits for Postgres.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The worker, from reading the definitions to the last lane's end. Returns when `shutdown` was asked for and every lane
/// has committed or given up what it had.
///
/// # Errors
/// What waiting does not mend: definitions, settings, rights.
pub async fn run(settings: &Settings, health: &Health, shutdown: Shutdown) -> Result<(), Failure> {
    let projections = start::definitions(settings)?;
    let Some(store) = start::connect(settings, &shutdown).await? else {
        return Ok(());
    };
    if !start::prepare(settings, &store, &projections, &shutdown).await? {
        return Ok(());
    }
    health.readiness.database_reached(true);
    let checking = settings.clone();
    tokio::task::spawn_blocking(move || start::check_topics(&checking, &projections));

    let news = News::default();
    let leading = Leader::new(settings, &store, start::worker_name(), None, news.clone());
    let leading = tokio::spawn(leading.run(shutdown.clone()));
    supervise(settings, health, store.clone(), None, news, shutdown).await;
    ended(leading).await;
    store.close().await;
    info!("ended");
    Ok(())
}

/// Works along on one generation, until `shutdown` is asked for: lanes and the lead. Every move is told by `news`.
pub async fn work_along(
    settings: &Settings,
    store: &Store,
    generation: i64,
    news: News,
    shutdown: Shutdown,
) {
    let (name, only) = (start::worker_name(), Some(generation));
    let leading = Leader::new(settings, store, name, only, news.clone());
    let leading = tokio::spawn(leading.run(shutdown.clone()));
    let health = Health::default();
    supervise(settings, &health, store.clone(), only, news, shutdown).await;
    ended(leading).await;
}

async fn ended(task: tokio::task::JoinHandle<()>) {
    if let Err(error) = task.await {
        error!("leading builds: {error}");
    }
}

/// Keeps lanes as the stored state asks, until the end is asked for and every lane has ended.
async fn supervise(
    settings: &Settings,
    health: &Health,
    store: Store,
    only: Option<i64>,
    news: News,
    shutdown: Shutdown,
) {
    let mut listener = news.listen();
    let mut supervisor = Supervisor {
        settings,
        health,
        store,
        only,
        news,
        worker_name: start::worker_name(),
        crews: BTreeMap::new(),
        told: Vec::new(),
        waiting: BTreeMap::new(),
    };
    let look_every = if only.is_some() {
        LOOK_AT_BUILD_EVERY
    } else {
        LOOK_EVERY
    };
    let heartbeat = health.liveness.register("supervisor", SILENCE_MAX);
    while !shutdown.is_asked() {
        if survive(supervisor.look()).await {
            heartbeat.tick();
        }
        tokio::select! {
            () = shutdown.asked() => {}
            () = listener.heard_within(look_every) => {}
        }
    }
    info!("asked to end: committing what is folded");
    supervisor.end_all().await;
}

struct Supervisor<'s> {
    settings: &'s Settings,
    health: &'s Health,
    store: Store,
    /// The one generation to fold; `None`: all.
    only: Option<i64>,
    news: News,
    worker_name: String,
    /// By generation.
    crews: BTreeMap<i64, Crew>,
    /// Projections that the metrics tell of.
    told: Vec<String>,
    /// Generations that cannot have lanes, and why.
    waiting: BTreeMap<i64, Told>,
}

/// The lanes of one generation.
struct Crew {
    work: Arc<Work>,
    lanes: Vec<RunningLane>,
    /// One lane loads alone; the others are started after it.
    waits_for_load: bool,
    /// After a failure: not before this.
    restart_at: Instant,
}

struct RunningLane {
    control: Arc<LaneControl>,
    thread: JoinHandle<LaneExit>,
}

impl Supervisor<'_> {
    /// Compares what runs with what is stored, and puts the difference right. Never waits for a lane.
    async fn look(&mut self) {
        fail::fail_point!("look-at-lanes");
        let stored = async {
            let fed = self.store.fed().await?;
            Ok::<_, StoreError>((fed, self.store.generations_to_fold().await?))
        };
        let (fed, generations) = match stored.await {
            Ok(stored) => stored,
            Err(error) => {
                // The lanes have connections of their own, and their own answers to this.
                warn!("cannot read the stored generations: {error}");
                if error.kind == ErrorKind::Authentication {
                    self.store.read_address_again();
                }
                return;
            }
        };
        self.tell_who_stands_still(&fed);
        let count = self.generations_here(&fed);
        let plan = start::memory_plan(self.settings, count);
        for crew in self.crews.values() {
            crew.work.limits.memory.set(&plan);
        }
        let only = self.only;
        let generations: Vec<Generation> = generations
            .into_iter()
            .filter(|generation| only.is_none_or(|only| generation.id == only))
            .collect();
        for (id, crew) in &self.crews {
            match generations.iter().find(|generation| generation.id == *id) {
                Some(generation) if generation.definition == crew.work.projection.text => {
                    crew.follow(generation);
                }
                // Gone, or folded by another text from now on.
                Some(_) | None => crew.ask_to_end(),
            }
        }
        for id in self.crews.keys().copied().collect::<Vec<_>>() {
            self.reap(id);
        }
        self.tell_progress(&generations).await;
        for generation in generations {
            let idle = self
                .crews
                .get(&generation.id)
                .is_none_or(|crew| crew.lanes.is_empty() && Instant::now() >= crew.restart_at);
            // Before the logs are measured nobody knows how to fold it.
            if idle && generation.phase != Phase::Measure {
                self.start(&generation, count).await;
            } else if generation.phase == Phase::Follow {
                self.start_the_others(&generation, count);
            }
        }
        self.report();
    }

    /// That share this process's memory and connections: of all that are folded, those that it folds.
    fn generations_here(&self, fed: &[Fed]) -> usize {
        if self.only.is_some() {
            return 1;
        }
        let count = fed.iter().map(|fed| fed.generations).sum::<i64>();
        usize::try_from(count).unwrap_or(0)
    }

    /// For who watches builds by metrics.
    async fn tell_progress(&self, generations: &[Generation]) {
        let mut told = Vec::with_capacity(generations.len());
        for generation in generations {
            let mut build = None;
            if generation.state == State::Building {
                match self.store.topic_progress(generation.id).await {
                    Ok(topics) => {
                        let sum = |of: fn(&TopicProgress) -> i64| topics.iter().map(of).sum();
                        build = Some((sum(|topic| topic.done), sum(|topic| topic.total)));
                    }
                    Err(error) => debug!("{error}"),
                }
            }
            told.push(GenerationProgress {
                projection: &generation.projection,
                generation: generation.id,
                state: generation.state.as_str(),
                build,
            });
        }
        self.health.metrics.generations(&told);
    }

    fn tell_who_stands_still(&mut self, fed: &[Fed]) {
        let metrics = &self.health.metrics;
        for gone in std::mem::take(&mut self.told) {
            if !fed.iter().any(|fed| fed.projection == gone) {
                metrics.stands_still(&gone, false, false);
            }
        }
        for fed in fed {
            metrics.stands_still(&fed.projection, fed.paused, fed.stopped);
            self.told.push(fed.projection.clone());
        }
    }

    /// Takes note of lanes that have ended. A generation works with all its lanes, or is started anew.
    fn reap(&mut self, id: i64) {
        let Some(crew) = self.crews.get_mut(&id) else {
            return;
        };
        let (ended, running): (Vec<_>, Vec<_>) = std::mem::take(&mut crew.lanes)
            .into_iter()
            .partition(|lane| lane.thread.is_finished());
        crew.lanes = running;
        for lane in ended {
            let name = &crew.work.projection.name;
            match lane.thread.join() {
                Ok(LaneExit::Asked | LaneExit::Stopped) => {}
                Ok(LaneExit::Failed(reason)) => {
                    error!(projection = %name, generation = id, "a lane ended: {reason}; starting again")
                }
                Err(panic) => {
                    let words = words_of(&*panic);
                    error!(projection = %name, generation = id, "a lane panicked: {words}; starting again")
                }
            }
            crew.restart_at = Instant::now() + RESTART_AFTER;
            crew.ask_to_end();
        }
        if crew.lanes.is_empty() && Instant::now() >= crew.restart_at {
            self.crews.remove(&id);
        }
    }

    async fn start(&mut self, generation: &Generation, generations: usize) {
        let Health { metrics, .. } = self.health;
        let lanes = self.lanes_each(generations);
        if self.running_lanes() + lanes > self.connections_for_lanes() {
            // A lane without a connection would only keep partitions from those that have one.
            let wanted = generations + CONTROL_CONNECTIONS as usize;
            let reason = "no connection to Postgres is left for its lanes".to_owned();
            let hint = format!("postgres.max_connections must be at least {wanted}");
            return self.wait_with(generation, reason, &hint).await;
        }
        let work = match start::work(self.settings, &self.store, metrics, generation, generations) {
            Ok(work) => Arc::new(work),
            Err(reason) => {
                let hint = "run the version of the program that made it, or rebuild the projection";
                return self.wait_with(generation, reason, hint).await;
            }
        };
        let alone = work.alone.is_some();
        if alone && generation.leader.as_ref() != Some(&self.worker_name) {
            return;
        }
        self.goes_on(generation.id).await;
        let crew = Crew {
            work,
            lanes: Vec::new(),
            waits_for_load: alone,
            restart_at: Instant::now() + RESTART_AFTER,
        };
        self.crews.insert(generation.id, crew);
        self.start_lanes(generation, if alone { 0..1 } else { 0..lanes });
    }

    /// Once the load by one lane alone is over.
    fn start_the_others(&mut self, generation: &Generation, generations: usize) {
        let lanes = self.lanes_each(generations);
        let fits = self.running_lanes() + lanes.saturating_sub(1) <= self.connections_for_lanes();
        if let Some(crew) = self.crews.get_mut(&generation.id)
            && fits
            && std::mem::take(&mut crew.waits_for_load)
            && !crew.lanes.is_empty()
        {
            self.start_lanes(generation, 1..lanes);
        }
    }

    fn running_lanes(&self) -> usize {
        self.crews.values().map(|crew| crew.lanes.len()).sum()
    }

    fn start_lanes(&mut self, generation: &Generation, numbers: Range<usize>) {
        for number in numbers {
            let work = &self.crews[&generation.id].work;
            let started = self.start_lane(work, number, generation);
            // Never taken out meanwhile: lanes that run must not be lost.
            let Some(crew) = self.crews.get_mut(&generation.id) else {
                return;
            };
            match started {
                Ok(lane) => crew.lanes.push(lane),
                Err(error) => {
                    error!(projection = %generation.projection, generation = generation.id, "cannot start a lane: {error}");
                    crew.ask_to_end();
                    break;
                }
            }
        }
        let lanes = self.crews[&generation.id].lanes.len();
        info!(projection = %generation.projection, generation = generation.id, lanes, "folding");
    }

    fn connections_for_lanes(&self) -> usize {
        let max = self.settings.postgres.max_connections;
        max.saturating_sub(CONTROL_CONNECTIONS).max(1) as usize
    }

    /// As many as the settings say, if every generation can have as many.
    fn lanes_each(&self, generations: usize) -> usize {
        let fair = self.connections_for_lanes() / generations.max(1);
        self.settings.worker.lanes.min(fair.max(1))
    }

    /// Says why a generation has no lanes here: in the log when it is news, and stored again and again, where `status` and
    /// readers look.
    async fn wait_with(&mut self, generation: &Generation, reason: String, hint: &str) {
        let told = self.waiting.get(&generation.id);
        let is_news = told.is_none_or(|told| told.reason != reason);
        if told.is_some_and(|told| !is_news && told.at.elapsed() < TELL_EVERY) {
            return;
        }
        if is_news {
            error!(projection = %generation.projection, generation = generation.id, "cannot fold it: {reason}: {hint}");
        }
        let stored = self
            .store
            .note_waiting(generation.id, &self.worker_name, &reason, hint);
        if let Err(error) = stored.await {
            warn!("{error}");
        }
        let at = Instant::now();
        self.waiting.insert(generation.id, Told { reason, at });
    }

    async fn goes_on(&mut self, generation: i64) {
        if self.waiting.remove(&generation).is_some()
            && let Err(error) = self
                .store
                .clear_waiting(generation, &self.worker_name)
                .await
        {
            // It counts for nothing soon, as nobody repeats it.
            debug!("{error}");
        }
    }

    fn start_lane(
        &self,
        work: &Arc<Work>,
        number: usize,
        generation: &Generation,
    ) -> Result<RunningLane, String> {
        let control = Arc::new(LaneControl::new(generation.phase, self.news.clone()));
        control.set_stops(&generation.stops());
        let name = format!("{}/{}-{number}", self.worker_name, work.projection.name);
        let heartbeat = self
            .health
            .liveness
            .register(format!("lane {name}"), SILENCE_MAX);
        let lane = Lane::new(work.clone(), name, control.clone(), heartbeat)?;
        let thread = std::thread::Builder::new()
            .name(format!("lane-{number}"))
            .spawn(move || lane.run())
            .map_err(|error| format!("the operating system gives no thread: {error}"))?;
        Ok(RunningLane { control, thread })
    }

    fn report(&self) {
        let lanes = || self.crews.values().flat_map(|crew| &crew.lanes);
        self.health.readiness.lanes_joined(
            lanes().filter(|lane| lane.control.has_joined()).count(),
            lanes().count(),
        );
    }

    /// Asks every lane first, then waits for each.
    async fn end_all(&mut self) {
        let crews = std::mem::take(&mut self.crews);
        for crew in crews.values() {
            crew.ask_to_end();
        }
        let joined = tokio::task::spawn_blocking(move || {
            for lane in crews.into_values().flat_map(|crew| crew.lanes) {
                // How it ended no longer matters, and a panic was printed by its thread.
                drop(lane.thread.join());
            }
        });
        if let Err(error) = joined.await {
            error!("waiting for the lanes: {error}");
        }
    }
}

/// Why a generation has no lanes, as last told.
struct Told {
    reason: String,
    at: Instant,
}

impl Crew {
    fn follow(&self, generation: &Generation) {
        let stops = generation.stops();
        for lane in &self.lanes {
            lane.control.set_stops(&stops);
            lane.control.set_phase(generation.phase);
        }
    }

    fn ask_to_end(&self) {
        for lane in &self.lanes {
            lane.control.ask();
        }
    }
}
