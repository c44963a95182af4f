//! A lane's membership in the consumer group: joins, answers rebalances with the offsets it is
//! given, polls, mirrors, leaves. Knows nothing of the database that the offsets come from.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, error, info, warn};

use super::batch::TopicIndex;
use super::cluster::known_id;
use super::credentials::Credentials;
use super::error::kind_of;
use super::progress::Progress;
use super::raw::{Client, Event, Events, Named, Queue};
use super::{
    ErrorKind, KafkaSettings, Limits, RecordBatch, SourceError, SourceEvent, TopicPartition,
};

/// Records taken from the queue at once, between looks at the batch's size.
const TAKE_MAX: usize = 4096;
/// Events served at once, so that a flood of them (logs) does not keep records from being read.
const SERVE_MAX: usize = 1000;
/// How long `close` waits for the group to take the last offsets, for lag tools only.
const LAST_MIRROR_TIMEOUT: Duration = Duration::from_secs(1);
/// How long `close` waits for the group to let the member go. After that the session times out.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked whether it is done.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A member of a consumer group that reads its partitions for one lane. Used by one thread, which
/// must come by ([`poll`](LaneConsumer::poll) or [`serve`](LaneConsumer::serve)) at least every
/// `max.poll.interval.ms` (5 minutes), and does so without ever waiting for the database.
pub struct LaneConsumer {
    // In the order in which they must go: both queues before the client.
    pub(super) events: Events,
    pub(super) lane: Arc<Queue>,
    pub(super) client: Arc<Client>,
    pub(super) topics: TopicIndex,
    /// Given by the group, not assigned yet.
    pub(super) noted: BTreeSet<TopicPartition>,
    pub(super) held: Progress,
    /// When a partition was started last, while one of them has not delivered yet.
    pub(super) starting: Option<Instant>,
    /// The last protocol seen, for when the group has none (it is being left, or was lost).
    pub(super) cooperative: bool,
    /// The offsets last mirrored, of partitions that are still held.
    pub(super) mirrored: BTreeMap<TopicPartition, i64>,
    /// A mirror was asked for and not answered.
    mirroring: bool,
    credentials: Credentials,
    left: bool,
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

/// Asks for the ids of a lane's topics, on any thread.
#[derive(Clone)]
pub struct TopicIds {
    client: Arc<Client>,
    names: Vec<CString>,
}

impl TopicIds {
    /// By topic: Kafka's id of it (KIP-516). `None`: the topic is not there now, or the broker does not tell. Blocking.
    ///
    /// # Errors
    /// Kafka did not answer in time, or refused us.
    pub fn ask(&self, timeout: Duration) -> Result<Vec<Option<String>>, SourceError> {
        let described = self.client.describe_topics(&self.names, timeout)?;
        let id_of = |name: &CString| {
            let mut found = described.iter();
            let found = found.find(|found| found.name.as_bytes() == name.to_bytes())?;
            let (id, _) = found.found.as_ref().ok()?;
            known_id(id)
        };
        Ok(self.names.iter().map(id_of).collect())
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
        // Before the client reads them.
        let credentials = Credentials::of(kafka);
        let client = Client::new(&kafka.lane_config(group, limits)?, kafka.token_file.clone())?;
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
            held: Progress::default(),
            starting: None,
            cooperative: true,
            mirrored: BTreeMap::new(),
            mirroring: false,
            credentials,
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
            self.held.admit(out, &mut self.topics, &mut events);
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

    /// To ask which topics it is that are being read.
    pub fn topic_ids(&self) -> TopicIds {
        TopicIds {
            client: self.client.clone(),
            names: self.topics.names().to_vec(),
        }
    }

    /// Ends this lane's wait from other threads.
    pub fn waker(&self) -> LaneWaker {
        LaneWaker(Arc::downgrade(&self.lane))
    }

    /// Starts a partition again at `next_offset`; for one that [`SourceEvent::OutOfRange`] stopped,
    /// or when the database says that the lane should be elsewhere. Does nothing if it is not held.
    ///
    /// # Errors
    /// As for [`assign`](LaneConsumer::assign).
    pub fn seek(&mut self, at: TopicPartition, next_offset: i64) -> Result<(), SourceError> {
        if self.held.holds(at) {
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
        let next_offset = self.position(at);
        self.client
            .resume(&self.list(&[at]))
            .map_err(|code| SourceError::from_code(code, "resuming"))?;
        // Alone, it would go on at the client's position, which may be one too far (`next_offset`).
        next_offset.map_or(Ok(()), |next_offset| self.seek(at, next_offset))
    }

    /// The group has taken this member in, whether or not it has a partition for it: with more members than partitions some
    /// stand by, and under KIP-848 those hear of no assignment at all.
    pub fn has_joined(&self) -> bool {
        self.client.is_member()
    }

    /// The partitions that are being read.
    pub fn assignment(&self) -> impl Iterator<Item = TopicPartition> {
        self.held.partitions()
    }

    /// The first offset not yet polled: every record below it was handed out since the partition
    /// was assigned, and offsets that records do not show (transaction markers, aborted records)
    /// count as passed. So a checkpoint may be moved here once all that was polled is applied.
    /// `None` if the partition is not held.
    pub fn position(&self, at: TopicPartition) -> Option<i64> {
        self.held.next_offset(at, || self.client_position(at))
    }

    /// [`position`](LaneConsumer::position) of every partition that is being read.
    pub fn positions(&self) -> impl Iterator<Item = (TopicPartition, i64)> {
        let held = self.held.partitions();
        held.filter_map(|at| Some((at, self.position(at)?)))
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
            .filter(|(at, _)| self.held.holds(*at))
            .collect();
        if ours.is_empty() {
            return;
        }
        self.mirrored.extend(ours);
        // While the group rebalances, the answer waits behind that.
        if !self.mirroring {
            self.mirroring = self.ask_for_mirror();
        }
    }

    /// Leaves the group, so that others take over at once: mirrors the last offsets once more,
    /// gives the partitions back, says good-bye. Takes at most about 6 s whatever the brokers do;
    /// the client itself goes with the last [`RecordBatch`] of it. Dropping does the same.
    pub fn close(mut self) {
        self.leave();
    }

    fn ask_for_mirror(&self) -> bool {
        let offsets: Vec<(TopicPartition, i64)> = self
            .mirrored
            .iter()
            .map(|(at, next)| (*at, *next))
            .collect();
        let list = self.list_with_offsets(&offsets);
        let asked = self.client.commit(&list, self.events.queue());
        if let Err(code) = asked {
            debug!(target: "kafka", %code, "offsets were not mirrored");
        }
        asked.is_ok()
    }

    /// Waits for the answer, letting rebalances pass unanswered: the lane is about to leave.
    fn await_mirror(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.queue().event(left) {
                Some(Event::Committed(Ok(()))) => return,
                Some(Event::Committed(Err(code))) => {
                    debug!(target: "kafka", %code, "offsets were not mirrored");
                    return;
                }
                Some(Event::Log(level, facility, text)) => log(level, &facility, &text),
                _ if left.is_zero() => {
                    debug!(target: "kafka", "the last offsets were not mirrored in time");
                    return;
                }
                _ => {}
            }
        }
    }

    fn leave(&mut self) {
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        if !self.mirroring && !self.mirrored.is_empty() && self.ask_for_mirror() {
            self.await_mirror(LAST_MIRROR_TIMEOUT);
        }
        self.noted.clear();
        self.held.stop_all();
        if let Err(error) = self.client.leave(self.events.queue()) {
            debug!(target: "kafka", %error, "the group could not be left");
            return;
        }
        // For a rebalance that nobody answered, or will. While leaving, librdkafka takes any answer
        // as giving everything back.
        self.give_back(deadline);
        while !self.client.has_left() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                warn!(target: "kafka", "the group did not confirm that we left; it will notice by its session timeout");
                return;
            }
            match self.events.queue().event(left.min(LOOK_EVERY)) {
                Some(Event::Assign(_) | Event::Revoke(_)) => self.give_back(deadline),
                Some(Event::Log(level, facility, text)) => log(level, &facility, &text),
                Some(_) | None => {}
            }
        }
    }

    /// Where the group's last operation ends it just then, librdkafka drops this one without an answer, and the call never
    /// returns (2.12, `rd_kafka_cgrp_terminated`): so it is made where it may hang, and waited for only until the group is left,
    /// or until `deadline`.
    fn give_back(&self, deadline: Instant) {
        let client = self.client.clone();
        let (answer, answered) = std::sync::mpsc::channel();
        let called = std::thread::Builder::new()
            .name("give-back".to_owned())
            .spawn(move || {
                let outcome = client.assign(None);
                // The client ends where the lane ends, not here.
                drop(client);
                let _ = answer.send(outcome);
            });
        if let Err(error) = called {
            return debug!(target: "kafka", %error, "no thread to give partitions back");
        }
        loop {
            match answered.recv_timeout(LOOK_EVERY) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => return debug!(target: "kafka", %error, "giving partitions back"),
                Err(_) if self.client.has_left() || Instant::now() >= deadline => {
                    return debug!(target: "kafka", "giving partitions back was not answered");
                }
                Err(_) => {}
            }
        }
    }

    fn serve_into(&mut self, events: &mut Vec<SourceEvent>) {
        self.serve_queue(events);
        if self.credentials.have_changed() {
            events.push(SourceEvent::Error {
                kind: ErrorKind::Authentication,
                message: "the files with its credentials have changed: it logs in anew".to_owned(),
                fatal: true,
            });
        }
    }

    fn serve_queue(&mut self, events: &mut Vec<SourceEvent>) {
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
                Event::TokenWanted => self.client.set_token(),
                Event::Log(level, facility, text) => log(level, &facility, &text),
                Event::Committed(answer) => {
                    self.mirroring = false;
                    if let Err(code) = answer {
                        debug!(target: "kafka", %code, "offsets were not mirrored");
                    }
                }
                Event::Other => {}
                Event::Records(count) => events.push(SourceEvent::Error {
                    kind: ErrorKind::Fatal,
                    message: format!("{count} records arrived outside of the lane's queue"),
                    fatal: true,
                }),
            }
        }
    }

    fn on_error(
        &mut self,
        code: Code,
        text: String,
        fatal: bool,
        partition: Option<Named>,
    ) -> Option<SourceEvent> {
        let kind = kind_of(code, fatal);
        if partition.is_none() {
            self.credentials.doubt();
        }
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

    fn client_position(&self, at: TopicPartition) -> Option<i64> {
        let list = self.list(&[at]);
        self.client.position(&list).ok()?;
        match list.elements().first()?.offset() {
            Offset::Offset(position) => Some(position),
            _ => None,
        }
    }

    pub(super) fn resolve(&self, named: Vec<Named>) -> Vec<TopicPartition> {
        let known = |(name, partition): Named| {
            let topic = self.topics.find(&name)?;
            Some(TopicPartition { topic, partition })
        };
        named.into_iter().filter_map(known).collect()
    }

    pub(super) fn list(&self, of: &[TopicPartition]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(of.len());
        for at in of {
            list.add_partition(&self.topics.name(at.topic).to_string_lossy(), at.partition);
        }
        list
    }

    pub(super) fn list_with_offsets(&self, of: &[(TopicPartition, i64)]) -> TopicPartitionList {
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

/// librdkafka's log lines by syslog level. Its errors come as events too, which the lane judges, so
/// none is an error of ours. Failed commits are mirrors of offsets that nobody depends on.
fn log(level: i32, facility: &str, text: &str) {
    match level {
        _ if facility == "COMMITFAIL" => debug!(target: "kafka", facility, "{text}"),
        0..=2 => error!(target: "kafka", facility, "{text}"),
        3..=4 => warn!(target: "kafka", facility, "{text}"),
        5..=6 => info!(target: "kafka", facility, "{text}"),
        _ => debug!(target: "kafka", facility, "{text}"),
    }
}
