//! `verify NAME`: is the table the fold of its events? The events are folded again, beside live, to exactly where a snapshot of
//! live stands, and both are compared, live going on all the while.

use std::time::Duration;

use serde_json::json;

use super::{connect_as_worker, failed};
use crate::definition::Projection;
use crate::error::{Failure, Outcome};
use crate::rebuild::Logs;
use crate::settings::Settings;
use crate::store::{Difference, Generation, Gone, Offsets, Phase, State, Store};
use crate::worker::{self, Shutdown};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Differing keys shown for each table; all are counted.
const SHOWN_MAX: usize = 100;

/// What came of one table.
#[derive(Debug)]
struct Compared {
    table: String,
    same: u64,
    missing: u64,
    extra: u64,
    differing: u64,
    shown: Vec<Difference>,
}

/// Verifies a projection; `print` gets a line for every table and differing key.
///
/// # Errors
/// A server is not fine, or the events cannot be folded.
pub async fn verify(
    settings: &Settings,
    name: &str,
    as_json: bool,
    print: &mut dyn FnMut(&str) -> Result<(), Failure>,
    shutdown: Shutdown,
) -> Result<Outcome, Failure> {
    let store = connect_as_worker(settings).await?;
    let Some(visible) = store.visible_generation(name).await.map_err(failed)? else {
        return Err(Failure::new(format!(
            "there is no projection {name} in the database"
        )));
    };
    let live = store.generation(visible).await.map_err(failed)?;
    let definition = live.meant().map_err(failed)?;
    let ends = stops(settings, &live).await?;
    let leader = worker::worker_name();
    let group = &settings.kafka.group;
    let begun = store.begin_verify(&definition, group, &leader, &ends).await;
    let folded = begun.map_err(failed)?;

    let ended = Shutdown::default();
    let (work_settings, work_store, asked) = (settings.clone(), store.clone(), ended.clone());
    let id = folded.id;
    let work = tokio::spawn(async move {
        worker::work_along(&work_settings, &work_store, id, asked).await;
    });
    let outcome = tokio::select! {
        outcome = compare(&store, &live, &folded, &definition, ends) => outcome,
        () = shutdown.asked() => Err(Failure::new("not verified: it was ended")),
    };
    ended.ask();
    if let Err(error) = work.await {
        return Err(Failure::new(format!(
            "the fold ended without an answer: {error}"
        )));
    }
    clear_away(&store, &folded).await?;
    let compared = outcome?;
    let fine = compared.iter().all(Compared::is_fine);
    for table in &compared {
        table.print(as_json, print)?;
    }
    Ok(if fine {
        Outcome::Fine
    } else {
        Outcome::NotFine
    })
}

/// Where the logs end now.
async fn stops(settings: &Settings, live: &Generation) -> Result<Offsets, Failure> {
    let ends = Logs::new(&settings.kafka).ends(&live.topics).await;
    let ends = ends
        .map_err(|error| Failure::new(format!("Kafka does not say where its logs end: {error}")))?;
    let mut stops = Offsets::new();
    for ((topic, partition), (_, end)) in ends.partitions {
        stops.entry(topic).or_default().insert(partition, end);
    }
    Ok(stops)
}

async fn compare(
    store: &Store,
    live: &Generation,
    folded: &Generation,
    definition: &Projection,
    ends: Offsets,
) -> Result<Vec<Compared>, Failure> {
    // First to where the logs ended: what is left then is short.
    until_at(store, folded.id, &ends).await?;
    until_at(store, live.id, &ends).await?;
    let mut snapshot = store.snapshot(&definition.name).await.map_err(failed)?;
    if snapshot.generation != live.id {
        return Err(Failure::new(
            "readers were switched meanwhile: verify again",
        ));
    }
    let mut exactly = Offsets::new();
    for at in &snapshot.positions {
        let topic = exactly.entry(at.topic.clone()).or_default();
        topic.insert(at.partition, at.next_offset);
    }
    store
        .set_stop_at(folded.id, &exactly)
        .await
        .map_err(failed)?;
    until_at(store, folded.id, &exactly).await?;
    let mut compared = Vec::new();
    for table in &definition.tables {
        let mut result = Compared {
            table: table.name.clone(),
            same: 0,
            missing: 0,
            extra: 0,
            differing: 0,
            shown: Vec::new(),
        };
        let same = store
            .compare_table(&mut snapshot, folded.id, table, &mut |found| {
                result.count(found)
            })
            .await;
        result.same = same.map_err(failed)?;
        compared.push(result);
    }
    Ok(compared)
}

/// Waits until a generation is at or past these offsets, and folds as live does.
async fn until_at(store: &Store, generation: i64, offsets: &Offsets) -> Result<(), Failure> {
    loop {
        let stored = store.generation(generation).await.map_err(failed)?;
        if let State::Failed | State::Retired = stored.state {
            return Err(Failure::new(format!(
                "generation {generation} was given up"
            )));
        }
        let stops = store.stops(generation).await.map_err(failed)?;
        if let Some(stop) = stops.first() {
            return Err(Failure::new(format!(
                "generation {generation} stands still: {}",
                stop.reason
            )));
        }
        let positions = store.positions(generation).await.map_err(failed)?;
        let is_there = |topic: &str, partition: i32, offset: i64| {
            let at = positions
                .iter()
                .find(|at| at.topic == topic && at.partition == partition);
            at.is_some_and(|at| at.next_offset >= offset)
        };
        let all = offsets.iter().all(|(topic, partitions)| {
            partitions
                .iter()
                .all(|(partition, offset)| is_there(topic, *partition, *offset))
        });
        if all && stored.phase == Phase::Follow {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Nothing is left of what was built only to be compared.
async fn clear_away(store: &Store, folded: &Generation) -> Result<(), Failure> {
    store.give_up(folded.id, "verified").await.map_err(failed)?;
    while let Gone::Waiting { .. } = store.clean_up(folded).await.map_err(failed)? {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    store.forget_generation(folded.id).await.map_err(failed)
}

impl Compared {
    fn count(&mut self, found: Difference) {
        match (&found.live, &found.folded) {
            (None, _) => self.missing += 1,
            (_, None) => self.extra += 1,
            (Some(_), Some(_)) => self.differing += 1,
        }
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(found);
        }
    }

    fn is_fine(&self) -> bool {
        self.missing + self.extra + self.differing == 0
    }

    fn print(
        &self,
        as_json: bool,
        print: &mut dyn FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Compared {
            table,
            same,
            missing,
            extra,
            differing,
            shown,
        } = self;
        for found in shown {
            let Difference { key, live, folded } = found;
            print(&if as_json {
                json!({ "table": table, "key": key, "live": live, "folded": folded }).to_string()
            } else {
                let none = || "no row".to_owned();
                format!(
                    "{table} {key}\n  - live:   {}\n  + events: {}",
                    live.clone().unwrap_or_else(none),
                    folded.clone().unwrap_or_else(none)
                )
            })?;
        }
        print(&if as_json {
            json!({ "table": table, "same": same, "missing": missing, "extra": extra, "differing": differing }).to_string()
        } else {
            format!(
                "{table}: {same} rows are the fold of their events, {missing} missing, {extra} extra, {differing} differ"
            )
        })
    }
}
