//! The rules of the house that a machine can check, on the source text. Needs no server.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::root;

/// Modules that take values and give values, so that a replay gives what live gave.
const PURE: [&str; 4] = ["definition", "expression", "event", "fold"];
/// Words of the world outside.
const IMPURE_WORDS: [&str; 12] = [
    "rdkafka",
    "sqlx",
    "tokio",
    "std::env",
    "env::var",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "thread::sleep",
    "crate::source",
    "crate::store",
];
/// Past these a file or function is a sign of drift: it is listed.
const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
/// Past these it is an error.
const FILE_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 100;

/// Functions that are one flat `match` and are read best in one piece.
const FLAT: [&str; 1] = ["expression/machine.rs: fn steps"];

/// A source file, its tests and comments apart.
struct Source {
    /// Relative to `src`, like `store/lane.rs`.
    path: String,
    text: String,
    /// Without comments, and without what follows `#[cfg(test)]`.
    code: String,
}

#[test]
fn the_fold_and_what_it_needs_know_no_kafka_sql_clock_or_environment() {
    let mut found = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| PURE.contains(&source.module()))
    {
        found.extend(source.lines_with(&IMPURE_WORDS));
    }
    assert_none(&found);
}

#[test]
fn only_the_source_and_the_demonstration_name_rdkafka() {
    assert_only(&["source", "demo"], &["rdkafka::", "rdkafka_sys"]);
}

#[test]
fn only_the_store_names_sqlx() {
    assert_only(&["store"], &["sqlx::"]);
}

#[test]
fn source_and_store_never_import_each_other() {
    let mut found = Vec::new();
    for source in sources() {
        match source.module() {
            "source" => found.extend(source.lines_with(&["crate::store"])),
            "store" => found.extend(source.lines_with(&["crate::source"])),
            _ => {}
        }
    }
    assert_none(&found);
}

#[test]
fn nobody_imports_the_command_line_or_the_demonstration() {
    assert_only(&["cli", "main.rs"], &["crate::cli", "consolidator::cli"]);
    assert_only(
        &["cli", "demo", "main.rs"],
        &["crate::demo", "consolidator::demo"],
    );
}

#[test]
fn every_file_opens_by_saying_what_it_owns() {
    let sources = sources();
    let silent = sources
        .iter()
        .filter(|source| !source.text.starts_with("//! "));
    let silent: Vec<String> = silent.map(|source| source.path.clone()).collect();
    assert_none(&silent);
}

#[test]
fn nothing_is_left_to_be_done() {
    // Put together here, so that this file does not find itself.
    let words = ["todo", "unimplemented"].map(|word| format!("{word}!("));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    for source in sources() {
        found.extend(source.lines_with(&words));
        found.extend(source.lines_with(&["dbg!("]));
    }
    assert_none(&found);
}

#[test]
fn tests_never_sleep() {
    let mut found = Vec::new();
    for file in rust_files(&root().join("tests")) {
        let waits = file.ends_with("support/wait.rs") || file.ends_with("tidy.rs");
        let text = fs::read_to_string(&file).unwrap();
        if !waits && (text.contains("thread::sleep") || text.contains("time::sleep")) {
            found.push(file.display().to_string());
        }
    }
    assert_none(&found);
}

#[test]
fn files_and_functions_fit_on_a_screen() {
    let mut too_long = Vec::new();
    for source in sources() {
        let lines = source.code.lines().count();
        note(
            &mut too_long,
            &source.path,
            lines,
            FILE_LINES,
            FILE_LINES_MAX,
        );
        for (name, lines) in functions(&source.code) {
            let place = format!("{}: fn {name}", source.path);
            let max = if FLAT.contains(&place.as_str()) {
                usize::MAX
            } else {
                FUNCTION_LINES_MAX
            };
            note(&mut too_long, &place, lines, FUNCTION_LINES, max);
        }
    }
    assert_none(&too_long);
}

#[test]
fn the_length_of_a_function_is_counted_from_its_head_to_its_brace() {
    let code =
        "impl A {\n    pub fn b(\n        c: i32,\n    ) {\n        d();\n    }\n}\nfn e() {}\n";
    assert_eq!(functions(code), [("b".to_owned(), 5), ("e".to_owned(), 1)]);
}

/// Lists what is long, and collects what is too long.
fn note(too_long: &mut Vec<String>, place: &str, lines: usize, listed: usize, max: usize) {
    if lines > max {
        too_long.push(format!("{place} has {lines} lines"));
    } else if lines > listed {
        println!("{place} has {lines} lines");
    }
}

/// Names of functions with their lengths in lines. Code is formatted, so a function ends with the first
/// brace that stands where its head began.
fn functions(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let lines: Vec<&str> = code.lines().collect();
    for (first, line) in lines.iter().enumerate() {
        let head = line.trim_start();
        let indent = &line[..line.len() - head.len()];
        let Some((before, after)) = head.split_once("fn ") else {
            continue;
        };
        let is_head = before.split_whitespace().all(|word| {
            word.starts_with("pub")
                || ["const", "async", "unsafe", "extern", "\"C\""].contains(&word)
        });
        if !is_head {
            continue;
        }
        let name: String = after
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let closing = format!("{indent}}}");
        let one_line = line.ends_with('}') || line.ends_with(';');
        let rest = lines[first..].iter().position(|line| *line == closing);
        found.push((
            name,
            if one_line {
                1
            } else {
                rest.map_or(1, |rest| rest + 1)
            },
        ));
    }
    found
}

fn assert_only(modules: &[&str], words: &[&str]) {
    let mut found = Vec::new();
    for source in sources() {
        if !modules.contains(&source.module()) {
            found.extend(source.lines_with(words));
        }
    }
    assert_none(&found);
}

fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

impl Source {
    /// The first part of the path: a folder or a file directly in `src`; `cli` for `cli.rs` too.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        match first {
            "main.rs" | "lib.rs" => first,
            other => other.trim_end_matches(".rs"),
        }
    }

    fn lines_with(&self, words: &[&str]) -> Vec<String> {
        let has = |line: &&str| words.iter().any(|word| line.contains(word));
        let lines = self.code.lines().filter(has);
        lines
            .map(|line| format!("{}: {}", self.path, line.trim()))
            .collect()
    }
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let source = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap();
        let path = file.strip_prefix(&src).unwrap().display().to_string();
        let is_test = path.ends_with("tests.rs") || path.contains("/tests/");
        let product = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let lines = product
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code = lines.map(|line| format!("{line}\n")).collect();
        (!is_test).then_some(Source { path, text, code })
    };
    rust_files(&src).into_iter().filter_map(source).collect()
}

pub fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
