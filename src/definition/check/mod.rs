//! A definition as written to a projection as meant: names, types and expressions are checked and compiled here, and
//! nowhere else. Knows nothing of YAML.

mod compile;
mod declared;
mod envelope;
mod lookup;
pub mod names;
mod query;
mod rule;
mod table;

use std::collections::HashMap;
use std::ops::Range;

use super::diagnostic::{Report, did_you_mean};
use super::file::{DeduplicateFile, ProjectionFile, ViewFile};
use super::fingerprint;
use super::projection::{Deduplicate, OnError, Projection, View};
use super::source::Text;
use compile::{Compiler, Reads};

/// Tables of a definition.
pub const TABLES_MAX: usize = 1_000;
/// Rules of a table.
pub const RULES_MAX: usize = 10_000;

/// Checks a whole definition. `None` if the report has errors. `traced`: its expressions note which branches they take.
pub fn check(report: &mut Report<'_>, file: &ProjectionFile, traced: bool) -> Option<Projection> {
    if let Some(name) = &file.name {
        names::check(report, name, "projection");
    }
    let mut compiler = Compiler::new(traced);
    let topics = envelope::topics(report, &mut compiler, &file.topics);
    check_unique_names(report, file);
    if file.tables.is_empty() && file.name.is_some() && !report.has_errors() {
        report.error(0..0, "missing-key", "a definition needs at least one table");
    }
    check_counts(report, file);
    let drafts = file.tables.iter();
    let drafts: Vec<_> = drafts
        .map(|table| table::draft(report, &file.topics, table))
        .collect();
    let sound = drafts.iter().flatten();
    let mut tables: Vec<_> = sound
        .map(|draft| table::table(report, &mut compiler, draft, &drafts))
        .collect();
    let views = file
        .views
        .iter()
        .filter_map(|file| view(report, file))
        .collect();
    let on_error = on_error(report, file.on_error.as_ref());
    let deduplicate = file
        .deduplicate
        .as_ref()
        .and_then(|file| deduplicate(report, &mut compiler, file));
    if report.has_errors() {
        return None;
    }
    table::share_looked_up(&mut tables);
    let (paths, header_names) = compiler.into_slots();
    Some(Projection {
        name: file.name.as_ref()?.text.clone(),
        description: file.description.as_ref().map(|text| text.text.clone()),
        text: report.source.text.to_owned(),
        fold_fingerprint: fingerprint::of_fold(file, &topics, &tables),
        text_fingerprint: fingerprint::of_text(report.source.text),
        topics,
        tables,
        views,
        on_error,
        deduplicate,
        paths,
        header_names,
    })
}

/// Something that the design has a place for and this version has not.
pub(super) fn not_supported_yet(report: &mut Report<'_>, span: Range<usize>, what: &str) {
    report
        .error(
            span,
            "not-supported-yet",
            format!("{what} is not supported yet"),
        )
        .hint("it is refused so that nothing in the file is silently ignored");
}

/// A word out of a closed list.
pub(super) fn one_of<T: Copy>(
    report: &mut Report<'_>,
    text: &Text,
    what: &str,
    words: &[(&str, T)],
) -> Option<T> {
    let found = words.iter().find(|(word, _)| *word == text.text);
    if found.is_none() {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        report
            .error(
                text.span.clone(),
                "unknown-word",
                format!("`{}` is no {what}", text.text),
            )
            .hint(format!("{what} is one of {}", known.join(", ")))
            .maybe_hint(did_you_mean(&text.text, &known));
    }
    found.map(|(_, meaning)| *meaning)
}

fn check_counts(report: &mut Report<'_>, file: &ProjectionFile) {
    if let Some(table) = file.tables.get(TABLES_MAX) {
        let message = format!("a definition has at most {TABLES_MAX} tables");
        report.error(table.name.span.clone(), "too-many", message);
    }
    for rule in file
        .tables
        .iter()
        .filter_map(|table| table.rules.get(RULES_MAX))
    {
        report.error(
            rule.types.span.clone(),
            "too-many",
            format!("a table has at most {RULES_MAX} rules"),
        );
    }
}

/// Tables, their histories and views share one name space: the schema.
fn check_unique_names(report: &mut Report<'_>, file: &ProjectionFile) {
    let mut taken: HashMap<String, &'static str> = HashMap::new();
    for table in &file.tables {
        names::check(report, &table.name, "table");
        taken.insert(table.name.text.clone(), "a table");
    }
    for table in file.tables.iter().filter(|table| table.history.is_some()) {
        if let Some(what) = taken.insert(format!("{}_history", table.name.text), "a history") {
            report.error(
                table.name.span.clone(),
                "duplicate-name",
                format!(
                    "the history `{}_history` would have the name of {what}",
                    table.name.text
                ),
            );
        }
    }
    for view in &file.views {
        names::check(report, &view.name, "view");
        if let Some(what) = taken.insert(view.name.text.clone(), "a view") {
            report
                .error(
                    view.name.span.clone(),
                    "duplicate-name",
                    format!("the view `{}` has the name of {what}", view.name.text),
                )
                .hint("tables and views of a projection stand in one schema: rename one of them");
        }
    }
}

fn view(report: &mut Report<'_>, file: &ViewFile) -> Option<View> {
    query::check_view(report, &file.sql)?;
    Some(View {
        name: file.name.text.clone(),
        sql: file.sql.text.clone(),
        comment: file.comment.clone(),
    })
}

fn on_error(report: &mut Report<'_>, text: Option<&Text>) -> OnError {
    const WORDS: &[(&str, OnError)] = &[
        ("stop", OnError::Stop),
        ("skip", OnError::Skip),
        ("dead_letter", OnError::DeadLetter),
    ];
    text.and_then(|text| one_of(report, text, "value of `on_error`", WORDS))
        .unwrap_or(OnError::DeadLetter)
}

fn deduplicate(
    report: &mut Report<'_>,
    compiler: &mut Compiler,
    file: &DeduplicateFile,
) -> Option<Deduplicate> {
    let by = file.by.as_ref().and_then(|by| {
        let text = crate::expression::parse_type("text").ok()?;
        compiler.compile(report, by, Reads::EVENT, Some(text))
    });
    let keep_micros = file
        .keep
        .as_ref()
        .and_then(|keep| compile::span_of_time(report, keep));
    Some(Deduplicate {
        by: by?,
        keep_micros: keep_micros?,
    })
}
