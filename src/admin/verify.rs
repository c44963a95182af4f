//! `verify NAME`: is the table the fold of its events? The events are folded again, beside live, to exactly where a snapshot of
//! live stands, and both are compared, live going on all the while.

use std::time::Duration;

use serde_json::json;

use super::{connect_as_worker, failed};
use crate::error::{Failure, Outcome};
use crate::rebuild::Logs;
use crate::rebuild::compare::{self, Compared};
use crate::settings::Settings;
use crate::store::{Difference, Generation, Gone, Offsets, Store};
use crate::worker::{self, News, Shutdown};

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Verifies a projection, or just these keys of it; `print` gets a line for every table and differing key.
///
/// # Errors
/// A server is not fine, or the events cannot be folded.
pub async fn verify(
    settings: &Settings,
    name: &str,
    keys: &[String],
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
        worker::work_along(&work_settings, &work_store, id, News::default(), asked).await;
    });
    let outcome = tokio::select! {
        outcome = compare::at_equal_offsets(&store, &live, &folded, &ends, keys) => outcome.map_err(failed),
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
        for line in lines(table, "its events", as_json) {
            print(&line)?;
        }
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
