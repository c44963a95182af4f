//! Runs a test case and compares what came of it with what it expects. Knows nothing of files.

use std::sync::Arc;

use super::coverage::Coverage;
use super::replay::{Memory, Replayed, Rows, replay};
use super::{TestCase, compare};
use crate::definition::projection::{Projection, Table};
use crate::expression::cell::Cell;
use crate::expression::value::Value;

/// Larger batches than these are tried only with all events in one.
const BATCH_SIZES_MAX: usize = 50;

/// What came of a test case.
#[derive(Debug)]
pub struct TestResult {
    pub failures: Vec<TestFailure>,
    pub coverage: Coverage,
}

/// One thing that is not as the case says.
#[derive(Debug)]
pub struct TestFailure {
    /// In the case's file, from 1.
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

/// Folds the given events one after the other, an event that fails being left out, and compares. Then folds them again in
/// batches of every size, with rows kept in memory: that must change nothing.
pub fn run(projection: &Arc<Projection>, case: &TestCase) -> TestResult {
    let replayed = replay(projection, case, 1, Memory::Forget);
    let mut failures = failed_events(case, &replayed);
    for expected in &case.then {
        let mut tables = projection.tables.iter();
        let table = tables.position(|table| table.name == expected.table.text);
        if let Some(table) = table {
            failures.extend(compare::rows(
                &projection.tables[table],
                expected,
                &visible(&projection.tables[table], &replayed.tables[table]),
                case.line,
            ));
        }
    }
    let all = case.given.len();
    let sizes = (1..=all.min(BATCH_SIZES_MAX)).chain((all > BATCH_SIZES_MAX).then_some(all));
    let differing = sizes.filter(|size| {
        let again = replay(projection, case, *size, Memory::Keep);
        !again.same_as(&replayed)
    });
    if let Some(size) = differing.min() {
        failures.push(TestFailure {
            line: case.line,
            message: format!("in batches of {size} other rows come out: this is a mistake of the program, please report it"),
            detail: String::new(),
        });
    }
    TestResult {
        failures,
        coverage: replayed.coverage,
    }
}

/// Without the deleted rows that are kept for their versions.
pub fn visible(table: &Table, rows: &Rows) -> Rows {
    let is_ghost = |cells: &[Cell]| {
        table
            .ghost
            .is_some_and(|column| matches!(cells[column].value(), Value::Bool(true)))
    };
    let seen = rows.iter().filter(|(_, cells)| !is_ghost(cells));
    seen.map(|(key, cells)| (key.clone(), cells.clone()))
        .collect()
}

fn failed_events(case: &TestCase, replayed: &Replayed) -> Vec<TestFailure> {
    let mut failures = Vec::new();
    for (index, given) in case.given.iter().enumerate() {
        let number = index + 1;
        let expected = case.fails.iter().any(|(fails, _)| *fails == number);
        let message = match (replayed.failures.get(&index), expected) {
            (None, false) | (Some(_), true) => continue,
            (None, true) => format!("given event {number} should fail, and was applied"),
            (Some(failure), false) => format!("given event {number} failed: {failure}"),
        };
        failures.push(TestFailure {
            line: given.line,
            message,
            detail: String::new(),
        });
    }
    failures
}
