//! Differences that were found, and edges that ought to stay right, each with the answer of PostgreSQL 15.
//!
//! A line of `cases.tsv` is a name, an expression and the answer: a value's text, `null`, `!` and a SQLSTATE, or `~` and
//! PostgreSQL's answer where we refuse. `UPDATE_EXPECTED=1` writes what PostgreSQL answers now.

use std::fs;
use std::path::Path;

use super::generate::{Generator, Pair};
use super::world::World;
use super::{Answer, fresh_database, ours, postgres};

#[test]
fn named_cases_give_what_postgresql_gives() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expressions/cases.tsv");
    let text = fs::read_to_string(&path).unwrap();
    let world = World::new(&mut Generator::new(1));
    let mut oracle = postgres::Oracle::connect(&fresh_database(), &world);
    let cases: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    let pairs: Vec<(Pair, usize)> = cases.iter().map(|case| (Pair::same(case[1]), 0)).collect();
    let mut made = String::new();
    for (case, theirs) in cases.iter().zip(oracle.ask(&pairs)) {
        let own = ours(&Pair::same(case[1]), 0, &world);
        let refused = match &own {
            Answer::Refused { code, .. } => code.starts_with("unsupported"),
            Answer::Error { state, .. } => state == "0A000",
            Answer::Value { .. } => false,
        };
        let alike = match (&own, &theirs) {
            // What is always an error is one at load.
            (Answer::Refused { .. }, Answer::Error { .. }) => true,
            (Answer::Error { state, .. }, Answer::Error { state: other, .. }) => state == other,
            (own, theirs) => own == theirs,
        };
        assert!(alike || refused, "{}: {own:?} {theirs:?}", case[0]);
        let answer = match theirs {
            Answer::Value { text, .. } => text.map_or("null".to_owned(), |text| escaped(&text)),
            Answer::Error { state, .. } => format!("!{state}"),
            Answer::Refused { .. } => unreachable!("PostgreSQL refuses nothing at load"),
        };
        let mark = if refused && !alike { "~" } else { "" };
        made.push_str(&format!("{}\t{}\t{mark}{answer}\n", case[0], case[1]));
    }
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&path, made).unwrap();
    } else {
        assert_eq!(
            made, text,
            "PostgreSQL answers otherwise than when this was written"
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('\t', "\\t")
}
