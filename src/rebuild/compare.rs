//! A generation against the live one, at equal offsets, live going on all the while: the new one is made to stand still exactly
//! where a snapshot of live stands. Knows nothing of who asks, or of what is done with the answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::definition::order_dependence;
use crate::definition::projection::{Projection, Table};
use crate::store::{
    Comparison, Difference, Generation, Offsets, Phase, Snapshot, State, Store, StoreError,
    offsets_of,
};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Differing keys that are kept for each table; all are counted.
const SHOWN_MAX: usize = 100;
/// Differing keys that are remembered of each table, to be put right.
pub const KEYS_MAX: usize = 100_000;
/// A lane may hear of a stop when it has passed it: then live is waited for again.
const TRIES: usize = 20;

/// What came of one table.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Compared {
    pub table: String,
    pub same: u64,
    /// Live has no such row, by the other it should have.
    pub missing: u64,
    pub extra: u64,
    pub differing: u64,
    /// Rows that differ only in what may come out either way, because the logs have no order between partitions.
    pub apart: u64,
    pub shown: Vec<Difference>,
    /// Of rows that are missing, extra or differ, as [`Difference::key`]; no more than [`KEYS_MAX`].
    #[serde(skip)]
    pub keys: Vec<String>,
    /// Why it was not compared, or not as a whole.
    pub note: Option<String>,
}

impl Compared {
    /// Nothing differs that the logs settle.
    pub fn is_fine(&self) -> bool {
        self.missing + self.extra + self.differing == 0
    }

    fn count(&mut self, found: Difference) {
        match (&found.live, &found.folded) {
            _ if found.apart => self.apart += 1,
            (None, _) => self.missing += 1,
            (_, None) => self.extra += 1,
            (Some(_), Some(_)) => self.differing += 1,
        }
        if !found.apart && self.keys.len() < KEYS_MAX {
            self.keys.push(found.key.clone());
        }
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(found);
        }
    }
}

/// Compares `folded`, whose lanes go, with what readers see. `ends`: where the logs ended when it was asked for; `keys`: only
/// those, or all if there is none. The lanes of `folded` stand still afterwards, until they are told otherwise.
///
/// # Errors
/// `Refused`: one of both stands still, or readers were switched meanwhile.
pub async fn at_equal_offsets(
    store: &Store,
    live: &Generation,
    folded: &Generation,
    ends: &Offsets,
    keys: &[String],
) -> Result<Vec<Compared>, StoreError> {
    let definitions = (live.meant()?, folded.meant()?);
    store.set_stop_at(folded.id, ends).await?;
    // First to where the logs ended: what is left then is short.
    until_at(store, folded.id, ends).await?;
    for _ in 0..TRIES {
        let reached = offsets_of(&store.positions(folded.id).await?);
        until_at(store, live.id, &reached).await?;
        let mut snapshot = store.snapshot(&live.projection).await?;
        if snapshot.generation != live.id {
            return Err(refused("readers were switched meanwhile: ask again"));
        }
        let exactly = offsets_of(&snapshot.positions);
        store.set_stop_at(folded.id, &exactly).await?;
        until_at(store, folded.id, &exactly).await?;
        if !is_exactly_at(store, folded.id, &exactly).await? {
            continue;
        }
        let compared = compare(store, &mut snapshot, (live, folded), &definitions, keys).await?;
        // Offsets only grow: where they are equal before and after, they were in between.
        if is_exactly_at(store, folded.id, &exactly).await? {
            return Ok(compared);
        }
    }
    Err(refused(
        "the new generation did not stand still where it was to",
    ))
}

pub(super) fn refused(message: impl Into<String>) -> StoreError {
    StoreError::refused("comparing generations", message)
}

async fn compare(
    store: &Store,
    snapshot: &mut Snapshot,
    (live, folded): (&Generation, &Generation),
    (of_live, of_folded): &(Projection, Projection),
    keys: &[String],
) -> Result<Vec<Compared>, StoreError> {
    let went_over =
        |name: &String| live.shared_tables.contains(name) || folded.shared_tables.contains(name);
    let shared = |projection: &Projection| -> Vec<bool> {
        let tables = projection.tables.iter();
        tables
            .map(|table| !table.owned || went_over(&table.name))
            .collect()
    };
    let (live_shared, folded_shared) = (shared(of_live), shared(of_folded));
    let mut all = Vec::new();
    for (index, table) in of_folded.tables.iter().enumerate() {
        let known = of_live
            .tables
            .iter()
            .position(|known| known.name == table.name);
        let note = match known.map(|known| &of_live.tables[known]) {
            None => Some("it is new"),
            Some(before) if key_of(before) != key_of(table) => Some("it has another key"),
            Some(_) => None,
        };
        let (Some(known), None) = (known, note) else {
            all.push(Compared {
                table: table.name.clone(),
                note: note.map(str::to_owned),
                ..Compared::default()
            });
            continue;
        };
        let before = &of_live.tables[known];
        let loose = order_dependence(of_folded, index, &folded_shared);
        let loose_before = order_dependence(of_live, known, &live_shared);
        let is_loose = |name: &str| {
            let of = |table: &Table, at: &usize| table.columns[*at].name == name;
            loose.columns.iter().any(|at| of(table, at))
                || loose_before.columns.iter().any(|at| of(before, at))
        };
        let mut comparison = comparison(before, table, &is_loose, keys);
        let rows_are_loose = loose.rows || loose_before.rows;
        let compared = compare_one(store, snapshot, folded.id, &comparison, rows_are_loose);
        all.push(compared.await?);
        if let (Some(view), Some(_)) = (&table.history, &before.history) {
            of_history(&mut comparison, view);
            // In which order partitions met on a row, its states tell, and nothing else does.
            let loose = live_shared[known] || folded_shared[index] || !loose.columns.is_empty();
            all.push(compare_one(store, snapshot, folded.id, &comparison, loose).await?);
        }
    }
    Ok(all)
}

fn key_of(table: &Table) -> Vec<&str> {
    let key = &table.columns[..table.key_len];
    key.iter().map(|column| column.name.as_str()).collect()
}

/// Of what both have.
fn comparison<'a>(
    before: &Table,
    table: &'a Table,
    is_loose: &dyn Fn(&str) -> bool,
    keys: &'a [String],
) -> Comparison<'a> {
    let in_both = |name: &str| before.columns.iter().any(|column| column.name == name);
    let others = table.columns[table.key_len..]
        .iter()
        .map(|column| column.name.as_str())
        .filter(|name| !name.starts_with('$') && in_both(name));
    let (apart, exact) = others.partition(|name| is_loose(name));
    Comparison {
        table: &table.name,
        key: key_of(table),
        exact,
        apart,
        ghosts: [before.ghost.is_some(), table.ghost.is_some()],
        keys,
        key_len: table.key_len,
    }
}

/// The same of a table's history: a state is known by its event.
fn of_history<'a>(comparison: &mut Comparison<'a>, view: &'a str) {
    comparison.table = view;
    let cause = ["event_topic", "event_partition", "event_offset"];
    comparison.key.extend(cause);
    comparison.exact.append(&mut comparison.apart);
    let others = ["valid_from", "valid_to", "late", "event_type", "event_id"];
    comparison.exact.extend(others);
    comparison.ghosts = [false, false];
}

async fn compare_one(
    store: &Store,
    snapshot: &mut Snapshot,
    folded: i64,
    comparison: &Comparison<'_>,
    all_loose: bool,
) -> Result<Compared, StoreError> {
    let mut result = Compared {
        table: comparison.table.to_owned(),
        ..Compared::default()
    };
    let mut count = |mut found: Difference| {
        found.apart |= all_loose;
        result.count(found);
    };
    let same = store
        .compare_table(snapshot, folded, comparison, &mut count)
        .await?;
    result.same = same;
    Ok(result)
}

async fn is_exactly_at(
    store: &Store,
    generation: i64,
    offsets: &Offsets,
) -> Result<bool, StoreError> {
    let positions = store.positions(generation).await?;
    Ok(positions.iter().all(|at| {
        let wanted = offsets
            .get(&at.topic)
            .and_then(|topic| topic.get(&at.partition));
        // What the log no longer holds cannot be gone back to; a partition that live does not know has nothing in it yet.
        at.next_offset == wanted.copied().unwrap_or(0).max(at.begin_offset)
    }))
}

/// Waits until a generation is at or past these offsets, and folds as live does.
pub(super) async fn until_at(
    store: &Store,
    generation: i64,
    offsets: &Offsets,
) -> Result<(), StoreError> {
    loop {
        let stored = store.generation(generation).await?;
        if let State::Failed | State::Retired = stored.state {
            return Err(refused(format!("generation {generation} was given up")));
        }
        let positions = store.positions(generation).await?;
        let is_there = |topic: &str, partition: i32, offset: i64| {
            let at = positions
                .iter()
                .find(|at| at.topic == topic && at.partition == partition);
            at.is_some_and(|at| at.next_offset >= offset)
        };
        // A topic that it does not read does not hold it back.
        let mut read = offsets
            .iter()
            .filter(|(topic, _)| stored.topics.contains(topic));
        let all = read.all(|(topic, partitions)| {
            partitions
                .iter()
                .all(|(partition, offset)| is_there(topic, *partition, *offset))
        });
        if all && stored.phase == Phase::Follow {
            return Ok(());
        }
        if let Some(stop) = store.stops(generation).await?.first() {
            return Err(refused(format!(
                "generation {generation} stands still: {}",
                stop.reason
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
