//! `dead-letters list`, `show`, `retry` and `discard`: what is set aside, and what is to become of it. Requests are stored; the lane
//! that owns the partition carries them out, and the command waits for that.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{connect, failed};
use crate::error::{Failure, Outcome};
use crate::settings::Settings;
use crate::store::{Idle, Letter, LetterFilter, Payload, Request, RequestedLetters, Store};

/// How often a command looks whether its request was carried out.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long it waits while nothing is done.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Letters that stay and are named.
const NAMED_MAX: usize = 10;

/// Which letters a command is about.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// `None`: of every projection.
    pub projection: Option<String>,
    /// `None`: the one that readers see.
    pub generation: Option<i64>,
    pub key: Option<String>,
    pub reason: Option<String>,
    pub ids: Vec<i64>,
}

/// Prints.
type Print<'p> = &'p mut dyn FnMut(&str) -> Result<(), Failure>;

/// `dead-letters list`.
///
/// # Errors
/// As the server's; there is no such projection or generation.
pub async fn list(
    settings: &Settings,
    chosen: &Chosen,
    as_json: bool,
    print: Print<'_>,
) -> Result<Outcome, Failure> {
    let store = connect(settings).await?;
    let names = match &chosen.projection {
        Some(name) => vec![name.clone()],
        None => store.projection_names().await.map_err(failed)?,
    };
    let mut count = 0;
    for name in &names {
        let Some(filter) = filter(&store, name, chosen).await? else {
            continue;
        };
        for letter in store.letters(&filter).await.map_err(failed)? {
            count += 1;
            match as_json {
                true => print(&to_json(name, filter.generation, &letter).to_string())?,
                false => print(&line(&letter))?,
            }
        }
    }
    if count == 0 && !as_json {
        print("nothing is set aside")?;
    }
    Ok(Outcome::Fine)
}

/// `dead-letters show NAME ID`: one letter with its payload.
///
/// # Errors
/// As the server's; there is no such letter.
pub async fn show(
    settings: &Settings,
    chosen: &Chosen,
    as_json: bool,
    print: Print<'_>,
) -> Result<Outcome, Failure> {
    let store = connect(settings).await?;
    let name = chosen.projection.as_deref().unwrap_or_default();
    let filter = filter_of(&store, name, chosen).await?;
    let letters = store.letters(&filter).await.map_err(failed)?;
    let id = chosen.ids.first().copied().unwrap_or_default();
    let payload = store.letter_payload(filter.generation, id).await;
    let (Some(letter), Some(payload)) = (letters.first(), payload.map_err(failed)?) else {
        return Err(Failure::new(format!(
            "generation {} of {name} has no dead letter {id}",
            filter.generation
        ))
        .hint(format!(
            "`consolidator dead-letters list {name}` shows those there are."
        )));
    };
    match as_json {
        true => {
            let mut object = to_json(name, filter.generation, letter);
            add_payload(&mut object, &payload);
            print(&object.to_string())?;
        }
        false => print(&in_full(letter, &payload))?,
    }
    Ok(Outcome::Fine)
}

/// `dead-letters retry` and `discard`: asks for it, and tells what came of it. Exit status 1 if something stays, or nobody has come
/// to it.
///
/// # Errors
/// As the server's; nothing is chosen by that.
pub async fn request(
    settings: &Settings,
    chosen: &Chosen,
    request: Request,
    no_wait: bool,
    print: Print<'_>,
) -> Result<Outcome, Failure> {
    let store = connect(settings).await?;
    let name = chosen.projection.as_deref().unwrap_or_default();
    let filter = filter_of(&store, name, chosen).await?;
    let ids = store.request_letters(&filter, request).await;
    let ids = ids.map_err(failed)?;
    if ids.is_empty() {
        return Err(
            Failure::new(format!("no dead letter of {name} is meant by that")).hint(format!(
                "`consolidator dead-letters list {name}` shows those there are."
            )),
        );
    }
    if no_wait {
        print(&format!("asked for: {}", events(ids.len() as i64)))?;
        return Ok(Outcome::Fine);
    }
    let (became, idle) = wait(&store, filter.generation, &ids).await?;
    let left = became.open + became.held;
    let done = ids.len() as i64 - left - became.stay;
    let verb = match request {
        Request::Retry => "applied",
        Request::Discard => "thrown away",
    };
    print(&format!("{verb}: {}", events(done)))?;
    if became.stay > 0 {
        print(&format!("still set aside: {}", events(became.stay)))?;
        let of_these = LetterFilter {
            generation: filter.generation,
            ids: Some(ids),
            ..LetterFilter::default()
        };
        let stay = store.letters(&of_these).await.map_err(failed)?;
        let named = stay
            .iter()
            .filter(|letter| letter.requested.is_none() && !letter.follows);
        for letter in named.take(NAMED_MAX) {
            print(&format!("  {}", line(letter)))?;
        }
    }
    if left > 0 {
        let why = why_open(name, &became, &idle);
        print(&format!("not yet come to: {}; {why}", events(left)))?;
    }
    match left == 0 && became.stay == 0 {
        true => Ok(Outcome::Fine),
        false => Ok(Outcome::NotFine),
    }
}

/// Until all is done, or nothing has been done for a while, or nobody will do it. What is set aside of a partition that stands still
/// alone waits for that one; the rest does not.
async fn wait(
    store: &Store,
    generation: i64,
    ids: &[i64],
) -> Result<(RequestedLetters, Idle), Failure> {
    let mut open_before = i64::MAX;
    let mut moved_at = Instant::now();
    loop {
        let became = store.requested_letters(generation, ids).await;
        let became = became.map_err(failed)?;
        let idle = store.idle(generation).await.map_err(failed)?;
        if became.open < open_before {
            (open_before, moved_at) = (became.open, Instant::now());
        }
        let stands_still = idle.paused || idle.stopped.is_some();
        if became.open == 0 || stands_still || moved_at.elapsed() >= WAIT_MAX {
            return Ok((became, idle));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn why_open(name: &str, became: &RequestedLetters, idle: &Idle) -> String {
    let why = match idle {
        Idle { paused: true, .. } => {
            format!("{name} is paused: it is done after `consolidator resume {name}`")
        }
        Idle {
            stopped: Some(reason),
            ..
        } => format!(
            "{name} is stopped ({reason}): it is done first of all after `consolidator resume {name}`"
        ),
        Idle {
            stopped_alone: Some(reason),
            ..
        } if became.open == 0 => format!(
            "a partition is stopped ({reason}): it is done first of all once that one goes on"
        ),
        Idle {
            worked_on: false, ..
        } => "no worker runs: it is done as soon as one does".to_owned(),
        _ => "the worker is busy or still builds it: it is done as soon as it can".to_owned(),
    };
    format!("{why}; the request is kept")
}

async fn filter_of(store: &Store, name: &str, chosen: &Chosen) -> Result<LetterFilter, Failure> {
    let found = filter(store, name, chosen).await?;
    found.ok_or_else(|| Failure::new(format!("readers see nothing of {name} yet")))
}

/// `None`: readers see nothing of it.
async fn filter(
    store: &Store,
    name: &str,
    chosen: &Chosen,
) -> Result<Option<LetterFilter>, Failure> {
    let generations = store.generations(name).await.map_err(failed)?;
    if generations.is_empty() {
        return Err(
            Failure::new(format!("there is no projection {name} in the database"))
                .hint("`consolidator status` lists those there are."),
        );
    }
    let generation = match chosen.generation {
        Some(id) if generations.iter().all(|generation| generation.id != id) => {
            return Err(Failure::new(format!("{name} has no generation {id}")));
        }
        Some(id) => Some(id),
        None => store.visible_generation(name).await.map_err(failed)?,
    };
    Ok(generation.map(|generation| LetterFilter {
        generation,
        key: chosen.key.clone(),
        reason: chosen.reason.clone(),
        ids: (!chosen.ids.is_empty()).then(|| chosen.ids.clone()),
    }))
}

fn events(count: i64) -> String {
    match count {
        1 => "1 event".to_owned(),
        count => format!("{count} events"),
    }
}

/// One line for people.
fn line(letter: &Letter) -> String {
    let key = letter.key.as_deref().map(|key| format!(" key {key:?}"));
    let what = letter.event_type.as_deref().unwrap_or("undecodable");
    let asked = letter.requested.as_deref();
    format!(
        "{} {} [{}] @{}{} {what}: {}{}",
        letter.id,
        letter.topic,
        letter.partition,
        letter.offset,
        key.unwrap_or_default(),
        letter.reason,
        asked.map_or_else(String::new, |asked| format!(" ({asked} is asked for)"))
    )
}

fn in_full(letter: &Letter, payload: &Payload) -> String {
    let mut lines = vec![line(letter)];
    let mut add = |name: &str, value: Option<&str>| {
        lines.extend(value.map(|value| format!("  {name}: {value}")));
    };
    add("event id", letter.event_id.as_deref());
    add("event time", letter.event_time.as_deref());
    add("Kafka's timestamp", letter.record_at.as_deref());
    add("rule", letter.rule.as_deref());
    add("table", letter.table_name.as_deref());
    add("SQLSTATE", letter.sqlstate.as_deref());
    add("set aside at", Some(&letter.set_aside_at));
    add("headers", payload.headers.as_deref());
    let value = payload.value.as_deref().map(String::from_utf8_lossy);
    let none = match letter.redacted {
        true => "not kept (dead_letters.payloads: redact)",
        false => "none (a tombstone)",
    };
    add("value", Some(value.as_deref().unwrap_or(none)));
    lines.join("\n")
}

fn to_json(projection: &str, generation: i64, letter: &Letter) -> Value {
    json!({
        "projection": projection, "generation": generation, "id": letter.id, "topic": letter.topic,
        "partition": letter.partition, "offset": letter.offset, "key": letter.key, "type": letter.event_type,
        "event_id": letter.event_id, "time": letter.event_time, "record_at": letter.record_at, "table": letter.table_name,
        "rule": letter.rule, "sqlstate": letter.sqlstate, "reason": letter.reason, "follows": letter.follows, "redacted": letter.redacted,
        "requested": letter.requested, "set_aside_at": letter.set_aside_at, "bytes": letter.bytes,
    })
}

/// As text where it is text; as base64 always.
fn add_payload(object: &mut Value, payload: &Payload) {
    let text = |bytes: &Option<Vec<u8>>| {
        bytes
            .clone()
            .and_then(|bytes| String::from_utf8(bytes).ok())
    };
    let base64 = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| STANDARD.encode(bytes));
    let headers = payload.headers.as_deref();
    object["value"] = json!(text(&payload.value));
    object["value_base64"] = json!(base64(&payload.value));
    object["record_key_base64"] = json!(base64(&payload.record_key));
    object["headers"] = headers
        .and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or(Value::Null);
}
