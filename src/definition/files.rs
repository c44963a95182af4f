//! Definitions on disk: found, read and checked on all cores, and whose names are whose. Knows nothing of what is done with
//! them.

use std::collections::HashMap;
use std::io::Read;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use super::yaml::FILE_BYTES_MAX;
use super::{Diagnostic, File, Loaded};

/// Where definitions are looked for if no path is given.
pub const DEFAULT_PATH: &str = "projections";

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
    pub(super) fn file<'f>(&'f self, file_name: &'f str) -> File<'f> {
        File {
            file_name,
            text: &self.text,
        }
    }

    pub(super) fn beside(&self) -> Option<File<'_>> {
        let (file_name, text) = self.tests.as_ref()?;
        Some(File { file_name, text })
    }
}

/// Reads and checks files; folders are searched for `*.yaml` and `*.yml`. Names that two files give are reported too.
pub fn load_files(paths: &[PathBuf]) -> Result<Vec<DefinitionFile>, String> {
    let mut files = load_all(&find_all(paths)?, |file| file)?;
    let names: Vec<Vec<Name>> = files.iter().map(names).collect();
    let paths = files.iter().map(|file| file.path.as_path());
    for (index, diagnostic) in shared_names(paths.zip(names.iter().map(Vec::as_slice))) {
        files[index].loaded.diagnostics.push(diagnostic);
        files[index].loaded.projection = None;
    }
    Ok(files)
}

pub(super) fn find_all(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let default = [PathBuf::from(DEFAULT_PATH)];
    let paths = if paths.is_empty() { &default } else { paths };
    let found: Result<Vec<_>, _> = paths.iter().map(|path| find(path)).collect();
    Ok(found?.concat())
}

/// On all cores: a deployment may have hundreds of definitions, and none says anything about another.
pub(super) fn load_all<T: Send>(
    paths: &[PathBuf],
    keep: impl Fn(DefinitionFile) -> T + Sync,
) -> Result<Vec<T>, String> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = paths.len().div_ceil(threads).max(1);
    let load = |paths: &[PathBuf]| {
        let files = paths.iter().cloned().map(load_file);
        files.map(|file| file.map(&keep)).collect()
    };
    let loaded: Vec<Result<Vec<T>, String>> = std::thread::scope(|scope| {
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

/// A projection, a table or a view: what it is, and its name. Each belongs to one file.
pub(super) type Name = (&'static str, String);

/// What a file gives a name to; nothing if it has errors.
pub(super) fn names(file: &DefinitionFile) -> Vec<Name> {
    let Some(projection) = &file.loaded.projection else {
        return Vec::new();
    };
    let tables = projection.tables.iter().map(|table| &table.name);
    let relations = tables.chain(projection.views.iter().map(|view| &view.name));
    std::iter::once(("projection", projection.name.clone()))
        .chain(relations.map(|name| ("table or view", name.clone())))
        .collect()
}

/// Names that an earlier file gives too, each with the place of the later file in the list.
pub(super) fn shared_names<'f>(
    files: impl Iterator<Item = (&'f Path, &'f [Name])>,
) -> Vec<(usize, Diagnostic)> {
    let mut owners: HashMap<&Name, (usize, &Path)> = HashMap::new();
    let mut shared = Vec::new();
    for (index, (path, names)) in files.enumerate() {
        for name in names {
            let (first, owner) = *owners.entry(name).or_insert((index, path));
            if first != index {
                let (what, name) = name;
                let owner = owner.display();
                let message = format!("the {what} `{name}` is already defined in {owner}");
                let shown = path.display().to_string();
                let mut diagnostic = Diagnostic::of_file(&shown, "duplicate-name", message);
                diagnostic.hint("readers see all projections in one schema: rename one of them");
                shared.push((index, diagnostic));
            }
        }
    }
    shared
}

pub(super) fn load_file(path: PathBuf) -> Result<DefinitionFile, String> {
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
