//! The rows, payloads and headers that expressions see, as cells for us and as tables for PostgreSQL.

use bumpalo::Bump;
use consolidator::event::{Event, Member, json};
use consolidator::expression::cast::{parse_text, to_text};
use consolidator::expression::cell::Cell;
use consolidator::expression::value::{Modifier, Type};
use consolidator::expression::{Env, Machine, Names, Paths, Program, parse_type};

use super::Answer;
use super::generate::Generator;
use super::values::TYPES;

const ROWS: usize = 40;
const HEADER: &str = "h-1";

pub struct World {
    columns: Vec<(String, Type)>,
    /// By row and column: the value's text, or null.
    rows: Vec<Vec<Option<String>>>,
    /// The same as we hold them.
    cells: Vec<Vec<Cell>>,
    payloads: Vec<String>,
}

impl World {
    pub fn new(generator: &mut Generator) -> World {
        let types: Vec<(String, Type)> = columns()
            .into_iter()
            .map(|(name, ty)| (name, parse_type(ty).expect("a type")))
            .collect();
        let rows: Vec<Vec<Option<String>>> = (0..ROWS)
            .map(|_| {
                let values = columns().into_iter();
                values.map(|(_, ty)| generator.column_value(ty)).collect()
            })
            .collect();
        let cells = rows.iter().map(|row| cells(row, &types)).collect();
        World {
            payloads: (0..ROWS).map(|_| generator.payload()).collect(),
            columns: types,
            rows,
            cells,
        }
    }

    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    pub fn columns(&self) -> &[(String, Type)] {
        &self.columns
    }

    pub fn statements(&self) -> Vec<String> {
        let quoted = |text: &Option<String>| {
            text.as_ref().map_or("null".to_owned(), |t| {
                format!("'{}'", t.replace('\'', "''"))
            })
        };
        let definitions: Vec<String> = columns()
            .iter()
            .map(|(name, ty)| format!("{name} {ty}"))
            .collect();
        let rows: Vec<String> = self
            .rows
            .iter()
            .zip(&self.payloads)
            .enumerate()
            .map(|(number, (row, payload))| {
                let cells: Vec<String> = row.iter().map(quoted).collect();
                format!(
                    "({number}, {}, {})",
                    quoted(&Some(payload.clone())),
                    cells.join(", ")
                )
            })
            .collect();
        let mut statements = vec![
            format!("create temp table world (row_number int primary key, data jsonb, {})", definitions.join(", ")),
            "create temp table event (type text, id text, key text, time timestamptz, version bigint, partition int, \"offset\" bigint)".to_owned(),
            "insert into event values ('Sold', 'e-1', 'XYZ-1', '2022-03-02 09:00:00.25+00', 5, 2, 41)".to_owned(),
            format!("create temp table headers (\"x-id\" text, none text); insert into headers values ('{HEADER}', null)"),
            columns().iter().map(|(name, ty)| format!("create temp table target_{name} (c {ty});")).collect(),
            "create type pg_temp.answer as (state text, ty text, value text)".to_owned(),
            "create function pg_temp.try(q text) returns pg_temp.answer language plpgsql as $$
             declare a pg_temp.answer; begin execute q into a.ty, a.value; return a;
             exception when others then a.state := sqlstate; a.value := sqlerrm; return a; end $$"
                .to_owned(),
            "create function pg_temp.record(bytes bytea) returns text language plpgsql as $$
             begin return convert_from(bytes, 'UTF8')::jsonb::text; exception when others then return null; end $$"
                .to_owned(),
        ];
        statements.extend(
            rows.iter()
                .map(|row| format!("insert into world values {row}")),
        );
        statements
    }

    pub fn payload(&self, row: usize) -> &str {
        &self.payloads[row]
    }

    pub fn evaluate(
        &self,
        program: &Program,
        row: usize,
        payload: &str,
        data: &Paths,
        headers: &Names,
    ) -> Answer {
        let arena = Bump::new();
        let mut found = vec![Member::Missing; data.as_slice().len()];
        let plan = json::Plan::new(data.as_slice());
        json::extract(payload, &plan, &mut found).expect("the payload is JSON");
        let headers: Vec<Option<&str>> = headers
            .as_slice()
            .iter()
            .map(|name| (name == "x-id").then_some(HEADER))
            .collect();
        let event = Event {
            event_type: "Sold",
            id: Some("e-1"),
            key: Some("XYZ-1"),
            subject: None,
            source: None,
            time: 699_526_800_250_000,
            version: Some(5),
            topic: 0,
            topic_name: "t",
            partition: 2,
            offset: 41,
            timestamp: 0,
            headers: &headers,
            members: &found,
        };
        let env = Env {
            row: &self.cells[row],
            old: &[],
            lookups: &[],
            event: &event,
            item: &[],
            index: 0,
            arena: &arena,
        };
        match program.evaluate(&env, &mut Machine::new()) {
            Ok(value) => Answer::Value {
                // PostgreSQL's `pg_typeof` shows no modifier.
                ty: Type {
                    modifier: Modifier::None,
                    ..program.result()
                }
                .to_string(),
                text: to_text(value, &arena).map(str::to_owned),
            },
            Err(error) => Answer::Error {
                state: error.sqlstate().to_owned(),
                message: error.message().to_owned(),
            },
        }
    }
}

fn cells(row: &[Option<String>], columns: &[(String, Type)]) -> Vec<Cell> {
    let cell = |(text, (_, ty)): (&Option<String>, &(String, Type))| {
        let arena = Bump::new();
        text.as_ref().map_or(Cell::NULL, |text| {
            Cell::from_value(parse_text(text, ty, &arena).expect("a value's text"))
        })
    };
    row.iter().zip(columns).map(cell).collect()
}

/// Two columns of every type: a name says its type and number.
pub fn columns() -> Vec<(String, &'static str)> {
    let both =
        |(name, ty): &(&str, &'static str)| [(format!("{name}1"), *ty), (format!("{name}2"), *ty)];
    TYPES.iter().flat_map(both).collect()
}
