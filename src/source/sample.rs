//! Some records of a topic, read once, for people who look at it. Joins no group and commits nothing. Knows nothing of what a
//! record means.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{Message, Offset, TopicPartitionList};

use super::error::kind_of;
use super::raw::Login;
use super::{Cluster, Ends, ErrorKind, KafkaSettings, Limits, SourceError};

/// Which end of the log to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The oldest records that Kafka still holds.
    First,
    /// Half of them the oldest, half the newest: what things begin with, and what is usual now.
    Both,
}

/// A record, copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampledRecord {
    pub partition: i32,
    pub offset: i64,
    /// Kafka's, in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// The cluster must answer a question within this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// What has come by then is the sample.
const READ_TIMEOUT: Duration = Duration::from_secs(15);
const POLL_TIMEOUT: Duration = Duration::from_millis(200);
/// Of keys, values and headers.
const SAMPLE_BYTES_MAX: usize = 64 << 20;
const LIMITS: Limits = Limits {
    queue_bytes: 16 << 20,
};

/// At most `wanted` records, of all partitions that have some, in offset order per partition and by Kafka's timestamp between
/// them. Blocking, for half a minute at most.
///
/// # Errors
/// There is no such topic, it may not be read, or the cluster does not answer.
pub fn sample(
    kafka: &KafkaSettings,
    topic: &str,
    wanted: usize,
    side: Side,
) -> Result<Vec<SampledRecord>, SourceError> {
    let cluster = Cluster::connect(kafka)?;
    let described = cluster.check_topics(&[topic.to_owned()], ANSWER_TIMEOUT)?;
    let partitions = described.into_iter().collect::<Result<Vec<_>, _>>()?[0].partitions;
    let mut ends = cluster.ends(topic, partitions, ANSWER_TIMEOUT)?;
    ends.retain(|ends| ends.begin_offset < ends.end_offset);
    let passes = shares(&ends, wanted, side);
    let group = format!("{}.sample", kafka.group);
    let consumer: BaseConsumer<Login> = kafka
        .lane_config(&group, LIMITS)?
        .create_with_context(kafka.login())
        .map_err(failed)?;
    let until = Instant::now() + READ_TIMEOUT;
    let mut records = Vec::new();
    for pass in passes.iter().filter(|pass| !pass.is_empty()) {
        read(&consumer, topic, pass, until, &mut records)?;
    }
    in_order_of_time(&mut records);
    records.truncate(wanted);
    Ok(records)
}

/// A stretch of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    partition: i32,
    /// Inclusive.
    from: i64,
    /// Exclusive.
    to: i64,
}

/// What to read, in one or two passes.
fn shares(ends: &[Ends], wanted: usize, side: Side) -> Vec<Vec<Stretch>> {
    let share = i64::try_from(wanted.div_ceil(ends.len().max(1)).max(1)).unwrap_or(i64::MAX);
    let first = match side {
        Side::First => share,
        Side::Both => (share + 1) / 2,
    };
    let oldest = ends.iter().map(|ends| Stretch {
        partition: ends.partition,
        from: ends.begin_offset,
        to: ends.end_offset.min(ends.begin_offset.saturating_add(first)),
    });
    let oldest: Vec<Stretch> = oldest.collect();
    let newest = ends.iter().zip(&oldest).map(|(ends, oldest)| Stretch {
        partition: ends.partition,
        from: oldest.to.max(ends.end_offset - (share - first)),
        to: ends.end_offset,
    });
    let newest = newest.filter(|stretch| side == Side::Both && stretch.from < stretch.to);
    let newest: Vec<Stretch> = newest.collect();
    vec![oldest, newest]
}

fn read(
    consumer: &BaseConsumer<Login>,
    topic: &str,
    stretches: &[Stretch],
    until: Instant,
    records: &mut Vec<SampledRecord>,
) -> Result<(), SourceError> {
    let mut list = TopicPartitionList::with_capacity(stretches.len());
    for stretch in stretches {
        let from = Offset::Offset(stretch.from);
        list.add_partition_offset(topic, stretch.partition, from)
            .map_err(failed)?;
    }
    consumer.assign(&list).map_err(failed)?;
    let mut open = stretches.to_vec();
    let mut bytes = 0;
    let mut trouble = None;
    while !open.is_empty() && bytes < SAMPLE_BYTES_MAX && Instant::now() < until {
        match consumer.poll(POLL_TIMEOUT) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.retain(|stretch| stretch.partition != partition);
            }
            // The client goes on trying.
            Some(Err(error)) => trouble = Some(error),
            Some(Ok(message)) => {
                let (partition, offset) = (message.partition(), message.offset());
                let within = |s: &&Stretch| s.partition == partition && offset < s.to;
                if open.iter().any(|stretch| within(&stretch)) {
                    bytes += message.payload_len() + message.key_len();
                    records.push(owned(&message));
                }
                open.retain(|s| s.partition != partition || offset + 1 < s.to);
            }
        }
    }
    match trouble {
        Some(error) if records.is_empty() => Err(failed(error)),
        _ => Ok(()),
    }
}

fn owned(message: &BorrowedMessage<'_>) -> SampledRecord {
    let headers = message
        .headers()
        .into_iter()
        .flat_map(|headers| headers.iter());
    SampledRecord {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect(),
    }
}

/// By time, and never against the order of a partition.
fn in_order_of_time(records: &mut Vec<SampledRecord>) {
    records.sort_by_key(|record| (record.partition, record.offset));
    let mut latest = (-1, i64::MIN);
    let keyed = records.drain(..).map(|record| {
        let at = record.timestamp_ms.unwrap_or(i64::MIN);
        latest = match latest.0 == record.partition {
            true => (record.partition, latest.1.max(at)),
            false => (record.partition, at),
        };
        (latest.1, record)
    });
    let mut keyed: Vec<(i64, SampledRecord)> = keyed.collect();
    keyed.sort_by_key(|(at, _)| *at);
    records.extend(keyed.into_iter().map(|(_, record)| record));
}

fn failed(error: KafkaError) -> SourceError {
    let code = error.rdkafka_error_code();
    let kind = code.map_or(ErrorKind::Configuration, |code| kind_of(code, false));
    SourceError::new(kind, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: [Ends; 2] = [
        Ends {
            partition: 0,
            begin_offset: 100,
            end_offset: 200,
        },
        Ends {
            partition: 3,
            begin_offset: 0,
            end_offset: 3,
        },
    ];

    fn stretches(wanted: usize, side: Side) -> Vec<(i32, i64, i64)> {
        let passes = shares(&ENDS, wanted, side).into_iter().flatten();
        passes.map(|s| (s.partition, s.from, s.to)).collect()
    }

    #[test]
    fn every_partition_gives_its_share_and_nothing_twice() {
        assert_eq!(stretches(10, Side::First), [(0, 100, 105), (3, 0, 3)]);
        assert_eq!(
            stretches(10, Side::Both),
            [(0, 100, 103), (3, 0, 3), (0, 198, 200)]
        );
        assert_eq!(stretches(1_000, Side::Both), [(0, 100, 200), (3, 0, 3)]);
    }

    #[test]
    fn records_are_in_order_of_time_but_never_against_their_partition() {
        let record = |partition, offset, at| SampledRecord {
            partition,
            offset,
            timestamp_ms: Some(at),
            key: None,
            value: None,
            headers: Vec::new(),
        };
        let mut records = vec![
            record(1, 7, 20),
            record(0, 1, 5),
            record(0, 0, 30),
            record(0, 2, 40),
        ];
        in_order_of_time(&mut records);
        let order: Vec<(i32, i64)> = records.iter().map(|r| (r.partition, r.offset)).collect();
        assert_eq!(order, [(1, 7), (0, 0), (0, 1), (0, 2)]);
    }
}
