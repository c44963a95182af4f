//! `explain`: the events behind a row, in order, each with the row before and after; at the end the row as its events make it
//! against the one that readers see. The topics are read again, and only the events that touch the row are folded.

mod fold;
mod found;
mod show;

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bumpalo::Bump;
use tokio::sync::mpsc;

use self::fold::{Replay, Scout};
use self::found::Found;
use self::show::Show;
use super::{connect, failed};
use crate::definition::Projection;
use crate::definition::projection::Table;
use crate::error::{Failure, Outcome};
use crate::expression::cast::parse_text;
use crate::expression::cell::Cell;
use crate::settings::Settings;
use crate::source::{KafkaSettings, read_log};
use crate::store::{Layout, Position, SHARED};
use crate::worker::Shutdown;

/// Records that are looked at together.
const CHUNK_RECORDS: usize = 2_000;
/// A reading that takes longer says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
pub struct ExplainRequest<'a> {
    pub name: &'a str,
    pub table: &'a str,
    /// One text per key column.
    pub key: &'a [String],
    pub json: bool,
}

/// One partition to read.
#[derive(Clone, Debug)]
struct Part {
    topic: usize,
    topic_name: String,
    partition: i32,
    offsets: Range<i64>,
}

/// Explains a row. `NotFine`: it is not what its events make it.
///
/// # Errors
/// There is no such table, the key is none of its, a server is not fine.
pub async fn explain(
    settings: &Settings,
    request: ExplainRequest<'_>,
    print: &mut dyn FnMut(&str) -> Result<(), Failure>,
    shutdown: Shutdown,
) -> Result<Outcome, Failure> {
    let store = connect(settings).await?;
    let name = request.name;
    let visible = store.visible_generation(name).await.map_err(failed)?;
    let Some(visible) = visible else {
        return Err(Failure::new(format!(
            "there is no projection {name} in the database"
        )));
    };
    let live = store.generation(visible).await.map_err(failed)?;
    let projection = live.meant().map_err(failed)?;
    let table = table_index(&projection, request.table)?;
    let key = parse_key(&projection.tables[table], request.key)?;

    let layout = Layout::new(&projection, live.id, &live.shared_tables).map_err(failed)?;
    let mut snapshot = store.snapshot(name).await.map_err(failed)?;
    if snapshot.generation != live.id {
        return Err(Failure::new("readers were switched meanwhile: ask again"));
    }
    let stored = snapshot.row(&layout, table, &key).await.map_err(failed)?;
    let owner = stored.as_ref().map(|(owner, _)| *owner);
    let parts = parts(&projection, &snapshot.positions, owner);
    let aside = store.set_aside(live.id).await.map_err(failed)?;
    drop(snapshot);

    let whole = projection.tables[table]
        .rules
        .iter()
        .any(|rule| !rule.lookups.is_empty());
    let projection = Arc::new(reduced(projection, table, whole));
    let limit = usize::try_from(settings.worker.memory_limit / 2).unwrap_or(usize::MAX);
    let mut replay = Replay::new(&projection, table, &key, limit, aside);
    let mut show = Show::new(&projection.tables[table], request.json);
    let scout = Scout::new(&projection, table, &key, whole);
    let (found, reading) = start_reading(&settings.kafka, parts.clone(), scout);
    let mut apply = |event: &Found| {
        if let Some(step) = replay.apply(event)? {
            print(&show.step(&step))?;
        }
        Ok(())
    };
    let steps = in_order(found, &parts, limit, &mut apply);
    tokio::select! {
        folded = steps => folded?,
        () = shutdown.asked() => return Err(Failure::new("not explained: it was ended")),
    }
    match reading.await {
        Ok(read) => read.map_err(|error| Failure::new(format!("reading the events: {error}")))?,
        Err(error) => return Err(Failure::new(format!("reading the events: {error}"))),
    }
    let stored = stored.map(|(_, cells)| cells);
    let (text, same) = show.end(replay.row(), stored.as_deref(), parts.len() > 1);
    print(&text)?;
    Ok(if same {
        Outcome::Fine
    } else {
        Outcome::NotFine
    })
}

fn table_index(projection: &Projection, name: &str) -> Result<usize, Failure> {
    let index = projection
        .tables
        .iter()
        .position(|table| table.name == name);
    index.ok_or_else(|| {
        let names: Vec<&str> = projection
            .tables
            .iter()
            .map(|table| table.name.as_str())
            .collect();
        Failure::new(format!("{} has no table {name}", projection.name))
            .hint(format!("It has {}.", names.join(", ")))
    })
}

fn parse_key(table: &Table, texts: &[String]) -> Result<Vec<Cell>, Failure> {
    let columns = &table.columns[..table.key_len];
    if texts.len() != columns.len() {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        return Err(Failure::new(format!(
            "the key of {} is {}: {} values, not {}",
            table.name,
            names.join(", "),
            columns.len(),
            texts.len()
        )));
    }
    let arena = Bump::new();
    let cells = texts.iter().zip(columns).map(|(text, column)| {
        let value = parse_text(text, &column.column_type, &arena);
        value.map(Cell::from_value).map_err(|error| {
            Failure::new(format!(
                "key column {} of {}: {error}",
                column.name, table.name
            ))
        })
    });
    cells.collect()
}

/// Where the row's events can be. A row of one owner names its partition itself: since it was made, no event of another one was
/// applied to it. Any other may have been touched from everywhere; nor is it known which partitioner the producers use.
fn parts(projection: &Projection, positions: &[Position], owner: Option<i32>) -> Vec<Part> {
    let part = |at: &Position| {
        let topic = projection
            .topics
            .iter()
            .position(|topic| topic.name == at.topic);
        Some(Part {
            topic: topic?,
            topic_name: at.topic.clone(),
            partition: at.partition,
            offsets: at.begin_offset..at.next_offset,
        })
    };
    let of_owner = |at: &&Position| {
        let slot = owner.filter(|slot| *slot != SHARED);
        slot.is_none_or(|slot| slot == at.slot)
    };
    positions.iter().filter(of_owner).filter_map(part).collect()
}

/// Without the rules of other tables, unless this one's look up rows of theirs: what happens to those rows does not matter then.
fn reduced(mut projection: Projection, table: usize, whole: bool) -> Projection {
    if !whole {
        for (index, other) in projection.tables.iter_mut().enumerate() {
            if index != table {
                other.rules.clear();
            }
        }
    }
    projection
}

type Chunk = (usize, Vec<Found>);
type Reading = tokio::task::JoinHandle<Result<(), crate::source::SourceError>>;

/// Reads one partition after the other, on a thread of its own; gives the events that touch the row, and the number of their part.
fn start_reading(
    kafka: &KafkaSettings,
    parts: Vec<Part>,
    mut scout: Scout,
) -> (mpsc::Receiver<Chunk>, Reading) {
    let (sender, receiver) = mpsc::channel(2);
    let kafka = kafka.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let mut told_at = Instant::now();
        for (number, part) in parts.iter().enumerate() {
            let mut chunk = Vec::with_capacity(CHUNK_RECORDS);
            let mut send = |chunk: &mut Vec<Found>| {
                let found = scout.touching(std::mem::take(chunk));
                match found.is_empty() || sender.blocking_send((number, found)).is_ok() {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            };
            let at = (part.topic, part.topic_name.as_str(), part.partition);
            read_log(&kafka, at, part.offsets.clone(), &mut |record| {
                chunk.push(Found::of(record));
                if told_at.elapsed() >= TELL_EVERY {
                    told_at = Instant::now();
                    let (topic, partition, end) =
                        (&part.topic_name, part.partition, part.offsets.end);
                    tracing::warn!(
                        "reading {topic} [{partition}]: at {} of {end}",
                        record.offset
                    );
                }
                match chunk.len() < CHUNK_RECORDS {
                    true => ControlFlow::Continue(()),
                    false => send(&mut chunk),
                }
            })?;
            if send(&mut chunk).is_break() {
                break;
            }
        }
        Ok(())
    });
    (receiver, reading)
}

/// One partition's events as they come; several partitions' when all are there, merged by Kafka's timestamps, because nothing
/// tells in which order they were applied.
async fn in_order(
    mut found: mpsc::Receiver<Chunk>,
    parts: &[Part],
    limit: usize,
    apply: &mut dyn FnMut(&Found) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut waiting: Vec<VecDeque<Found>> = parts.iter().map(|_| VecDeque::new()).collect();
    let mut bytes = 0;
    while let Some((part, chunk)) = found.recv().await {
        if parts.len() == 1 {
            for event in &chunk {
                apply(event)?;
            }
            continue;
        }
        bytes += chunk.iter().map(Found::bytes).sum::<usize>();
        if bytes > limit {
            return Err(Failure::new(format!(
                "the events behind this row take more than {} MiB",
                limit >> 20
            ))
            .hint("Half of `worker.memory_limit` is what there is for them."));
        }
        waiting[part].extend(chunk);
    }
    loop {
        let next = waiting
            .iter_mut()
            .filter(|part| !part.is_empty())
            .min_by_key(|part| part.front().map(|event| event.timestamp_ms));
        let Some(event) = next.and_then(VecDeque::pop_front) else {
            return Ok(());
        };
        apply(&event)?;
    }
}
