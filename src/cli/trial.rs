//! `try`: its arguments, and where its events come from.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueHint};

use super::draft::owned;
use super::output;
use crate::definition::commands::{self, Format};
use crate::definition::projection::Projection;
use crate::definition::testing::OwnedRecord;
use crate::definition::trial::{self, Defaults, Trial};
use crate::error::{Failure, Outcome};
use crate::settings::Settings;
use crate::source::{Side, sample};

/// An event that is given may be this long, and all of a file together.
const INPUT_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Args)]
pub struct TryArguments {
    /// The definition
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// An event as under `given` of a test, or a record's value; @FILE, or - for standard input; may be repeated
    #[arg(
        long = "event",
        value_name = "EVENT",
        required_unless_present = "from_topic"
    )]
    pub events: Vec<String>,
    /// The event is a record's value as it is in the topic, whatever it looks like
    #[arg(long)]
    pub raw: bool,
    /// The key of events that name none
    #[arg(long)]
    pub key: Option<String>,
    /// The topic of events that name none [default: the definition's first]
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// The type of events that name none
    #[arg(long = "type", value_name = "TYPE")]
    pub event_type: Option<String>,
    /// The time of events that name none, as Kafka's timestamp
    #[arg(long, value_name = "TIME")]
    pub time: Option<String>,
    /// The partition of events that name none
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: i32,
    /// A header of every event that does not have it; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// Take the oldest records of a topic that the definition reads; needs settings
    #[arg(long, value_name = "TOPIC", conflicts_with_all = ["events", "raw", "key", "topic", "event_type", "time", "partition", "headers"])]
    pub from_topic: Option<String>,
    /// How many, of all partitions together
    #[arg(long, value_name = "N", default_value_t = 10, requires = "from_topic", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub limit: u32,
    /// One JSON object per event
    #[arg(long)]
    pub json: bool,
}

fn header(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=');
    let (name, value) = parts.ok_or_else(|| "write it as NAME=VALUE".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Exit status 1 if the definition has errors, or an event cannot be applied.
pub fn run(
    arguments: &TryArguments,
    settings: impl FnOnce() -> Result<Settings, Failure>,
) -> Result<Outcome, Failure> {
    let format = match arguments.json {
        true => Format::Json,
        false => Format::Text,
    };
    let loaded = commands::load_traced(&arguments.file, format).map_err(Failure::new)?;
    let Some(projection) = loaded.map(Arc::new) else {
        return Ok(Outcome::NotFine);
    };
    let records = match &arguments.from_topic {
        Some(topic) => of_topic(&projection, topic, arguments.limit, &settings()?)?,
        None => given(&projection, arguments)?,
    };
    let colour = std::io::stdout().is_terminal();
    let mut trial = Trial::new(&projection);
    let mut outcome = Outcome::Fine;
    for (number, record) in records.iter().enumerate() {
        let account = trial.fold(record);
        if account.failure.is_some() {
            outcome = Outcome::NotFine;
        }
        match (arguments.json, number) {
            (true, _) => output::print_line(&trial::to_json(&projection, &account).to_string())?,
            (false, 0) => output::print(&trial::to_text(&projection, &account, colour))?,
            (false, _) => {
                let text = trial::to_text(&projection, &account, colour);
                output::print(&format!("\n{text}"))?;
            }
        }
    }
    Ok(outcome)
}

fn given(projection: &Projection, arguments: &TryArguments) -> Result<Vec<OwnedRecord>, Failure> {
    let defaults = Defaults {
        topic: arguments.topic.clone(),
        partition: arguments.partition,
        key: arguments.key.clone(),
        event_type: arguments.event_type.clone(),
        time: arguments.time.clone(),
        headers: arguments.headers.clone(),
        raw: arguments.raw,
    };
    let mut records = Vec::new();
    for event in &arguments.events {
        let (what, text) = text_of(event)?;
        let read = trial::read(projection, &what, &text, &defaults);
        records.extend(read.map_err(Failure::new)?);
    }
    Ok(records)
}

/// Where the text comes from, and the text.
fn text_of(event: &str) -> Result<(String, String), Failure> {
    let (what, mut from): (&str, Box<dyn Read>) = match event.strip_prefix('@') {
        None if event == "-" => ("standard input", Box::new(std::io::stdin())),
        None => return Ok(("--event".to_owned(), event.to_owned())),
        Some(file) => match std::fs::File::open(file) {
            Ok(opened) => (file, Box::new(opened)),
            Err(error) => return Err(Failure::new(format!("{file}: cannot read it: {error}"))),
        },
    };
    let mut text = String::new();
    let read = from.by_ref().take(INPUT_BYTES_MAX + 1);
    { read }
        .read_to_string(&mut text)
        .map_err(|error| Failure::new(format!("{what}: cannot read it: {error}")))?;
    match text.len() as u64 > INPUT_BYTES_MAX {
        true => Err(Failure::new(format!("{what}: longer than 64 MiB"))),
        false => Ok((what.to_owned(), text)),
    }
}

fn of_topic(
    projection: &Projection,
    topic: &str,
    limit: u32,
    settings: &Settings,
) -> Result<Vec<OwnedRecord>, Failure> {
    let names = projection.topic_names();
    let Some(index) = names.iter().position(|name| name == topic) else {
        let message = format!("the definition does not read the topic `{topic}`");
        return Err(Failure::new(message).hint(format!("it reads {}", names.join(", "))));
    };
    let records = sample(&settings.kafka, topic, limit as usize, Side::First);
    let records = records.map_err(|error| Failure::from_error("Kafka", &error))?;
    if records.is_empty() {
        return Err(Failure::new(format!("the topic `{topic}` has no records")));
    }
    let records = records.into_iter();
    Ok(records.map(|record| owned(record, index)).collect())
}
