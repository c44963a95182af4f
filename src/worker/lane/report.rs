//! What a lane tells: counters, gap and lag per partition, and the words for what stops a projection. Decides nothing.

use super::chunk::fault_of;
use crate::event::{DecodeError, Event, Record};
use crate::fold::{CacheCounts, EventFailure, Folder};
use crate::metrics::{MemoryKind, PartitionMetrics, SkipReason};
use crate::source::{self, Start, TopicPartition};
use crate::store::encode::EncodedChanges;
use crate::store::{ErrorKind, Stop, hint_of_other_log};
use crate::worker::Work;
use crate::worker::partitions::Partitions;
use crate::worker::policy::source_answer;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::warn;

/// A complaint of Kafka's is passed on at most this often; the client repeats it many times a second.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Report {
    work: Arc<Work>,
    by_partition: BTreeMap<TopicPartition, PartitionMetrics>,
    complained_at: HashMap<(Option<TopicPartition>, source::ErrorKind), Instant>,
    cache_counted: CacheCounts,
    cache_bytes: i64,
    unheard_counted: u64,
    stale_counted: u64,
}

impl Report {
    pub(super) fn new(work: Arc<Work>) -> Report {
        Report {
            work,
            by_partition: BTreeMap::new(),
            complained_at: HashMap::new(),
            cache_counted: CacheCounts::default(),
            cache_bytes: 0,
            unheard_counted: 0,
            stale_counted: 0,
        }
    }
}

impl Report {
    /// The sealed batch is durable: `events` were applied.
    pub(super) fn committed(
        &mut self,
        events: usize,
        partitions: &Partitions,
        ends: impl Fn(TopicPartition) -> Option<i64>,
    ) {
        let counters = &self.work.counters;
        counters.batches.inc();
        counters.events.inc_by(events as u64);
        for owned in partitions.iter() {
            let gap = ends(owned.at).map_or(0, |end| end - owned.committed_offset);
            self.gap(owned.at, gap, owned.as_of);
        }
    }

    fn gap(&mut self, at: TopicPartition, gap: i64, as_of: Option<i64>) {
        let metrics = self.by_partition.entry(at).or_insert_with(|| {
            let topic = &self.work.projection.topics[at.topic].name;
            self.work.metrics.partition(
                &self.work.projection.name,
                self.work.generation,
                topic,
                at.partition,
            )
        });
        metrics.gap(gap);
        let behind = if gap <= 0 {
            0.0
        } else {
            as_of.map_or(0.0, seconds_since)
        };
        metrics.lag_seconds(behind);
    }

    /// A batch was encoded; rows by table.
    pub(super) fn written(&mut self, changes: &EncodedChanges, folder: &Folder) {
        let tables = changes.tables.iter();
        self.rows_written(tables.map(|change| (change.table, change.rows())), folder);
    }

    /// By table, how many rows; and what else has changed.
    pub(super) fn rows_written(
        &mut self,
        rows: impl Iterator<Item = (usize, usize)>,
        folder: &Folder,
    ) {
        for (table, rows) in rows {
            self.work.counters.rows_written[table].inc_by(rows as u64);
        }
        let counts = folder.cache_counts();
        self.work
            .counters
            .cache_hits
            .inc_by(counts.hits - self.cache_counted.hits);
        self.work
            .counters
            .cache_misses
            .inc_by(counts.misses - self.cache_counted.misses);
        self.cache_counted = counts;
        let unheard: u64 = folder.unheard().values().sum();
        self.work
            .counters
            .skipped(SkipReason::Unknown, unheard - self.unheard_counted);
        self.unheard_counted = unheard;
        let stale = folder.stale();
        self.work
            .counters
            .skipped(SkipReason::Stale, stale - self.stale_counted);
        self.stale_counted = stale;
        self.cache_bytes(folder.memory_bytes() as i64);
    }

    pub(super) fn cache_bytes(&mut self, bytes: i64) {
        self.work
            .counters
            .memory_change(MemoryKind::Cache, bytes - self.cache_bytes);
        self.cache_bytes = bytes;
    }

    /// Its counts begin at nothing.
    pub(super) fn new_folder(&mut self) {
        self.cache_counted = CacheCounts::default();
        self.unheard_counted = 0;
        self.stale_counted = 0;
    }

    pub(super) fn forget(&mut self, at: TopicPartition) {
        self.by_partition.remove(&at);
    }

    pub(super) fn trouble(&self, kind: ErrorKind) {
        if kind == ErrorKind::Fenced {
            self.work.counters.fenced.inc();
        }
        self.work.counters.retries.inc();
    }

    /// The client tries again by itself; people hear of it now and then.
    pub(super) fn kafka_trouble(
        &mut self,
        at: Option<TopicPartition>,
        kind: source::ErrorKind,
        message: &str,
    ) {
        let last = self.complained_at.insert((at, kind), Instant::now());
        if let Some(last) = last.filter(|last| last.elapsed() < COMPLAIN_EVERY) {
            self.complained_at.insert((at, kind), last);
            return;
        }
        let projection = &self.work.projection;
        let hint = source_answer(kind).hint;
        match at {
            Some(at) => {
                let topic = &projection.topics[at.topic].name;
                warn!(projection = %projection.name, %topic, partition = at.partition, "Kafka: {message}: {hint}");
            }
            None => warn!(projection = %projection.name, "Kafka: {message}: {hint}"),
        }
    }

    /// `topic/partition`, for logs.
    pub(super) fn place(&self, at: TopicPartition) -> String {
        let topic = &self.work.projection.topics[at.topic].name;
        format!("{topic}/{}", at.partition)
    }

    /// `topic/partition@offset`, for logs.
    pub(super) fn offsets(&self, starts: &[Start]) -> String {
        let one = |Start {
                       at, next_offset, ..
                   }: &Start| {
            format!(
                "{}/{}@{next_offset}",
                self.work.projection.topics[at.topic].name, at.partition
            )
        };
        starts.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    /// A record that is no event of its topic's envelope.
    pub(super) fn undecodable(&self, record: &Record<'_>, error: &DecodeError) -> Stop {
        Stop {
            reason: format!("the record cannot be decoded: {error}"),
            ..self.suspected(record)
        }
    }

    /// A record that alone is the cause, if there is trouble; the caller says which.
    pub(super) fn suspected(&self, record: &Record<'_>) -> Stop {
        Stop {
            key: record
                .key
                .map(|key| String::from_utf8_lossy(key).into_owned()),
            ..self.stop_at(
                TopicPartition {
                    topic: record.topic,
                    partition: record.partition,
                },
                Some(record.offset),
            )
        }
    }

    /// An event that a rule cannot be applied to.
    pub(super) fn failed(&self, event: &Event<'_>, failure: &EventFailure) -> Stop {
        let fault = fault_of(failure);
        Stop {
            table_name: fault.table_name,
            rule: fault.rule,
            reason: fault.reason,
            ..self.refused(event)
        }
    }

    /// An event whose row PostgreSQL refuses; the caller says why.
    pub(super) fn refused(&self, event: &Event<'_>) -> Stop {
        Stop {
            key: event.key.map(str::to_owned),
            event_type: Some(event.event_type.to_owned()),
            ..self.stop_at(
                TopicPartition {
                    topic: event.topic,
                    partition: event.partition,
                },
                Some(event.offset),
            )
        }
    }

    pub(super) fn out_of_range(
        &self,
        at: TopicPartition,
        offset: Option<i64>,
        message: &str,
        log_begin: Option<i64>,
    ) -> Stop {
        let name = &self.work.projection.name;
        let begins = log_begin.map(|begin| format!("; the log begins at {begin}"));
        Stop {
            reason: format!(
                "Kafka does not hold the next offset to apply: {message}{}",
                begins.unwrap_or_default()
            ),
            hint: Some(match log_begin {
                Some(_) => format!(
                    "Retention deleted records before they were applied. Give the topic a longer retention; \
                     `consolidator resume {name} --accept-hole` goes on without them, and records it."
                ),
                None => format!(
                    "The topic was made anew, or its end was cut off. `consolidator rebuild {name}` makes the tables from what is left."
                ),
            }),
            log_begin,
            alone: true,
            ..self.stop_at(at, offset)
        }
    }

    /// Kafka holds something else than what was applied.
    pub(super) fn other_log(&self, at: TopicPartition, message: &str) -> Stop {
        Stop {
            reason: format!("what Kafka holds is not what was applied: {message}"),
            hint: Some(hint_of_other_log(&self.work.projection.name)),
            alone: true,
            other_log: true,
            ..self.stop_at(at, None)
        }
    }

    pub(super) fn damaged(&self, at: TopicPartition, offset: i64, message: &str) -> Stop {
        Stop {
            reason: format!(
                "Kafka holds something here that cannot be read (damaged, or of an unknown kind): {message}"
            ),
            hint: Some(format!(
                "Nothing from here on is applied. If another replica is whole, make it the leader, then `consolidator resume {}`. \
                 If it is only too large unpacked, raise `receive.message.max.bytes` in kafka.properties and restart. If no replica is whole, delete the records up to behind the damage, and rebuild the projection from what is left.",
                self.work.projection.name
            )),
            alone: true,
            ..self.stop_at(at, Some(offset))
        }
    }

    fn stop_at(&self, at: TopicPartition, offset: Option<i64>) -> Stop {
        Stop {
            generation: self.work.generation,
            topic: Some(self.work.projection.topics[at.topic].name.clone()),
            partition: Some(at.partition),
            offset,
            hint: Some(format!(
                "Put the definition or the producer right, then `consolidator resume {}`.",
                self.work.projection.name
            )),
            ..Stop::default()
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.cache_bytes(0);
    }
}

/// Seconds from `micros` since 2000-01-01 to now by this machine's clock, at least 0; for a gauge, never for a decision.
fn seconds_since(micros: i64) -> f64 {
    const UNIX_EPOCH_SECONDS: f64 = 946_684_800.0;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0.0, |since| since.as_secs_f64());
    (now - UNIX_EPOCH_SECONDS - micros as f64 / 1e6).max(0.0)
}
