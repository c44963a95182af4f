//! What the demonstration shows of itself: how to look at the tables, how it goes, how it went. Knows no server.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::events::FeedCounts;
use super::servers::DemoServers;
use crate::admin::screen::Screen;
use crate::admin::status::{Looks, Status, seen, stale, state_cell, to_text};
use crate::admin::text::{Cell, Side, Tone, columns, count, counted, seconds};
use crate::store::GenerationStatus;

/// How often a line is written where nothing can be replaced.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// What is counted beside the status.
#[derive(Clone, Debug)]
pub struct Counts {
    pub sent: FeedCounts,
    /// By table.
    pub rows: BTreeMap<String, i64>,
}

/// The demonstration's part of the terminal.
#[derive(Debug)]
pub struct View {
    screen: Screen,
    looks: Looks,
    psql: String,
    postgres_url: String,
    http: Option<SocketAddr>,
    introduced: bool,
    started_at: Instant,
    /// For the rate of sending: when, and how many by then.
    sent_before: (Instant, u64),
}

impl View {
    pub fn new(screen: Screen, servers: &DemoServers, http: Option<SocketAddr>) -> View {
        let now = Instant::now();
        View {
            looks: Looks::of(&screen),
            screen,
            psql: servers.psql_command.clone(),
            postgres_url: servers.postgres_url.clone(),
            http,
            introduced: false,
            started_at: now,
            sent_before: (now, 0),
        }
    }

    /// How it goes.
    ///
    /// # Errors
    /// Standard output is gone or full.
    pub fn show(&mut self, status: &Status, counts: &Counts) -> io::Result<()> {
        if !self.introduced {
            self.introduced = true;
            self.screen.say(&self.introduction(status))?;
        }
        let (before, sent) = self.sent_before;
        let elapsed = before.elapsed();
        if !self.screen.is_live() && elapsed < LINE_EVERY {
            return Ok(());
        }
        self.sent_before = (Instant::now(), counts.sent.acknowledged);
        self.looks.count(status);
        let sent = counts.sent.acknowledged.saturating_sub(sent) as f64;
        let rate = sent / elapsed.as_secs_f64().max(0.001);
        let text = match self.screen.is_live() {
            true => self.live(status, counts, rate),
            false => self.line(status, counts, rate),
        };
        self.screen.show(&text)
    }

    /// How it went; stays.
    ///
    /// # Errors
    /// Standard output is gone or full.
    pub fn sum_up(
        &mut self,
        status: &Status,
        counts: &Counts,
        fed_for: Duration,
        all_applied: bool,
    ) -> io::Result<()> {
        self.screen.clear();
        let mut text = format!(
            "\nThe demonstration ran for {}: {} sent, {}/s.\n\n",
            seconds(fed_for.as_secs_f64()),
            counted(counts.sent.acknowledged as i64, "event"),
            count((counts.sent.acknowledged as f64 / fed_for.as_secs_f64().max(0.001)) as i64),
        );
        text.push_str(&self.projections(status, false));
        text.push('\n');
        text.push_str(&self.tables(counts));
        text.push('\n');
        if !status.is_fine() {
            text.push_str(&to_text(status, &self.looks));
            text.push('\n');
        }
        text.push_str(match all_applied {
            true => "Every event that was sent has been applied, exactly once.\n",
            false => "Not every event that was sent has been applied exactly once.\n",
        });
        self.screen.say(&text)
    }

    /// How to look at the tables, and at the program, from another terminal.
    fn introduction(&self, status: &Status) -> String {
        let paint = self.screen.paint();
        let example = match status.projections.iter().any(|one| one.name == "shop") {
            true => "select * from read_model.order_overview order by placed_at desc limit 5;",
            false => "\\d read_model.*",
        };
        let program = std::env::args().next();
        let program = program.as_deref().unwrap_or("consolidator");
        let mut text = format!(
            "\nLook at the tables from another terminal:\n\n  {}\n  {example}\n\nand at the worker:\n\n  {}\n",
            paint.tone(Tone::Strong, &self.psql),
            paint.tone(
                Tone::Strong,
                &format!(
                    "CONSOLIDATOR__POSTGRES__URL='{}' {program} status",
                    self.postgres_url
                )
            ),
        );
        if let Some(address) = self.http {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "  http://{address}/metrics");
        }
        text.push_str("\nCtrl-C ends everything that was started.\n\n");
        text
    }

    /// The block that is replaced in place.
    fn live(&self, status: &Status, counts: &Counts, rate: f64) -> String {
        let sent = format!(
            "{} sent in {} · {}/s now\n\n",
            counted(counts.sent.acknowledged as i64, "event"),
            seconds(self.started_at.elapsed().as_secs_f64().round()),
            count(rate.round() as i64),
        );
        let mut text = sent + &self.projections(status, true);
        text.push('\n');
        text.push_str(&self.tables(counts));
        if !status.is_fine() {
            text.push('\n');
            text.push_str(&to_text(status, &self.looks));
        }
        text
    }

    /// One line, for a file or a pipe.
    fn line(&self, status: &Status, counts: &Counts, rate: f64) -> String {
        let mut parts = vec![format!(
            "{:>4}: {} sent, {}/s",
            seconds(self.started_at.elapsed().as_secs_f64().round()),
            counted(counts.sent.acknowledged as i64, "event"),
            count(rate.round() as i64)
        )];
        let shown = status
            .projections
            .iter()
            .filter_map(|one| Some((one, seen(one)?)));
        for (projection, generation) in shown {
            let gap = generation.gap().map_or_else(|| "-".to_owned(), count);
            let rate = self.looks.rate(generation.id);
            let rate = rate.map(|rate| format!(", {}/s", count(rate.round() as i64)));
            parts.push(format!(
                "{} {} applied{}, gap {gap}{}",
                projection.name,
                count(generation.events()),
                rate.unwrap_or_default(),
                stale(generation).map_or_else(String::new, |stale| format!(" {stale}"))
            ));
        }
        let rows = counts.rows.iter();
        let rows: Vec<String> = rows
            .map(|(table, rows)| format!("{table} {}", count(*rows)))
            .collect();
        if !rows.is_empty() {
            parts.push(format!("rows: {}", rows.join(", ")));
        }
        parts.join(" | ") + "\n"
    }

    fn projections(&self, status: &Status, now: bool) -> String {
        let mut headings = vec![
            (Side::Left, "projection"),
            (Side::Left, "state"),
            (Side::Right, "events"),
            (Side::Right, "gap"),
            (Side::Right, "lag"),
            (Side::Left, ""),
        ];
        if now {
            headings.insert(3, (Side::Right, "events/s"));
        }
        let dash = || "-".to_owned();
        let row = |projection: &crate::store::ProjectionStatus| -> Vec<Cell> {
            let generation = seen(projection);
            let events = generation.map(GenerationStatus::events);
            let rate = generation.and_then(|generation| self.looks.rate(generation.id));
            let mut row: Vec<Cell> = vec![
                Cell::toned(Tone::Strong, &*projection.name),
                state_cell(projection),
                events.map_or_else(dash, count).into(),
                generation
                    .and_then(GenerationStatus::gap)
                    .map_or_else(dash, count)
                    .into(),
                generation
                    .and_then(GenerationStatus::lag_seconds)
                    .map_or_else(dash, seconds)
                    .into(),
                Cell::toned(Tone::Mind, generation.and_then(stale).unwrap_or_default()),
            ];
            if now {
                row.insert(
                    3,
                    rate.map_or_else(dash, |rate| count(rate.round() as i64))
                        .into(),
                );
            }
            row
        };
        let rows: Vec<Vec<Cell>> = status.projections.iter().map(row).collect();
        columns(&headings, &rows, 2, self.screen.paint())
    }

    fn tables(&self, counts: &Counts) -> String {
        let headings = [(Side::Left, "table"), (Side::Right, "rows")];
        let row = |(table, rows): (&String, &i64)| vec![table.as_str().into(), count(*rows).into()];
        let rows: Vec<Vec<Cell>> = counts.rows.iter().map(row).collect();
        columns(&headings, &rows, 2, self.screen.paint())
    }
}
