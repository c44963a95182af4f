//! Definitions as their authors meet them: each case of `tests/definitions/` is a definition and what `lint` says about it;
//! samples are in order. Offline. `UPDATE_EXPECTED=1` writes what is said now.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::worker::run_command;
use consolidator::definition::{self, Severity, testing};

#[test]
fn every_case_gets_the_diagnostics_that_stand_beside_it() {
    let mut wrong = Vec::new();
    let cases = files("tests/definitions", "yaml");
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    for case in cases {
        let text = fs::read_to_string(&case).unwrap();
        let name = case.file_name().unwrap().to_string_lossy();
        let loaded = definition::load(&name, &text);
        let errors = loaded
            .diagnostics
            .iter()
            .any(|found| found.severity == Severity::Error);
        assert_eq!(
            loaded.projection.is_none(),
            errors,
            "{name}: a projection exactly if there is no error"
        );
        let said: String = loaded
            .diagnostics
            .iter()
            .map(|found| found.render(false))
            .collect();
        let expected = case.with_extension("txt");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &said).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != said {
            wrong.push(format!("--- {} should say\n{said}", expected.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every code, with the first two cases that show it. `UPDATE_EXPECTED=1` writes it anew.
#[test]
fn every_message_stands_in_the_documentation() {
    let mut by_code: BTreeMap<(Severity, &str), Vec<String>> = BTreeMap::new();
    for case in files("tests/definitions", "yaml") {
        let text = fs::read_to_string(&case).unwrap();
        let name = case.file_name().unwrap().to_string_lossy();
        for found in definition::load(&name, &text).diagnostics {
            let known = by_code.entry((found.severity, found.code)).or_default();
            let shown = found.render(false);
            let from = shown.find(&found.message).unwrap();
            // The same words about another name tell nothing new.
            let words = |text: &str| text.split('`').step_by(2).collect::<String>();
            if known.len() < EXAMPLES_SHOWN
                && known
                    .iter()
                    .all(|other| words(other) != words(&shown[from..]))
            {
                known.push(shown[from..].to_owned());
            }
        }
    }
    let mut page = ERRORS_HEAD.to_owned();
    let mut severity = None;
    for ((of_code, code), examples) in by_code {
        if severity.replace(of_code) != Some(of_code) {
            page += match of_code {
                Severity::Error => "\n## Errors\n",
                Severity::Warning => "\n## Warnings\n",
            };
        }
        page += &format!("\n### {code}\n");
        for example in examples {
            page += &format!("\n```text\n{}\n```\n", example.trim_end());
        }
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&file, &page).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(
        written, page,
        "docs/errors.md is not what the cases say: UPDATE_EXPECTED=1"
    );
}

const EXAMPLES_SHOWN: usize = 3;

const ERRORS_HEAD: &str = "\
# What `lint` says

Every code that a problem of a definition may have, with examples: what is said, the line it is said about, and what to do about it.
In the terminal the file, line and column stand before it. Errors keep a definition from being used; warnings change nothing.
With `--json` each problem is one object with `severity`, `code`, `file`, `line`, `column`, `end_line`, `end_column`, `message` and
`hint`; with `--github` it is shown on its line of a pull request.

<!-- Made from the cases in tests/definitions by a test: UPDATE_EXPECTED=1 cargo test --test integration -- every_message -->
";

#[test]
fn samples_have_no_errors_and_pass_their_tests() {
    for path in files("projections", "yaml") {
        let name = path.display().to_string();
        assert_in_order(&name, &fs::read_to_string(&path).unwrap());
    }
}

fn assert_in_order(name: &str, text: &str) {
    let loaded = definition::load(name, text);
    let errors = loaded
        .diagnostics
        .iter()
        .filter(|found| found.severity == Severity::Error);
    let said: String = errors.map(|found| found.render(false)).collect();
    assert!(said.is_empty(), "{said}");
    let projection = Arc::new(loaded.projection.unwrap());
    for case in &loaded.tests {
        if let Some(failure) = testing::run(&projection, case).failures.first() {
            panic!(
                "{name}:{}: {}: {}\n{}",
                failure.line, case.name, failure.message, failure.detail
            );
        }
    }
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    files
}

#[test]
fn what_readers_see_besides_rows_needs_no_rebuild() {
    let base = "projection: p\nfrom: t\ntables:\n  rows:\n    key:\n      id: text\n    columns:\n      n: bigint not null default 0\n    rules:\n      A:\n        set: n = n + data.n\n";
    let fingerprint = |text: &str| {
        let loaded = definition::load("p.yaml", text);
        assert!(
            loaded.projection.is_some(),
            "{text}: {:?}",
            loaded.diagnostics
        );
        loaded.projection.unwrap().fold_fingerprint
    };
    for same in [
        base.replace(
            "from: t",
            "description: said\non_error: stop\nfrom: { topic: t, ignore: [B] }",
        ),
        base.replace("    key:\n", "    comment: said\n    key:\n"),
        base.replace("id: text", "id: text = event.key   # spelt out"),
        base.replace("set: n = n + data.n", "set: { n:   n  +  data.n }"),
        format!(
            "{base}    indexes:\n      - {{ columns: [n] }}\nviews:\n  v: select id from rows\n"
        ),
    ] {
        assert_eq!(fingerprint(&same), fingerprint(base), "{same}");
    }
    for other in [
        base.replace("from: t", "from: u"),
        base.replace("from: t", "from: { topic: t, envelope: none }"),
        base.replace("      A:", "      A, B:"),
        base.replace("n + data.n", "n - data.n"),
        base.replace("default 0", "default 1"),
        base.replace("n: bigint not null", "n: bigint"),
        base.replace("id: text", "id: text = data.id"),
        base.replace("        set:", "        if_missing: skip\n        set:"),
        base.replace("        set:", "        when: n > 1\n        set:"),
    ] {
        assert_ne!(fingerprint(&other), fingerprint(base), "{other}");
    }
}

#[test]
fn a_table_is_owned_if_every_rule_has_the_event_key_as_it_stands_in_its_key() {
    let owned = |key: &str, rule_key: &str| {
        let text = format!(
            "projection: p\nfrom: t\ntables:\n  rows:\n    key:\n{key}    columns:\n      n: bigint\n    rules:\n      A:\n        set: n = 1\n      B:\n{rule_key}        set: n = 2\n"
        );
        let loaded = definition::load("p.yaml", &text);
        loaded.projection.expect("no errors").tables[0].owned
    };
    assert!(owned("      id: text\n", ""));
    assert!(owned(
        "      id: text = event.key\n      day: date = event.time::date\n",
        ""
    ));
    assert!(!owned("      id: text = data.id\n", ""));
    assert!(!owned("      id: text = event.key || 'x'\n", ""));
    assert!(!owned("      id: text\n", "        key: id = data.other\n"));
}

#[test]
fn a_failing_test_says_where_and_what_differs() {
    let text = "projection: p\nfrom: t\ntables:\n  rows:\n    key:\n      id: text\n    columns:\n      n: bigint not null default 0\n    rules:\n      A:\n        set: n = n + data.n\ntests:\n  - name: wrong\n    given:\n      - { type: A, key: k, data: { n: 1 } }\n      - { type: A, key: l, data: { n: x } }\n      - { type: A, key: m, data: { n: 1 } }\n    fails: [1]\n    then:\n      rows:\n        - { id: k, n: 2 }\n        - { id: z }\n";
    let loaded = definition::load("p.yaml", text);
    let projection = Arc::new(loaded.projection.expect("no errors"));
    let result = testing::run(&projection, &loaded.tests[0]);
    let said: Vec<String> = result
        .failures
        .iter()
        .map(|f| format!("{}: {}\n{}", f.line, f.message, f.detail))
        .collect();
    assert_eq!(
        said,
        [
            "15: given event 1 should fail, and was applied\n",
            "16: given event 2 failed: table rows, rule A (line 11), set n: invalid input syntax for type bigint: \"x\" (22P02)\n",
            "21: table rows: the row differs (- expected, + actual)\n  id: k\n- n: 2\n+ n: 1\n",
            "22: table rows: there is no such row\n- id: z\n",
            "21: table rows: there is a row that no expected row describes\n+ id: m\n+ n: 1\n",
        ]
    );
}

#[test]
fn tests_may_stand_in_a_file_beside_and_what_none_reaches_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let definition = "\
projection: p
from: t
tables:
  rows:
    key:
      id: text
    columns:
      state: text not null default 'new'
    rules:
      A:
        set: |
          state = case data.kind
            when 'x' then 'is x'
            when 'y' then 'is y'
            else 'other' end
      B:
        when: state = 'never'
        set: state = case when data.on::boolean then 'on' end
      C:
        key: id = event.key
        delete: true
";
    let tests = "\
tests:
  - name: kinds
    given:
      - { type: A, key: k, data: { kind: x } }
      - { type: A, key: l, data: { kind: z } }
      - { type: B, key: k, data: { on: true } }
      - { type: C, key: l }
    then:
      rows:
        - { id: k, state: is y }
";
    fs::write(folder.path().join("p.yaml"), definition).unwrap();
    let run = |tests: &str| {
        fs::write(folder.path().join("p.test.yaml"), tests).unwrap();
        let output = run_command(folder.path(), &["test", "."]);
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), said)
    };
    let (status, said) = run(tests);
    assert_eq!(status, Some(1));
    assert_eq!(
        said,
        "\
FAILED  p: kinds
./p.test.yaml:10:1: error[test-failed]: table rows: the row differs (- expected, + actual)
      id: k
    - state: is y
    + state: is x

./p.yaml:14:27: warning[uncovered-branch]: no test takes this branch
  14 |             when 'y' then 'is y'
     |                           ^^^^^^

./p.yaml:17:9: warning[uncovered-rule]: no test lets `B` do anything to a row of `rows`
  17 |         when: state = 'never'
     |         ^

./p.yaml:18:54: warning[uncovered-branch]: no test takes this branch
  18 |         set: state = case when data.on::boolean then 'on' end
     |                                                      ^^^^

0 tests passed, 1 failed; 2 of 3 rules, 2 of 4 branches of case reached
"
    );
    let (status, said) = run(&tests.replace("is y }", "is x }"));
    assert_eq!(status, Some(0), "{said}");
    assert!(said.starts_with("ok      p: kinds\n"), "{said}");
    let (status, said) = run("tests: []\nmore: 1\n");
    assert_eq!(status, Some(1), "{said}");
    let place = "./p.test.yaml:2:1: error[unknown-key]: a file of tests has no key `more`";
    assert!(said.starts_with(place), "{said}");
}

#[test]
fn a_name_belongs_to_one_file_only() {
    let folder = tempfile::tempdir().unwrap();
    let text = "projection: p\nfrom: t\ntables:\n  rows:\n    key:\n      id: text\n    rules:\n      A: { delete: true }\n";
    fs::write(folder.path().join("a.yaml"), text).unwrap();
    fs::write(
        folder.path().join("b.yaml"),
        text.replace("projection: p", "projection: q"),
    )
    .unwrap();
    fs::write(folder.path().join("c.yaml"), b"projection: \xff").unwrap();
    let files = definition::files::load_files(&[folder.path().to_owned()]).unwrap();
    let codes: Vec<Vec<&str>> = files
        .iter()
        .map(|file| {
            let errors = file
                .loaded
                .diagnostics
                .iter()
                .filter(|found| found.severity == Severity::Error);
            errors.map(|found| found.code).collect()
        })
        .collect();
    assert_eq!(codes, [vec![], vec!["duplicate-name"], vec!["not-utf8"]]);
    assert!(definition::files::load_files(&[folder.path().join("none.yaml")]).is_err());
}

#[test]
fn hostile_files_are_refused_in_bounded_time() {
    let head = "projection: p\nfrom: t\ntables:\n  rows:\n    key:\n      id: text\n";
    let many = |line: &dyn Fn(usize) -> String| (0..).map(line).take(40_000).collect::<String>();
    let columns = many(&|n| format!("      c{n}: bigint\n"));
    let files = [
        format!("{head}    columns:\n{columns}    rules:\n      A: {{ delete: true }}\n"),
        format!(
            "{head}    rules:\n      A:\n        set:\n{}",
            many(&|n| format!("          x{n}: y\n"))
        ),
        format!(
            "{head}    rules:\n{}",
            many(&|n| format!("      A{n}: {{ st: y }}\n"))
        ),
        format!(
            "{head}    rules:\n      A:\n        set: {}\n",
            many(&|_| "a = 1,".to_owned())
        ),
        format!(
            "{head}    rules:\n      A:\n        set: id = {}\n",
            "(".repeat(500_000)
        ),
        format!(
            "{head}    rules:\n      A:\n        when: {}\n",
            "not ".repeat(200_000)
        ),
        format!(
            "{head}    rules:\n      A:\n        set: \"{}\"\n",
            "\\u0061 ".repeat(100_000)
        ),
        format!("projection: {}\n", "x".repeat(1_000_000)),
        format!("{head}views:\n  v: select {}\n", "(".repeat(500_000)),
        "{".repeat(500_000),
        "a: [".repeat(200_000),
        "- ".repeat(400_000),
        "? ".repeat(400_000),
    ];
    for text in files {
        let started = std::time::Instant::now();
        let loaded = definition::load("hostile.yaml", &text);
        assert!(loaded.projection.is_none());
        assert!(loaded.diagnostics.len() <= 200);
        let seconds = started.elapsed().as_secs_f32();
        assert!(
            seconds < 20.0,
            "{seconds} s for {}",
            &text[..120.min(text.len())]
        );
        eprintln!(
            "{seconds:6.2} s  {:?}",
            loaded.diagnostics[0]
                .message
                .chars()
                .take(80)
                .collect::<String>()
        );
    }
}

#[test]
fn line_ends_of_windows_and_a_byte_order_mark_change_nothing() {
    let text = "projection: p\nfrom: t\ntables:\n  rows:\n    key:\n      id: text\n    columns:\n      n: \"bigint\"\n    rules:\n      A:\n        set: |\n          n = 1 +\n            m\n";
    let places = |text: &str| {
        let found = definition::load("p.yaml", text).diagnostics;
        found
            .iter()
            .map(|found| (found.code, found.line, found.column))
            .collect::<Vec<_>>()
    };
    assert_eq!(places(text), [("unknown-column", 13, 13)]);
    assert_eq!(places(&text.replace('\n', "\r\n")), places(text));
    assert_eq!(places(&format!("\u{feff}{text}")), places(text));
}
