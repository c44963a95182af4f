//! `lint` and `test`: definitions on disk against themselves, offline. Prints; gives the process's exit status: 0 fine,
//! 1 something is not fine, 2 could not run. Knows nothing of Kafka, Postgres and settings.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Read, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::Severity;
use super::testing::coverage::{self, Coverage, Reached};
use super::testing::oracle::{self, Answer, Question};
use super::yaml::FILE_BYTES_MAX;
use super::{Diagnostic, File, Loaded, Projection};

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
    /// Name and text of the file of tests beside it, `NAME.test.yaml`.
    pub tests: Option<(String, String)>,
    pub loaded: Loaded,
}

impl DefinitionFile {
    fn file<'f>(&'f self, file_name: &'f str) -> File<'f> {
        File {
            file_name,
            text: &self.text,
        }
    }

    fn beside(&self) -> Option<File<'_>> {
        let (file_name, text) = self.tests.as_ref()?;
        Some(File { file_name, text })
    }
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
    let mut files = load_all(&found)?;
    report_shared_names(&mut files);
    Ok(files)
}

/// On all cores: a deployment may have hundreds of definitions, and none says anything about another.
fn load_all(paths: &[PathBuf]) -> Result<Vec<DefinitionFile>, String> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = paths.len().div_ceil(threads).max(1);
    let load = |paths: &[PathBuf]| paths.iter().cloned().map(load_file).collect();
    let loaded: Vec<Result<Vec<DefinitionFile>, String>> = std::thread::scope(|scope| {
        let started = paths
            .chunks(share)
            .map(|paths| scope.spawn(move || load(paths)));
        let started: Vec<_> = started.collect();
        let ended = started.into_iter().map(|thread| thread.join());
        ended
            .map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let loaded = loaded.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(loaded.into_iter().flatten().collect())
}

fn load_file(path: PathBuf) -> Result<DefinitionFile, String> {
    let name = path.display().to_string();
    let tests = path.with_extension("test.yaml");
    let (text, tests) = match (read_text(&path)?, tests.exists()) {
        (text, false) => (text, None),
        (text, true) => {
            let beside = read_text(&tests)?;
            (text, Some((tests.display().to_string(), beside)))
        }
    };
    let (text, tests) = match (text, tests) {
        (Ok(text), None) => (text, None),
        (Ok(text), Some((name, Ok(tests)))) => (text, Some((name, tests))),
        (Err(message), _) => return Ok(not_utf8(path, &name, message)),
        (_, Some((tests, Err(message)))) => return Ok(not_utf8(path, &tests, message)),
    };
    let mut file = DefinitionFile {
        path,
        text,
        tests,
        loaded: Loaded::nothing(Vec::new()),
    };
    file.loaded = super::load_with_tests(file.file(&name), file.beside());
    Ok(file)
}

/// The text, or why it is none; an error if the file cannot be read at all.
fn read_text(path: &Path) -> Result<Result<String, String>, String> {
    let mut bytes = Vec::new();
    // What is beyond makes it too large, however large it is.
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("{}: cannot read it: {error}", path.display()))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Ok(Ok(String::from_utf8_lossy(&bytes).into_owned()));
    }
    Ok(String::from_utf8(bytes)
        .map_err(|error| format!("byte {} is not UTF-8", error.utf8_error().valid_up_to())))
}

fn not_utf8(path: PathBuf, name: &str, message: String) -> DefinitionFile {
    let diagnostics = vec![Diagnostic::of_file(name, "not-utf8", message)];
    DefinitionFile {
        path,
        text: String::new(),
        tests: None,
        loaded: Loaded::nothing(diagnostics),
    }
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
        let tests = path.to_string_lossy().ends_with(".test.yaml");
        if yaml && !hidden && !tests && !path.is_dir() {
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
