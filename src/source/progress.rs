//! How far a lane has read each of its partitions: what may be handed out next, and where to go on.
//! Knows nothing of the client, except how it errs.

use std::collections::BTreeMap;

use rdkafka::types::RDKafkaErrorCode as Code;

use super::batch::TopicIndex;
use super::error::kind_of;
use super::raw::MessageError;
use super::raw::Messages;
use super::{ErrorKind, RecordBatch, SourceEvent, Start, TopicPartition};
use crate::event::{Mark, fingerprint};

/// What librdkafka says where the log no longer holds what was read under an earlier leader (KIP-320): with `auto.offset.reset:
/// error` the code is the same as for any offset out of range (rdkafka_offset.c, `rd_kafka_offset_reset`).
const TRUNCATED: &str = "truncation";

/// The partitions that are being read.
#[derive(Default)]
pub(super) struct Progress {
    held: BTreeMap<TopicPartition, Held>,
}

struct Held {
    /// Every record below was handed out since the partition was started, or is not there.
    next_offset: i64,
    last: Last,
    /// What is to come first, if it is still there.
    expected: Option<Mark>,
}

/// What came last from a partition since it was started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Records,
    /// Its end, at `next_offset`.
    End,
    Failure,
    /// Something unreadable, or of another log; nothing counts that comes behind it.
    Damage,
}

impl Progress {
    pub fn start(&mut self, start: Start) {
        let held = Held {
            next_offset: start.next_offset,
            last: Last::Nothing,
            expected: start.last,
        };
        self.held.insert(start.at, held);
    }

    pub fn stop(&mut self, at: TopicPartition) {
        self.held.remove(&at);
    }

    pub fn stop_all(&mut self) {
        self.held.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub fn holds(&self, at: TopicPartition) -> bool {
        self.held.contains_key(&at)
    }

    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> {
        self.held.keys().copied()
    }

    /// What a partition waits for before anything else, to see that the log is the same.
    pub fn expected(&self, at: TopicPartition) -> Option<Mark> {
        self.held.get(&at)?.expected
    }

    /// Those of which nothing was heard since they were started.
    pub fn silent(&self) -> Vec<TopicPartition> {
        let silent =
            |(at, held): (&TopicPartition, &Held)| (held.last == Last::Nothing).then_some(*at);
        self.held.iter().filter_map(silent).collect()
    }

    /// Where a partition goes on. `position` is the client's own idea of it, and is asked because it
    /// counts control records, which the client swallows. It must be taken with care: before
    /// anything came it may be left over from an earlier start, and after an end of partition (or
    /// an error) at offset `n` the batch call leaves it at `n + 1`, as if record `n` had been
    /// consumed (librdkafka issue 4844, there in 2.12).
    pub fn next_offset(
        &self,
        at: TopicPartition,
        position: impl FnOnce() -> Option<i64>,
    ) -> Option<i64> {
        let held = self.held.get(&at)?;
        let next = held.next_offset;
        let beyond = |least| position().filter(|position| *position > least);
        Some(match held.last {
            Last::Nothing | Last::Failure | Last::Damage => next,
            Last::Records => beyond(next).unwrap_or(next),
            Last::End => beyond(next + 1).unwrap_or(next),
        })
    }

    /// Takes what was polled into `out`, and turns the errors among it into events. Records below
    /// where their partition goes on are dropped: the client fetches some twice when a rebalance
    /// comes while it hands them over. So is what comes behind damage: the client reads on as if
    /// nothing had been there (rdkafka_msgset_reader.c, "continue with next message"), and as
    /// offsets have holes anyway, nobody further on would notice.
    pub fn admit(
        &mut self,
        out: &mut RecordBatch,
        topics: &mut TopicIndex,
        events: &mut Vec<SourceEvent>,
    ) {
        let (messages, indexes) = out.unadmitted();
        let mut admitted = Vec::with_capacity(indexes.len());
        let mut run: Option<(TopicPartition, &mut Held)> = None;
        for index in indexes {
            let topic = topics.resolve(messages, index);
            let at = topic.map(|topic| TopicPartition {
                topic: topic as usize,
                partition: messages.partition(index),
            });
            if run.is_none() || run.as_ref().map(|(at, _)| *at) != at {
                run = at.and_then(|at| Some((at, self.held.get_mut(&at)?)));
            }
            let held = run.as_mut().map(|(_, held)| &mut **held);
            admitted.push(match (messages.error(index), held) {
                (_, Some(held)) if held.last == Last::Damage => None,
                (Some(error), held) => {
                    events.extend(failed(at, error, held));
                    None
                }
                (None, Some(held)) => match (held.differs(messages, index), at) {
                    (Some(message), Some(at)) => {
                        held.last = Last::Damage;
                        events.push(SourceEvent::OtherLog { at, message });
                        None
                    }
                    _ => topic.filter(|_| held.admits(messages.offset(index))),
                },
                (None, None) => None,
            });
        }
        out.admit(admitted);
    }
}

impl Held {
    /// Says how the log differs from the one that was applied, as far as the first record shows it. One that is no longer there
    /// (compaction, retention) shows nothing but its leader's epoch, which never falls along a log.
    fn differs(&mut self, messages: &Messages, index: usize) -> Option<String> {
        let expected = self.expected.take()?;
        let offset = messages.offset(index);
        let epoch = messages.leader_epoch(index);
        if let (Some(was), Some(is)) = (expected.leader_epoch, epoch)
            && offset >= expected.offset
            && is < was
        {
            let applied = expected.offset;
            return Some(format!(
                "offset {offset} was written under leader epoch {is}, offset {applied}, which was applied, under {was}"
            ));
        }
        let found = || {
            let (key, value) = (messages.key(index), messages.value(index));
            fingerprint(messages.timestamp_ms(index), key, value)
        };
        (offset == expected.offset && found() != expected.fingerprint)
            .then(|| format!("the record at offset {offset} is not the one that was applied"))
    }

    fn admits(&mut self, offset: i64) -> bool {
        let new = offset >= self.next_offset;
        if new {
            self.next_offset = offset + 1;
            self.last = Last::Records;
        }
        new
    }
}

/// The event that an error in a record's place stands for.
fn failed(
    at: Option<TopicPartition>,
    error: MessageError,
    held: Option<&mut Held>,
) -> Option<SourceEvent> {
    let MessageError { code, text, offset } = error;
    let kind = kind_of(code, false);
    let Some(at) = at else {
        return Some(SourceEvent::Error {
            kind,
            message: text,
            fatal: false,
        });
    };
    let held = held?;
    if code == Code::PartitionEOF && held.expected.is_some() && offset < held.next_offset {
        return Some(SourceEvent::OutOfRange {
            at,
            offset: Some(offset),
            message: format!("the log ends at {offset}, below what was applied"),
        });
    }
    if code == Code::PartitionEOF {
        held.last = Last::End;
        held.next_offset = held.next_offset.max(offset);
        return Some(SourceEvent::EndOfPartition {
            at,
            next_offset: held.next_offset,
        });
    }
    if kind == ErrorKind::Corrupt {
        held.last = Last::Damage;
        return Some(SourceEvent::Damaged {
            at,
            // A batch may begin below the offset that was asked for.
            offset: held.next_offset.max(offset),
            message: text,
        });
    }
    held.last = Last::Failure;
    Some(
        if kind == ErrorKind::OutOfRange && text.contains(TRUNCATED) {
            held.last = Last::Damage;
            SourceEvent::OtherLog { at, message: text }
        } else if kind == ErrorKind::OutOfRange {
            SourceEvent::OutOfRange {
                at,
                offset: (offset >= 0).then_some(offset),
                message: text,
            }
        } else {
            SourceEvent::PartitionError {
                at,
                kind,
                message: text,
            }
        },
    )
}
