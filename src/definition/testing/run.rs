//! Runs a test case: given events through the real decoder and fold, with rows kept in memory. Knows nothing of files.

use std::collections::BTreeMap;
use std::sync::Arc;

use bumpalo::Bump;

use super::record::record;
use super::{TestCase, compare};
use crate::definition::projection::{Projection, Table};
use crate::event::{Decoder, Record};
use crate::expression::cell::Cell;
use crate::expression::value::Value;
use crate::fold::{EventFailure, Folder, LoadedRow, OnFailure, OwnershipConflict};

/// What came of a test case.
#[derive(Debug)]
pub struct TestResult {
    pub failures: Vec<TestFailure>,
}

/// One thing that is not as the case says.
#[derive(Debug)]
pub struct TestFailure {
    /// In the file, from 1.
    pub line: usize,
    pub message: String,
    /// Expected and actual, `-` and `+` lines; may be empty.
    pub detail: String,
}

impl TestResult {
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// Rows by packed key.
pub(super) type Rows = BTreeMap<Vec<u8>, Vec<Cell>>;

/// Folds the given events one after the other, an event that fails being left out, and compares.
pub fn run(projection: &Arc<Projection>, case: &TestCase) -> TestResult {
    let mut failures = Vec::new();
    let mut state = State::new(projection);
    for (index, given) in case.given.iter().enumerate() {
        let outcome = state.fold(index, case);
        let number = index + 1;
        let expected = case.fails.iter().any(|(fails, _)| *fails == number);
        match (outcome, expected) {
            (Ok(()), false) | (Err(_), true) => {}
            (Ok(()), true) => failures.push(TestFailure {
                line: given.line,
                message: format!("given event {number} should fail, and was applied"),
                detail: String::new(),
            }),
            (Err(failure), false) => failures.push(TestFailure {
                line: given.line,
                message: format!("given event {number} failed: {failure}"),
                detail: String::new(),
            }),
        }
    }
    for expected in &case.then {
        let table = projection
            .tables
            .iter()
            .position(|table| table.name == expected.table.text);
        if let Some(table) = table {
            failures.extend(compare::rows(
                &projection.tables[table],
                expected,
                &visible(&projection.tables[table], &state.tables[table]),
                case.line,
            ));
        }
    }
    TestResult { failures }
}

/// Without the deleted rows that are kept for their versions.
fn visible(table: &Table, rows: &Rows) -> Rows {
    let is_ghost = |cells: &[Cell]| {
        table
            .ghost
            .is_some_and(|column| matches!(cells[column].value(), Value::Bool(true)))
    };
    let seen = rows.iter().filter(|(_, cells)| !is_ghost(cells));
    seen.map(|(key, cells)| (key.clone(), cells.clone()))
        .collect()
}

const NO_OWNERS: &str = "a shared table has no owners";

/// The rows that the batch needs of those that there are.
fn supply(folder: &mut Folder, table: usize, rows: &Rows) -> Result<(), OwnershipConflict> {
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
        folder.supply(table, LoadedRow::unowned(&mut cells))?;
    }
    for (columns, mut cells) in by_prefix {
        folder.supply_of_prefix(table, columns, LoadedRow::unowned(&mut cells))?;
    }
    Ok(())
}

struct State<'p> {
    projection: &'p Projection,
    folder: Folder,
    decoders: Vec<Decoder>,
    tables: Vec<Rows>,
    next_offsets: BTreeMap<(usize, i32), i64>,
}

impl<'p> State<'p> {
    fn new(projection: &'p Arc<Projection>) -> Self {
        // As shared tables: every row comes from memory here, and one key may be sent to two partitions.
        let shared = vec![true; projection.tables.len()];
        State {
            projection,
            folder: Folder::new(Arc::clone(projection), &shared, 0),
            decoders: (0..projection.topics.len())
                .map(|topic| Decoder::new(projection, topic))
                .collect(),
            tables: vec![Rows::new(); projection.tables.len()],
            next_offsets: BTreeMap::new(),
        }
    }

    /// One event in a batch of its own.
    fn fold(&mut self, index: usize, case: &TestCase) -> Result<(), EventFailure> {
        let arena = Bump::new();
        let given = &case.given[index];
        let made = record(self.projection, given);
        let offset = self
            .next_offsets
            .entry((made.topic, given.partition))
            .or_insert(0);
        let headers: Vec<(&str, Option<&[u8]>)> = made
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_ref().map(|value| value.as_bytes())))
            .collect();
        let record = Record {
            topic: made.topic,
            partition: given.partition,
            offset: *offset,
            timestamp_ms: Some(made.timestamp_ms),
            key: given.key.as_ref().map(|key| key.as_bytes()),
            value: made.value.as_ref().map(|value| value.as_bytes()),
            headers: &headers,
        };
        *offset += 1;
        let event = self.decoders[made.topic]
            .decode(&record, &arena)
            .map_err(|error| EventFailure::decode(0, error))?;
        let events = [event];
        let batch = self.folder.plan(&events, &|_, partition| partition, &arena);
        for (table, rows) in self.tables.iter().enumerate() {
            supply(&mut self.folder, table, rows).expect(NO_OWNERS);
        }
        self.folder.supply_missing_as_absent().expect(NO_OWNERS);
        let outcome = self.folder.fold(&batch, OnFailure::Stop);
        if let Some(failure) = outcome.failure {
            self.folder.discard();
            return Err(failure);
        }
        let changes = self.folder.changes();
        for (rows, changes) in self.tables.iter_mut().zip(&changes.tables) {
            for written in [&changes.inserts, &changes.updates] {
                rows.extend(
                    (0..written.len())
                        .map(|n| (written.key(n).to_owned(), written.cells(n).to_vec())),
                );
            }
            for n in 0..changes.deletes.len() {
                rows.remove(changes.deletes.key(n));
            }
        }
        self.folder.committed();
        Ok(())
    }
}
