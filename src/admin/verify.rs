//! `verify NAME`: is the table the fold of its events? The events are folded again, beside live, to exactly where a snapshot of
//! live stands, and both are compared, live going on all the while. What differs can then be put right.

use std::time::Duration;

use serde_json::json;

use super::{connect_as_worker, failed};
use crate::error::{Failure, Outcome};
use crate::rebuild::compare::{self, Compared};
use crate::rebuild::{Logs, repair};
use crate::settings::Settings;
use crate::store::{Difference, Generation, Gone, Offsets, Store};
use crate::worker::{self, News, Shutdown};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What live made of wrong rows before they were put right is found by comparing again, so often at most.
const REPAIRS_MAX: usize = 5;

/// What `verify` was asked for.
#[derive(Clone, Copy, Debug)]
pub struct VerifyRequest<'a> {
    pub name: &'a str,
    /// Only these; empty: all.
    pub keys: &'a [String],
    /// Rows that differ are put right.
    pub repair: bool,
    pub json: bool,
}

/// Verifies a projection, or just some keys of it; `print` gets a line for every table and differing key.
///
/// # Errors
/// A server is not fine, or the events cannot be folded.
pub async fn verify(
    settings: &Settings,
    request: VerifyRequest<'_>,
    print: &mut dyn FnMut(&str) -> Result<(), Failure>,
    shutdown: Shutdown,
) -> Result<Outcome, Failure> {
    let name = request.name;
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
        worker::work_along(&work_settings, &work_store, id, News::default(), asked).await;
    });
    let outcome = tokio::select! {
        outcome = until_fine(&store, &live, &folded, &ends, request, print) => outcome,
        () = shutdown.asked() => Err(Failure::new("not verified: it was ended")),
    };
    ended.ask();
    if let Err(error) = work.await {
        return Err(Failure::new(format!(
            "the fold ended without an answer: {error}"
        )));
    }
    clear_away(&store, &folded).await?;
    Ok(if outcome? {
        Outcome::Fine
    } else {
        Outcome::NotFine
    })
}

/// True if nothing differs, or nothing does any more.
async fn until_fine(
    store: &Store,
    live: &Generation,
    folded: &Generation,
    ends: &Offsets,
    request: VerifyRequest<'_>,
    print: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    let repairs = if request.repair { REPAIRS_MAX } else { 0 };
    for round in 0..=repairs {
        let compared = compare::at_equal_offsets(store, live, folded, ends, request.keys).await;
        let compared = compared.map_err(failed)?;
        for table in &compared {
            for line in lines(table, "its events", request.json) {
                print(&line)?;
            }
        }
        if compared.iter().all(Compared::is_fine) {
            return Ok(true);
        }
        if round < repairs {
            put_right(store, live, folded, &compared, request.json, print).await?;
        }
    }
    Ok(false)
}

async fn put_right(
    store: &Store,
    live: &Generation,
    folded: &Generation,
    compared: &[Compared],
    as_json: bool,
    print: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let repaired = repair::put_right(store, live, folded, compared).await;
    repaired.map_err(failed)?;
    for Compared { table, keys, .. } in compared.iter().filter(|table| !table.is_fine()) {
        let rows = keys.len();
        print(&match as_json {
            true => json!({ "table": table, "repaired": rows }).to_string(),
            false => format!("{table}: {rows} rows were put right"),
        })?;
    }
    Ok(())
}

/// Where the logs end now.
async fn stops(settings: &Settings, live: &Generation) -> Result<Offsets, Failure> {
    let ends = Logs::new(&settings.kafka).ends(&live.topics).await;
    let ends = ends
        .map_err(|error| Failure::new(format!("Kafka does not say where its logs end: {error}")))?;
    Ok(ends.offsets_by_topic())
}

/// Nothing is left of what was built only to be compared.
async fn clear_away(store: &Store, folded: &Generation) -> Result<(), Failure> {
    store.give_up(folded.id, "verified").await.map_err(failed)?;
    while let Gone::Waiting { .. } = store.clean_up(folded).await.map_err(failed)? {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    store.forget_generation(folded.id).await.map_err(failed)
}

/// A line for every differing key that was kept, and one for the table. `other` is what live was compared with.
pub(super) fn lines(compared: &Compared, other: &str, as_json: bool) -> Vec<String> {
    let Compared {
        table,
        same,
        missing,
        extra,
        differing,
        apart,
        shown,
        keys: _,
        note,
    } = compared;
    let mut lines = Vec::new();
    for found in shown {
        let Difference {
            key,
            live,
            folded,
            apart,
        } = found;
        lines.push(if as_json {
            json!({ "table": table, "key": key, "live": live, "folded": folded, "order_dependent": apart }).to_string()
        } else {
            let none = || "no row".to_owned();
            format!(
                "{table} {key}{}\n  - live: {}\n  + {other}: {}",
                if *apart { " (the order between partitions decides)" } else { "" },
                live.clone().unwrap_or_else(none),
                folded.clone().unwrap_or_else(none)
            )
        });
    }
    lines.push(match note {
        _ if as_json => json!({ "table": table, "same": same, "missing": missing, "extra": extra, "differing": differing,
            "order_dependent": apart, "note": note }).to_string(),
        Some(note) => format!("{table}: not compared: {note}"),
        None => format!(
            "{table}: {same} rows are the same, {missing} missing, {extra} extra, {differing} differ{}",
            if *apart > 0 {
                format!(", {apart} more differ only in what the order between partitions decides")
            } else {
                String::new()
            }
        ),
    });
    lines
}
