//! `consolidator config`: the effective settings, secrets hidden, and what they come to.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::keys::{self, KEYS};
use super::secret::HIDDEN;
use crate::store::CONTROL_CONNECTIONS;

use super::{LogFilter, LogFormat, MemoryPlan, OnChange, Settings, format_bytes, format_duration};

/// What a process takes, given how many generations it folds at a time.
#[derive(Debug, Clone, Copy)]
pub struct Footprint {
    pub generations: usize,
    pub lanes_total: usize,
    pub connections_wanted: u32,
    pub memory: MemoryPlan,
}

impl Footprint {
    pub fn new(settings: &Settings, generations: usize) -> Footprint {
        let lanes_total = settings.worker.lanes * generations.max(1);
        Footprint {
            generations,
            lanes_total,
            connections_wanted: u32::try_from(lanes_total)
                .unwrap_or(u32::MAX)
                .saturating_add(CONTROL_CONNECTIONS),
            memory: MemoryPlan::new(settings.worker.memory_limit, lanes_total),
        }
    }

    /// What does not fit, in words.
    pub fn warnings(&self, settings: &Settings) -> Vec<String> {
        let mut warnings = Vec::new();
        let (wanted, max) = (self.connections_wanted, settings.postgres.max_connections);
        if wanted > max {
            warnings.push(format!(
                "{wanted} connections wanted, postgres.max_connections is {max}: fewer lanes will run"
            ));
        }
        let total = self.memory.bytes_total();
        if total > settings.worker.memory_limit {
            warnings.push(format!(
                "{} lanes need at least {} of memory, worker.memory_limit is {}",
                self.lanes_total,
                mib(total),
                format_bytes(settings.worker.memory_limit)
            ));
        }
        let open = settings
            .http
            .listen
            .filter(|listen| !listen.ip().is_loopback());
        if let Some(listen) = open
            && settings.http.token_file.is_none()
        {
            warnings.push(format!(
                "anybody who reaches {listen} may read /metrics, which names topics and projections: see http.token_file"
            ));
        }
        warnings
    }
}

/// A settings file that gives the same settings (but for the secrets), each line with its origin.
pub fn show_yaml(settings: &Settings, footprint: &Footprint) -> String {
    let mut text = String::new();
    let mut section = String::new();
    let mut in_properties = false;
    for (key, value) in effective(settings) {
        let (this, name) = key.split_once('.').unwrap_or(("", &key));
        if this != section {
            section = this.to_owned();
            if !this.is_empty() {
                let _ = writeln!(text, "{this}:");
            }
        }
        let (indent, name) = match name.strip_prefix("properties.") {
            Some(property) => ("    ", property),
            None if this.is_empty() => ("", name),
            None => ("  ", name),
        };
        if indent.len() == 4 && !in_properties {
            in_properties = true;
            text.push_str("  properties:\n");
        }
        let origin = settings.origins.get(&key).map_or("default", String::as_str);
        let _ = writeln!(text, "{indent}{name}: {}  # {origin}", scalar(&value));
    }
    text.push_str(&show_footprint(settings, footprint));
    text
}

/// One object: `settings` and `process`.
pub fn show_json(settings: &Settings, footprint: &Footprint) -> String {
    let settings_json: Map<String, Value> = effective(settings).into_iter().collect();
    let memory = &footprint.memory;
    json!({
        "settings": settings_json,
        "process": {
            "generations": footprint.generations,
            "lanes": footprint.lanes_total,
            "connections": footprint.connections_wanted,
            "connections_max": settings.postgres.max_connections,
            "memory_limit_bytes": settings.worker.memory_limit,
            "reserve_bytes": memory.reserve_bytes,
            "queue_bytes_per_lane": memory.queue_bytes_per_lane,
            "cache_bytes_per_lane": memory.cache_bytes_per_lane,
            "batch_bytes_max": memory.batch_bytes_max,
        },
        "warnings": footprint.warnings(settings),
    })
    .to_string()
}

fn show_footprint(settings: &Settings, footprint: &Footprint) -> String {
    let Footprint {
        generations,
        lanes_total,
        connections_wanted,
        memory,
    } = footprint;
    let mut text = format!(
        "\n# What this comes to, per process, counting one generation per definition ({generations} in {}):\n\
         #   lanes                    {lanes_total}\n\
         #   connections              {connections_wanted} (of at most {})\n\
         #   librdkafka queue         {} per lane\n\
         #   row cache                {} per lane\n\
         #   records of one batch     {} per lane at most\n\
         #   reserve                  {}\n",
        settings.projections.display(),
        settings.postgres.max_connections,
        mib(memory.queue_bytes_per_lane),
        mib(memory.cache_bytes_per_lane),
        mib(memory.batch_bytes_max),
        mib(memory.reserve_bytes),
    );
    for warning in footprint.warnings(settings) {
        let _ = writeln!(text, "# Mind: {warning}.");
    }
    text
}

/// Key and value in the order of [`KEYS`], properties after their section's keys.
fn effective(settings: &Settings) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for key in KEYS {
        if key.name == "postgres.url"
            && let Some(file) = settings.secret_files.get(key.name)
        {
            all.push((format!("{}_file", key.name), json!(file)));
            continue;
        }
        all.push((key.name.to_owned(), value_of(settings, key.name)));
        if key.name == "kafka.group" {
            all.extend(properties(settings));
        }
    }
    all
}

fn properties(settings: &Settings) -> Vec<(String, Value)> {
    let shown = settings.kafka.properties.iter().map(|(property, value)| {
        let key = format!("{}{property}", keys::PROPERTIES);
        match settings.secret_files.get(&key) {
            Some(file) => (format!("{key}_file"), json!(file)),
            None if keys::is_secret_property(property) => (key, json!(HIDDEN)),
            None => (key, json!(value)),
        }
    });
    shown.collect()
}

fn value_of(settings: &Settings, key: &str) -> Value {
    match key {
        "kafka.brokers" => json!(settings.kafka.brokers),
        "kafka.group" => json!(settings.kafka.group),
        "kafka.token_file" => json!(file(settings.kafka.token_file.as_deref())),
        "http.token_file" => json!(file(settings.http.token_file.as_deref())),
        "postgres.url" => json!(settings.postgres.url.to_string()),
        "postgres.read_schema" => json!(settings.postgres.read_schema),
        "postgres.readers" => json!(settings.postgres.readers),
        "postgres.max_connections" => json!(settings.postgres.max_connections),
        "projections" => json!(settings.projections),
        "http.listen" => json!(
            settings
                .http
                .listen
                .map_or("off".to_owned(), |address| address.to_string())
        ),
        "worker.lanes" => json!(settings.worker.lanes),
        "worker.batch_events" => json!(settings.worker.batch_events),
        "worker.batch_linger_ms" => json!(settings.worker.batch_linger.as_millis() as u64),
        "worker.memory_limit" => json!(format_bytes(settings.worker.memory_limit)),
        "dead_letters.max" => json!(settings.dead_letters.max),
        "dead_letters.window" => json!(settings.dead_letters.window),
        "dead_letters.share" => json!(settings.dead_letters.share),
        "dead_letters.payloads" => json!(match settings.dead_letters.keeps_payloads {
            true => "keep",
            false => "redact",
        }),
        "rebuild.on_change" => json!(match settings.rebuild.on_change {
            OnChange::Switch => "switch",
            OnChange::Hold => "hold",
            OnChange::Ignore => "ignore",
        }),
        "rebuild.grace" => json!(format_duration(settings.rebuild.grace)),
        "log.format" => json!(match settings.log.format {
            LogFormat::Auto => "auto",
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }),
        "log.filter" => json!(match &settings.log.filter {
            LogFilter::Auto => "auto",
            LogFilter::Directives(directives) => directives.as_str(),
        }),
        _ => unreachable!("a test shows every key of the list"),
    }
}

fn file(path: Option<&Path>) -> String {
    path.map_or(String::new(), |path| path.display().to_string())
}

/// JSON's form of a value is YAML; a plain word needs no quotes.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        value => value.to_string(),
    }
}

fn is_plain(text: &str) -> bool {
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    let rest = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "._-/:,@=".contains(c));
    first && rest && !text.ends_with(':') && !matches!(text, "null" | "true" | "false")
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}
