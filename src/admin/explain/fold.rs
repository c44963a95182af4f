//! Which events touch a row, and what each does to it: by the fold that the worker has, with rows kept in memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use bumpalo::Bump;

use super::found::Found;
use crate::definition::Projection;
use crate::definition::testing::replay::{Rows, partition_number, supply, write};
use crate::error::Failure;
use crate::event::Decoder;
use crate::expression::cell::Cell;
use crate::fold::{Folder, OnFailure, Seen, packed_key};

/// No row outlives a batch in the folder.
const CACHE_BYTES_MAX: usize = 1 << 20;
/// Whatever its partition: in tables that are locked nobody owns a row.
const SLOT: i32 = 0;
/// What a row in memory takes at least.
const ROW_BYTES: usize = 200;

/// Picks out the events that touch one row.
pub(super) struct Scout {
    folder: Folder,
    decoders: Vec<Decoder>,
    table: usize,
    key: Vec<u8>,
    /// All are wanted.
    whole: bool,
    seen: Option<Seen>,
}

impl Scout {
    pub(super) fn new(
        projection: &Arc<Projection>,
        table: usize,
        key: &[Cell],
        whole: bool,
    ) -> Scout {
        Scout {
            folder: folder(projection),
            decoders: decoders(projection),
            table,
            key: packed_key(&projection.tables[table], key),
            whole,
            seen: Seen::new(projection, true),
        }
    }

    /// Those of the records that touch the row, in their order. What cannot be decoded, or came twice, was not applied.
    pub(super) fn touching(&mut self, found: Vec<Found>) -> Vec<Found> {
        let arena = Bump::new();
        let mut numbers = Vec::with_capacity(found.len());
        let mut events = Vec::with_capacity(found.len());
        for (number, found) in found.iter().enumerate() {
            let record = arena.alloc(found.record(&arena));
            if let Ok(event) = self.decoders[found.topic].decode(record, &arena) {
                if let Some(seen) = &mut self.seen {
                    let id = seen.ids(&[event], &arena);
                    if seen.is_duplicate(partition_number(&event), &event, id[0]) {
                        continue;
                    }
                }
                events.push(event);
                numbers.push(number);
            }
        }
        let wanted: BTreeSet<usize> = if self.whole {
            numbers.into_iter().collect()
        } else {
            let batch = self.folder.plan(&events, &|_, _| SLOT, &arena);
            let touching = self.folder.touching(&batch, self.table, &self.key);
            touching.into_iter().map(|event| numbers[event]).collect()
        };
        self.folder.forget_all();
        drop(events);
        let found = found.into_iter().enumerate();
        let wanted = found.filter(|(number, _)| wanted.contains(number));
        wanted.map(|(_, found)| found).collect()
    }
}

/// One event, and the row before and after it.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// Microseconds since 2000.
    pub(super) time: i64,
    pub(super) event_type: String,
    pub(super) id: Option<String>,
    pub(super) key: Option<String>,
    /// Those that did something: types as written, and the line in the file.
    pub(super) rules: Vec<(String, usize)>,
    pub(super) before: Option<Vec<Cell>>,
    pub(super) after: Option<Vec<Cell>>,
    /// Why it was not applied.
    pub(super) failure: Option<String>,
}

/// Applies events, one by one.
pub(super) struct Replay {
    projection: Arc<Projection>,
    folder: Folder,
    decoders: Vec<Decoder>,
    rows: Vec<Rows>,
    table: usize,
    key: Vec<u8>,
    limit: usize,
    aside: BTreeSet<(String, i32, i64)>,
}

impl Replay {
    pub(super) fn new(
        projection: &Arc<Projection>,
        table: usize,
        key: &[Cell],
        limit: usize,
        aside: BTreeSet<(String, i32, i64)>,
    ) -> Replay {
        Replay {
            folder: folder(projection),
            decoders: decoders(projection),
            rows: vec![Rows::new(); projection.tables.len()],
            table,
            key: packed_key(&projection.tables[table], key),
            projection: Arc::clone(projection),
            limit,
            aside,
        }
    }

    /// The row as its events make it; none if there is none, or it was deleted.
    pub(super) fn row(&self) -> Option<Vec<Cell>> {
        let row = self.rows[self.table].get(&self.key)?;
        let ghost = self.projection.tables[self.table].ghost;
        let deleted = ghost.is_some_and(|column| {
            matches!(
                row[column].value(),
                crate::expression::value::Value::Bool(true)
            )
        });
        (!deleted).then(|| row.clone())
    }

    /// What the event does to the row; nothing to show if it is another row's.
    pub(super) fn apply(&mut self, found: &Found) -> Result<Option<Step>, Failure> {
        let arena = Bump::new();
        let record = found.record(&arena);
        let Ok(event) = self.decoders[found.topic].decode(&record, &arena) else {
            return Ok(None);
        };
        let topic = self.projection.topics[found.topic].name.clone();
        let before = self.row();
        let applied = self.applied();
        let events = [event];
        let mut failure = None;
        let place = (topic.clone(), found.partition, found.offset);
        let batch = self.folder.plan(&events, &|_, _| SLOT, &arena);
        let touches = !self
            .folder
            .touching(&batch, self.table, &self.key)
            .is_empty();
        if self.aside.contains(&place) {
            failure = Some("it is set aside as a dead letter".to_owned());
            self.folder.forget_all();
        } else {
            let supplied = supply(&mut self.folder, &self.rows, None);
            supplied.map_err(|_| Failure::new("rows of one table belong to two partitions"))?;
            let outcome = self.folder.fold(&batch, OnFailure::Skip);
            failure = outcome
                .left_out
                .into_iter()
                .find_map(|left_out| left_out.failure)
                .map(|failure| failure.to_string())
                .or(failure);
            write(&self.folder, &mut self.rows);
            self.folder.committed();
        }
        let rows: usize = self.rows.iter().map(Rows::len).sum();
        if rows.saturating_mul(ROW_BYTES) > self.limit {
            return Err(
                Failure::new("the rows that this one looks up do not fit in memory")
                    .hint("Half of `worker.memory_limit` is what there is for them."),
            );
        }
        if !touches {
            return Ok(None);
        }
        let rules = self.applied().into_iter().zip(applied).enumerate();
        let rules = rules.filter(|(_, (now, then))| now > then);
        let of_table = &self.projection.tables[self.table].rules;
        Ok(Some(Step {
            topic,
            partition: found.partition,
            offset: found.offset,
            time: events[0].time,
            event_type: events[0].event_type.to_owned(),
            id: events[0].id.map(str::to_owned),
            key: events[0].key.map(str::to_owned),
            rules: rules
                .map(|(rule, _)| (of_table[rule].label.clone(), of_table[rule].line))
                .collect(),
            before,
            after: self.row(),
            failure,
        }))
    }

    /// How often each rule of the table has done something.
    fn applied(&self) -> Vec<u64> {
        let rules = 0..self.projection.tables[self.table].rules.len();
        rules
            .map(|rule| self.folder.applied(self.table, rule))
            .collect()
    }
}

fn folder(projection: &Arc<Projection>) -> Folder {
    let shared = vec![true; projection.tables.len()];
    Folder::new(Arc::clone(projection), &shared, CACHE_BYTES_MAX)
}

fn decoders(projection: &Projection) -> Vec<Decoder> {
    (0..projection.topics.len())
        .map(|topic| Decoder::new(projection, topic))
        .collect()
}
