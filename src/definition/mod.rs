//! What a projection is: as written (a file) and as meant (checked). Pure, but for `commands`, which reads the files.
//!
//! A text goes through [`load`]: `yaml` (a tree that keeps its places) → `read` with `shape` (a definition as written,
//! `file`) → `check` (names, types, expressions) → [`Projection`]. Problems gather in a `Report` on the way and come out
//! as [`Diagnostic`]s.

mod align;
mod check;
pub mod commands;
pub mod diagnostic;
mod file;
pub mod fingerprint;
pub mod projection;
mod read;
mod shape;
mod source;
pub mod testing;
mod warnings;
mod yaml;

pub use diagnostic::{Diagnostic, Severity};
pub use projection::Projection;
pub use testing::TestCase;

use diagnostic::Report;
use source::Source;

/// What a definition's text comes to.
#[derive(Debug)]
pub struct Loaded {
    /// `None` exactly if there is an error among the diagnostics.
    pub projection: Option<Projection>,
    /// In the file's order.
    pub diagnostics: Vec<Diagnostic>,
    /// The cases under `tests:`.
    pub tests: Vec<TestCase>,
}

/// Reads and checks a definition. All its problems are reported together. The result depends on the text alone;
/// the file's name is only shown.
pub fn load(file_name: &str, text: &str) -> Loaded {
    let mut report = Report::new(Source::new(file_name, text));
    let Some(root) = yaml::parse(&mut report) else {
        let mut diagnostics = report.finish();
        if diagnostics.is_empty() {
            diagnostics.push(Diagnostic::of_file(
                file_name,
                "empty-file",
                "the file is empty".to_owned(),
            ));
        }
        return Loaded {
            projection: None,
            diagnostics,
            tests: Vec::new(),
        };
    };
    let file = read::read(&mut report, &root);
    let projection = check::check(&mut report, &file);
    let tests = read::tests(&mut report, &root);
    let projection = projection.filter(|projection| {
        testing::check::check(&mut report, projection, &tests);
        warnings::warn(&mut report, &file, projection, &tests);
        !report.has_errors()
    });
    Loaded {
        projection,
        diagnostics: report.finish(),
        tests,
    }
}
