//! `lint` and `test`: definitions on disk against themselves, offline. Prints; gives the process's exit status: 0 fine,
//! 1 something is not fine, 2 could not run. Knows nothing of Kafka, Postgres and settings.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::Severity;
use super::{Diagnostic, Loaded};

/// Where definitions are looked for if no path is given.
pub const DEFAULT_PATH: &str = "projections";

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One object per line.
    Json,
    /// Workflow commands that GitHub shows on the line.
    Github,
}

/// A definition file that was read.
#[derive(Debug)]
pub struct DefinitionFile {
    pub path: PathBuf,
    pub text: String,
    pub loaded: Loaded,
}

/// Checks definitions. Prints every problem.
pub fn lint(paths: &[PathBuf], format: Format) -> u8 {
    print(|out| {
        let files = match load_files(paths) {
            Ok(files) => files,
            Err(message) => return could_not_run(out, format, &message),
        };
        let diagnostics: Vec<&Diagnostic> = files
            .iter()
            .flat_map(|file| &file.loaded.diagnostics)
            .collect();
        write_diagnostics(out, &diagnostics, format)?;
        let count = |severity| {
            diagnostics
                .iter()
                .filter(|found| found.severity == severity)
                .count()
        };
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        if format == Format::Text {
            let (files, errors, warnings) = (
                counted(files.len(), "definition"),
                counted(errors, "error"),
                counted(warnings, "warning"),
            );
            writeln!(out, "{files}: {errors}, {warnings}")?;
        }
        Ok(u8::from(errors > 0))
    })
}

/// Runs the tests of definitions. Prints what differs.
pub fn test(paths: &[PathBuf], format: Format) -> u8 {
    print(|out| {
        let mut files = match load_files(paths) {
            Ok(files) => files,
            Err(message) => return could_not_run(out, format, &message),
        };
        let (mut passed, mut failed, mut broken) = (0, 0, 0);
        for file in &mut files {
            let errors: Vec<&Diagnostic> = file
                .loaded
                .diagnostics
                .iter()
                .filter(|found| found.severity == Severity::Error)
                .collect();
            write_diagnostics(out, &errors, format)?;
            let Some(projection) = file.loaded.projection.take().map(Arc::new) else {
                broken += 1;
                continue;
            };
            for case in &file.loaded.tests {
                let result = super::testing::run(&projection, case);
                if result.passed() {
                    passed += 1;
                } else {
                    failed += 1;
                }
                write_result(
                    out,
                    &file.path,
                    projection.name.as_str(),
                    case,
                    &result,
                    format,
                )?;
            }
        }
        if format == Format::Text {
            let broken = match broken {
                0 => String::new(),
                _ => format!(", {} with errors", counted(broken, "definition")),
            };
            writeln!(
                out,
                "{} passed, {failed} failed{broken}",
                counted(passed, "test")
            )?;
        }
        Ok(u8::from(failed + broken > 0))
    })
}

/// Reads and checks files; folders are searched for `*.yaml` and `*.yml`. Names that two files give are reported too.
pub fn load_files(paths: &[PathBuf]) -> Result<Vec<DefinitionFile>, String> {
    let default = [PathBuf::from(DEFAULT_PATH)];
    let mut found = Vec::new();
    for path in if paths.is_empty() {
        &default[..]
    } else {
        paths
    } {
        found.extend(find(path)?);
    }
    let mut files = Vec::new();
    for path in found {
        let bytes = std::fs::read(&path)
            .map_err(|error| format!("{}: cannot read it: {error}", path.display()))?;
        let name = path.display().to_string();
        let file = match String::from_utf8(bytes) {
            Ok(text) => DefinitionFile {
                loaded: super::load(&name, &text),
                path,
                text,
            },
            Err(error) => {
                let message = format!("byte {} is not UTF-8", error.utf8_error().valid_up_to());
                let diagnostics = vec![Diagnostic::of_file(&name, "not-utf8", message)];
                let loaded = Loaded {
                    projection: None,
                    diagnostics,
                    tests: Vec::new(),
                };
                DefinitionFile {
                    path,
                    text: String::new(),
                    loaded,
                }
            }
        };
        files.push(file);
    }
    report_shared_names(&mut files);
    Ok(files)
}

fn find(path: &Path) -> Result<Vec<PathBuf>, String> {
    let shown = path.display();
    let about =
        std::fs::metadata(path).map_err(|error| format!("{shown}: cannot read it: {error}"))?;
    if !about.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries =
        std::fs::read_dir(path).map_err(|error| format!("{shown}: cannot read it: {error}"))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|error| format!("{shown}: cannot read it: {error}"))?
            .path();
        let yaml = path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if yaml && !hidden && !path.is_dir() {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(format!(
            "{shown}: there is no definition (*.yaml) in this folder"
        ));
    }
    found.sort();
    Ok(found)
}

/// A projection, a table and a view each belong to one file.
fn report_shared_names(files: &mut [DefinitionFile]) {
    let mut owners: HashMap<(&str, String), String> = HashMap::new();
    for file in files {
        let Some(projection) = &file.loaded.projection else {
            continue;
        };
        let tables = projection
            .tables
            .iter()
            .map(|table| ("table or view", table.name.clone()));
        let views = projection
            .views
            .iter()
            .map(|view| ("table or view", view.name.clone()));
        let names = std::iter::once(("projection", projection.name.clone()))
            .chain(tables)
            .chain(views);
        let mut taken = Vec::new();
        for (what, name) in names {
            match owners.get(&(what, name.clone())) {
                Some(owner) => taken.push((what, name, owner.clone())),
                None => {
                    owners.insert((what, name), file.path.display().to_string());
                }
            }
        }
        for (what, name, owner) in taken {
            let message = format!("the {what} `{name}` is already defined in {owner}");
            let shown = file.path.display().to_string();
            let mut diagnostic = Diagnostic::of_file(&shown, "duplicate-name", message);
            diagnostic.hint("readers see all projections in one schema: rename one of them");
            file.loaded.diagnostics.push(diagnostic);
            file.loaded.projection = None;
        }
    }
}

fn write_diagnostics(
    out: &mut dyn Write,
    diagnostics: &[&Diagnostic],
    format: Format,
) -> io::Result<()> {
    let colour = io::stdout().is_terminal();
    for diagnostic in diagnostics {
        match format {
            Format::Text => writeln!(out, "{}", diagnostic.render(colour))?,
            Format::Json => writeln!(out, "{}", diagnostic.json())?,
            Format::Github => writeln!(out, "{}", diagnostic.github())?,
        }
    }
    Ok(())
}

fn write_result(
    out: &mut dyn Write,
    path: &Path,
    projection: &str,
    case: &super::TestCase,
    result: &super::testing::TestResult,
    format: Format,
) -> io::Result<()> {
    let file = path.display();
    match format {
        Format::Text if result.passed() => writeln!(out, "ok      {projection}: {}", case.name),
        Format::Text => {
            writeln!(out, "FAILED  {projection}: {}", case.name)?;
            for failure in &result.failures {
                writeln!(
                    out,
                    "{file}:{}:1: error[test-failed]: {}",
                    failure.line, failure.message
                )?;
                for line in failure.detail.lines() {
                    writeln!(out, "    {line}")?;
                }
            }
            writeln!(out)
        }
        Format::Json => {
            let failures = result.failures.iter().map(|failure| {
                serde_json::json!({ "line": failure.line, "message": failure.message, "detail": failure.detail })
            });
            let line = serde_json::json!({
                "file": file.to_string(), "projection": projection, "test": case.name, "line": case.line,
                "passed": result.passed(), "failures": failures.collect::<Vec<_>>(),
            });
            writeln!(out, "{line}")
        }
        Format::Github => {
            for failure in &result.failures {
                let mut diagnostic = Diagnostic::of_file(
                    &file.to_string(),
                    "test-failed",
                    format!("{}: {}", case.name, failure.message),
                );
                (diagnostic.line, diagnostic.end_line) = (failure.line, failure.line);
                diagnostic.hint = Some(failure.detail.clone()).filter(|detail| !detail.is_empty());
                writeln!(out, "{}", diagnostic.github())?;
            }
            Ok(())
        }
    }
}

fn could_not_run(out: &mut dyn Write, format: Format, message: &str) -> io::Result<u8> {
    match format {
        Format::Json => writeln!(
            out,
            "{}",
            serde_json::json!({ "severity": "error", "message": message })
        )?,
        Format::Text | Format::Github => {}
    }
    out.flush()?;
    eprintln!("error: {message}");
    Ok(2)
}

/// A closed pipe ends the output and changes nothing else.
fn print(work: impl FnOnce(&mut dyn Write) -> io::Result<u8>) -> u8 {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match work(&mut out).and_then(|status| out.flush().map(|()| status)) {
        Ok(status) => status,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(error) => {
            eprintln!("error: cannot write: {error}");
            2
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
