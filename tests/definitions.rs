//! Definitions as their authors meet them: each case of `tests/definitions/` is a definition and what `lint` says about it;
//! samples and documented definitions are in order. Offline. `UPDATE_EXPECTED=1` writes what is said now.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

#[test]
fn samples_have_no_errors_and_pass_their_tests() {
    for path in files("projections", "yaml") {
        let name = path.display().to_string();
        assert_in_order(&name, &fs::read_to_string(&path).unwrap());
    }
}

#[test]
fn documented_definitions_have_no_errors_and_pass_their_tests() {
    for path in files("docs", "md") {
        let text = fs::read_to_string(&path).unwrap();
        for (index, block) in text.split("```yaml\n").skip(1).enumerate() {
            let block = block.split("```").next().unwrap();
            if block.starts_with("projection:") {
                assert_in_order(&format!("{} block {}", path.display(), index + 1), block);
            }
        }
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
        for failure in testing::run(&projection, case).failures {
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
