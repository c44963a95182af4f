//! Expected rows against actual ones, and the difference as people read it. Knows nothing of events.

use bumpalo::Bump;

use super::check::cell;
use super::replay::Rows;
use super::run::TestFailure;
use super::{ExpectedRow, ExpectedTable};
use crate::definition::projection::Table;
use crate::expression::cast::to_text;
use crate::expression::cell::Cell;
use crate::expression::compare;
use crate::expression::value::Value;

/// The named columns of an expected row, as values.
struct Wanted<'e> {
    line: usize,
    cells: Vec<(usize, Cell)>,
    row: &'e ExpectedRow,
}

/// All rows of a table in any order; only the columns that an expected row names are compared.
pub fn rows(
    table: &Table,
    expected: &ExpectedTable,
    actual: &Rows,
    line: usize,
) -> Vec<TestFailure> {
    let mut wanted: Vec<Wanted<'_>> = expected.rows.iter().map(|row| wanted(table, row)).collect();
    let mut found: Vec<&Vec<Cell>> = actual.values().collect();
    wanted.retain(|wanted| {
        let same = found.iter().position(|row| {
            wanted
                .cells
                .iter()
                .all(|(column, cell)| equal(cell, &row[*column]))
        });
        same.map(|index| found.remove(index)).is_none()
    });
    let mut failures = Vec::new();
    for wanted in wanted {
        let same_key = found.iter().position(|row| {
            let key = wanted
                .cells
                .iter()
                .filter(|(column, _)| *column < table.key_len);
            let mut key = key.peekable();
            key.peek().is_some() && key.all(|(column, cell)| equal(cell, &row[*column]))
        });
        failures.push(match same_key {
            Some(index) => different(table, &wanted, found.remove(index)),
            None => TestFailure {
                line: wanted.line,
                message: format!("table {}: there is no such row", table.name),
                detail: lines(
                    table,
                    '-',
                    wanted.cells.iter().map(|(column, cell)| (*column, cell)),
                ),
            },
        });
    }
    for row in found {
        failures.push(TestFailure {
            line: match expected.rows.first() {
                Some(row) => row.line,
                None => line,
            },
            message: format!(
                "table {}: there is a row that no expected row describes",
                table.name
            ),
            detail: lines(table, '+', row.iter().enumerate()),
        });
    }
    failures
}

fn wanted<'e>(table: &Table, row: &'e ExpectedRow) -> Wanted<'e> {
    let cells = row.cells.iter().filter_map(|(name, expected)| {
        let column = table
            .columns
            .iter()
            .position(|column| column.name == name.text)?;
        // Checked when the definition was loaded.
        Some((
            column,
            cell(expected, &table.columns[column].column_type).ok()?,
        ))
    });
    Wanted {
        line: row.line,
        cells: cells.collect(),
        row,
    }
}

fn different(table: &Table, wanted: &Wanted<'_>, actual: &[Cell]) -> TestFailure {
    let mut detail = String::new();
    for (column, cell) in &wanted.cells {
        if *column < table.key_len {
            detail += &lines(table, ' ', [(*column, cell)]);
        } else if !equal(cell, &actual[*column]) {
            detail += &lines(table, '-', [(*column, cell)]);
            detail += &lines(table, '+', [(*column, &actual[*column])]);
        }
    }
    TestFailure {
        line: wanted.row.line,
        message: format!(
            "table {}: the row differs (- expected, + actual)",
            table.name
        ),
        detail,
    }
}

fn lines<'c>(
    table: &Table,
    mark: char,
    cells: impl IntoIterator<Item = (usize, &'c Cell)>,
) -> String {
    let arena = Bump::new();
    let mut out = String::new();
    for (column, cell) in cells {
        let text = to_text(cell.value(), &arena).unwrap_or("null");
        out += &format!("{mark} {}: {text}\n", table.columns[column].name);
    }
    out
}

/// Equal as SQL sees it, nulls being equal.
fn equal(left: &Cell, right: &Cell) -> bool {
    match (left.value(), right.value()) {
        (Value::Null, Value::Null) => true,
        (Value::Null, _) | (_, Value::Null) => false,
        (left, right) => compare::equal(left, right),
    }
}
