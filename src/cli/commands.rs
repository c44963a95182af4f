//! One function per command: the boundary between the command line and the part of the program that answers it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::output;
use crate::error::{Failure, Outcome};
use crate::settings::{Footprint, Settings, show_json, show_yaml};

pub fn config(settings: &Settings, json: bool) -> Result<Outcome, Failure> {
    let footprint = Footprint::new(settings, count_definitions(&settings.projections));
    match json {
        true => output::print_line(&show_json(settings, &footprint))?,
        false => output::print(&show_yaml(settings, &footprint))?,
    }
    Ok(Outcome::Fine)
}

pub fn lint(paths: &[PathBuf], json: bool) -> Result<Outcome, Failure> {
    let _ = (paths, json);
    Err(not_wired("lint"))
}

pub fn test(paths: &[PathBuf], json: bool) -> Result<Outcome, Failure> {
    let _ = (paths, json);
    Err(not_wired("test"))
}

pub fn demo(settings: Settings, run_for: Option<Duration>, rate: u32) -> Result<Outcome, Failure> {
    let _ = (settings, run_for, rate);
    runtime()?.block_on(async { Err(not_wired("demo")) })
}

pub fn run(settings: Settings) -> Result<Outcome, Failure> {
    let _ = settings;
    runtime()?.block_on(async { Err(not_wired("run")) })
}

pub fn status(settings: Settings, watch: bool, json: bool) -> Result<Outcome, Failure> {
    let _ = (settings, watch, json);
    runtime()?.block_on(async { Err(not_wired("status")) })
}

pub fn pause(settings: Settings, projection: &str) -> Result<Outcome, Failure> {
    let _ = (settings, projection);
    runtime()?.block_on(async { Err(not_wired("pause")) })
}

pub fn resume(settings: Settings, projection: &str) -> Result<Outcome, Failure> {
    let _ = (settings, projection);
    runtime()?.block_on(async { Err(not_wired("resume")) })
}

fn not_wired(command: &str) -> Failure {
    Failure::new(format!("`{command}` is not joined to its module yet"))
}

/// For database calls and http; lanes have threads of their own, so two threads are enough.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("consolidator-io")
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error("cannot start the runtime", &error))
}

/// Definitions in the folder, without looking into them; none where it cannot be read.
fn count_definitions(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| is_definition(name)).count()
}

/// `NAME.yaml` or `NAME.yml`, but not `NAME.test.yaml`.
fn is_definition(name: &str) -> bool {
    let stem = name
        .strip_suffix(".yaml")
        .or_else(|| name.strip_suffix(".yml"));
    stem.is_some_and(|stem| !stem.starts_with('.') && !stem.ends_with(".test"))
}
