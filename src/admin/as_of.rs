//! `rebuild --as-of` and `--as-of-offsets`: what was typed and what Kafka holds, to where a frozen generation stops.

use std::path::Path;

use saphyr_parser::{Event, Parser};

use super::failed;
use crate::definition::Projection;
use crate::error::Failure;
use crate::event;
use crate::rebuild::{LogEnds, Logs};
use crate::settings::Settings;
use crate::store::{FreezeOrder, Generation, Offsets, Store};
use crate::worker;

/// As of when, and where to.
#[derive(Clone, Copy, Debug)]
pub struct Freeze<'a> {
    /// Microseconds since 2000-01-01 UTC; inclusive.
    pub as_of: Option<i64>,
    /// A file of offsets.
    pub offsets: Option<&'a Path>,
    pub into: Option<&'a str>,
}

/// A moment as people type it.
///
/// # Errors
/// Says which form it must have.
pub fn parse_time(text: &str) -> Result<i64, String> {
    event::from_iso(text).ok_or_else(|| {
        "a date and a time of day, as in 2022-03-01T23:59:59Z; without a zone it is UTC".to_owned()
    })
}

/// Records the generation; where it stops is known from now on.
///
/// # Errors
/// Kafka does not answer, the file does not name every partition, the schema is taken.
pub async fn begin(
    settings: &Settings,
    store: &Store,
    projection: &Projection,
    freeze: Freeze<'_>,
    leader: Option<String>,
) -> Result<Generation, Failure> {
    let ends = Logs::new(&settings.kafka)
        .ends(&projection.topic_names())
        .await;
    let ends = ends
        .map_err(|error| Failure::new(format!("Kafka does not say where its logs end: {error}")))?;
    let stop_at = match freeze.offsets {
        Some(file) => {
            let shown = file.display();
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::from_error(format!("cannot read {shown}"), &error))?;
            let offsets = parse_offsets(&text).map_err(|problem| {
                Failure::new(format!("{shown}: {problem}"))
                    .hint("As in {\"orders\": {\"0\": 1200, \"1\": 1187}}.")
            })?;
            check(&offsets, &ends)
                .map_err(|problem| Failure::new(format!("{shown}: {problem}")))?;
            offsets
        }
        None => ends.offsets_by_topic(),
    };
    let order = FreezeOrder {
        projection,
        kafka_group: &settings.kafka.group,
        leader: leader.as_deref(),
        as_of: freeze.as_of,
        stop_at: &stop_at,
        into: freeze.into,
    };
    let read = worker::read_settings(settings);
    store.begin_frozen(order, &read).await.map_err(failed)
}

/// Every partition is named, and no offset is beyond the end of its log.
fn check(offsets: &Offsets, ends: &LogEnds) -> Result<(), String> {
    for (topic, partitions) in offsets {
        for partition in partitions.keys() {
            if !ends.partitions.contains_key(&(topic.clone(), *partition)) {
                return Err(format!(
                    "the projection reads no partition {partition} of topic {topic}"
                ));
            }
        }
    }
    for ((topic, partition), (begin, end)) in &ends.partitions {
        let offset = offsets.get(topic).and_then(|topic| topic.get(partition));
        match offset {
            None => {
                return Err(format!(
                    "partition {partition} of topic {topic} is not named; {begin} is its first offset"
                ));
            }
            Some(offset) if offset > end => {
                return Err(format!(
                    "{offset} is beyond the end of partition {partition} of topic {topic}, which is {end}"
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Topic, partition, offset. JSON is YAML.
fn parse_offsets(text: &str) -> Result<Offsets, String> {
    let mut offsets = Offsets::new();
    let mut topic: Option<String> = None;
    let mut partition: Option<i32> = None;
    let mut depth = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| error.to_string())?;
        let at = |what: &str| Err(format!("line {}: {what}", span.start.line()));
        match event {
            Event::MappingStart(..) if depth == 0 || (depth == 1 && topic.is_some()) => depth += 1,
            Event::MappingEnd => {
                depth -= 1;
                topic = None;
            }
            Event::Scalar(text, ..) => match (depth, &topic, partition) {
                (1, None, _) => {
                    offsets.entry(text.to_string()).or_default();
                    topic = Some(text.into_owned());
                }
                (2, Some(_), None) => match text.parse() {
                    Ok(number) => partition = Some(number),
                    Err(_) => return at(&format!("{text} is no partition")),
                },
                (2, Some(topic), Some(number)) => {
                    let Some(offset) = text.parse().ok().filter(|offset: &i64| *offset >= 0) else {
                        return at(&format!("{text} is no offset"));
                    };
                    let known = offsets.entry(topic.clone()).or_default();
                    if known.insert(number, offset).is_some() {
                        return at(&format!("partition {number} is there twice"));
                    }
                    partition = None;
                }
                _ => return at("offsets stand under a partition, partitions under a topic"),
            },
            Event::MappingStart(..) | Event::SequenceStart(..) | Event::Alias(_) => {
                return at("offsets stand under a partition, partitions under a topic");
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd => {}
        }
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_from_json_and_from_yaml() {
        let json = parse_offsets(r#"{"a.b": {"0": 12, "1": 0}, "c": {"0": 3}}"#).unwrap();
        let yaml = parse_offsets("a.b:\n  0: 12\n  1: 0\nc: { 0: 3 }\n").unwrap();
        assert_eq!(json, yaml);
        assert_eq!(json["a.b"][&0], 12);
        assert_eq!(json["c"].len(), 1);
    }

    #[test]
    fn what_is_no_offset_is_named_with_its_line() {
        for (text, told) in [
            ("a:\n  0: x", "line 2: x is no offset"),
            ("a:\n  0: -1", "line 2: -1 is no offset"),
            ("a:\n  x: 1", "line 2: x is no partition"),
            ("a:\n  0: 1\n  0: 2", "line 3: partition 0 is there twice"),
            ("a: 3", "line 1: offsets stand under"),
            ("- a", "line 1: offsets stand under"),
        ] {
            let problem = parse_offsets(text).unwrap_err();
            assert!(problem.starts_with(told), "{text}: {problem}");
        }
    }
}
