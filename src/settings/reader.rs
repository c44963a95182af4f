//! Merged layers (texts) to [`Settings`] (types), with every problem noted beside the place it was written at.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Config, Map, Source, Value, ValueKind};

use super::keys::{self, KEYS, Key};
use super::layers::{Layer, read_limited};
use super::{
    DeadLetterSettings, HttpSettings, KafkaSettings, LogFilter, LogFormat, LogSettings, OnChange,
    PostgresSettings, RebuildSettings, Secret, Settings, WorkerSettings, parse_bytes,
    parse_duration,
};

/// Below this nothing useful fits.
const MEMORY_LIMIT_MIN: u64 = 64 << 20;
const LANES_MAX: usize = 64;
const CONNECTIONS_MAX: u32 = 1_000;
const BATCH_EVENTS_MAX: usize = 10_000_000;
const LETTERS_MAX: i64 = 10_000_000;
const LINGER_MS_MAX: u64 = 60_000;
/// Kafka's limit of a group name is higher; projection and generation are appended.
const GROUP_LENGTH_MAX: usize = 150;
/// PostgreSQL's limit of a name.
const NAME_BYTES_MAX: usize = 63;

/// Hands out values by key. A problem is noted and the default used, so that one run finds all problems.
pub struct Reader {
    values: BTreeMap<String, Vec<String>>,
    origins: BTreeMap<String, String>,
    /// Secret key -> the file it was read from.
    secret_files: BTreeMap<String, PathBuf>,
    problems: Vec<String>,
}

impl Reader {
    /// Later layers win.
    pub fn merge(layers: [Layer; 3], problems: Vec<String>) -> Reader {
        let builder = layers
            .into_iter()
            .fold(Config::builder(), |builder, layer| {
                builder.add_source(layer)
            });
        let mut reader = Reader {
            values: BTreeMap::new(),
            origins: BTreeMap::new(),
            secret_files: BTreeMap::new(),
            problems,
        };
        match builder.build().and_then(|merged| merged.collect()) {
            Ok(root) => reader.flatten("", root),
            Err(error) => reader
                .problems
                .push(format!("the settings cannot be merged: {error}")),
        }
        reader
    }

    pub fn settings(&mut self) -> Settings {
        Settings {
            kafka: self.kafka(),
            postgres: self.postgres(),
            projections: self.parse("projections", path),
            http: HttpSettings {
                listen: self.parse("http.listen", listen),
                token_file: self.token_file("http.token_file"),
            },
            worker: WorkerSettings {
                lanes: self.parse("worker.lanes", |text| whole(text, 1, LANES_MAX)),
                batch_events: self.parse("worker.batch_events", |text| {
                    whole(text, 1, BATCH_EVENTS_MAX)
                }),
                batch_linger: self.parse("worker.batch_linger_ms", |text| {
                    whole(text, 0, LINGER_MS_MAX).map(Duration::from_millis)
                }),
                memory_limit: self.parse("worker.memory_limit", memory_limit),
            },
            rebuild: RebuildSettings {
                on_change: self.parse("rebuild.on_change", on_change),
                grace: self.parse("rebuild.grace", parse_duration),
            },
            dead_letters: DeadLetterSettings {
                max: self.parse("dead_letters.max", |text| whole(text, 0, LETTERS_MAX)),
                window: self.parse("dead_letters.window", |text| {
                    whole(text, 1, BATCH_EVENTS_MAX)
                }),
                share: self.parse("dead_letters.share", |text| whole(text, 0, 100)),
                keeps_payloads: self.parse("dead_letters.payloads", keeps_payloads),
            },
            log: LogSettings {
                format: self.parse("log.format", log_format),
                filter: self.parse("log.filter", log_filter),
            },
            origins: self.origins(),
            secret_files: self.secret_files.clone(),
        }
    }

    pub fn into_problems(self) -> Vec<String> {
        self.problems
    }

    fn kafka(&mut self) -> KafkaSettings {
        let names: Vec<String> = self
            .values
            .keys()
            .filter_map(|key| key.strip_prefix(keys::PROPERTIES))
            .map(str::to_owned)
            .collect();
        let mut properties = BTreeMap::new();
        let mut files = BTreeMap::new();
        for name in names {
            let key = format!("{}{name}", keys::PROPERTIES);
            let property = name.strip_suffix("_file").unwrap_or(&name).to_owned();
            let value = match keys::secret_of_file_key(&key) {
                Some(_) => self.secret_file(&key),
                None => self.one(&key),
            };
            if let Some(file) = self
                .secret_files
                .get(&format!("{}{property}", keys::PROPERTIES))
            {
                files.insert(property.clone(), file.clone());
            }
            if let Some(value) = value {
                properties.insert(property, value);
            }
        }
        KafkaSettings {
            brokers: self.list("kafka.brokers", broker).join(","),
            group: self.parse("kafka.group", group),
            properties,
            files,
            token_file: self.token_file("kafka.token_file"),
        }
    }

    fn postgres(&mut self) -> PostgresSettings {
        PostgresSettings {
            url: self.parse_secret("postgres.url", postgres_url),
            read_schema: self.parse("postgres.read_schema", read_schema),
            readers: self.list("postgres.readers", role),
            max_connections: self.parse("postgres.max_connections", |text| {
                whole(text, 1, CONNECTIONS_MAX)
            }),
        }
    }

    /// As [`Reader::parse`], from the key itself or the file that `<key>_file` names.
    fn parse_secret<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let file_key = format!("{key}_file");
        if self.values.contains_key(&file_key)
            && let Some(text) = self.secret_file(&file_key)
        {
            match parse(&text) {
                Ok(value) => return value,
                Err(problem) => self.note(&file_key, &problem),
            }
        }
        self.parse(key, parse)
    }

    /// The value of a key, or its default where it is missing or wrong.
    fn parse<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        if let Some(text) = self.one(key) {
            match parse(&text) {
                Ok(value) => return value,
                Err(problem) => self.note(key, &problem),
            }
        }
        parse(default_of(key)).expect("every default is valid, a test reads them all")
    }

    /// A file that holds a secret and is read whenever the secret is needed. It must be there from the start, so that a
    /// misspelt name does not go unnoticed.
    fn token_file(&mut self, key: &str) -> Option<PathBuf> {
        let file = self.one(key).filter(|file| !file.is_empty())?;
        match read_limited(Path::new(&file)) {
            Ok(text) if text.trim().is_empty() => self.note(key, &format!("{file} is empty")),
            Ok(_) => {}
            Err(error) => self.note(key, &format!("cannot read {file}: {error}")),
        }
        Some(PathBuf::from(file))
    }

    fn list(&mut self, key: &str, check: impl Fn(&str) -> Result<(), String>) -> Vec<String> {
        let written = self
            .values
            .get(key)
            .cloned()
            .unwrap_or_else(|| vec![default_of(key).to_owned()]);
        let items: Vec<String> = written
            .iter()
            .flat_map(|text| text.split(','))
            .map(|item| item.trim().to_owned())
            .collect();
        let items: Vec<String> = items.into_iter().filter(|item| !item.is_empty()).collect();
        let problems: Vec<String> = items.iter().filter_map(|item| check(item).err()).collect();
        for problem in problems {
            self.note(key, &problem);
        }
        if items.is_empty() && !default_of(key).is_empty() {
            self.note(key, "must not be empty");
        }
        items
    }

    fn one(&mut self, key: &str) -> Option<String> {
        match self.values.get(key)?.as_slice() {
            [text] => Some(text.clone()),
            _ => {
                self.note(key, "expected one value, got a list");
                None
            }
        }
    }

    /// The content of the file that `key` names, without the newline that editors add.
    fn secret_file(&mut self, key: &str) -> Option<String> {
        let file = self.one(key)?;
        let problem = match read_limited(Path::new(&file)) {
            Ok(text) if !text.trim().is_empty() => {
                if let Some(secret) = keys::secret_of_file_key(key) {
                    self.secret_files
                        .insert(secret.to_owned(), PathBuf::from(&file));
                }
                return Some(text.trim_end_matches(['\n', '\r']).to_owned());
            }
            Ok(_) => format!("{file} is empty"),
            Err(error) => format!("cannot read {file}: {error}"),
        };
        self.note(key, &problem);
        None
    }

    /// Never with the value of a secret: the messages of its parsers do not quote it.
    fn note(&mut self, key: &str, problem: &str) {
        let origin = self.origins.get(key).map_or("default", String::as_str);
        self.problems.push(format!("{origin}: {key}: {problem}"));
    }

    fn origins(&self) -> BTreeMap<String, String> {
        let from_file =
            |key: &Key| key.secret && self.origins.contains_key(&format!("{}_file", key.name));
        let all = KEYS
            .iter()
            .filter(|key| !from_file(key))
            .map(|key| (key.name.to_owned(), "default".to_owned()));
        all.chain(self.origins.clone()).collect()
    }

    fn flatten(&mut self, section: &str, table: Map<String, Value>) {
        for (name, value) in table {
            let key = match section {
                "" => name,
                _ => format!("{section}.{name}"),
            };
            let origin = value.origin().unwrap_or_default().to_owned();
            let texts = match value.kind {
                ValueKind::Table(inner) => {
                    self.flatten(&key, inner);
                    continue;
                }
                ValueKind::Nil => continue,
                ValueKind::Array(items) => items
                    .into_iter()
                    .filter_map(|item| item.into_string().ok())
                    .collect(),
                kind => vec![kind.to_string()],
            };
            self.origins.insert(key.clone(), origin);
            self.values.insert(key, texts);
        }
    }
}

fn default_of(key: &str) -> &'static str {
    keys::find(key).map_or("", |key| key.default)
}

fn whole<T>(text: &str, least: T, most: T) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    match text.trim().parse() {
        Ok(number) if number >= least && number <= most => Ok(number),
        _ => Err(format!(
            "expected a whole number from {least} to {most}, got `{text}`"
        )),
    }
}

fn path(text: &str) -> Result<PathBuf, String> {
    match text.trim() {
        "" => Err("must not be empty".to_owned()),
        text => Ok(PathBuf::from(text)),
    }
}

fn listen(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    let numeric = text.replacen("localhost:", "127.0.0.1:", 1);
    let parsed = numeric.parse().map(Some);
    parsed.map_err(|_| format!("expected an address and a port such as 127.0.0.1:8080 or 0.0.0.0:8080, or off, got `{text}`"))
}

fn broker(text: &str) -> Result<(), String> {
    let port = text
        .rsplit_once(':')
        .map(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    match text.chars().any(char::is_whitespace) || port == Some(false) {
        true => Err(format!(
            "expected host:port, several separated by commas, got `{text}`"
        )),
        false => Ok(()),
    }
}

fn group(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match !text.is_empty() && text.len() <= GROUP_LENGTH_MAX && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "expected letters, digits, `.`, `_` or `-`, at most {GROUP_LENGTH_MAX}, got `{text}`"
        )),
    }
}

/// The message never quotes the text: it may hold a password.
fn postgres_url(text: &str) -> Result<Secret, String> {
    let text = text.trim();
    match text.starts_with("postgres://") || text.starts_with("postgresql://") {
        true => Ok(Secret::new(text)),
        false => Err("expected postgres://user:password@host:port/database".to_owned()),
    }
}

/// A schema of our own, so no name that PostgreSQL or the consolidator uses.
fn read_schema(text: &str) -> Result<String, String> {
    let first = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let plain = text
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !first || !plain || text.len() > NAME_BYTES_MAX {
        return Err(format!(
            "expected a name of lowercase letters, digits and `_`, got `{text}`"
        ));
    }
    match text == "consolidator"
        || text.starts_with("consolidator_g")
        || text.starts_with("pg_")
        || text == "information_schema"
    {
        true => Err(format!(
            "`{text}` is taken; choose another schema for readers"
        )),
        false => Ok(text.to_owned()),
    }
}

fn role(text: &str) -> Result<(), String> {
    match text.len() > NAME_BYTES_MAX || text.contains('\0') {
        true => Err(format!("`{text}` is no name of a role")),
        false => Ok(()),
    }
}

fn memory_limit(text: &str) -> Result<u64, String> {
    match parse_bytes(text)? {
        bytes if bytes < MEMORY_LIMIT_MIN => Err(format!("expected at least 64MiB, got `{text}`")),
        bytes => Ok(bytes),
    }
}

fn on_change(text: &str) -> Result<OnChange, String> {
    match text {
        "switch" => Ok(OnChange::Switch),
        "hold" => Ok(OnChange::Hold),
        "ignore" => Ok(OnChange::Ignore),
        _ => Err(format!("expected switch, hold or ignore, got `{text}`")),
    }
}

fn keeps_payloads(text: &str) -> Result<bool, String> {
    match text {
        "keep" => Ok(true),
        "redact" => Ok(false),
        _ => Err(format!("expected keep or redact, got `{text}`")),
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("expected auto, text or json, got `{text}`")),
    }
}

fn log_filter(text: &str) -> Result<LogFilter, String> {
    match text {
        "auto" => Ok(LogFilter::Auto),
        _ => match text.parse::<tracing_subscriber::EnvFilter>() {
            Ok(_) => Ok(LogFilter::Directives(text.to_owned())),
            Err(error) => Err(format!(
                "expected directives such as info,consolidator::worker=debug: {error}"
            )),
        },
    }
}
