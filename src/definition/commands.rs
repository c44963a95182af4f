//! `lint` and `test`: definitions on disk against themselves, offline. Prints; gives the process's exit status: 0 fine,
//! 1 something is not fine, 2 could not run. Knows nothing of Kafka, Postgres and settings.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::Severity;
use super::files::{
    DefinitionFile, Name, find_all, load_all, load_file, load_files, names, shared_names,
};
use super::testing::coverage::{self, Coverage, Reached};
use super::testing::oracle::{self, Answer, Question};
use super::{Diagnostic, Projection};

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

/// What `lint` keeps of a file. Hundreds of compiled definitions would fill so much fresh memory that it takes longer than to
/// check them.
struct Linted {
    path: PathBuf,
    names: Vec<Name>,
    diagnostics: Vec<Diagnostic>,
}

impl From<DefinitionFile> for Linted {
    fn from(file: DefinitionFile) -> Linted {
        Linted {
            names: names(&file),
            path: file.path,
            diagnostics: file.loaded.diagnostics,
        }
    }
}

/// Checks definitions. Prints every problem.
pub fn lint(paths: &[PathBuf], format: Format) -> u8 {
    print(|out| {
        let files = match find_all(paths).and_then(|paths| load_all(&paths, Linted::from)) {
            Ok(files) => files,
            Err(message) => return could_not_run(out, format, &message),
        };
        let named = files
            .iter()
            .map(|file| (file.path.as_path(), &file.names[..]));
        let shared = shared_names(named);
        let of_file = |(index, file): (usize, _)| {
            let shared = shared.iter().filter(move |(other, _)| *other == index);
            let own: &Linted = file;
            own.diagnostics.iter().chain(shared.map(|(_, found)| found))
        };
        let diagnostics: Vec<&Diagnostic> = files.iter().enumerate().flat_map(of_file).collect();
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

/// Gives PostgreSQL's answers to questions, or why there are none.
pub type Ask<'a> = dyn FnMut(&[Question]) -> Result<Vec<Answer>, String> + 'a;

/// Runs the tests of definitions. Prints what differs, and what no test reaches. With `ask` every value that an expression
/// came to is compared with the answer.
pub fn test(paths: &[PathBuf], format: Format, mut ask: Option<&mut Ask<'_>>) -> u8 {
    print(|out| {
        let files = match load_files(paths) {
            Ok(files) => files,
            Err(message) => return could_not_run(out, format, &message),
        };
        let mut count = Count::default();
        for file in files {
            let errors: Vec<&Diagnostic> = file
                .loaded
                .diagnostics
                .iter()
                .filter(|found| found.severity == Severity::Error)
                .collect();
            write_diagnostics(out, &errors, format)?;
            match file.loaded.projection {
                Some(_) => test_file(out, &file, format, &mut count, ask.as_deref_mut())?,
                None => count.broken += 1,
            }
        }
        if let Some(message) = &count.unanswered {
            return could_not_run(out, format, message);
        }
        if format == Format::Text {
            count.write(out)?;
        }
        Ok(u8::from(count.failed + count.broken > 0))
    })
}

/// What came of all cases.
#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
    /// Definitions with errors.
    broken: usize,
    reached: Reached,
    /// Values that PostgreSQL was asked for.
    asked: usize,
    /// Why it gave no answer; then it is asked no more.
    unanswered: Option<String>,
}

impl Count {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let passed = counted(self.passed, "test");
        let broken = match self.broken {
            0 => String::new(),
            _ => format!(", {} with errors", counted(self.broken, "definition")),
        };
        let reached = &self.reached;
        let branches = match reached.all_branches {
            0 => String::new(),
            all => format!(
                ", {} of {} of case",
                reached.branches,
                counted(all, "branch")
            ),
        };
        let rules = counted(reached.all_rules, "rule");
        let failed = self.failed;
        let asked = match self.asked {
            0 => String::new(),
            asked => format!("; {} asked of PostgreSQL", counted(asked, "value")),
        };
        writeln!(
            out,
            "{passed} passed, {failed} failed{broken}; {} of {rules}{branches} reached{asked}",
            reached.rules
        )
    }
}

fn test_file(
    out: &mut dyn Write,
    file: &DefinitionFile,
    format: Format,
    count: &mut Count,
    mut ask: Option<&mut Ask<'_>>,
) -> io::Result<()> {
    // Once more, so that the expressions note where they go.
    let name = file.path.display().to_string();
    let traced = super::load_traced(file.file(&name), file.beside());
    let Some(projection) = traced.projection.map(Arc::new) else {
        count.broken += 1;
        return Ok(());
    };
    let mut coverage = Coverage::default();
    for case in &traced.tests {
        let mut result = super::testing::run(&projection, case);
        if let Some(ask) = ask.as_deref_mut().filter(|_| count.unanswered.is_none()) {
            let questions = oracle::questions(&projection, case);
            match ask(&questions) {
                Ok(answers) => {
                    count.asked += answers.len();
                    let pairs = questions.iter().zip(&answers);
                    let different = pairs.filter_map(|(q, a)| oracle::compare(case, q, a));
                    result.failures.extend(different);
                }
                Err(message) => count.unanswered = Some(message),
            }
        }
        coverage.merge(&result.coverage);
        match result.passed() {
            true => count.passed += 1,
            false => count.failed += 1,
        }
        write_result(out, &projection.name, case, &result, format)?;
    }
    let (reached, uncovered) = coverage::judge(&projection, &coverage, &name);
    count.reached += reached;
    let uncovered: Vec<&Diagnostic> = uncovered.iter().collect();
    write_diagnostics(out, &uncovered, format)
}

/// A definition whose expressions note what they do. `None` if it has errors; they are printed then.
pub fn load_traced(path: &Path, format: Format) -> Result<Option<Projection>, String> {
    let file = load_file(path.to_owned())?;
    if file.loaded.projection.is_none() {
        let found = file.loaded.diagnostics.iter();
        let errors: Vec<&Diagnostic> = found
            .filter(|found| found.severity == Severity::Error)
            .collect();
        print(|out| write_diagnostics(out, &errors, format).map(|()| 0));
        return Ok(None);
    }
    let name = path.display().to_string();
    Ok(super::load_traced(file.file(&name), None).projection)
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
    projection: &str,
    case: &super::TestCase,
    result: &super::testing::TestResult,
    format: Format,
) -> io::Result<()> {
    let file = &case.file;
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
                "file": file, "projection": projection, "test": case.name, "line": case.line,
                "passed": result.passed(), "failures": failures.collect::<Vec<_>>(),
            });
            writeln!(out, "{line}")
        }
        Format::Github => {
            for failure in &result.failures {
                let mut diagnostic = Diagnostic::of_file(
                    file,
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
        _ if what.ends_with("ch") => format!("{count} {what}es"),
        _ => format!("{count} {what}s"),
    }
}
