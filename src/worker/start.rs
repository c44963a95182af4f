//! What comes before the first lane: definitions are read, the database is reached, every projection has a generation.
//! Also what the lanes of a generation start from. Waits where waiting is right (a server that is not up yet), and refuses
//! where it is not (a wrong password, a broken definition).

use super::control::Shutdown;
use super::policy::backoff;
use super::{LaneLimits, LaneMemory, LetterLimits, Work};
use crate::definition::{self, Projection};
use crate::error::Failure;
use crate::event::Decoder;
use crate::metrics::Metrics;
use crate::settings::{MemoryPlan, OnChange, Settings};
use crate::source::Cluster;
use crate::store::{
    Begun, BuildOrder, ConnectSettings, ErrorKind, Generation, Goal, ReadSettings, Store,
    StoreError,
};
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, info, warn};

/// How long Kafka may take to describe the topics.
const TOPICS_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the definitions in the settings' folder.
///
/// # Errors
/// Every error of every file; the folder cannot be read.
pub fn definitions(settings: &Settings) -> Result<Vec<Projection>, Failure> {
    let files = definition::files::load_files(std::slice::from_ref(&settings.projections))
        .map_err(Failure::new)?;
    let mut projections = Vec::new();
    let mut problems = Vec::new();
    for file in files {
        for diagnostic in &file.loaded.diagnostics {
            match diagnostic.severity {
                definition::Severity::Error => problems.push(diagnostic.render(false)),
                definition::Severity::Warning => warn!("{}", diagnostic.render(false)),
            }
        }
        projections.extend(file.loaded.projection);
    }
    if problems.is_empty() {
        return Ok(projections);
    }
    let count = problems.len();
    let plural = if count == 1 { "" } else { "s" };
    Err(Failure::new(format!(
        "{count} problem{plural} in the definitions\n{}",
        problems.join("\n")
    )))
}

/// Connects, waiting for a server that is not there yet; `None` if asked to end meanwhile.
///
/// # Errors
/// What waiting does not mend: the URL, the password, the database's name, missing rights.
pub(super) async fn connect(
    settings: &Settings,
    shutdown: &Shutdown,
) -> Result<Option<Store>, Failure> {
    let connect = ConnectSettings::new(settings, settings.postgres.max_connections);
    let mut attempt = 0;
    loop {
        // A server, or a pooler, may also keep us waiting without a word.
        let connected = tokio::select! {
            () = shutdown.asked() => return Ok(None),
            connected = Store::connect(&connect) => connected,
        };
        let error = match connected {
            Ok(store) => return Ok(Some(store)),
            Err(error) => error,
        };
        if !mends_itself(&error) {
            return Err(Failure::new(error.to_string()));
        }
        warn!("{error}; waiting for Postgres");
        if !pause(attempt, shutdown).await {
            return Ok(None);
        }
        attempt += 1;
    }
}

/// Longer with every try; false if asked to end meanwhile.
async fn pause(attempt: u32, shutdown: &Shutdown) -> bool {
    let pause = backoff(attempt, 0.0).max(Duration::from_millis(500));
    tokio::select! {
        () = shutdown.asked() => false,
        () = tokio::time::sleep(pause) => true,
    }
}

/// Every projection of the files gets its generation, tables and views, if it has none yet; false if asked to end meanwhile. A server
/// that goes away is waited for, as at any other time: what is done already is not done again.
///
/// # Errors
/// A name that is taken, a type that PostgreSQL refuses, a missing role, another deployment on the same schema.
pub(super) async fn prepare(
    settings: &Settings,
    store: &Store,
    projections: &[Projection],
    shutdown: &Shutdown,
) -> Result<bool, Failure> {
    let mut attempt = 0;
    loop {
        let error = match try_prepare(settings, store, projections).await {
            Ok(()) => return Ok(true),
            Err(error) => error,
        };
        if !mends_itself(&error) {
            return Err(Failure::new(error.to_string()));
        }
        warn!("{error}; waiting for Postgres");
        if !pause(attempt, shutdown).await {
            return Ok(false);
        }
        attempt += 1;
    }
}

async fn try_prepare(
    settings: &Settings,
    store: &Store,
    projections: &[Projection],
) -> Result<(), StoreError> {
    store.claim_deployment(&settings.kafka.group).await?;
    let read = read_settings(settings);
    for projection in projections {
        let fingerprint = &projection.fold_fingerprint;
        let generation = store
            .ensure_generation(projection, fingerprint, &settings.kafka.group, &read)
            .await?;
        info!(projection = %projection.name, generation = generation.id, state = %generation.state, "ready");
        if generation.definition != projection.text {
            changed(settings, store, projection, &generation, &read).await?;
        }
    }
    Ok(())
}

/// The part of the settings that is about readers.
pub fn read_settings(settings: &Settings) -> ReadSettings {
    ReadSettings {
        schema: settings.postgres.read_schema.clone(),
        readers: settings.postgres.readers.clone(),
    }
}

/// The file differs from what the live generation is folded by: what needs no replay is done now, anything else begins a build,
/// as `rebuild.on_change` says; the live one is served meanwhile.
async fn changed(
    settings: &Settings,
    store: &Store,
    projection: &Projection,
    live: &Generation,
    read: &ReadSettings,
) -> Result<(), StoreError> {
    let name = &projection.name;
    if live.fingerprint == projection.fold_fingerprint {
        store.adopt_definition(live, projection, read).await?;
        info!(projection = %name, generation = live.id, "the definition changed, and needs no rebuild: done in place");
        return Ok(());
    }
    let goal = match settings.rebuild.on_change {
        OnChange::Switch => Goal::Switch,
        OnChange::Hold => Goal::Hold,
        OnChange::Ignore => {
            warn!(projection = %name, generation = live.id,
                "the definition changed, and rebuild.on_change is `ignore`: the live generation is folded on by its own");
            return Ok(());
        }
    };
    let order = BuildOrder {
        projection,
        kafka_group: &settings.kafka.group,
        goal,
        compare: false,
        by_itself: true,
        leader: Some(&worker_name()),
    };
    match store.begin_rebuild(order, read).await? {
        Begun::New(generation) => {
            info!(projection = %name, generation = generation.id, live = live.id,
            "the definition changed: a new generation is built beside the live one")
        }
        Begun::UnderWay { generation, .. } => {
            info!(projection = %name, generation = generation.id, live = live.id,
            "a generation is built already")
        }
        Begun::Superseded(generation) => {
            warn!(projection = %name, generation = generation.id, live = live.id,
            "the file is the definition of an earlier generation ({}): nothing is built by itself; see `consolidator plan`",
            generation.state)
        }
    }
    Ok(())
}

/// Says which topics are missing; the lanes wait for them.
pub(super) fn check_topics(settings: &Settings, projections: &[Projection]) {
    let mut topics: Vec<String> = projections
        .iter()
        .flat_map(Projection::topic_names)
        .collect();
    topics.sort();
    topics.dedup();
    let described = Cluster::connect(&settings.kafka)
        .and_then(|cluster| cluster.check_topics(&topics, TOPICS_TIMEOUT));
    match described {
        Ok(described) => {
            for error in described.into_iter().filter_map(Result::err) {
                error!("{error}; waiting for it");
            }
        }
        Err(error) => warn!(
            "Kafka at {}: {error}; waiting for it",
            settings.kafka.brokers
        ),
    }
}

/// What the lanes of a generation share. The definition is the stored one, whatever the files say now.
///
/// # Errors
/// The stored text does not load: it was written for another version of this program.
pub(super) fn work(
    settings: &Settings,
    store: &Store,
    metrics: &Metrics,
    generation: &Generation,
    generations: usize,
) -> Result<Work, String> {
    let name = format!("generation {} of {}", generation.id, generation.projection);
    let loaded = definition::load(&name, &generation.definition);
    let Some(projection) = loaded.projection else {
        let problems: Vec<String> = loaded
            .diagnostics
            .iter()
            .map(|diagnostic| diagnostic.render(false))
            .collect();
        return Err(format!(
            "its stored definition does not load in this version:\n{}",
            problems.join("\n")
        ));
    };
    let tables: Vec<&str> = projection
        .tables
        .iter()
        .map(|table| table.name.as_str())
        .collect();
    Ok(Work {
        decoders: (0..projection.topics.len())
            .map(|topic| Decoder::new(&projection, topic))
            .collect(),
        counters: metrics.projection(&projection.name, &tables),
        generation: generation.id,
        as_of: generation.as_of_micros,
        group: generation.kafka_group.clone(),
        alone: generation.loaded_alone(&projection),
        kafka: settings.kafka.clone(),
        store: store.clone(),
        metrics: metrics.clone(),
        limits: lane_limits(settings, generations),
        letters: LetterLimits {
            max: settings.dead_letters.max,
            window: settings.dead_letters.window,
            share: settings.dead_letters.share,
            keeps_payloads: settings.dead_letters.keeps_payloads,
        },
        projection: Arc::new(projection),
    })
}

fn lane_limits(settings: &Settings, generations: usize) -> LaneLimits {
    let plan = memory_plan(settings, generations);
    let memory = LaneMemory::default();
    memory.set(&plan);
    LaneLimits {
        batch_events: settings.worker.batch_events,
        batch_linger: settings.worker.batch_linger,
        lanes: settings.worker.lanes,
        queue_bytes_max: usize::try_from(plan.queue_bytes_per_lane).unwrap_or(usize::MAX),
        memory,
    }
}

/// How the process shares its memory out when it folds so many generations.
pub(super) fn memory_plan(settings: &Settings, generations: usize) -> MemoryPlan {
    let lanes = settings.worker.lanes * generations.max(1);
    MemoryPlan::new(settings.worker.memory_limit, lanes)
}

/// Names this process among others: host and process id.
pub fn worker_name() -> String {
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "localhost",
        host => host,
    };
    format!("{host}/{}", std::process::id())
}

/// A server that is starting, restarting or full; not one that says no.
fn mends_itself(error: &StoreError) -> bool {
    match error.kind {
        ErrorKind::Disconnected
        | ErrorKind::CommitUnknown
        | ErrorKind::Contention
        | ErrorKind::OutOfResources => true,
        ErrorKind::OwnershipConflict { .. }
        | ErrorKind::Fenced
        | ErrorKind::StatementGone
        | ErrorKind::ServerFault
        | ErrorKind::Permission
        | ErrorKind::SchemaDiffers
        | ErrorKind::Authentication
        | ErrorKind::NoDatabase
        | ErrorKind::EventFault
        | ErrorKind::Refused
        | ErrorKind::Unexpected => false,
    }
}
