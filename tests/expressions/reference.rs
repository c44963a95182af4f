//! The tables of `docs/expressions.md`, made of what the program has; every example in them is computed by both sides.
//! `UPDATE_EXPECTED=1` rewrites the tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use consolidator::expression::cast::{Context, context};
use consolidator::expression::parse_type;
use consolidator::expression::reference::{Builtin, builtins};

use super::generate::{Generator, Pair};
use super::world::World;
use super::{Answer, fresh_database, ours, postgres};

const EXAMPLES: &str = include_str!("examples.tsv");
const BEGIN: &str = "<!-- begin: made by tests/expressions/reference.rs -->\n";
const END: &str = "<!-- end -->\n";

/// The types of the casts' table.
const CAST_TYPES: &[&str] = &[
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "numeric",
    "text",
    "varchar",
    "uuid",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "interval",
    "jsonb",
    "bytea",
];

struct Example {
    group: &'static str,
    /// `op`, `fn` or `form`.
    kind: &'static str,
    name: &'static str,
    text: &'static str,
    note: &'static str,
}

#[test]
fn every_operator_and_function_has_an_example_and_no_other_name_has() {
    let has: Vec<(bool, &str)> = examples()
        .iter()
        .filter(|example| example.kind != "form")
        .map(|example| (example.kind == "op", example.name))
        .collect();
    let all: Vec<(bool, &str)> = builtins().iter().map(|b| (b.is_operator, b.name)).collect();
    let missing: Vec<_> = all.iter().filter(|name| !has.contains(name)).collect();
    let unknown: Vec<_> = has.iter().filter(|name| !all.contains(name)).collect();
    assert!(missing.is_empty(), "without an example: {missing:?}");
    assert!(unknown.is_empty(), "not there: {unknown:?}");
}

#[test]
fn every_example_gives_what_postgresql_gives() {
    let world = World::new(&mut Generator::new(1));
    let mut oracle = postgres::Oracle::connect(&fresh_database(), &world);
    let pair = |example: &Example| (Pair::same(example.text), 0);
    let pairs: Vec<(Pair, usize)> = examples().iter().map(pair).collect();
    for ((pair, row), theirs) in pairs.iter().zip(oracle.ask(&pairs)) {
        assert_eq!(ours(pair, *row, &world), theirs, "{}", pair.ours);
        let has_value = matches!(theirs, Answer::Value { .. });
        assert!(has_value, "{}: {theirs:?}", pair.ours);
    }
}

#[test]
fn the_documented_tables_are_what_the_program_has() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/expressions.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the beginning of the tables");
    let (_, after) = rest.split_once(END).expect("the end of the tables");
    let made = format!("{before}{BEGIN}{}\n{END}{after}", tables());
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&path, &made).unwrap();
    } else {
        assert!(
            made == text,
            "docs/expressions.md is not up to date: run this test with UPDATE_EXPECTED=1"
        );
    }
}

fn examples() -> Vec<Example> {
    let mut group = "";
    let mut found = Vec::new();
    for line in EXAMPLES.lines() {
        if let Some(name) = line.strip_prefix("# ") {
            group = name;
            continue;
        }
        let mut fields = line.split('\t');
        let mut next = || fields.next().unwrap_or_default();
        let (kind, name, text, note) = (next(), next(), next(), next());
        found.push(Example {
            group,
            kind,
            name,
            text,
            note,
        });
    }
    found
}

fn tables() -> String {
    let all = builtins();
    let world = World::new(&mut Generator::new(1));
    let examples = examples();
    let mut out = String::new();
    let mut groups: Vec<&str> = examples.iter().map(|example| example.group).collect();
    groups.dedup();
    for group in groups {
        let head = "| | types | example | gives |\n| --- | --- | --- | --- |";
        write!(out, "\n### {group}\n\n{head}\n").unwrap();
        let mut last = "";
        for example in examples.iter().filter(|example| example.group == group) {
            let repeated = last == example.name;
            last = example.name;
            let (name, types) = match (repeated, example.kind) {
                (true, _) => (String::new(), String::new()),
                (_, "form") => (code(example.name), String::new()),
                _ => (code(example.name), types(&all, example)),
            };
            let value = value_of(example, &world);
            let example_text = code(example.text);
            writeln!(out, "| {name} | {types} | {example_text} | {value} |").unwrap();
        }
    }
    out.push_str(&casts());
    out
}

fn value_of(example: &Example, world: &World) -> String {
    let Answer::Value { text, .. } = ours(&Pair::same(example.text), 0, world) else {
        panic!("{} has no value", example.text);
    };
    let shown = text.map_or("null".to_owned(), |text| code(&text.replace('\n', "⏎")));
    match example.note {
        "" => shown,
        note => format!("{shown} {note}"),
    }
}

/// The argument types of a name in the example's group, those with the same result together.
fn types(all: &[Builtin], example: &Example) -> String {
    let mut by_result: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let fits = |b: &&Builtin| b.is_operator == (example.kind == "op") && b.name == example.name;
    let group = example.group;
    let shown: Vec<&Builtin> = all
        .iter()
        .filter(fits)
        .filter(|b| belongs(b, group))
        .collect();
    if group == "Comparison" {
        return "any two of a kind → boolean".to_owned();
    }
    // The mixtures of six kinds of numbers say less than a word.
    if group == "Numbers" && shown.len() > 9 {
        return "numbers → the wider of the two".to_owned();
    }
    for builtin in shown {
        let optional = builtin.arguments.len() - builtin.defaults;
        let argument = |(at, ty): (usize, &String)| match at >= optional {
            true => format!("[{ty}]"),
            false => ty.clone(),
        };
        let mut arguments: Vec<String> =
            builtin.arguments.iter().enumerate().map(argument).collect();
        if builtin.variadic {
            arguments.push("…".to_owned());
        }
        let arguments = match arguments.as_slice() {
            [] => "nothing".to_owned(),
            list => list.join(", "),
        };
        by_result
            .entry(&builtin.result)
            .or_default()
            .push(arguments);
    }
    let lines: Vec<String> = by_result
        .iter()
        .map(|(result, arguments)| format!("{} → {result}", arguments.join(" / ")))
        .collect();
    lines.join("<br>")
}

/// A name that serves several kinds of types is shown in each group with its own.
fn belongs(builtin: &Builtin, group: &str) -> bool {
    let kind = |ty: &String| match ty.trim_end_matches("[]") {
        "smallint" | "integer" | "bigint" | "real" | "double precision" | "numeric" => "Numbers",
        "date" | "time" | "timestamp" | "timestamptz" | "interval" => "Dates and times",
        "bytea" => "Bytes",
        "jsonb" => "jsonb",
        "text" | "anynonarray" => "Text",
        ty if ty.starts_with("any") => "Arrays",
        _ => "",
    };
    let kinds: Vec<&str> = builtin.arguments.iter().map(kind).collect();
    // `double precision * interval` is of times, `jsonb - text` of jsonb.
    let groups = [
        "Dates and times",
        "jsonb",
        "Bytes",
        "Arrays",
        "Text",
        "Numbers",
    ];
    let own = groups.into_iter().find(|group| kinds.contains(group));
    let elsewhere = [
        "Arrays",
        "Numbers",
        "Text",
        "Bytes",
        "jsonb",
        "Dates and times",
    ]
    .into_iter()
    .filter(|other| *other != group)
    .any(|other| own == Some(other) && has_examples(builtin, other));
    !elsewhere
}

fn has_examples(builtin: &Builtin, group: &str) -> bool {
    let kind = if builtin.is_operator { "op" } else { "fn" };
    examples()
        .iter()
        .any(|e| e.group == group && e.kind == kind && e.name == builtin.name)
}

fn code(text: &str) -> String {
    match text {
        "" => "(empty)".to_owned(),
        text => format!("`{}`", text.replace('|', "\\|")),
    }
}

fn casts() -> String {
    let head = "| from | by itself | when stored in a column, or with `::` | only with `::` |\n| --- | --- | --- | --- |";
    let mut out = format!("\n### Which casts there are\n\n{head}\n");
    for from in CAST_TYPES {
        let mut kinds: [Vec<&str>; 3] = Default::default();
        for to in CAST_TYPES.iter().filter(|to| *to != from) {
            let [own, other] = [from, to].map(|ty| parse_type(ty).unwrap());
            match context(&own, &other) {
                Some(Context::Implicit) => kinds[0].push(to),
                Some(Context::Assignment) => kinds[1].push(to),
                Some(Context::Explicit) => kinds[2].push(to),
                None => {}
            }
        }
        let shown = kinds.map(|list| list.join(", "));
        writeln!(
            out,
            "| {from} | {} | {} | {} |",
            shown[0], shown[1], shown[2]
        )
        .unwrap();
    }
    out
}
