//! The rows, payloads and headers that expressions see, as cells for us and as tables for PostgreSQL.

use bumpalo::Bump;
use consolidator::event::{Event, Member, Path};
use consolidator::expression::cast::{parse_text, to_text};
use consolidator::expression::cell::Cell;
use consolidator::expression::jsonb_walk::{elements, members};
use consolidator::expression::value::{Modifier, Type};
use consolidator::expression::{Env, Machine, Names, Paths, Program, parse_type};

use super::Answer;
use super::generate::{Generator, TYPES};

const ROWS: usize = 40;
const HEADER: &str = "h-1";

pub struct World {
    /// By row and column: the value's text, or null.
    rows: Vec<Vec<Option<String>>>,
    payloads: Vec<String>,
}

impl World {
    pub fn new(generator: &mut Generator) -> World {
        let rows = (0..ROWS)
            .map(|_| {
                columns()
                    .iter()
                    .map(|(_, ty)| generator.column_value(ty))
                    .collect()
            })
            .collect();
        let payloads = (0..ROWS).map(|_| generator.payload()).collect();
        World { rows, payloads }
    }

    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    pub fn columns(&self) -> Vec<(String, Type)> {
        columns()
            .into_iter()
            .map(|(name, ty)| (name, parse_type(ty).expect("a type")))
            .collect()
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
        vec![
            format!("create temp table world (row_number int primary key, data jsonb, {})", definitions.join(", ")),
            format!("insert into world values {}", rows.join(", ")),
            "create temp table event (type text, id text, key text, time timestamptz, version bigint, partition int, \"offset\" bigint)".to_owned(),
            "insert into event values ('Sold', 'e-1', 'XYZ-1', '2022-03-02 09:00:00.25+00', 5, 2, 41)".to_owned(),
            format!("create temp table headers (\"x-id\" text, none text); insert into headers values ('{HEADER}', null)"),
            columns().iter().map(|(name, ty)| format!("create temp table target_{name} (c {ty});")).collect(),
            "create type pg_temp.answer as (state text, ty text, value text)".to_owned(),
            "create function pg_temp.try(q text) returns pg_temp.answer language plpgsql as $$
             declare a pg_temp.answer; begin execute q into a.ty, a.value; return a;
             exception when others then a.state := sqlstate; a.value := sqlerrm; return a; end $$"
                .to_owned(),
        ]
    }

    pub fn evaluate(&self, program: &Program, row: usize, data: &Paths, headers: &Names) -> Answer {
        let arena = Bump::new();
        let cells: Vec<Cell> = self.rows[row]
            .iter()
            .zip(self.columns())
            .map(|(text, (_, ty))| {
                text.as_ref().map_or(Cell::NULL, |t| {
                    Cell::from_value(parse_text(t, &ty, &arena).expect("a stored value"))
                })
            })
            .collect();
        let found: Vec<Member> = data
            .as_slice()
            .iter()
            .map(|path| member(&self.payloads[row], path))
            .collect();
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
            row: &cells,
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

/// Two columns of every type: a name says its type and number.
pub fn columns() -> Vec<(String, &'static str)> {
    let both =
        |(name, ty): &(&str, &'static str)| [(format!("{name}1"), *ty), (format!("{name}2"), *ty)];
    TYPES.iter().flat_map(both).collect()
}

fn member<'j>(json: &'j str, path: &Path) -> Member<'j> {
    let mut json = json;
    for step in &path.0 {
        let next = if json.starts_with('{') {
            // Of a repeated name the last one counts, as in jsonb.
            members(json)
                .filter(|(name, _)| name == step)
                .last()
                .map(|(_, value)| value)
        } else {
            step.parse::<usize>()
                .ok()
                .and_then(|index| elements(json).nth(index))
        };
        match next {
            Some(next) => json = next,
            None => return Member::Missing,
        }
    }
    Member::Json(json)
}
