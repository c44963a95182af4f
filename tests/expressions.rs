//! PostgreSQL as the oracle of the fold language: generated expressions, as text that is not fully parenthesised, are
//! evaluated here and there and compared, value or error, with their types.
//!
//! `CONSOLIDATOR_TEST_EXPRESSIONS` says how many, `CONSOLIDATOR_TEST_SEED` repeats a run.

mod cases;
mod coverage;
mod generate;
mod payload;
mod postgres;
mod random;
mod records;
mod reference;
mod samples;
mod values;
mod world;

use consolidator::expression::{Names, Paths, Program, Scope, compile, parse_type};

use crate::support::database::Database;
use crate::support::{postgres_url, setting};
use coverage::{Coverage, Piece};
use generate::{Generator, Pair};
use world::World;

/// Expressions per statement sent to PostgreSQL.
const CHUNK: usize = 500;

/// What one side says about an expression and a row.
#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Value {
        ty: String,
        text: Option<String>,
    },
    Error {
        state: String,
        message: String,
    },
    /// Refused at load.
    Refused {
        code: String,
        message: String,
    },
}

#[test]
fn generated_expressions_give_what_postgresql_gives() {
    let count = setting("CONSOLIDATOR_TEST_EXPRESSIONS").unwrap_or(20_000) as usize;
    let seed = seed();
    eprintln!("seed {seed}, {count} expressions");
    let mut generator = Generator::new(seed);
    let world = World::new(&mut generator);
    let mut oracle = postgres::Oracle::connect(&fresh_database(), &world);
    let mut tally = Tally::default();
    let mut done = 0;
    while done < count {
        let (pairs, pieces): (Vec<(Pair, usize)>, Vec<Vec<Piece>>) = (0..CHUNK)
            .map(|_| {
                let pair = generator.expression();
                let row = generator.random.below(world.rows());
                ((pair, row), generator.take_pieces())
            })
            .unzip();
        let theirs = oracle.ask(&pairs);
        for (((pair, row), pieces), theirs) in pairs.iter().zip(pieces).zip(theirs) {
            tally.judge(pair, *row, pieces, ours(pair, *row, &world), theirs);
        }
        done += CHUNK;
    }
    tally.report(seed);
    let all = generator.all_pieces();
    tally.coverage.report(&all, generator.builtins(), count);
}

fn seed() -> u64 {
    setting("CONSOLIDATOR_TEST_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()))
}

/// A database that no other test sees; these tests need no Kafka.
fn fresh_database() -> String {
    let name = format!("expressions_{:06x}", rand::random_range(0..1 << 24));
    Database::at(&postgres_url("postgres")).execute(&format!("create database {name}"));
    postgres_url(&name)
}

fn ours(pair: &Pair, row: usize, world: &World) -> Answer {
    compiled(pair, world, |program, data, headers| {
        world.evaluate(program, row, world.payload(row), data, headers)
    })
}

/// Beside the first row, with another payload.
fn with_payload(pair: &Pair, payload: &str, world: &World) -> Answer {
    compiled(pair, world, |program, data, headers| {
        world.evaluate(program, 0, payload, data, headers)
    })
}

fn compiled(
    pair: &Pair,
    world: &World,
    evaluate: impl FnOnce(&Program, &Paths, &Names) -> Answer,
) -> Answer {
    let (mut data, mut headers) = (Paths::new(), Names::new());
    let mut scope = Scope {
        columns: world.columns(),
        old: false,
        lookups: &[],
        item: None,
        data: &mut data,
        headers: &mut headers,
    };
    let target = pair.target.map(|(_, ty)| parse_type(ty).expect("a type"));
    match compile(&pair.ours, &mut scope, target) {
        Ok(program) => evaluate(&program, &data, &headers),
        Err(problems) => Answer::Refused {
            code: problems[0].code.to_owned(),
            message: problems[0].message.clone(),
        },
    }
}

#[derive(Default)]
struct Tally {
    same_value: usize,
    same_error: usize,
    other_state: Vec<String>,
    unsupported: std::collections::BTreeMap<String, usize>,
    wrong: Vec<String>,
    coverage: Coverage,
}

impl Tally {
    fn judge(&mut self, pair: &Pair, row: usize, pieces: Vec<Piece>, ours: Answer, theirs: Answer) {
        let line = || {
            format!(
                "row {row}: {} -> {:?}\n     pg: {}\n   ours: {ours:?}\n theirs: {theirs:?}",
                pair.ours, pair.target, pair.theirs
            )
        };
        match (&ours, &theirs) {
            (
                Answer::Value { ty, text },
                Answer::Value {
                    ty: their_type,
                    text: their_text,
                },
            ) if text == their_text && (ty == their_type || their_type == "unknown") => {
                self.same_value += 1;
                self.coverage.had_value(pieces, ty);
            }
            // What the language leaves out: no value is not another value.
            (Answer::Refused { code, message }, Answer::Value { .. })
                if code.starts_with("unsupported") =>
            {
                *self.unsupported.entry(message.clone()).or_default() += 1;
            }
            (Answer::Error { state, message }, Answer::Value { .. }) if state == "0A000" => {
                *self.unsupported.entry(message.clone()).or_default() += 1;
            }
            (Answer::Error { state, .. }, Answer::Error { state: other, .. }) => {
                self.same_error += 1;
                if state != other && state != "0A000" {
                    self.other_state.push(line());
                }
            }
            (Answer::Refused { .. }, Answer::Error { .. }) => self.same_error += 1,
            _ => self.wrong.push(line()),
        }
    }

    fn report(&self, seed: u64) {
        eprintln!(
            "{} equal values, {} errors on both sides",
            self.same_value, self.same_error
        );
        eprintln!("{} errors of another SQLSTATE", self.other_state.len());
        let left_out: usize = self.unsupported.values().sum();
        eprintln!(
            "{left_out} of {} kinds that the language leaves out",
            self.unsupported.len()
        );
        let verbose = std::env::var("CONSOLIDATOR_TEST_VERBOSE").is_ok();
        if verbose {
            for (message, count) in &self.unsupported {
                eprintln!("{count:6} unsupported: {message}");
            }
            for line in self.other_state.iter().take(60) {
                eprintln!("{line}\n");
            }
        }
        for line in self.wrong.iter().take(25) {
            eprintln!("{line}\n");
        }
        assert!(
            self.wrong.is_empty(),
            "{} differ; repeat with CONSOLIDATOR_TEST_SEED={seed}",
            self.wrong.len()
        );
        assert!(self.same_value > 0, "no expression had a value");
    }
}
