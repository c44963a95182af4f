//! A lane's membership in the consumer group: joins, answers rebalances with the offsets it is
//! given, polls, mirrors, leaves. Knows nothing of the database that the offsets come from.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, error, info, warn};

use super::batch::{Noticed, TopicIndex};
use super::error::kind_of;
use super::raw::{Client, Event, Events, MessageError, Named, Queue};
use super::{
    ErrorKind, KafkaSettings, Limits, RecordBatch, SourceError, SourceEvent, TopicPartition,
};

/// Records taken from the queue at once, between looks at the batch's size.
const TAKE_MAX: usize = 4096;
/// Events served at once, so that a flood of them (logs) does not keep records from being read.
const SERVE_MAX: usize = 1000;
/// How long a wait lasts at most while a partition has started and not delivered.
const FORWARD_AGAIN_MIN: Duration = Duration::from_millis(5);
const FORWARD_AGAIN_MAX: Duration = Duration::from_millis(100);
/// How long `close` waits for the group to take the last offsets, for lag tools only.
const LAST_MIRROR_TIMEOUT: Duration = Duration::from_secs(1);
/// How long `close` waits for the group to let the member go. After that the session times out.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A member of a consumer group that reads its partitions for one lane. Used by one thread, which
/// must come by ([`poll`](LaneConsumer::poll) or [`serve`](LaneConsumer::serve)) at least every
/// `max.poll.interval.ms` (5 minutes), and does so without ever waiting for the database.
pub struct LaneConsumer {
    // In the order in which they must go: both queues before the client.
    events: Events,
    lane: Arc<Queue>,
    client: Arc<Client>,
    topics: TopicIndex,
    /// Given by the group, not assigned yet.
    noted: BTreeSet<TopicPartition>,
    held: BTreeMap<TopicPartition, Held>,
    /// When a partition was started last, while one of them has not delivered yet.
    starting: Option<Instant>,
    /// The last protocol seen, for when the group has none (it is being left, or was lost).
    cooperative: bool,
    /// The offsets last mirrored, of partitions that are still held.
    mirrored: BTreeMap<TopicPartition, i64>,
    left: bool,
}

/// A partition that is being read.
#[derive(Debug)]
struct Held {
    started_at: i64,
    last: Last,
}

/// What came last from a partition since it was started.
#[derive(Debug)]
enum Last {
    Nothing,
    Records,
    /// Its end, or an error; all records below the offset came before.
    StoppedAt(i64),
}

/// Ends a lane's wait in [`LaneConsumer::poll`] from another thread.
#[derive(Clone)]
pub struct LaneWaker(Weak<Queue>);

impl LaneWaker {
    /// The wait that is going on, or the next one, returns at once. Does nothing after the lane closed.
    pub fn wake(&self) {
        if let Some(queue) = self.0.upgrade() {
            queue.wake();
        }
    }
}

impl LaneConsumer {
    /// Joins `group` for `topics`, which need not exist yet. Returns at once; what the group gives
    /// comes as [`SourceEvent::Assigned`].
    ///
    /// # Errors
    /// Settings that librdkafka refuses. Brokers that cannot be reached are no error here.
    pub fn join(
        kafka: &KafkaSettings,
        group: &str,
        topics: &[String],
        limits: Limits,
    ) -> Result<LaneConsumer, SourceError> {
        let names: Result<Vec<CString>, _> = topics.iter().map(|t| CString::new(&**t)).collect();
        let names = names
            .map_err(|_| SourceError::new(ErrorKind::Configuration, "a topic's name has a NUL"))?;
        let client = Client::new(&kafka.lane_config(group, limits)?)?;
        let unable = || SourceError::new(ErrorKind::Fatal, "librdkafka gave no queue");
        let lane = Arc::new(Queue::new(&client).ok_or_else(unable)?);
        let events = Queue::of_consumer(&client).ok_or_else(unable)?;
        let mut subscription = TopicPartitionList::new();
        for topic in topics {
            subscription.add_topic_unassigned(topic);
        }
        client
            .subscribe(&subscription)
            .map_err(|code| SourceError::from_code(code, "subscribing"))?;
        Ok(LaneConsumer {
            events: Events::waking(events, lane.clone()),
            lane,
            client,
            topics: TopicIndex::new(names),
            noted: BTreeSet::new(),
            held: BTreeMap::new(),
            starting: None,
            cooperative: true,
            mirrored: BTreeMap::new(),
            left: false,
        })
    }

    /// Serves what the client has to say, then waits up to `wait` for a record and appends what is
    /// there, until `out` has `records_max` records or is over its bytes. The wait ends early, with
    /// nothing, when an event arrives or a [`LaneWaker`] is used. If events are waiting already,
    /// records are taken without a wait.
    pub fn poll(
        &mut self,
        wait: Duration,
        records_max: usize,
        out: &mut RecordBatch,
    ) -> Vec<SourceEvent> {
        let mut events = self.serve();
        let mut wait = if events.is_empty() && out.is_empty() {
            wait
        } else {
            Duration::ZERO
        };
        wait = wait.min(self.forward_starting());
        while !out.is_full(records_max) {
            let room = (records_max - out.len()).min(TAKE_MAX);
            let before = out.messages().len();
            self.lane.take(wait, room, out.messages());
            wait = Duration::ZERO;
            let taken = out.messages().len() - before;
            self.admit(out, &mut events);
            if taken < room {
                break;
            }
        }
        if out.is_empty() {
            // An event may be what ended the wait.
            self.serve_into(&mut events);
        }
        events
    }

    /// Serves rebalances, errors and logs without touching records; for while a batch is being
    /// committed. Counts as a poll.
    pub fn serve(&mut self) -> Vec<SourceEvent> {
        let mut events = Vec::new();
        self.serve_into(&mut events);
        events
    }

    /// Ends this lane's wait from other threads.
    pub fn waker(&self) -> LaneWaker {
        LaneWaker(Arc::downgrade(&self.lane))
    }

    /// Starts partitions that [`SourceEvent::Assigned`] named, each at the first offset not yet
    /// applied. All of one event at once, or in parts, in any order. One that has been revoked
    /// meanwhile is passed over; one that is being read already is started again at the new offset.
    ///
    /// # Errors
    /// librdkafka refused; nothing was started. The group will time out and rebalance.
    pub fn assign(&mut self, new: &[(TopicPartition, i64)]) -> Result<(), SourceError> {
        self.topics.forget();
        let starting: Vec<(TopicPartition, i64)> = new
            .iter()
            .copied()
            .filter(|(at, _)| self.noted.contains(at) || self.held.contains_key(at))
            .collect();
        if starting.is_empty() {
            if !new.is_empty() {
                debug!(target: "kafka", "partitions were revoked before they were assigned");
            }
            return Ok(());
        }
        // Before the call that starts it, or its first records would come on the other queue.
        for (at, _) in &starting {
            self.forward(*at)?;
        }
        if self.is_cooperative() {
            self.restart_all(&[], &starting)?;
        } else {
            // The eager protocol knows whole assignments only: the others go on where they are.
            let mut whole: BTreeMap<TopicPartition, i64> = self.positions().collect();
            whole.extend(starting.iter().copied());
            let whole: Vec<_> = whole.into_iter().collect();
            self.client.assign(Some(&self.list_with_offsets(&whole)))?;
            for (at, offset) in whole {
                self.held.insert(at, Held::at(offset));
            }
        }
        for (at, offset) in starting {
            self.noted.remove(&at);
            self.held.insert(at, Held::at(offset));
        }
        self.starting = Some(Instant::now());
        Ok(())
    }

    /// Completes a [`SourceEvent::Revoked`] or [`SourceEvent::Lost`]: the partitions stop, and what
    /// the client still had of them is dropped. Records in a [`RecordBatch`] are the caller's.
    ///
    /// # Errors
    /// librdkafka refused; the group will time out and rebalance.
    pub fn revoke(&mut self, gone: &[TopicPartition]) -> Result<(), SourceError> {
        let stopping: Vec<TopicPartition> = gone
            .iter()
            .copied()
            .filter(|at| self.held.contains_key(at))
            .collect();
        for at in gone {
            self.noted.remove(at);
            self.held.remove(at);
            self.mirrored.remove(at);
        }
        if self.is_cooperative() {
            self.restart_all(&stopping, &[])?;
        } else if self.held.is_empty() {
            self.client.assign(None)?;
        } else {
            let rest: Vec<_> = self.positions().collect();
            self.client.assign(Some(&self.list_with_offsets(&rest)))?;
        }
        // Stopping takes the partitions' forwarding off too.
        Ok(())
    }

    /// Starts a partition again at `next_offset`; for one that [`SourceEvent::OutOfRange`] stopped,
    /// or when the database says that the lane should be elsewhere. Does nothing if it is not held.
    ///
    /// # Errors
    /// As for [`assign`](LaneConsumer::assign).
    pub fn seek(&mut self, at: TopicPartition, next_offset: i64) -> Result<(), SourceError> {
        if self.held.contains_key(&at) {
            self.assign(&[(at, next_offset)])?;
        }
        Ok(())
    }

    /// Stops fetching a partition; what was fetched and not polled is dropped, to come again.
    ///
    /// # Errors
    /// The partition is not known.
    pub fn pause(&mut self, at: TopicPartition) -> Result<(), SourceError> {
        self.client
            .pause(&self.list(&[at]))
            .map_err(|code| SourceError::from_code(code, "pausing"))
    }

    /// Goes on after [`pause`](LaneConsumer::pause), after the last record polled.
    ///
    /// # Errors
    /// The partition is not known.
    pub fn resume(&mut self, at: TopicPartition) -> Result<(), SourceError> {
        let next_offset = self.next_offset(at);
        self.client
            .resume(&self.list(&[at]))
            .map_err(|code| SourceError::from_code(code, "resuming"))?;
        // Alone, it would go on at the client's position, which may be one too far (`next_offset`).
        next_offset.map_or(Ok(()), |next_offset| self.seek(at, next_offset))
    }

    /// The partitions that are being read.
    pub fn assignment(&self) -> impl Iterator<Item = TopicPartition> {
        self.held.keys().copied()
    }

    /// The first offset not yet polled: every record below it was handed out since the partition
    /// was assigned, and offsets that records do not show (transaction markers, aborted records)
    /// count as passed. So a checkpoint may be moved here once all that was polled is applied.
    /// `None` if the partition is not held.
    pub fn position(&self, at: TopicPartition) -> Option<i64> {
        self.next_offset(at)
    }

    /// [`position`](LaneConsumer::position) of every partition that is being read.
    pub fn positions(&self) -> impl Iterator<Item = (TopicPartition, i64)> {
        let held = self.held.keys();
        held.filter_map(|at| Some((*at, self.next_offset(*at)?)))
    }

    /// The high watermark as of the last fetch answer (exclusive: the offset that the next record
    /// gets); costs nothing. `None` before the first. Ahead of [`SourceEvent::EndOfPartition`]
    /// while a transaction is open.
    pub fn end_offset(&self, at: TopicPartition) -> Option<i64> {
        let name = self.topics.name(at.topic);
        let (_, high) = self.client.watermarks(name, at.partition)?;
        Some(high)
    }

    /// Copies applied offsets to Kafka for lag tools; nothing ever reads them back. Asks and does
    /// not wait, so call it about once a second; a failure shows only in the debug log.
    pub fn mirror(&mut self, applied: &[(TopicPartition, i64)]) {
        let ours: Vec<(TopicPartition, i64)> = applied
            .iter()
            .copied()
            .filter(|(at, _)| self.held.contains_key(at))
            .collect();
        if ours.is_empty() {
            return;
        }
        if let Err(code) = self.client.commit_async(&self.list_with_offsets(&ours)) {
            debug!(target: "kafka", %code, "offsets were not mirrored");
        }
        self.mirrored.extend(ours);
    }

    /// Leaves the group, so that others take over at once: mirrors the last offsets once more,
    /// gives the partitions back, says good-bye. Takes at most about 6 s whatever the brokers do;
    /// the client itself goes with the last [`RecordBatch`] of it. Dropping does the same.
    pub fn close(mut self) {
        self.leave();
    }

    fn leave(&mut self) {
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        let last: Vec<(TopicPartition, i64)> =
            self.mirrored.iter().map(|(k, v)| (*k, *v)).collect();
        if !last.is_empty() {
            let list = self.list_with_offsets(&last);
            if !self.client.commit_within(&list, LAST_MIRROR_TIMEOUT) {
                debug!(target: "kafka", "the last offsets were not mirrored");
            }
        }
        self.noted.clear();
        self.held.clear();
        if let Err(error) = self.client.leave(self.events.queue()) {
            debug!(target: "kafka", %error, "the group could not be left");
            return;
        }
        while !self.client.has_left() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                warn!(target: "kafka", "the group did not confirm that we left; it will notice by its session timeout");
                return;
            }
            match self
                .events
                .queue()
                .event(left.min(Duration::from_millis(50)))
            {
                // While leaving, librdkafka takes any answer as giving everything back.
                Some(Event::Assign(_) | Event::Revoke(_)) => {
                    if let Err(error) = self.client.assign(None) {
                        debug!(target: "kafka", %error, "giving partitions back");
                    }
                }
                Some(Event::Log(level, facility, text)) => log(level, &facility, &text),
                Some(_) | None => {}
            }
        }
    }

    fn serve_into(&mut self, events: &mut Vec<SourceEvent>) {
        for _ in 0..SERVE_MAX {
            let Some(event) = self.events.queue().event(Duration::ZERO) else {
                return;
            };
            match event {
                Event::Assign(named) => self.on_assign(named, events),
                Event::Revoke(named) => self.on_revoke(named, events),
                Event::Error {
                    code,
                    text,
                    fatal,
                    partition,
                } => events.extend(self.on_error(code, text, fatal, partition)),
                Event::Log(level, facility, text) => log(level, &facility, &text),
                Event::Committed(Err(Code::NoOffset) | Ok(())) | Event::Other => {}
                Event::Committed(Err(code)) => {
                    debug!(target: "kafka", %code, "offsets were not mirrored");
                }
                Event::Records(count) => events.push(SourceEvent::Error {
                    kind: ErrorKind::Fatal,
                    message: format!("{count} records arrived outside of the lane's queue"),
                    fatal: true,
                }),
            }
        }
    }

    fn on_assign(&mut self, named: Vec<Named>, events: &mut Vec<SourceEvent>) {
        let list = self.resolve(named);
        self.remember_protocol();
        if list.is_empty() {
            // Nobody would answer, and the group waits for one.
            let answered = if self.cooperative {
                self.restart_all(&[], &[])
            } else {
                let nothing = TopicPartitionList::new();
                self.client.assign(Some(&nothing)).map_err(SourceError::from)
            };
            warn_if(answered);
            return;
        }
        self.noted.extend(&list);
        events.push(SourceEvent::Assigned(list));
    }

    fn on_revoke(&mut self, named: Vec<Named>, events: &mut Vec<SourceEvent>) {
        let list = self.resolve(named);
        self.remember_protocol();
        if list.is_empty() {
            warn_if(self.revoke(&[]));
            return;
        }
        for at in &list {
            self.noted.remove(at);
        }
        events.push(if self.client.assignment_lost() {
            SourceEvent::Lost(list)
        } else {
            SourceEvent::Revoked(list)
        });
    }

    fn on_error(
        &self,
        code: Code,
        text: String,
        fatal: bool,
        partition: Option<Named>,
    ) -> Option<SourceEvent> {
        let kind = kind_of(code, fatal);
        let at = partition.and_then(|(topic, partition)| {
            let topic = self.topics.find(&topic)?;
            (partition >= 0).then_some(TopicPartition { topic, partition })
        });
        Some(match at {
            Some(at) if !fatal => SourceEvent::PartitionError {
                at,
                kind,
                message: text,
            },
            _ => SourceEvent::Error {
                kind,
                message: text,
                fatal,
            },
        })
    }

    /// Answers a rebalance of the cooperative protocol: `gone` partitions stop, `starting` ones start, and all others are
    /// started again where we know them to be. librdkafka pauses every partition when a rebalance begins, and the answer
    /// resumes it at the client's own position, which is one too far after an end of partition (`next_offset`):
    /// left alone, it would pass over a record.
    fn restart_all(
        &mut self,
        gone: &[TopicPartition],
        starting: &[(TopicPartition, i64)],
    ) -> Result<(), SourceError> {
        let mut reading: BTreeMap<TopicPartition, i64> = self.positions().collect();
        let mut stopping: Vec<TopicPartition> = reading.keys().copied().collect();
        stopping.extend(gone);
        if !stopping.is_empty() {
            // Before the call that resumes, or what comes of the wrong place would be met.
            self.client.incremental_unassign(&self.list(&stopping))?;
        }
        reading.extend(starting.iter().copied());
        let reading: Vec<(TopicPartition, i64)> = reading.into_iter().collect();
        if reading.is_empty() && !stopping.is_empty() {
            return Ok(());
        }
        for (at, _) in &reading {
            self.forward(*at)?;
        }
        self.client
            .incremental_assign(&self.list_with_offsets(&reading))?;
        for (at, offset) in reading {
            self.held.insert(at, Held::at(offset));
        }
        self.starting = Some(Instant::now());
        Ok(())
    }

    fn forward(&self, at: TopicPartition) -> Result<(), SourceError> {
        let name = self.topics.name(at.topic);
        if self.client.forward(name, at.partition, &self.lane) {
            return Ok(());
        }
        let why = format!("no queue for {}/{}", name.to_string_lossy(), at.partition);
        Err(SourceError::new(ErrorKind::Fatal, why))
    }

    /// Forwards partitions that have not delivered yet once more, and tells how long to wait at
    /// most before the next time.
    ///
    /// A partition that had been read by this client before may still be stopping when it is
    /// assigned again, and the end of that takes its forwarding off, unannounced (2.12,
    /// `rd_kafka_toppar_fetch_stop`); it would then fill its own queue, where nobody reads. The new
    /// start comes after that, so once it has delivered, the forwarding stays. What has gathered
    /// meanwhile moves along, in order.
    fn forward_starting(&mut self) -> Duration {
        let Some(since) = self.starting else {
            return Duration::MAX;
        };
        let silent = |(at, held): (&TopicPartition, &Held)| {
            matches!(held.last, Last::Nothing).then_some(*at)
        };
        let silent: Vec<TopicPartition> = self.held.iter().filter_map(silent).collect();
        if silent.is_empty() {
            self.starting = None;
            return Duration::MAX;
        }
        for at in silent {
            warn_if(self.forward(at));
        }
        (since.elapsed() / 10).clamp(FORWARD_AGAIN_MIN, FORWARD_AGAIN_MAX)
    }

    /// Takes what was polled into `out`, and turns the errors among it into events.
    fn admit(&mut self, out: &mut RecordBatch, events: &mut Vec<SourceEvent>) {
        let held = &mut self.held;
        out.admit(&mut self.topics, |noticed| match noticed {
            Noticed::Records(at) => {
                if let Some(held) = held.get_mut(&at) {
                    held.last = Last::Records;
                }
            }
            Noticed::Failure(Some(at), error) => {
                if error.offset >= 0
                    && let Some(held) = held.get_mut(&at)
                {
                    held.last = Last::StoppedAt(error.offset);
                }
                events.push(failure(at, error));
            }
            Noticed::Failure(None, MessageError { code, text, .. }) => {
                events.push(SourceEvent::Error {
                    kind: kind_of(code, false),
                    message: text,
                    fatal: false,
                });
            }
        });
    }

    /// Where a held partition goes on.
    ///
    /// librdkafka's own position counts the control records that it swallows, but must be taken with
    /// care: before anything was delivered it may be left over from an earlier start; and its batch
    /// call also counts an end of partition, or an error, at offset `n` as if record `n` had been consumed
    /// (librdkafka issue 4844, there in 2.12). So nothing here may rest on the client's own idea of
    /// where to go on.
    fn next_offset(&self, at: TopicPartition) -> Option<i64> {
        let held = self.held.get(&at)?;
        let position = || {
            let list = self.list(&[at]);
            self.client.position(&list).ok()?;
            match list.elements().first()?.offset() {
                Offset::Offset(position) => Some(position),
                _ => None,
            }
        };
        let next = match held.last {
            Last::Nothing => held.started_at,
            Last::Records => position().unwrap_or(held.started_at),
            Last::StoppedAt(offset) => match position() {
                Some(position) if position > offset + 1 => position,
                _ => offset,
            },
        };
        Some(next.max(held.started_at))
    }

    fn is_cooperative(&mut self) -> bool {
        self.remember_protocol();
        self.cooperative
    }

    fn remember_protocol(&mut self) {
        if let Some(cooperative) = self.client.is_cooperative() {
            self.cooperative = cooperative;
        }
    }

    fn resolve(&self, named: Vec<Named>) -> Vec<TopicPartition> {
        let known = |(name, partition): Named| {
            let topic = self.topics.find(&name)?;
            Some(TopicPartition { topic, partition })
        };
        named.into_iter().filter_map(known).collect()
    }

    fn list(&self, of: &[TopicPartition]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(of.len());
        for at in of {
            list.add_partition(&self.topics.name(at.topic).to_string_lossy(), at.partition);
        }
        list
    }

    fn list_with_offsets(&self, of: &[(TopicPartition, i64)]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(of.len());
        for (at, offset) in of {
            let name = self.topics.name(at.topic).to_string_lossy();
            list.add_partition_offset(&name, at.partition, Offset::Offset(*offset))
                .expect("a checkpoint's offset is at least 0");
        }
        list
    }
}

impl Drop for LaneConsumer {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Held {
    fn at(started_at: i64) -> Held {
        Held {
            started_at,
            last: Last::Nothing,
        }
    }
}

/// The event that an error in a record's place stands for.
fn failure(at: TopicPartition, error: MessageError) -> SourceEvent {
    let MessageError { code, text, offset } = error;
    if code == Code::PartitionEOF {
        return SourceEvent::EndOfPartition {
            at,
            next_offset: offset,
        };
    }
    match kind_of(code, false) {
        ErrorKind::OutOfRange => SourceEvent::OutOfRange {
            at,
            offset: (offset >= 0).then_some(offset),
            message: text,
        },
        kind => SourceEvent::PartitionError {
            at,
            kind,
            message: text,
        },
    }
}

fn warn_if(answered: Result<(), SourceError>) {
    if let Err(error) = answered {
        warn!(target: "kafka", %error, "a rebalance could not be answered");
    }
}

/// librdkafka's log lines by syslog level. Its errors come as events too, which the lane judges, so
/// none is an error of ours.
fn log(level: i32, facility: &str, text: &str) {
    match level {
        0..=2 => error!(target: "kafka", facility, "{text}"),
        3..=4 => warn!(target: "kafka", facility, "{text}"),
        5..=6 => info!(target: "kafka", facility, "{text}"),
        _ => debug!(target: "kafka", facility, "{text}"),
    }
}
