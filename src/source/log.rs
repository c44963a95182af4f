//! The records of one partition between two offsets, read outside of any group's work. Knows nothing of what they mean.

use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::error::kind_of;
use super::raw::Login;
use super::{ErrorKind, KafkaSettings, SourceError};
use crate::event::Record;

/// A log that says nothing for this long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

/// Hands every record at `offsets` to `each`, in order, until that breaks. Blocking. `at` is the topic's index, for the records.
///
/// # Errors
/// Kafka refuses, says nothing for long, or no longer holds the first offset.
pub fn read_log(
    kafka: &KafkaSettings,
    (at, topic, partition): (usize, &str, i32),
    offsets: Range<i64>,
    each: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
) -> Result<(), SourceError> {
    if offsets.is_empty() {
        return Ok(());
    }
    let consumer = assigned(kafka, topic, partition, offsets.start)?;
    let mut heard_at = Instant::now();
    loop {
        let message = match consumer.poll(POLL) {
            Some(Ok(message)) => message,
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) => {
                let error = failed(topic, partition, error);
                match error.kind {
                    ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Transient
                        if heard_at.elapsed() < SILENCE_MAX =>
                    {
                        continue;
                    }
                    _ => return Err(error),
                }
            }
            None if heard_at.elapsed() >= SILENCE_MAX => {
                let told = format!("topic {topic} [{partition}]: Kafka says nothing");
                return Err(SourceError::new(ErrorKind::Timeout, told));
            }
            None => continue,
        };
        heard_at = Instant::now();
        if message.offset() >= offsets.end {
            return Ok(());
        }
        let headers: Vec<(&str, Option<&[u8]>)> = message
            .headers()
            .into_iter()
            .flat_map(|headers| headers.iter())
            .map(|header| (header.key, header.value))
            .collect();
        let record = Record {
            topic: at,
            partition,
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key(),
            value: message.payload(),
            headers: &headers,
        };
        if each(&record).is_break() || message.offset() + 1 >= offsets.end {
            return Ok(());
        }
    }
}

/// Assigned without joining a group, though librdkafka wants a group's name for it.
fn assigned(
    kafka: &KafkaSettings,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<BaseConsumer<Login>, SourceError> {
    let failed = |error: KafkaError| failed(topic, partition, error);
    let mut config = kafka.client_config()?;
    config
        .set("group.id", format!("{}.explain", kafka.group))
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("log.queue", "false");
    let consumer: BaseConsumer<Login> =
        config.create_with_context(kafka.login()).map_err(failed)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset))
        .map_err(failed)?;
    consumer.assign(&list).map_err(failed)?;
    Ok(consumer)
}

fn failed(topic: &str, partition: i32, error: KafkaError) -> SourceError {
    let kind = error
        .rdkafka_error_code()
        .map_or(ErrorKind::Fatal, |code| kind_of(code, false));
    SourceError::new(kind, format!("topic {topic} [{partition}]: {error}"))
}
