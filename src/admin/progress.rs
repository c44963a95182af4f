//! How a build shows: bars on a terminal, a line now and then elsewhere, JSON where asked for; and its summary. Decides nothing.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use super::verify;
use crate::error::Failure;
use crate::rebuild::compare::Compared;
use crate::store::{BuildStatus, Phase, State, TopicProgress};

/// Pause between lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(3);

/// Shows a build while it goes on.
pub struct Progress {
    json: bool,
    bars: Option<Bars>,
    line_at: Option<Instant>,
    /// When it was looked at first, and how far it was then.
    began: Option<(Instant, i64)>,
    stage_shown: Option<String>,
}

struct Bars {
    all: MultiProgress,
    by_topic: BTreeMap<String, ProgressBar>,
}

impl Progress {
    pub fn new(json: bool) -> Progress {
        let bars = (!json && std::io::stderr().is_terminal()).then(|| Bars {
            all: MultiProgress::new(),
            by_topic: BTreeMap::new(),
        });
        Progress {
            json,
            bars,
            line_at: None,
            began: None,
            stage_shown: None,
        }
    }

    /// # Errors
    /// Standard output is full.
    pub fn show(
        &mut self,
        status: &BuildStatus,
        topics: &[TopicProgress],
        print: &mut dyn FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if let Some(bars) = &mut self.bars {
            bars.show(status, topics);
            return Ok(());
        }
        let stage = stage(status);
        let due = self.line_at.is_none_or(|at| at.elapsed() >= LINE_EVERY);
        let changed = self.stage_shown.as_ref() != Some(&stage);
        if !due && !changed {
            return Ok(());
        }
        self.line_at = Some(Instant::now());
        self.stage_shown = Some(stage.clone());
        print(&self.line(&stage, topics))
    }

    fn line(&mut self, stage: &str, topics: &[TopicProgress]) -> String {
        let done: i64 = topics.iter().map(|topic| topic.done).sum();
        let total: i64 = topics.iter().map(|topic| topic.total).sum();
        let (since, first) = *self.began.get_or_insert((Instant::now(), done));
        let seconds = since.elapsed().as_secs_f64();
        let rate = if seconds > 0.5 {
            (done - first) as f64 / seconds
        } else {
            0.0
        };
        let eta = (rate > 0.0).then(|| (total - done) as f64 / rate);
        if self.json {
            let of_topic = |topic: &TopicProgress| json!({ "topic": topic.topic, "done": topic.done, "total": topic.total });
            let topics: Vec<_> = topics.iter().map(of_topic).collect();
            return json!({ "stage": stage, "done": done, "total": total, "per_second": rate.round(), "eta_seconds": eta.map(f64::round),
                "topics": topics })
            .to_string();
        }
        let eta = eta.map_or_else(String::new, |eta| format!(", {eta:.0} s left"));
        format!("{stage}: {done} of {total} events, {rate:.0}/s{eta}")
    }

    /// Takes the bars away.
    pub fn end(&mut self) {
        if let Some(bars) = self.bars.take() {
            for bar in bars.by_topic.values() {
                bar.finish_and_clear();
            }
        }
    }
}

impl Bars {
    fn show(&mut self, status: &BuildStatus, topics: &[TopicProgress]) {
        for topic in topics {
            let all = &self.all;
            let bar = self.by_topic.entry(topic.topic.clone()).or_insert_with(|| {
                let bar = all.add(ProgressBar::new(0));
                let template = "{prefix} {wide_bar} {human_pos}/{human_len} {per_sec} {eta} {msg}";
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style);
                }
                bar.set_prefix(topic.topic.clone());
                bar
            });
            bar.set_length(topic.total.max(0) as u64);
            bar.set_position(topic.done.max(0) as u64);
            bar.set_message(stage(status));
        }
    }
}

/// In a few words.
fn stage(status: &BuildStatus) -> String {
    if let Some(reason) = status.stopped.as_ref().or(status.reason.as_ref()) {
        return reason.clone();
    }
    let words = match (status.state, status.phase) {
        (State::Building, Phase::Measure) => "asking Kafka",
        (State::Building, Phase::Load | Phase::Drain) => "loading",
        (State::Building, Phase::Index) => "building keys and indexes",
        (State::Building, Phase::Follow) => "catching up",
        (State::CaughtUp, _) => "switching",
        (state, _) => state.as_str(),
    };
    words.to_owned()
}

/// What a build came to.
#[derive(Debug)]
pub struct Summary<'s> {
    name: &'s str,
    generation: i64,
    status: &'s BuildStatus,
    events: i64,
    rows: &'s [(String, i64)],
    seconds: f64,
}

impl<'s> Summary<'s> {
    pub fn new(
        name: &'s str,
        generation: i64,
        status: &'s BuildStatus,
        topics: &[TopicProgress],
        rows: &'s [(String, i64)],
        took: Duration,
    ) -> Summary<'s> {
        Summary {
            name,
            generation,
            status,
            events: topics.iter().map(|topic| topic.events).sum(),
            rows,
            seconds: took.as_secs_f64(),
        }
    }

    /// One JSON object, or lines for people.
    pub fn text(&self, as_json: bool) -> String {
        let status = self.status;
        if as_json {
            let compared = status.compared.as_deref();
            let compared: Option<serde_json::Value> =
                compared.and_then(|text| serde_json::from_str(text).ok());
            let rows: serde_json::Map<String, serde_json::Value> = self
                .rows
                .iter()
                .map(|(name, rows)| (name.clone(), json!(rows)))
                .collect();
            return json!({
                "projection": self.name, "generation": self.generation, "state": status.state.as_str(), "events": self.events,
                "rows": rows, "rejected": status.rejected, "seconds": self.seconds, "load_seconds": status.load_seconds,
                "index_seconds": status.index_seconds, "follow_seconds": status.follow_seconds,
                "switch_wait_seconds": status.switch_seconds, "reason": status.stopped.as_ref().or(status.reason.as_ref()),
                "hole": status.hole, "schema": status.read_schema, "compared": compared,
            })
            .to_string();
        }
        let mut lines = vec![format!(
            "{} generation {}: {}, {} events in {:.1} s",
            self.name, self.generation, status.state, self.events, self.seconds
        )];
        let rows = self
            .rows
            .iter()
            .map(|(name, rows)| format!("{name} {rows}"));
        if !self.rows.is_empty() {
            lines.push(format!("  rows: {}", rows.collect::<Vec<_>>().join(", ")));
        }
        let parts = [
            ("load", status.load_seconds),
            ("keys and indexes", status.index_seconds),
            ("catching up", status.follow_seconds),
            (
                "live's commits waited for the switch",
                status.switch_seconds,
            ),
        ];
        let parts = parts
            .into_iter()
            .filter_map(|(name, seconds)| Some(format!("{name} {:.2} s", seconds?)));
        lines.push(format!("  {}", parts.collect::<Vec<_>>().join(", ")));
        lines.push(format!("  rejected events: {}", status.rejected));
        if let Some(reason) = status.stopped.as_ref().or(status.reason.as_ref()) {
            lines.push(format!("  {reason}"));
        }
        if let Some(hole) = &status.hole {
            lines.push(format!("  the log no longer holds: {hole}"));
        }
        let compared = status.compared.as_deref();
        let compared: Option<Vec<Compared>> =
            compared.and_then(|text| serde_json::from_str(text).ok());
        for table in compared.iter().flatten() {
            lines.extend(verify::lines(table, "the new one", false));
        }
        if let Some(schema) = &status.read_schema {
            lines.push(format!(
                "  in schema {schema}; `consolidator drop {} --generation {}` removes it",
                self.name, self.generation
            ));
        }
        if status.state == State::Held {
            lines.push(format!(
                "  `consolidator switch {}` shows it to readers",
                self.name
            ));
        }
        lines.join("\n")
    }
}
