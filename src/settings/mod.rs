//! Settings: file, environment and flags (as written) to [`Settings`] (as meant: checked, nothing optional required).
//!
//! Later layers win: `consolidator.yaml` or `--config FILE`, then `CONSOLIDATOR__SECTION__KEY`, then `--set section.key=value`.
//! Knows no command and opens no connection. Every key, with its default and meaning, stands in [`keys::KEYS`].

pub mod keys;
mod layers;
pub mod memory;
mod quantity;
mod reader;
mod secret;
mod show;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use crate::source::KafkaSettings;
use layers::Layer;
pub use layers::Sources;
pub use memory::MemoryPlan;
pub use quantity::{format_bytes, format_duration, parse_bytes, parse_duration};
use reader::Reader;
pub use secret::Secret;
pub use show::{Footprint, show_json, show_yaml};

/// What the whole program runs with.
#[derive(Debug, Clone)]
pub struct Settings {
    pub kafka: KafkaSettings,
    pub postgres: PostgresSettings,
    /// The folder that holds one definition per file.
    pub projections: PathBuf,
    pub http: HttpSettings,
    pub worker: WorkerSettings,
    pub rebuild: RebuildSettings,
    pub dead_letters: DeadLetterSettings,
    pub log: LogSettings,
    /// For every key: where its value came from (`consolidator.yaml:3:9`, a variable, `--set`, `default`).
    pub origins: BTreeMap<String, String>,
    /// Secret key (`postgres.url`, `kafka.properties.sasl.password`) -> the file it was read from.
    pub secret_files: BTreeMap<String, PathBuf>,
}

/// How to reach Postgres, and who reads there.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    pub url: Secret,
    pub read_schema: String,
    /// Roles that may read the read schema.
    pub readers: Vec<String>,
    /// Hard limit of this process, lanes included.
    pub max_connections: u32,
}

#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// `None`: `off`.
    pub listen: Option<SocketAddr>,
    /// Holds the token that /metrics asks for.
    pub token_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy)]
pub struct WorkerSettings {
    /// Per generation and process.
    pub lanes: usize,
    /// Bound of a batch near the end of the log.
    pub batch_events: usize,
    /// How long a batch near the end of the log waits for more events.
    pub batch_linger: Duration,
    /// Bytes; shared out by [`MemoryPlan`].
    pub memory_limit: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct RebuildSettings {
    pub on_change: OnChange,
    /// How long the old generation stays fed after a switch.
    pub grace: Duration,
}

/// When events that cannot be applied are too many, and what is kept of them.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetterSettings {
    /// Most letters of one generation.
    pub max: i64,
    /// Events, at least, of which the share is taken.
    pub window: usize,
    /// In a hundred.
    pub share: usize,
    /// What the records held is kept.
    pub keeps_payloads: bool,
}

/// What `run` does about a definition that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnChange {
    /// Build the new generation and switch readers to it.
    Switch,
    /// Build it and keep it beside the live one.
    Hold,
    /// Go on with the live one.
    Ignore,
}

#[derive(Debug, Clone)]
pub struct LogSettings {
    pub format: LogFormat,
    pub filter: LogFilter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFilter {
    /// `info` for `run`, `error` for `demo`, `warn` for the other commands.
    Auto,
    /// Directives as `tracing` takes them, for example `info,consolidator::worker=debug`.
    Directives(String),
}

/// Everything that is wrong with the settings, each problem with the place it was written at.
#[derive(Debug, thiserror::Error)]
#[error("{}", .problems.join("\n"))]
pub struct SettingsError {
    pub problems: Vec<String>,
}

impl Settings {
    /// Reads all layers and checks them; every problem is reported, not just the first.
    pub fn load(sources: &Sources) -> Result<Settings, SettingsError> {
        let mut problems = Vec::new();
        let file = Layer::from_file(sources, &mut problems);
        let environment = Layer::from_environment(&sources.environment, &mut problems);
        let flags = Layer::from_flags(&sources.set, &mut problems);
        let mut reader = Reader::merge([file, environment, flags], problems);
        let settings = reader.settings();
        let problems = reader.into_problems();
        match problems.is_empty() {
            true => Ok(settings),
            false => Err(SettingsError { problems }),
        }
    }
}

#[cfg(test)]
mod tests;
