//! `new`: a first definition from a sample of a topic, written where the others are.

use std::fs;
use std::io::Write;
use std::path::Path;

use clap::Args;

use super::output;
use crate::definition::draft::draft;
use crate::definition::testing::OwnedRecord;
use crate::error::{Failure, Outcome};
use crate::settings::Settings;
use crate::source::{SampledRecord, Side, sample};

#[derive(Debug, Args)]
pub struct NewArguments {
    /// The projection's name, and its table's
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The topic to look at
    #[arg(long, value_name = "TOPIC")]
    pub from_topic: String,
    /// Records to look at, of all partitions together: half of them the oldest, half the newest
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub limit: u32,
    /// Print it instead of writing projections/NAME.yaml
    #[arg(long)]
    pub stdout: bool,
}

pub fn run(settings: &Settings, arguments: &NewArguments) -> Result<Outcome, Failure> {
    let (name, topic) = (&arguments.name, &arguments.from_topic);
    let file = settings.projections.join(format!("{name}.yaml"));
    if !arguments.stdout && file.exists() {
        return Err(exists(&file));
    }
    let records = sample(&settings.kafka, topic, arguments.limit as usize, Side::Both);
    let records = records.map_err(|error| Failure::from_error("Kafka", &error))?;
    let records: Vec<OwnedRecord> = records.into_iter().map(|record| owned(record, 0)).collect();
    let draft = draft(name, topic, &records).map_err(Failure::new)?;
    if arguments.stdout {
        output::print(&draft.text)?;
        return Ok(Outcome::Fine);
    }
    write(&file, &draft.text)?;
    let (summary, shown) = (&draft.summary, file.display());
    output::print_line(&format!(
        "wrote {shown}: {summary}\nlook it through, then: consolidator lint {shown}; consolidator test {shown}"
    ))?;
    Ok(Outcome::Fine)
}

/// A sampled record of a projection's topic.
pub fn owned(record: SampledRecord, topic: usize) -> OwnedRecord {
    OwnedRecord {
        topic,
        partition: record.partition,
        offset: Some(record.offset),
        timestamp_ms: record.timestamp_ms,
        key: record.key,
        value: record.value,
        headers: record.headers,
    }
}

/// Never over a file that is there, be it made just now.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => exists(file),
        _ => Failure::from_error(format!("{}", file.display()), &error),
    };
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut options = fs::OpenOptions::new();
    let mut made = options
        .write(true)
        .create_new(true)
        .open(file)
        .map_err(failed)?;
    made.write_all(text.as_bytes()).map_err(failed)
}

fn exists(file: &Path) -> Failure {
    Failure::new(format!("{} is there already", file.display()))
        .hint("take another name, or see what it would be with --stdout")
}
