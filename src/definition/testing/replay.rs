//! Folds the given events of a test case in batches, through the real decoder and fold, with rows kept in memory. Knows
//! nothing of what is expected.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bumpalo::Bump;

use super::TestCase;
use super::coverage::Coverage;
use super::record::{OwnedRecord, record};
use crate::definition::projection::Projection;
use crate::event::{DecodeError, Decoder, Event, Record};
use crate::expression::cell::Cell;
use crate::fold::{EventFailure, Folder, LoadedRow, OnFailure, OwnershipConflict, Seen, Trace};

/// Rows by packed key.
pub type Rows = BTreeMap<Vec<u8>, Vec<Cell>>;

/// What came of the given events.
#[derive(Debug)]
pub struct Replayed {
    /// By the number of the given event, from 0. What fails changes nothing.
    pub failures: BTreeMap<usize, EventFailure>,
    /// By index of the projection's tables.
    pub tables: Vec<Rows>,
    pub coverage: Coverage,
}

impl Replayed {
    /// The same events failed and the same rows are there.
    pub fn same_as(&self, other: &Replayed) -> bool {
        let same_row = |(one, other): (&Vec<Cell>, &Vec<Cell>)| {
            one.iter().zip(other).all(|(one, other)| one.same(other))
        };
        let same_rows = |(one, other): (&Rows, &Rows)| {
            one.keys().eq(other.keys()) && one.values().zip(other.values()).all(same_row)
        };
        self.failures.keys().eq(other.failures.keys())
            && self.tables.iter().zip(&other.tables).all(same_rows)
    }
}

/// Where rows are between batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// As of tables that partitions share: nowhere but in the database.
    Forget,
    /// As of tables that one partition owns.
    Keep,
}

/// Bounds the rows kept in memory.
const CACHE_BYTES_MAX: usize = 16 << 20;
/// Whose rows they are: whatever partition an event is given, the cases are about what rules do.
const SLOT: i32 = 0;
const ONE_SLOT: &str = "all rows belong to the same slot";

/// Folds the given events in batches of this size.
pub fn replay(
    projection: &Arc<Projection>,
    case: &TestCase,
    size: usize,
    memory: Memory,
) -> Replayed {
    let mut state = State::new(projection, memory);
    let given = case.given.iter();
    let given: Vec<OwnedRecord> = given.map(|given| record(projection, given)).collect();
    for first in (0..given.len()).step_by(size.max(1)) {
        state.batch(&given, first..(first + size).min(given.len()));
    }
    let mut coverage = Coverage::default();
    for (table, of_table) in projection.tables.iter().enumerate() {
        for rule in 0..of_table.rules.len() {
            if state.folder.applied(table, rule) > 0 {
                coverage.add(table, rule);
            }
        }
    }
    Replayed {
        failures: state.failures,
        tables: state.tables,
        coverage,
    }
}

/// What became of one record.
pub struct Told {
    pub trace: Trace,
    pub failure: Option<EventFailure>,
    /// Its id was seen before; it was not folded.
    pub duplicate: bool,
}

/// Tables in memory, and what folds events into them.
pub struct State {
    folder: Folder,
    decoders: Vec<Arc<Decoder>>,
    owner: Option<i32>,
    tables: Vec<Rows>,
    failures: BTreeMap<usize, EventFailure>,
    next_offsets: BTreeMap<(usize, i32), i64>,
    seen: Option<Seen>,
}

impl State {
    pub fn new(projection: &Arc<Projection>, memory: Memory) -> State {
        let shared = vec![memory == Memory::Forget; projection.tables.len()];
        let topics = 0..projection.topics.len();
        State {
            folder: Folder::new(Arc::clone(projection), &shared, CACHE_BYTES_MAX),
            decoders: topics
                .map(|topic| Arc::new(Decoder::new(projection, topic)))
                .collect(),
            owner: (memory == Memory::Keep).then_some(SLOT),
            tables: vec![Rows::new(); projection.tables.len()],
            failures: BTreeMap::new(),
            next_offsets: BTreeMap::new(),
            seen: Seen::new(projection, true),
        }
    }

    /// What the tables hold now.
    pub fn tables(&self) -> &[Rows] {
        &self.tables
    }

    /// Folds one record unless it is a duplicate, and tells `look` of the event, or why it is none.
    pub fn tell_one(
        &mut self,
        record: &OwnedRecord,
        mut look: impl FnMut(Result<&Event<'_>, &DecodeError>),
    ) -> Told {
        self.folder.tell();
        let arena = Bump::new();
        let decoder = Arc::clone(&self.decoders[record.topic]);
        let mut duplicate = false;
        match self.decode(&decoder, record, &arena) {
            Ok(event) => {
                look(Ok(&event));
                duplicate = is_duplicate(&mut self.seen, &event, &arena);
                if !duplicate {
                    self.fold(&[event], &[0], &arena);
                }
            }
            Err(error) => {
                look(Err(&error));
                self.failures.insert(0, EventFailure::decode(0, error));
            }
        }
        Told {
            trace: self.folder.take_trace(),
            failure: self.failures.remove(&0),
            duplicate,
        }
    }

    fn batch(&mut self, records: &[OwnedRecord], numbers: Range<usize>) {
        let arena = Bump::new();
        let decoders = self.decoders.clone();
        let (mut events, mut numbers_of_events) = (Vec::new(), Vec::new());
        for number in numbers {
            let record = &records[number];
            match self.decode(&decoders[record.topic], record, &arena) {
                Ok(event) if is_duplicate(&mut self.seen, &event, &arena) => {}
                Ok(event) => {
                    events.push(event);
                    numbers_of_events.push(number);
                }
                Err(error) => {
                    let failure = EventFailure::decode(number, error);
                    self.failures.insert(number, failure);
                }
            }
        }
        self.fold(&events, &numbers_of_events, &arena);
    }

    fn decode<'a>(
        &mut self,
        decoder: &'a Decoder,
        record: &'a OwnedRecord,
        arena: &'a Bump,
    ) -> Result<Event<'a>, DecodeError> {
        let next = self.next_offsets.entry((record.topic, record.partition));
        let next = next.or_insert(0);
        let offset = record.offset.unwrap_or(*next);
        *next = offset + 1;
        let headers = record.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_deref()));
        let record = Record {
            topic: record.topic,
            partition: record.partition,
            offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: arena.alloc_slice_copy(&headers.collect::<Vec<_>>()),
        };
        decoder.decode(&record, arena)
    }

    fn fold(&mut self, events: &[Event<'_>], numbers: &[usize], arena: &Bump) {
        let batch = self.folder.plan(events, &|_, _| SLOT, arena);
        supply(&mut self.folder, &self.tables, self.owner).expect(ONE_SLOT);
        let outcome = self.folder.fold(&batch, OnFailure::Skip);
        for left_out in outcome.left_out {
            let number = numbers[left_out.event];
            self.failures
                .extend(left_out.failure.map(|failure| (number, failure)));
        }
        write(&self.folder, &mut self.tables);
        self.folder.committed();
    }
}

/// Each partition of a topic has ids of its own.
fn is_duplicate<'b>(seen: &mut Option<Seen>, event: &Event<'b>, arena: &'b Bump) -> bool {
    let Some(seen) = seen else {
        return false;
    };
    let id = seen.ids(std::slice::from_ref(event), arena);
    seen.is_duplicate(partition_number(event), event, id[0])
}

/// Distinct for the partitions of all topics.
pub fn partition_number(event: &Event<'_>) -> i32 {
    const PARTITIONS_MAX: i32 = 1 << 20;
    event.topic as i32 * PARTITIONS_MAX + event.partition
}

/// The rows that the batch needs, of those that there are.
///
/// # Errors
/// As [`Folder::supply`]'s.
pub fn supply(
    folder: &mut Folder,
    tables: &[Rows],
    owner: Option<i32>,
) -> Result<(), OwnershipConflict> {
    for (table, rows) in tables.iter().enumerate() {
        let needs = folder.needs(table);
        let keys = (0..needs.rows.len()).map(|n| needs.rows.key(n));
        let by_key: Vec<Vec<Cell>> = keys.filter_map(|key| rows.get(key).cloned()).collect();
        let mut by_prefix: Vec<(usize, Vec<Cell>)> = Vec::new();
        for prefixes in &needs.prefixes {
            for prefix in prefixes.keys() {
                let from = rows.range(prefix.to_vec()..);
                let same = from.take_while(|(key, _)| key.starts_with(prefix));
                by_prefix.extend(same.map(|(_, cells)| (prefixes.columns, cells.clone())));
            }
        }
        for mut cells in by_key {
            let cells = &mut cells;
            folder.supply(table, LoadedRow { cells, owner })?;
        }
        for (columns, mut cells) in by_prefix {
            let row = LoadedRow {
                cells: &mut cells,
                owner,
            };
            folder.supply_of_prefix(table, columns, row)?;
        }
    }
    folder.supply_missing_as_absent()
}

/// What the batch did, done to the rows.
pub fn write(folder: &Folder, tables: &mut [Rows]) {
    let changes = folder.changes();
    for (rows, changes) in tables.iter_mut().zip(&changes.tables) {
        for written in [&changes.inserts, &changes.updates] {
            let all = 0..written.len();
            rows.extend(all.map(|n| (written.key(n).to_owned(), written.cells(n).to_vec())));
        }
        for n in 0..changes.deletes.len() {
            rows.remove(changes.deletes.key(n));
        }
    }
}
