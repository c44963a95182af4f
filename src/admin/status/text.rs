//! `status` for people: what stands still comes with why and what to do; then where every partition is, and the tables.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Instant;

use super::{FRESH_SECONDS, Standing, Status, is_worked_on, measured_ago, seen, standing};
use crate::admin::screen::Screen;
use crate::admin::text::{
    Cell, Paint, Side, Tone, bytes, columns, count, counted, quoted, seconds,
};
use crate::store::{
    BLOCKED_KEYS_SHOWN, BlockedKey, Blocker, GenerationStatus, PartitionStatus, ProjectionStatus,
    State, Stop, TableStatus, Waiting,
};

/// How the text is written, and what is needed beside the status.
#[derive(Clone, Debug)]
pub struct Looks {
    paint: Paint,
    /// Events applied by generation, when they were counted last.
    counted: Option<(Instant, HashMap<i64, i64>)>,
    /// Events per second by generation, where they were counted twice.
    rates: HashMap<i64, f64>,
}

impl Looks {
    pub fn of(screen: &Screen) -> Looks {
        Looks {
            paint: screen.paint(),
            counted: None,
            rates: HashMap::new(),
        }
    }

    /// The text of a status that follows on others, with rates since the one before.
    pub fn next_text(&mut self, status: &Status) -> String {
        self.count(status);
        to_text(status, self)
    }

    /// Takes note of how many events were applied.
    pub fn count(&mut self, status: &Status) {
        let now = Instant::now();
        let generations = status.projections.iter().flat_map(|one| &one.generations);
        let counts = generations.map(|generation| (generation.id, generation.events()));
        let counts: HashMap<i64, i64> = counts.collect();
        if let Some((at, before)) = &self.counted {
            let elapsed = now.duration_since(*at).as_secs_f64().max(0.001);
            let rate = |(id, events): (&i64, &i64)| {
                before
                    .get(id)
                    .map(|before| (*id, (events - before) as f64 / elapsed))
            };
            self.rates = counts.iter().filter_map(rate).collect();
        }
        self.counted = Some((now, counts));
    }

    /// Events per second of a generation, once they were counted twice.
    pub fn rate(&self, generation: i64) -> Option<f64> {
        self.rates.get(&generation).copied()
    }
}

/// The whole text, with a newline at its end.
pub fn to_text(status: &Status, looks: &Looks) -> String {
    if status.projections.is_empty() {
        return "No projection yet. `consolidator run` makes one of every definition.\n".to_owned();
    }
    let mut blocks = Vec::new();
    if status.projections.len() > 1 {
        blocks.push(overview(status, looks));
    }
    blocks.extend(status.projections.iter().map(|one| projection(one, looks)));
    blocks.join("\n")
}

fn overview(status: &Status, looks: &Looks) -> String {
    let rows: Vec<Vec<Cell>> = status
        .projections
        .iter()
        .map(|projection| {
            let seen = seen(projection);
            let generations = match projection.generations.len() {
                1 => String::new(),
                several => format!("{several} generations"),
            };
            vec![
                Cell::toned(Tone::Strong, &*projection.name),
                state_cell(projection),
                or_dash(seen.and_then(GenerationStatus::gap), count).into(),
                or_dash(seen.and_then(GenerationStatus::lag_seconds), seconds).into(),
                or_dash(seen.map(GenerationStatus::events), count).into(),
                Cell::toned(Tone::Mind, seen.and_then(stale).unwrap_or_default()),
                generations.into(),
            ]
        })
        .collect();
    let headings = [
        (Side::Left, "projection"),
        (Side::Left, "state"),
        (Side::Right, "gap"),
        (Side::Right, "lag"),
        (Side::Right, "events"),
        (Side::Left, ""),
        (Side::Left, ""),
    ];
    columns(&headings, &rows, 0, looks.paint)
}

/// The word for how a projection stands.
pub fn state_cell(projection: &ProjectionStatus) -> Cell {
    let standing = standing(projection);
    let tone = match standing {
        Standing::Stopped | Standing::Waiting => Tone::Bad,
        Standing::Paused | Standing::Unread => Tone::Mind,
        Standing::In(State::Failed) => Tone::Bad,
        Standing::In(_) if !super::is_fine(projection) => Tone::Bad,
        Standing::In(_) if is_forsaken(projection) => Tone::Mind,
        Standing::In(_) => Tone::Good,
    };
    let word = match standing {
        Standing::Stopped => "STOPPED",
        Standing::Paused | Standing::Waiting | Standing::In(_) | Standing::Unread => {
            standing.word()
        }
    };
    Cell::toned(tone, word)
}

/// It should be folded, and nobody does.
fn is_forsaken(projection: &ProjectionStatus) -> bool {
    let fed = |generation: &&GenerationStatus| generation.state.is_fed();
    let mut generations = projection.generations.iter().filter(fed);
    projection.paused_at.is_none()
        && generations.any(|generation| !generation.partitions.iter().any(is_worked_on))
}

fn projection(projection: &ProjectionStatus, looks: &Looks) -> String {
    let paint = looks.paint;
    let mut text = format!("{}\n", paint.tone(Tone::Strong, &projection.name));
    if let Some(since) = &projection.paused_at {
        let name = &projection.name;
        let title = paint.tone(Tone::Mind, "paused");
        line(
            &mut text,
            &format!(
                "{title} since {since}; readers keep what they see. `consolidator resume {name}` goes on."
            ),
        );
    }
    let mut generations: Vec<&GenerationStatus> = projection.generations.iter().collect();
    generations.sort_by_key(|generation| !generation.visible);
    for generation in generations {
        text.push_str(&self::generation(projection, generation, looks));
    }
    text
}

fn generation(
    projection: &ProjectionStatus,
    generation: &GenerationStatus,
    looks: &Looks,
) -> String {
    let mut text = String::new();
    line(&mut text, &headline(generation, looks));
    if let Some(reason) = &generation.reason {
        line(&mut text, reason);
    }
    if generation.fingerprint != projection.fingerprint && generation.visible {
        line(
            &mut text,
            "the file says something else by now; it is folded on by the definition that it was built by",
        );
    }
    for stop in &generation.stops {
        text.push_str(&stopped(stop, looks.paint));
    }
    for waiting in &generation.waiting {
        text.push_str(&self::waiting(waiting, looks.paint));
    }
    for hole in &generation.holes {
        line(
            &mut text,
            &format!("lacks {hole}, which Kafka no longer held; accepted"),
        );
    }
    if generation.dead_letters > 0 {
        text.push_str(&set_aside(generation, looks.paint));
    }
    for blocker in &generation.blockers {
        text.push_str(&waits_for(blocker, looks.paint));
    }
    if projection.paused_at.is_none() && generation.stops.is_empty() && generation.state.is_fed() {
        text.push_str(&without_worker(generation, looks.paint));
    }
    if !generation.partitions.is_empty() {
        text.push('\n');
        text.push_str(&partitions(&generation.partitions, looks.paint));
    }
    if !generation.tables.is_empty() {
        text.push('\n');
        text.push_str(&tables(&generation.tables, looks.paint));
    }
    text
}

/// `generation 2, live, seen by readers · 12,345 events · 998 events/s · gap 3, lag 4 ms`
fn headline(generation: &GenerationStatus, looks: &Looks) -> String {
    let seen = match (generation.visible, &generation.read_schema) {
        (true, _) => "seen by readers".to_owned(),
        (false, Some(schema)) if generation.state == State::Frozen => {
            let as_of = generation.as_of.as_deref().unwrap_or("offsets");
            format!("as of {as_of}, in schema {schema}")
        }
        (false, _) => "not seen by readers".to_owned(),
    };
    let mut parts = vec![
        format!(
            "generation {}, {}, {seen}",
            generation.id,
            generation.state.as_str().replace('_', " ")
        ),
        format!("{} applied", counted(generation.events(), "event")),
    ];
    if let Some(rate) = looks.rate(generation.id) {
        parts.push(format!("{} events/s", count(rate.round() as i64)));
    }
    if let (Some(gap), lag) = (generation.gap(), generation.lag_seconds()) {
        let mut behind = format!("gap {}, lag {}", count(gap), or_dash(lag, seconds));
        if let Some(stale) = stale(generation) {
            let _ = write!(behind, " ({stale})");
        }
        parts.push(behind);
    }
    parts.join(" · ")
}

/// A gap that nobody has measured for a while says little.
pub fn stale(generation: &GenerationStatus) -> Option<String> {
    let ago = measured_ago(generation)?;
    (ago > FRESH_SECONDS).then(|| format!("as of {} ago", seconds(ago)))
}

fn stopped(stop: &Stop, paint: Paint) -> String {
    let place = match (&stop.topic, stop.partition) {
        (Some(topic), Some(partition)) => format!(" at {topic}/{partition}"),
        (Some(topic), None) => format!(" at {topic}"),
        (None, _) => String::new(),
    };
    let offset = stop.offset.map(|offset| format!(" offset {offset}"));
    let since = stop.stopped_at.as_ref().map(|at| format!(", since {at}"));
    let mut text = format!(
        "\n  {}{place}{}{}\n",
        paint.tone(Tone::Bad, "STOPPED"),
        offset.unwrap_or_default(),
        since.unwrap_or_default()
    );
    let key = stop.key.as_deref().map(quoted);
    let rule = match (&stop.table_name, &stop.rule) {
        (Some(table), Some(rule)) => Some(format!("{rule} of table {table}")),
        (Some(table), None) => Some(format!("table {table}")),
        (None, rule) => rule.clone(),
    };
    detail(&mut text, "event", stop.event_type.as_deref());
    detail(&mut text, "key", key.as_deref());
    detail(&mut text, "rule", rule.as_deref());
    detail(&mut text, "reason", Some(&stop.reason));
    detail(&mut text, "to do", stop.hint.as_deref());
    text
}

fn waiting(waiting: &Waiting, paint: Paint) -> String {
    let mut text = format!(
        "\n  {} since {}; it goes on by itself\n",
        paint.tone(Tone::Bad, "waiting"),
        waiting.since
    );
    detail(&mut text, "worker", Some(&waiting.worker));
    detail(&mut text, "reason", Some(&waiting.reason));
    detail(&mut text, "to do", waiting.hint.as_deref());
    text
}

fn set_aside(generation: &GenerationStatus, paint: Paint) -> String {
    let events = counted(generation.dead_letters, "event");
    let mut text = format!(
        "\n  {} set aside; the rows of these keys stand still, all others go on\n",
        paint.tone(Tone::Bad, &events)
    );
    let headings = [
        (Side::Left, "topic/partition"),
        (Side::Right, "offset"),
        (Side::Left, "key"),
        (Side::Right, "events"),
        (Side::Left, "since"),
        (Side::Left, "rule"),
        (Side::Left, "reason"),
    ];
    let row = |blocked: &BlockedKey| -> Vec<Cell> {
        let table = blocked.table_name.as_deref().unwrap_or_default();
        let rule = blocked.rule.as_deref().or(blocked.event_type.as_deref());
        vec![
            format!("{}/{}", blocked.topic, blocked.partition).into(),
            blocked.offset.to_string().into(),
            blocked
                .key
                .as_deref()
                .map_or_else(|| "(none)".to_owned(), quoted)
                .into(),
            count(blocked.events).into(),
            blocked.since.as_str().into(),
            format!("{table} {}", rule.unwrap_or("-"))
                .trim_start()
                .to_owned()
                .into(),
            on_one_line(&blocked.reason).into(),
        ]
    };
    let rows: Vec<Vec<Cell>> = generation.blocked_keys.iter().map(row).collect();
    text.push_str(&columns(&headings, &rows, 4, paint));
    if rows.len() as i64 == BLOCKED_KEYS_SHOWN {
        text.push_str("    … and perhaps more: see consolidator.blocked_keys\n");
    }
    text
}

fn waits_for(blocker: &Blocker, paint: Paint) -> String {
    let known = [&blocker.role, &blocker.application, &blocker.state];
    let known: Vec<&str> = known.into_iter().flatten().map(String::as_str).collect();
    let since = blocker.since.as_deref().unwrap_or("an unknown time");
    format!(
        "\n  {} for session {} ({}), whose transaction is open since {since}\n    to do   end that transaction, or: select pg_terminate_backend({})\n",
        paint.tone(Tone::Mind, "a lane waits"),
        blocker.pid,
        known
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(", "),
        blocker.pid
    )
}

/// Says it where nobody folds what should be folded.
fn without_worker(generation: &GenerationStatus, paint: Paint) -> String {
    let title = |text: &str| paint.tone(Tone::Mind, text);
    let worked_on = generation
        .partitions
        .iter()
        .filter(|one| is_worked_on(one))
        .count();
    match (generation.partitions.len(), worked_on) {
        (0, _) => format!(
            "\n  {}: no worker has taken a partition of {} yet\n    to do   see that `consolidator run` runs, and that the topics exist\n",
            title("waiting"),
            generation.topics.join(", ")
        ),
        (_, 0) => format!(
            "\n  {} on it\n    to do   see that `consolidator run` runs, and look at its log\n",
            title("nobody works")
        ),
        (all, some) if some < all => format!(
            "\n  {} on {} of {all} partitions; a worker takes them over within Kafka's session timeout\n",
            title("nobody works"),
            all - some
        ),
        _ => String::new(),
    }
}

fn partitions(partitions: &[PartitionStatus], paint: Paint) -> String {
    let headings = [
        (Side::Left, "topic/partition"),
        (Side::Right, "checkpoint"),
        (Side::Right, "end"),
        (Side::Right, "gap"),
        (Side::Right, "lag"),
        (Side::Left, "owner"),
    ];
    let row = |partition: &PartitionStatus| -> Vec<Cell> {
        let gap = or_dash(partition.gap(), count);
        vec![
            format!("{}/{}", partition.topic, partition.partition).into(),
            partition.next_offset.to_string().into(),
            or_dash(partition.end_offset, |end| end.to_string()).into(),
            gap.into(),
            or_dash(partition.lag_seconds, seconds).into(),
            match &partition.owner_name {
                None => Cell::toned(Tone::Mind, "nobody"),
                Some(name) if partition.owner_connected => name.as_str().into(),
                Some(name) => Cell::toned(Tone::Mind, format!("{name}, gone")),
            },
        ]
    };
    let rows: Vec<Vec<Cell>> = partitions.iter().map(row).collect();
    columns(&headings, &rows, 2, paint)
}

fn tables(tables: &[TableStatus], paint: Paint) -> String {
    let headings = [
        (Side::Left, "table"),
        (Side::Right, "rows, about"),
        (Side::Right, "size"),
        (Side::Left, ""),
    ];
    let row = |table: &TableStatus| -> Vec<Cell> {
        let note = match table.shared {
            true => "a key was met in two partitions: rows are locked one by one",
            false => "",
        };
        vec![
            table.name.as_str().into(),
            count(table.rows).into(),
            bytes(table.bytes).into(),
            note.into(),
        ]
    };
    let rows: Vec<Vec<Cell>> = tables.iter().map(row).collect();
    columns(&headings, &rows, 2, paint)
}

fn line(text: &mut String, line: &str) {
    // Writing into a string cannot fail.
    let _ = writeln!(text, "  {line}");
}

/// A named part of a stop; a text of several lines stays under its first.
fn detail(text: &mut String, name: &str, what: Option<&str>) {
    let Some(what) = what else {
        return;
    };
    for (number, part) in what.lines().enumerate() {
        let name = if number == 0 { name } else { "" };
        let _ = writeln!(text, "    {name:<8}{part}");
    }
}

fn on_one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

fn or_dash<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}
