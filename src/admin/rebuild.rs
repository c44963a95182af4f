//! `rebuild`, `switch`, `rollback`, `cancel` and `drop`: the operator's commands on generations. What a build goes through is
//! [`crate::rebuild`]'s; here it is asked for, watched and summed up.

use std::time::{Duration, Instant};

use super::as_of::{self, Freeze};
use super::progress::{Progress, Summary};
use super::{connect, connect_as_worker, failed};
use crate::definition::{self, Projection};
use crate::error::{Failure, Outcome};
use crate::rebuild::switch_to;
use crate::settings::Settings;
use crate::store::{
    Begun, BuildOrder, Generation, Goal, Gone, LEASE, Prepared, State, Store, SwitchOrder, Switched,
};
use crate::worker::{self, News, Shutdown};

/// How often a command looks at what it waits for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long `switch`, `rollback` and `drop` wait for readers and lanes before they say for whom.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What `rebuild` was asked for.
#[derive(Clone, Copy, Debug)]
pub struct RebuildRequest<'a> {
    pub name: &'a str,
    pub hold: bool,
    pub compare: bool,
    pub no_wait: bool,
    pub json: bool,
    /// As of a time or of offsets, instead of for readers of the live one.
    pub freeze: Option<Freeze<'a>>,
    /// Watch alone: a worker is there.
    pub left_to_workers: bool,
}

/// What a switch is to be made in spite of.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    pub hole: bool,
    pub dead_letters: bool,
    pub incompatible: bool,
}

/// Builds a new generation and works along on it until readers are switched, or it is held.
///
/// # Errors
/// Another build of the projection is under way; the definition or a server is not fine.
pub async fn rebuild(
    settings: &Settings,
    request: RebuildRequest<'_>,
    print: &mut dyn FnMut(&str) -> Result<(), Failure>,
    shutdown: Shutdown,
) -> Result<Outcome, Failure> {
    let store = connect_as_worker(settings).await?;
    let projection = wanted_definition(settings, &store, request.name).await?;
    let generation = match request.freeze {
        Some(freeze) => {
            let leader = (!request.no_wait).then(worker::worker_name);
            let begun = as_of::begin(settings, &store, &projection, freeze, leader).await?;
            if !request.json {
                print(&format!(
                    "generation {} of {} is built",
                    begun.id, projection.name
                ))?;
            }
            begun
        }
        None => begin(settings, &store, &projection, request, print).await?,
    };
    if request.no_wait {
        return Ok(Outcome::Fine);
    }
    watch(
        settings,
        &store,
        &generation,
        &projection,
        request,
        print,
        shutdown,
    )
    .await
}

/// The file's definition, or what the files last said if there is none.
async fn wanted_definition(
    settings: &Settings,
    store: &Store,
    name: &str,
) -> Result<Projection, Failure> {
    let Some(stored) = store.remembered_definition(name).await.map_err(failed)? else {
        return Err(unknown(name));
    };
    let files = worker::definitions(settings).unwrap_or_default();
    if let Some(projection) = files.into_iter().find(|projection| projection.name == name) {
        return Ok(projection);
    }
    let loaded = definition::load(&format!("the stored definition of {name}"), &stored);
    loaded.projection.ok_or_else(|| {
        Failure::new(format!(
            "there is no definition file of projection {name}, and the stored one does not load in this version"
        ))
    })
}

fn unknown(name: &str) -> Failure {
    Failure::new(format!("there is no projection {name} in the database"))
        .hint("`consolidator status` lists those there are; `consolidator run` makes a new one from its file.")
}

/// The new generation, or the one that a command before this one left unfinished.
async fn begin(
    settings: &Settings,
    store: &Store,
    projection: &Projection,
    request: RebuildRequest<'_>,
    print: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<Generation, Failure> {
    let leader = worker::worker_name();
    let order = BuildOrder {
        projection,
        kafka_group: &settings.kafka.group,
        goal: if request.hold {
            Goal::Hold
        } else {
            Goal::Switch
        },
        compare: request.compare,
        by_itself: false,
        leader: (!request.no_wait).then_some(leader.as_str()),
    };
    let read = worker::read_settings(settings);
    let started = Instant::now();
    let mut leader_before = None;
    loop {
        let begun = store.begin_rebuild(order, &read).await.map_err(failed)?;
        let (generation, leader, lease_left) = match begun {
            Begun::New(generation) | Begun::Superseded(generation) => {
                if !request.json {
                    print(&format!(
                        "generation {} of {} is built",
                        generation.id, projection.name
                    ))?;
                }
                return Ok(generation);
            }
            Begun::UnderWay {
                generation,
                leader,
                lease_left,
            } => (generation, leader, lease_left),
        };
        let name = &projection.name;
        if generation.state == State::Held {
            return Err(Failure::new(format!("generation {} of {name} is held", generation.id))
                .hint(format!("`consolidator switch {name}` shows it to readers, `consolidator cancel {name}` gives it up.")));
        }
        // A leader that was killed leaves a lease behind; one that lives renews it.
        let renewed = leader_before.is_some_and(|before| lease_left > before);
        if renewed || started.elapsed() > LEASE + LEASE {
            return Err(Failure::new(format!(
                "generation {} of {name} is being built already, led by {}",
                generation.id,
                leader.as_deref().unwrap_or("nobody yet")
            ))
            .hint(format!("`consolidator status` shows how far it is, `consolidator cancel {name}` gives it up.")));
        }
        if lease_left <= 0.0 && !request.no_wait {
            if generation.fingerprint != projection.fold_fingerprint {
                return Err(Failure::new(format!(
                    "generation {} of {name} was begun by another definition and is not finished",
                    generation.id
                ))
                .hint(format!("`consolidator cancel {name}` gives it up.")));
            }
            if !request.json {
                print(&format!(
                    "generation {} of {name} was left unfinished: going on with it",
                    generation.id
                ))?;
            }
            return Ok(generation);
        }
        leader_before = Some(lease_left);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn watch(
    settings: &Settings,
    store: &Store,
    generation: &Generation,
    projection: &Projection,
    request: RebuildRequest<'_>,
    print: &mut dyn FnMut(&str) -> Result<(), Failure>,
    shutdown: Shutdown,
) -> Result<Outcome, Failure> {
    let id = generation.id;
    let name = &projection.name;
    let (task_settings, task_store) = (settings.clone(), store.clone());
    let working = Shutdown::default();
    let asked = working.clone();
    let news = News::default();
    let mut moved = news.listen();
    let left = request.left_to_workers;
    let work = tokio::spawn(async move {
        if !left {
            worker::work_along(&task_settings, &task_store, id, news, asked).await;
        }
    });
    let started = Instant::now();
    let mut progress = Progress::new(request.json);
    let outcome = loop {
        if shutdown.is_asked() {
            print(&format!(
                "left to the workers: generation {id} of {name} goes on where one runs, or with the next `rebuild {name}`"
            ))?;
            break Outcome::Fine;
        }
        let Some(status) = store.build_status(id).await.map_err(failed)? else {
            return Err(Failure::new(format!("generation {id} of {name} is gone")));
        };
        let over = match status.state {
            State::Building if status.stopped.is_some() => Some(Outcome::NotFine),
            State::Building | State::CaughtUp => None,
            State::Held | State::Live | State::Grace | State::Frozen => Some(Outcome::Fine),
            State::Retired | State::Failed => Some(Outcome::NotFine),
        };
        let topics = store.topic_progress(id).await.map_err(failed)?;
        progress.show(&status, &topics, print)?;
        if let Some(outcome) = over {
            progress.end();
            let rows = rows(store, id, projection, status.state).await?;
            let summary = Summary::new(name, id, &status, &topics, &rows, started.elapsed());
            print(&summary.text(request.json))?;
            break outcome;
        }
        tokio::select! {
            () = shutdown.asked() => {}
            () = moved.heard_within(LOOK_EVERY) => {}
        }
    };
    working.ask();
    if let Err(error) = work.await {
        return Err(Failure::new(format!(
            "the build ended without an answer: {error}"
        )));
    }
    store.close().await;
    Ok(outcome)
}

async fn rows(
    store: &Store,
    generation: i64,
    projection: &Projection,
    state: State,
) -> Result<Vec<(String, i64)>, Failure> {
    let mut rows = Vec::new();
    if matches!(state, State::Retired | State::Failed) {
        return Ok(rows);
    }
    for table in &projection.tables {
        let count = store.count_generation_rows(generation, &table.name).await;
        rows.push((table.name.clone(), count.map_err(failed)?));
    }
    Ok(rows)
}

/// `switch NAME`: readers see the generation that is held.
///
/// # Errors
/// There is none, it is behind, or readers would lose something.
pub async fn switch(
    settings: &Settings,
    name: &str,
    accepted: Accepted,
) -> Result<String, Failure> {
    let store = connect(settings).await?;
    let Some(generation) = store.build_under_way(name).await.map_err(failed)? else {
        return Err(Failure::new(format!("{name} has no generation that waits for a switch"))
            .hint(format!("`consolidator rebuild {name} --hold` builds one; `consolidator rollback {name}` goes back to the one before.")));
    };
    match generation.state {
        State::Held | State::CaughtUp => {}
        other => {
            return Err(Failure::new(format!(
                "generation {} of {name} is {other}, not ready to be seen yet",
                generation.id
            )));
        }
    }
    if let Some(hole) = &generation.hole
        && !accepted.hole
    {
        return Err(Failure::new(format!(
            "generation {} of {name} lacks what the log no longer holds: {hole}",
            generation.id
        ))
        .hint("`--accept-hole` switches all the same; the generation before it is then kept until `consolidator drop`."));
    }
    let order = SwitchOrder {
        backwards: false,
        incompatible: accepted.incompatible,
        accept_dead_letters: accepted.dead_letters,
        grace: generation.hole.is_none().then_some(settings.rebuild.grace),
    };
    move_readers(settings, &store, &generation, order).await
}

/// `rollback NAME`: readers see the generation again that they saw before.
///
/// # Errors
/// There is none left.
pub async fn rollback(
    settings: &Settings,
    name: &str,
    incompatible: bool,
) -> Result<String, Failure> {
    let store = connect(settings).await?;
    let Some(generation) = store.latest_in_grace(name).await.map_err(failed)? else {
        return Err(Failure::new(format!("{name} has no earlier generation to go back to"))
            .hint("A generation is kept for `rebuild.grace` after a switch; after that only a rebuild by its definition brings it back."));
    };
    let order = SwitchOrder {
        backwards: true,
        incompatible,
        accept_dead_letters: true,
        grace: Some(settings.rebuild.grace),
    };
    move_readers(settings, &store, &generation, order).await
}

async fn move_readers(
    settings: &Settings,
    store: &Store,
    generation: &Generation,
    order: SwitchOrder,
) -> Result<String, Failure> {
    let projection = generation.meant().map_err(failed)?;
    let read = worker::read_settings(settings);
    let started = Instant::now();
    loop {
        let switching = switch_to(store, generation, &projection, &read, order);
        let left = WAIT_MAX.saturating_sub(started.elapsed());
        let Ok(switched) = tokio::time::timeout(left, switching).await else {
            let waits = store.generation(generation.id).await.map_err(failed)?;
            let reason = waits
                .reason
                .unwrap_or_else(|| "readers did not let go of the views".to_owned());
            return Err(Failure::new(format!("not switched: {reason}"))
                .hint("End that session, or try again when its query is over."));
        };
        let (name, id) = (&projection.name, generation.id);
        match switched.map_err(failed)? {
            Switched::Done { outgoing, waited } => {
                return Ok(format!(
                    "readers of {name} see generation {id} now, instead of {outgoing}; its commits waited {} ms",
                    waited.as_millis()
                ));
            }
            Switched::Already => {
                return Ok(format!("readers of {name} see generation {id} already"));
            }
            Switched::Behind {
                topic,
                partition,
                events,
            } if started.elapsed() >= WAIT_MAX / 2 => {
                return Err(Failure::new(format!(
                    "not switched: generation {id} is {events} events behind in {topic} [{partition}], so that readers would go back in time"
                ))
                .hint("Is a worker running, and is the projection neither paused nor stopped? `consolidator status` tells."));
            }
            Switched::Behind { .. }
            | Switched::NotPrepared(Prepared::Ready | Prepared::Waiting { .. }) => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Switched::SetAside(letters) => {
                return Err(Failure::new(format!(
                    "not switched: {letters} events of generation {id} are set aside"
                ))
                .hint(format!(
                    "`consolidator dead-letters list {name} --generation {id}` tells which; `--accept-dead-letters` switches all the same."
                )));
            }
            Switched::NotPrepared(Prepared::Incompatible(lost)) => {
                return Err(
                    Failure::new(format!("not switched: {}", lost.join("; "))).hint(
                        "`--incompatible` makes the views anew, with their rights and comments.",
                    ),
                );
            }
        }
    }
}

/// `cancel NAME`: the build is given up, and nothing of it is left.
///
/// # Errors
/// There is none.
pub async fn cancel(settings: &Settings, name: &str) -> Result<String, Failure> {
    let store = connect(settings).await?;
    let Some(generation) = store.build_under_way(name).await.map_err(failed)? else {
        return Err(Failure::new(format!("no build of {name} is under way")));
    };
    give_up(&store, &generation, "cancelled").await?;
    Ok(format!(
        "generation {} of {name} was given up, and its tables are dropped",
        generation.id
    ))
}

/// `drop NAME [--generation G]`: one generation that readers do not see, or a projection whose file is gone.
///
/// # Errors
/// Readers see it, its file is still there, others depend on it.
pub async fn drop(
    settings: &Settings,
    name: &str,
    generation: Option<i64>,
) -> Result<String, Failure> {
    let store = connect(settings).await?;
    if store
        .remembered_definition(name)
        .await
        .map_err(failed)?
        .is_none()
    {
        return Err(unknown(name));
    }
    let Some(id) = generation else {
        return drop_projection(settings, &store, name).await;
    };
    let generations = store.generations(name).await.map_err(failed)?;
    let Some(generation) = generations.into_iter().find(|known| known.id == id) else {
        return Err(Failure::new(format!("{name} has no generation {id}")));
    };
    if store.visible_generation(name).await.map_err(failed)? == Some(id) {
        return Err(Failure::new(format!("readers of {name} see generation {id}"))
            .hint("Switch or roll back first; or, to drop the whole projection, remove its file and drop it without --generation."));
    }
    give_up(&store, &generation, "dropped").await?;
    store.forget_generation(id).await.map_err(failed)?;
    Ok(format!("generation {id} of {name} is dropped"))
}

async fn drop_projection(
    settings: &Settings,
    store: &Store,
    name: &str,
) -> Result<String, Failure> {
    let files = worker::definitions(settings)?;
    if files.iter().any(|projection| projection.name == name) {
        return Err(Failure::new(format!(
            "there is a definition file of {name}: the next worker would make it again"
        ))
        .hint("Remove the file first, and start the workers anew without it."));
    }
    let generations = store.drop_projection(name).await.map_err(failed)?;
    for generation in &generations {
        clean_up(store, generation).await?;
        store
            .forget_generation(generation.id)
            .await
            .map_err(failed)?;
    }
    store.forget_projection(name).await.map_err(failed)?;
    Ok(format!(
        "{name} is dropped, with {} generations",
        generations.len()
    ))
}

async fn give_up(store: &Store, generation: &Generation, reason: &str) -> Result<(), Failure> {
    store.give_up(generation.id, reason).await.map_err(failed)?;
    clean_up(store, generation).await
}

/// Waits for lanes and readers to let go of it.
async fn clean_up(store: &Store, generation: &Generation) -> Result<(), Failure> {
    let started = Instant::now();
    loop {
        match store.clean_up(generation).await.map_err(failed)? {
            Gone::Done => return Ok(()),
            Gone::Waiting { what, pids } if started.elapsed() >= WAIT_MAX => {
                return Err(Failure::new(format!(
                    "generation {} waits for {what} {pids:?}; the workers drop its tables when that is over",
                    generation.id
                )));
            }
            Gone::Waiting { .. } => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}
