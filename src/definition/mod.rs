//! What a projection is: as written (a file) and as meant (checked). Pure, but for `files`, which reads them, and
//! `commands`, which prints what is found.
//!
//! A text goes through [`load`]: `yaml` (a tree that keeps its places) → `read` with `shape` (a definition as written,
//! `file`) → `check` (names, types, expressions) → [`Projection`]. Problems gather in a `Report` on the way and come out
//! as [`Diagnostic`]s.

mod align;
mod check;
pub mod commands;
pub mod diagnostic;
pub mod draft;
mod file;
pub mod files;
pub mod fingerprint;
pub mod projection;

mod read;
pub mod schema;
mod shape;
mod source;
mod sql;
pub mod testing;
pub mod trial;
mod warnings;
mod yaml;

pub use diagnostic::{Diagnostic, Severity};
pub use projection::Projection;
pub use testing::TestCase;
pub use warnings::{OrderDependence, order_dependence};

use diagnostic::Report;
use source::Source;

/// What a definition's text comes to.
#[derive(Debug)]
pub struct Loaded {
    /// `None` exactly if there is an error among the diagnostics.
    pub projection: Option<Projection>,
    /// In the file's order.
    pub diagnostics: Vec<Diagnostic>,
    /// The cases under `tests:`, here and in the file beside.
    pub tests: Vec<TestCase>,
}

impl Loaded {
    /// Of a file that cannot be read.
    fn nothing(diagnostics: Vec<Diagnostic>) -> Loaded {
        Loaded {
            projection: None,
            diagnostics,
            tests: Vec::new(),
        }
    }
}

/// Reads and checks a definition. All its problems are reported together. The result depends on the text alone;
/// the file's name is only shown.
pub fn load(file_name: &str, text: &str) -> Loaded {
    load_file(File { file_name, text }, None, false)
}

/// As [`load`], with the test cases of the file beside it, if there is one.
pub fn load_with_tests(file: File<'_>, beside: Option<File<'_>>) -> Loaded {
    load_file(file, beside, false)
}

/// As [`load_with_tests`]; the expressions of the projection note which branches of their `case` are taken.
pub fn load_traced(file: File<'_>, beside: Option<File<'_>>) -> Loaded {
    load_file(file, beside, true)
}

/// A file's name, which is only shown, and its text.
#[derive(Debug, Clone, Copy)]
pub struct File<'t> {
    pub file_name: &'t str,
    pub text: &'t str,
}

fn load_file(file: File<'_>, beside: Option<File<'_>>, traced: bool) -> Loaded {
    let mut report = Report::new(Source::new(file.file_name, file.text));
    let Some(root) = yaml::parse(&mut report) else {
        let mut diagnostics = report.finish();
        if diagnostics.is_empty() {
            let message = "the file is empty".to_owned();
            diagnostics.push(Diagnostic::of_file(file.file_name, "empty-file", message));
        }
        return Loaded::nothing(diagnostics);
    };
    let definition = read::read(&mut report, &root);
    let projection = check::check(&mut report, &definition, traced);
    let mut tests = read::tests(&mut report, &root);
    let mut report_beside = beside.map(|file| Report::new(Source::new(file.file_name, file.text)));
    let tests_beside = report_beside.as_mut().map(read_beside).unwrap_or_default();
    let projection = projection.filter(|projection| {
        testing::check::check(&mut report, projection, &tests);
        if let Some(report) = &mut report_beside {
            testing::check::check(report, projection, &tests_beside);
        }
        tests.extend(tests_beside);
        warnings::warn(&mut report, &definition, projection, &tests);
        let beside = report_beside.as_ref();
        !report.has_errors() && !beside.is_some_and(Report::has_errors)
    });
    let mut diagnostics = report.finish();
    diagnostics.extend(report_beside.into_iter().flat_map(Report::finish));
    Loaded {
        projection,
        diagnostics,
        tests,
    }
}

/// A file of tests has the one key `tests`.
fn read_beside(report: &mut Report<'_>) -> Vec<TestCase> {
    let Some(root) = yaml::parse(report) else {
        return Vec::new();
    };
    let start = root.span.start..root.span.start;
    shape::fields(report, &root, &start, "a file of tests", &["tests"]);
    read::tests(report, &root)
}
