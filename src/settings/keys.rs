//! Every setting: its key, its default, what it means. The one list that reading, `config` and the manual go by.

use crate::source::owned_properties;

/// One setting.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    /// As it would be written.
    pub default: &'static str,
    /// A list: a YAML list, or text separated by commas.
    pub list: bool,
    /// Never shown; may be given as `<name>_file` instead.
    pub secret: bool,
    pub meaning: &'static str,
}

const fn key(name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key {
        name,
        default,
        list: false,
        secret: false,
        meaning,
    }
}

pub const KEYS: &[Key] = &[
    Key {
        list: true,
        ..key(
            "kafka.brokers",
            "localhost:9092",
            "Brokers to start from, `host:port`.",
        )
    },
    key(
        "kafka.group",
        "consolidator",
        "Begins the name of every consumer group; one deployment, one group.",
    ),
    key(
        "kafka.token_file",
        "",
        "File with the token to log in to Kafka with (SASL OAUTHBEARER); read again when it ends.",
    ),
    Key {
        secret: true,
        ..key(
            "postgres.url",
            "postgres://postgres@localhost:5432/postgres",
            "The database, with the role that owns the consolidator's schemas.",
        )
    },
    key(
        "postgres.read_schema",
        "read_model",
        "The schema that holds the views for readers.",
    ),
    Key {
        list: true,
        ..key(
            "postgres.readers",
            "",
            "Roles that may read the read schema.",
        )
    },
    key(
        "postgres.max_connections",
        "20",
        "Hard limit of connections of one process.",
    ),
    key(
        "projections",
        "projections",
        "The folder with the definitions.",
    ),
    key(
        "http.listen",
        "127.0.0.1:8080",
        "Address of /livez, /readyz and /metrics; `off` for none.",
    ),
    key(
        "http.token_file",
        "",
        "File with the token that /metrics asks for; without it anybody who reaches the address may read them.",
    ),
    key(
        "worker.lanes",
        "2",
        "Lanes per generation and process; each is a thread and a connection.",
    ),
    key(
        "worker.batch_events",
        "10000",
        "Most events of one transaction near the end of the log.",
    ),
    key(
        "worker.batch_linger_ms",
        "3",
        "Milliseconds between the starts of two commits of a lane near the end of the log, at least: events that come meanwhile share the second.",
    ),
    key(
        "worker.memory_limit",
        "1GiB",
        "Bytes of the process; queues, caches and batches share it.",
    ),
    key(
        "rebuild.on_change",
        "switch",
        "A changed definition: `switch`, `hold` or `ignore`.",
    ),
    key(
        "rebuild.grace",
        "1h",
        "How long the old generation stays fed after a switch.",
    ),
    key(
        "dead_letters.max",
        "100000",
        "Most events set aside in one generation; it stops before one more.",
    ),
    key(
        "dead_letters.window",
        "1000",
        "Events, at least, of which `dead_letters.share` is taken.",
    ),
    key(
        "dead_letters.share",
        "20",
        "If more in a hundred fail by themselves, no event is blamed: the projection waits.",
    ),
    key(
        "dead_letters.payloads",
        "keep",
        "`keep`, or `redact`: neither what the record held nor what is wrong with it; then only a rebuild applies it.",
    ),
    key(
        "log.format",
        "auto",
        "`auto` (text on a terminal, else JSON), `text` or `json`.",
    ),
    key(
        "log.filter",
        "auto",
        "What is logged, as in `info,consolidator::worker=debug`.",
    ),
];

/// Where librdkafka's own properties stand; what follows is the property's name, dots and all.
pub const PROPERTIES: &str = "kafka.properties.";

pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// A section, such as `kafka`.
pub fn is_section(name: &str) -> bool {
    name == "kafka.properties"
        || KEYS.iter().any(|key| {
            key.name
                .split_once('.')
                .is_some_and(|(section, _)| section == name)
        })
}

/// May this key be written at all? `Err` is the message for whoever wrote it.
pub fn check(name: &str) -> Result<(), String> {
    if let Some(property) = name.strip_prefix(PROPERTIES) {
        return check_property(property);
    }
    if find(name).is_some() || secret_of_file_key(name).is_some() {
        return Ok(());
    }
    if is_section(name) {
        let section = format!("{name}.");
        let known: Vec<_> = KEYS
            .iter()
            .filter_map(|key| key.name.strip_prefix(&section))
            .collect();
        return Err(format!(
            "`{name}` is a section, its keys are: {}",
            known.join(", ")
        ));
    }
    if let Some(base) = name
        .strip_suffix("_file")
        .filter(|base| find(base).is_some())
    {
        return Err(format!(
            "unknown key `{name}`: `{base}` is no secret and cannot come from a file"
        ));
    }
    Err(match suggest(name) {
        Some(near) => format!("unknown key `{name}`, did you mean `{near}`?"),
        None => format!("unknown key `{name}`; `consolidator config` shows all keys"),
    })
}

/// `postgres.url_file` -> `postgres.url`: the secret that a file stands for.
pub fn secret_of_file_key(name: &str) -> Option<&str> {
    let base = name.strip_suffix("_file")?;
    let is_property = base.starts_with(PROPERTIES) && base.len() > PROPERTIES.len();
    (is_property || find(base).is_some_and(|key| key.secret)).then_some(base)
}

/// Must this value never be shown?
pub fn is_secret(name: &str) -> bool {
    match name.strip_prefix(PROPERTIES) {
        Some(property) => is_secret_property(property),
        None => find(name).is_some_and(|key| key.secret),
    }
}

/// Judged by the name, so that properties of later librdkafka versions are covered too.
pub fn is_secret_property(property: &str) -> bool {
    const MARKS: &[&str] = &[
        "password",
        "passphrase",
        "secret",
        "key.pem",
        "oauthbearer.config",
        "jaas",
        "token",
    ];
    let endpoint = property.ends_with(".url");
    !endpoint && MARKS.iter().any(|mark| property.contains(mark))
}

fn check_property(property: &str) -> Result<(), String> {
    let name = property.strip_suffix("_file").unwrap_or(property);
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("`{property}` is no name of a librdkafka property"));
    }
    match owned_properties().iter().find(|(owned, _)| *owned == name) {
        Some((owned, instead)) => Err(format!(
            "`{owned}` cannot be set in kafka.properties: {instead}"
        )),
        None => Ok(()),
    }
}

/// The known key that was probably meant: the same name in another section, else the nearest spelling.
fn suggest(name: &str) -> Option<&'static str> {
    let last = name.rsplit('.').next().unwrap_or(name);
    let tail = |key: &Key| key.name.rsplit('.').next() == Some(last);
    if let Some(key) = KEYS.iter().find(|key| tail(key)) {
        return Some(key.name);
    }
    let sections = KEYS
        .iter()
        .filter_map(|key| Some(key.name.split_once('.')?.0));
    KEYS.iter()
        .map(|key| key.name)
        .chain(sections)
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, known)| *distance <= 2.max(known.len() / 4))
        .min()
        .map(|(_, known)| known)
}
