//! docs/runbook.md knows everything that the program may say of what stands still, and every alert. Compared with the sources:
//! whoever gives a new reason writes what to do about it.

use std::fs;

use crate::support::root;
use crate::tidy::rust_files;

/// Shorter pieces of a text would be found anywhere.
const PIECE_MIN: usize = 12;

#[test]
fn every_reason_to_wait_stop_or_hold_is_in_the_runbook() {
    let page = runbook();
    let mut reasons = Vec::new();
    for dir in ["src/worker", "src/rebuild"] {
        for file in rust_files(&root().join(dir)) {
            let code = fs::read_to_string(&file).unwrap();
            let code = code.split("#[cfg(test)]").next().unwrap();
            let texts = texts_after(
                code,
                &["reason: ", "reason = ", "Systemic(", "Blame::Program("],
            );
            let pieces = texts.iter().filter_map(|text| piece(text));
            reasons.extend(pieces.map(|text| (file.clone(), text)));
        }
    }
    assert!(reasons.len() > 12, "only {} reasons found", reasons.len());
    let missing: Vec<_> = reasons
        .iter()
        .filter(|(_, text)| !page.contains(text))
        .collect();
    assert!(missing.is_empty(), "not in the runbook: {missing:#?}");
}

#[test]
fn every_kind_of_error_that_is_waited_for_is_in_the_runbook() {
    let page = runbook();
    let policy = fs::read_to_string(root().join("src/worker/policy.rs")).unwrap();
    let (tables, _) = policy.split_once("#[cfg(test)]").unwrap();
    let mut hints = texts_after(
        tables,
        &["Action::Wait,", "Authentication => (", "Authorization => ("],
    );
    // Of Kafka's, those are told that a person has to do with.
    hints.extend(texts_after(tables, &["=> (\n            true,"]));
    assert!(hints.len() >= 10, "only {} hints found", hints.len());
    let pieces = hints.iter().filter_map(|text| piece(text));
    let missing: Vec<_> = pieces.filter(|text| !page.contains(text)).collect();
    assert!(missing.is_empty(), "not in the runbook: {missing:#?}");
}

fn runbook() -> String {
    let page = fs::read_to_string(root().join("docs/runbook.md")).unwrap();
    page.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The string literals that stand behind one of the words, `format!` and the like in between.
fn texts_after(code: &str, words: &[&str]) -> Vec<String> {
    let mut texts = Vec::new();
    for word in words {
        for (place, _) in code.match_indices(word) {
            let rest = code[place + word.len()..].trim_start();
            let rest = ["true,", "false,", "Some(", "format!("]
                .iter()
                .fold(rest, |rest, wrap| {
                    rest.strip_prefix(wrap).map_or(rest, str::trim_start)
                });
            let text = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'));
            texts.extend(text.map(|(text, _)| text.to_owned()));
        }
    }
    texts
}

/// The first that says something, of what stands between the places of values.
fn piece(text: &str) -> Option<String> {
    let mut pieces = text
        .split(['{', '}', '\\', '`', ';', ':', '(', ')'])
        .map(str::trim);
    let piece = pieces.find(|piece| piece.len() >= PIECE_MIN)?;
    Some(piece.trim_end_matches(['.', ',']).to_owned())
}
