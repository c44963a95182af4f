//! The demonstration from start to end: servers, sample events, the worker, a live view, a summary. To the worker its servers
//! are like any others, and it is the worker that `run` is.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::events::EventFeed;
use super::postgres;
use super::sample::TOPICS;
use super::servers::DemoServers;
use super::view::{Counts, View};
use crate::admin::http::{Health, Http};
use crate::admin::screen::Screen;
use crate::admin::status::{Measurer, Standing, Status, seen, standing};
use crate::admin::{self, failed};
use crate::error::Failure;
use crate::settings::{Secret, Settings};
use crate::source::Cluster;
use crate::store::{ProjectionStatus, Store};
use crate::worker::{self, Shutdown};

/// How often the view is renewed.
const RENEW_EVERY: Duration = Duration::from_millis(500);
/// Events behind at which the feed waits: a small part of what the embedded broker keeps.
const GAP_MAX: i64 = 20_000;
/// How long what was sent may take to be applied, once nothing is sent any more.
const CATCH_UP_MAX: Duration = Duration::from_secs(20);
/// How often it is looked at meanwhile.
const CATCH_UP_POLL: Duration = Duration::from_millis(100);
/// After this time it is shown how it goes, however it goes.
const BEGIN_MAX: Duration = Duration::from_secs(10);
/// How long the embedded broker may take to answer.
const BROKER_TIMEOUT: Duration = Duration::from_secs(5);

/// The embedded broker refuses a member whose SyncGroup request comes after the leader's (librdkafka 2.12,
/// `rd_kafka_mock_cgrp_classic_sync_done`), and the group then rebalances for most of a session timeout. A group with one
/// member has no such race.
const LANES: usize = 1;
/// What the lane waits for after this process was suspended.
const GROUP_PROPERTIES: [(&str, &str); 2] = [
    ("session.timeout.ms", "6000"),
    ("heartbeat.interval.ms", "1000"),
];

/// The definitions that are shown where there is no folder of them.
const SAMPLES: [(&str, &str); 2] = [
    (
        "inventory.yaml",
        include_str!("../../projections/inventory.yaml"),
    ),
    ("shop.yaml", include_str!("../../projections/shop.yaml")),
];

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub struct DemoOptions {
    /// `None`: until somebody ends it.
    pub run_for: Option<Duration>,
    pub events_per_second: u32,
    /// Shows once what a changed rule leads to.
    pub rebuild: bool,
}

/// Runs until the time is over or `shutdown` is asked for. True if every event that was sent is in the tables.
///
/// # Errors
/// A server that does not start, definitions that do not load.
pub async fn run(
    settings: Settings,
    options: DemoOptions,
    screen: Screen,
    shutdown: Shutdown,
) -> Result<bool, Failure> {
    let (definitions, samples) = definitions(&settings)?;
    say(&screen, &starting())?;
    let started = tokio::task::spawn_blocking(|| DemoServers::start(&TOPICS)).await;
    let servers = started
        .map_err(|error| Failure::from_error("cannot start the servers", &error))?
        .map_err(|error| Failure::new(error.to_string()))?;
    let settings = for_servers(settings, &servers, definitions);
    let outcome = match shutdown.is_asked() {
        true => Ok(true),
        false => show(&settings, &servers, options, &screen, shutdown).await,
    };
    // Ends the servers and takes their data away; blocks for as long as that takes.
    let ended = tokio::task::spawn_blocking(|| drop((servers, samples))).await;
    ended.map_err(|error| Failure::from_error("cannot end the servers", &error))?;
    say(&screen, "Everything that was started has ended.\n")?;
    outcome
}

fn starting() -> String {
    let postgres = match postgres::is_installed() {
        true => "a Postgres",
        false => "a Postgres, which is fetched first (about 10 MB, once)",
    };
    format!("Starting an embedded broker and {postgres} …\n")
}

/// The folder of the settings; where it is not there, the samples that every copy of this program carries.
fn definitions(settings: &Settings) -> Result<(PathBuf, Option<TempDir>), Failure> {
    if settings.projections.is_dir() {
        return Ok((settings.projections.clone(), None));
    }
    let failed = |error: std::io::Error| Failure::from_error("cannot write the samples", &error);
    let prefix = "consolidator-projections-";
    let folder = tempfile::Builder::new().prefix(prefix).tempdir();
    let folder = folder.map_err(failed)?;
    for (name, text) in SAMPLES {
        std::fs::write(folder.path().join(name), text).map_err(failed)?;
    }
    Ok((folder.path().to_owned(), Some(folder)))
}

/// The settings of the place are kept but for what names its own servers.
fn for_servers(settings: Settings, servers: &DemoServers, projections: PathBuf) -> Settings {
    let mut settings = settings;
    settings.kafka.brokers = servers.brokers.clone();
    let property = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    settings.kafka.properties = GROUP_PROPERTIES.map(property).into();
    settings.worker.lanes = LANES;
    settings.postgres.url = Secret::new(servers.postgres_url.clone());
    // A new server has no other roles.
    settings.postgres.readers = Vec::new();
    settings.projections = projections;
    settings
}

/// With the servers there: the worker and the events, until the end.
async fn show(
    settings: &Settings,
    servers: &DemoServers,
    options: DemoOptions,
    screen: &Screen,
    shutdown: Shutdown,
) -> Result<bool, Failure> {
    let health = Health::default();
    let http = listen(settings, &health, &shutdown).await?;
    let store = admin::connect(settings).await?;
    let feed = EventFeed::start(&servers.brokers, options.events_per_second)
        .map_err(|error| Failure::new(error.to_string()))?;
    // The worker ends after the last events, not with the first Ctrl-C.
    let end_worker = Shutdown::default();
    let mut demonstration = Demonstration {
        settings,
        health: &health,
        store,
        measurer: Measurer::new(&settings.kafka),
        feed,
        view: View::new(screen.clone(), servers, http),
        started_at: Instant::now(),
    };
    let worker = worker::run(settings, &health, end_worker.clone());
    let rebuilt = Shutdown::default();
    let rebuilding = async {
        if options.rebuild {
            super::rebuild::show(settings, &health, screen, &shutdown).await?;
        }
        rebuilt.ask();
        Ok(())
    };
    let watching = async {
        let ends = (options.run_for, &shutdown, &rebuilt);
        let outcome = demonstration.watch(ends).await;
        end_worker.ask();
        outcome
    };
    // If the worker cannot run, there is nothing to watch.
    let (all_applied, (), ()) = tokio::try_join!(watching, worker, rebuilding)?;
    demonstration.store.close().await;
    Ok(all_applied)
}

/// A port that is taken is no reason not to show the rest.
async fn listen(
    settings: &Settings,
    health: &Health,
    shutdown: &Shutdown,
) -> Result<Option<SocketAddr>, Failure> {
    let Some(wanted) = settings.http.listen else {
        return Ok(None);
    };
    let http = match Http::bind(wanted).await {
        Ok(http) => http,
        Err(_taken) => Http::bind((Ipv4Addr::LOCALHOST, 0).into())
            .await
            .map_err(|error| Failure::from_error("cannot listen for http", &error))?,
    };
    let address = http.address().ok();
    let shutdown = shutdown.clone();
    let token_file = settings.http.token_file.clone();
    tokio::spawn(http.serve(
        health.clone(),
        token_file,
        async move { shutdown.asked().await },
    ));
    Ok(address)
}

struct Demonstration<'s> {
    settings: &'s Settings,
    health: &'s Health,
    store: Store,
    measurer: Measurer,
    feed: EventFeed,
    view: View,
    started_at: Instant,
}

impl Demonstration<'_> {
    /// Shows how it goes until the end, waits for the last events, and sums up.
    async fn watch(
        &mut self,
        (run_for, shutdown, rebuilt): (Option<Duration>, &Shutdown, &Shutdown),
    ) -> Result<bool, Failure> {
        let over = async {
            match run_for {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
            rebuilt.asked().await;
        };
        tokio::pin!(over);
        let mut every = tokio::time::interval(RENEW_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.asked() => break,
                () = &mut over => break,
                _ = every.tick() => {}
            }
            if !self.has_begun() {
                continue;
            }
            let status = self.read().await?;
            self.feed.hold(gap(&status) > GAP_MAX);
            let counts = self.counts(&status).await;
            self.view.show(&status, &counts).map_err(unwritable)?;
        }
        self.end().await
    }

    /// There is something to see: every projection is folded. One that waits for a topic is not waited for.
    fn has_begun(&self) -> bool {
        self.health.readiness.missing().is_empty() || self.started_at.elapsed() > BEGIN_MAX
    }

    async fn end(&mut self) -> Result<bool, Failure> {
        let fed_for = self.started_at.elapsed();
        self.feed.stop();
        let ends = self.ends().await?;
        let status = self.catch_up(&ends).await?;
        let counts = self.counts(&status).await;
        let all_applied = status.projections.iter().all(|one| has_all(one, &ends));
        self.view
            .sum_up(&status, &counts, fed_for, all_applied)
            .map_err(unwritable)?;
        Ok(all_applied && status.is_fine())
    }

    /// Waits until everything that was sent is applied, or until it is clear that this will not come about.
    async fn catch_up(&mut self, ends: &BTreeMap<String, Vec<i64>>) -> Result<Status, Failure> {
        let deadline = Instant::now() + CATCH_UP_MAX;
        loop {
            let status = self.read().await?;
            let done = status.projections.iter().all(|one| has_reached(one, ends));
            if done || !status.is_fine() || Instant::now() > deadline {
                return Ok(status);
            }
            tokio::time::sleep(CATCH_UP_POLL).await;
        }
    }

    /// Where the topics end, by name.
    async fn ends(&self) -> Result<BTreeMap<String, Vec<i64>>, Failure> {
        let kafka = self.settings.kafka.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let cluster = Cluster::connect(&kafka)?;
            let mut ends = BTreeMap::new();
            for topic in &TOPICS {
                let partitions = usize::try_from(topic.partitions).unwrap_or(0);
                let of_topic = cluster.ends(topic.name, partitions, BROKER_TIMEOUT)?;
                let of_topic = of_topic.iter().map(|end| end.end_offset).collect();
                ends.insert(topic.name.to_owned(), of_topic);
            }
            Ok(ends)
        });
        match asked.await {
            Ok(Ok(ends)) => Ok(ends),
            Ok(Err(error)) => {
                let error: crate::source::SourceError = error;
                Err(Failure::from_error("the embedded broker", &error))
            }
            Err(error) => Err(Failure::from_error("the embedded broker", &error)),
        }
    }

    async fn read(&mut self) -> Result<Status, Failure> {
        let status = Status::read(&self.store, &mut self.measurer).await;
        status.map_err(failed)
    }

    async fn counts(&self, status: &Status) -> Counts {
        let mut rows = BTreeMap::new();
        let generations = status.projections.iter().filter_map(seen);
        for table in generations.flat_map(|generation| &generation.tables) {
            let schema = &self.settings.postgres.read_schema;
            // Its view may not be there yet.
            if let Ok(count) = self.store.count_rows(schema, &table.name).await {
                rows.insert(table.name.clone(), count);
            }
        }
        Counts {
            sent: self.feed.counts(),
            rows,
        }
    }
}

/// Of all that is being folded: what is paused or stopped is not waited for.
fn gap(status: &Status) -> i64 {
    let folded = status.projections.iter().filter(|one| match standing(one) {
        Standing::In(state) => state.is_fed(),
        Standing::Stopped | Standing::Paused | Standing::Waiting | Standing::Unread => false,
    });
    let gaps = folded.filter_map(|one| seen(one)?.gap());
    gaps.sum()
}

/// As many events were applied as were sent: the embedded broker's offsets have no holes.
fn has_all(projection: &ProjectionStatus, ends: &BTreeMap<String, Vec<i64>>) -> bool {
    seen(projection).is_some_and(|generation| {
        let sent = generation.topics.iter().filter_map(|topic| ends.get(topic));
        generation.events() == sent.flatten().sum::<i64>()
    })
}

/// Every checkpoint is at the end of its partition.
fn has_reached(projection: &ProjectionStatus, ends: &BTreeMap<String, Vec<i64>>) -> bool {
    let Some(generation) = seen(projection) else {
        return false;
    };
    let wanted = generation.topics.iter().filter_map(|topic| {
        let ends = ends.get(topic)?;
        Some(
            ends.iter()
                .zip(0..)
                .map(move |(end, partition)| (topic, partition, *end)),
        )
    });
    wanted.flatten().all(|(topic, partition, end)| {
        let checkpoint = generation
            .partitions
            .iter()
            .find(|one| one.topic == *topic && one.partition == partition);
        end == 0 || checkpoint.is_some_and(|one| one.next_offset >= end)
    })
}

fn say(screen: &Screen, text: &str) -> Result<(), Failure> {
    screen.say(text).map_err(unwritable)
}

fn unwritable(error: std::io::Error) -> Failure {
    Failure::new(format!("cannot write to standard output: {error}"))
}
