//! The layers as written: file, environment, flags. Each keeps where a value stands. Knows the keys, not what values mean.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::{ConfigError, Map, Source, Value, ValueKind};
use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::keys;

/// What the settings are read from. [`Sources::here`] is the process's own.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config FILE`: must exist. `None`: `consolidator.yaml`, which may be missing.
    pub config: Option<PathBuf>,
    pub environment: Vec<(OsString, OsString)>,
    /// `--set section.key=value`.
    pub set: Vec<String>,
}

impl Sources {
    /// With the environment of this process.
    pub fn here(config: Option<PathBuf>, set: Vec<String>) -> Sources {
        Sources {
            config,
            environment: std::env::vars_os().collect(),
            set,
        }
    }
}

const DEFAULT_FILE: &str = "consolidator.yaml";
const FILE_BYTES_MAX: u64 = 1 << 20;
const DEPTH_MAX: usize = 16;
const ENVIRONMENT_PREFIX: &str = "CONSOLIDATOR__";

/// Values of one origin, by full key. `config` lays layers over one another.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    values: BTreeMap<String, Value>,
}

/// The values of a key, and whether they stand as one scalar.
enum Written {
    One(String),
    Many(Vec<String>),
    /// Written empty: as if it were not there, but hiding earlier layers.
    Nothing,
}

impl Layer {
    pub fn from_file(sources: &Sources, problems: &mut Vec<String>) -> Layer {
        let path = sources.config.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
        let name = path.display().to_string();
        let text = match read_limited(path) {
            Ok(text) => text,
            Err(error)
                if sources.config.is_none() && error.kind() == std::io::ErrorKind::NotFound =>
            {
                return Layer::default();
            }
            Err(error) => {
                problems.push(format!("cannot read the settings file {name}: {error}"));
                return Layer::default();
            }
        };
        let mut layer = Layer::default();
        if let Err(problem) = YamlReader::new(&name, &text).read(&mut layer, problems) {
            problems.push(problem);
        }
        layer.close(problems)
    }

    /// `CONSOLIDATOR__SECTION__KEY`; an empty variable counts as not set.
    pub fn from_environment(
        environment: &[(OsString, OsString)],
        problems: &mut Vec<String>,
    ) -> Layer {
        let mut layer = Layer::default();
        for (name, value) in environment {
            let Some(name) = name
                .to_str()
                .filter(|name| name.starts_with(ENVIRONMENT_PREFIX))
            else {
                continue;
            };
            let Some(value) = value.to_str() else {
                problems.push(format!("{name}: is not UTF-8"));
                continue;
            };
            if !value.is_empty() {
                layer.insert(
                    key_of_variable(name),
                    Written::One(value.to_owned()),
                    name,
                    problems,
                );
            }
        }
        layer.close(problems)
    }

    /// `section.key=value`. Secrets are refused: arguments are visible to everyone on the machine.
    pub fn from_flags(set: &[String], problems: &mut Vec<String>) -> Layer {
        let mut layer = Layer::default();
        for flag in set {
            match flag.split_once('=') {
                None => problems.push("--set: expected section.key=value".to_owned()),
                Some((key, _)) if keys::is_secret(key) => problems.push(format!(
                    "--set {key}: a secret on the command line can be read by others; use `{key}_file` or the environment"
                )),
                Some((key, value)) => {
                    layer.insert(key.to_owned(), Written::One(value.to_owned()), &format!("--set {key}"), problems);
                }
            }
        }
        layer.close(problems)
    }

    fn insert(&mut self, key: String, written: Written, origin: &str, problems: &mut Vec<String>) {
        if let Err(problem) = keys::check(&key) {
            problems.push(format!("{origin}: {problem}"));
            return;
        }
        let origin = origin.to_owned();
        let kind = match written {
            Written::One(text) => ValueKind::String(text),
            Written::Many(texts) => ValueKind::Array(
                texts
                    .into_iter()
                    .map(|text| Value::new(Some(&origin), text))
                    .collect(),
            ),
            Written::Nothing => ValueKind::Nil,
        };
        match self.values.entry(key) {
            Entry::Vacant(place) => {
                place.insert(Value::new(Some(&origin), kind));
            }
            Entry::Occupied(first) => {
                let before = first.get().origin().unwrap_or_default();
                problems.push(format!(
                    "{origin}: `{}` is given twice, first at {before}",
                    first.key()
                ));
            }
        }
    }

    /// A secret and its `_file` exclude one another; either hides the other of earlier layers.
    fn close(mut self, problems: &mut Vec<String>) -> Layer {
        let files: Vec<(String, String)> = self
            .values
            .keys()
            .filter_map(|key| Some((keys::secret_of_file_key(key)?.to_owned(), key.clone())))
            .collect();
        for (secret, file) in &files {
            if let Some(value) = self.values.get(secret) {
                let origin = value.origin().unwrap_or_default();
                problems.push(format!("{origin}: both `{secret}` and `{file}` are given"));
            }
            self.values
                .entry(secret.clone())
                .or_insert(Value::new(None, ValueKind::Nil));
        }
        let plain: Vec<String> = self
            .values
            .keys()
            .filter(|key| keys::is_secret(key))
            .cloned()
            .collect();
        for secret in plain {
            self.values
                .entry(format!("{secret}_file"))
                .or_insert(Value::new(None, ValueKind::Nil));
        }
        self
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    /// As nested tables: a flat name would be split at the dots of librdkafka's properties.
    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let mut root = Map::new();
        for (key, value) in &self.values {
            let (sections, last) = sections_of(key);
            let mut table = &mut root;
            for section in sections {
                let value = table
                    .entry(section.to_owned())
                    .or_insert_with(|| Value::from(Map::<String, Value>::new()));
                let ValueKind::Table(inner) = &mut value.kind else {
                    unreachable!(
                        "a key is checked against the known ones, and none of them is a section"
                    );
                };
                table = inner;
            }
            table.insert(last.to_owned(), value.clone());
        }
        Ok(root)
    }
}

/// `kafka.properties.sasl.password` -> `[kafka, properties]`, `sasl.password`.
fn sections_of(key: &str) -> (Vec<&str>, &str) {
    if let Some(property) = key.strip_prefix(keys::PROPERTIES) {
        return (vec!["kafka", "properties"], property);
    }
    match key.split_once('.') {
        Some((section, last)) => (vec![section], last),
        None => (Vec::new(), key),
    }
}

/// `CONSOLIDATOR__KAFKA__PROPERTIES__SASL_PASSWORD_FILE` -> `kafka.properties.sasl.password_file`.
/// A property may also be written with its dots, where the shell or the orchestrator allows such a name.
fn key_of_variable(name: &str) -> String {
    let path = name
        .trim_start_matches(ENVIRONMENT_PREFIX)
        .to_ascii_lowercase()
        .replace("__", ".");
    match path.strip_prefix(keys::PROPERTIES) {
        Some(property) if !property.contains('.') => {
            let (property, file) = match property.strip_suffix("_file") {
                Some(property) => (property, "_file"),
                None => (property, ""),
            };
            format!("{}{}{file}", keys::PROPERTIES, property.replace('_', "."))
        }
        _ => path,
    }
}

/// Reads a file that must be small. Also used for secrets.
pub fn read_limited(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    match text.len() as u64 > FILE_BYTES_MAX {
        true => Err(std::io::Error::other("larger than 1 MiB")),
        false => Ok(text),
    }
}

/// Takes every value of a settings file by its source text, so that `1.10` stays `1.10`.
struct YamlReader<'t> {
    name: &'t str,
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    /// Full key of every mapping that is open.
    open: Vec<String>,
}

impl<'t> YamlReader<'t> {
    fn new(name: &'t str, text: &'t str) -> Self {
        YamlReader {
            name,
            parser: Parser::new_from_str(text),
            open: Vec::new(),
        }
    }

    fn read(&mut self, layer: &mut Layer, problems: &mut Vec<String>) -> Result<(), String> {
        let mut documents = 0;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::StreamEnd => return Ok(()),
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(self.at(&span, "one document is enough, this begins another"));
                    }
                }
                Event::Scalar(text, style, ..) if is_nothing(&text, style) => {}
                Event::MappingStart(..) => self.read_mapping(layer, problems)?,
                _ => {
                    return Err(
                        self.at(&span, "expected sections such as `kafka:` and `postgres:`")
                    );
                }
            }
        }
    }

    fn read_mapping(
        &mut self,
        layer: &mut Layer,
        problems: &mut Vec<String>,
    ) -> Result<(), String> {
        if self.open.len() > DEPTH_MAX {
            return Err(format!("{}: nested too deeply", self.name));
        }
        loop {
            let (event, span) = self.next()?;
            let name = match event {
                Event::MappingEnd => return Ok(()),
                Event::Scalar(name, ..) => name,
                _ => return Err(self.at(&span, "a key must be a plain word")),
            };
            let key = match self.open.last() {
                Some(section) => format!("{section}.{name}"),
                None => name.into_owned(),
            };
            let origin = self.at_origin(&span);
            let (event, span) = self.next()?;
            match event {
                Event::MappingStart(..)
                    if key != keys::PROPERTIES && keys::find(&key).is_none() =>
                {
                    if !keys::is_section(&key) && !key.starts_with(keys::PROPERTIES) {
                        problems.push(match keys::check(&key) {
                            Err(problem) => format!("{origin}: {problem}"),
                            Ok(()) => format!("{origin}: `{key}` takes a value, not a mapping"),
                        });
                        self.skip_mapping()?;
                        continue;
                    }
                    self.open.push(key);
                    self.read_mapping(layer, problems)?;
                    self.open.pop();
                }
                Event::MappingStart(..) => {
                    return Err(self.at(&span, &format!("`{key}` takes a value, not a mapping")));
                }
                Event::SequenceStart(..) => {
                    let list = self.read_list()?;
                    layer.insert(key, Written::Many(list), &origin, problems);
                }
                Event::Scalar(text, style, ..) if is_nothing(&text, style) => {
                    if !keys::is_section(&key) {
                        layer.insert(key, Written::Nothing, &origin, problems);
                    }
                }
                Event::Scalar(text, ..) => {
                    layer.insert(key, Written::One(text.into_owned()), &origin, problems)
                }
                _ => return Err(self.at(&span, "expected a value")),
            }
        }
    }

    fn read_list(&mut self) -> Result<Vec<String>, String> {
        let mut list = Vec::new();
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::SequenceEnd => return Ok(list),
                Event::Scalar(text, ..) => list.push(text.into_owned()),
                _ => return Err(self.at(&span, "expected a list of plain values")),
            }
        }
    }

    /// After its start: to its end.
    fn skip_mapping(&mut self) -> Result<(), String> {
        let mut depth = 1;
        while depth > 0 {
            match self.next()?.0 {
                Event::MappingStart(..) => depth += 1,
                Event::MappingEnd => depth -= 1,
                _ => {}
            }
        }
        Ok(())
    }

    /// Aliases are refused: with them a small file can grow without bound.
    fn next(&mut self) -> Result<(Event<'t>, Span), String> {
        let (event, span) = match self.parser.next_event() {
            Some(Ok(next)) => next,
            Some(Err(error)) => {
                let (line, column) = (error.marker().line(), error.marker().col() + 1);
                return Err(format!("{}:{line}:{column}: {}", self.name, error.info()));
            }
            None => return Err(format!("{}: ends too early", self.name)),
        };
        match event {
            Event::Alias(_) => Err(self.at(&span, "aliases are not allowed in settings")),
            event => Ok((event, span)),
        }
    }

    fn at_origin(&self, span: &Span) -> String {
        format!(
            "{}:{}:{}",
            self.name,
            span.start.line(),
            span.start.col() + 1
        )
    }

    fn at(&self, span: &Span, message: &str) -> String {
        format!("{}: {message}", self.at_origin(span))
    }
}

/// A null of YAML: nothing is said.
fn is_nothing(text: &str, style: ScalarStyle) -> bool {
    style == ScalarStyle::Plain && matches!(text, "" | "~" | "null")
}
