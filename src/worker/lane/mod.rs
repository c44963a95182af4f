//! A lane: one thread of work, one Kafka group member and one Postgres connection that own a disjoint set of
//! partitions. The loop: receive → fold → commit, with the commit of one batch under way while the next is folded.
//! Decides what to do about every error; knows neither librdkafka nor SQL.

mod assignment;
mod batch;
mod begins;
mod chunk;
mod duplicates;
mod headers;
mod holes;
mod identity;
mod letters;
mod load;
mod locked;
mod noted;
mod recovery;
mod refused;
mod report;
mod requests;

use super::Work;
use super::control::{LaneControl, LaneExit, words_of};
use super::partitions::Partitions;
use crate::admin::http::Heartbeat;
use crate::fold::{Folder, Seen};
use crate::metrics::Phase;
use crate::source::{LaneConsumer, Limits, RecordBatch, SourceError, TopicPartition};
use crate::store::{LaneStore, Layout, Stop, StoreError};
use begins::Begins;
use bumpalo::Bump;
use identity::Identity;
use letters::Letters;
use load::Load;
use noted::Noted;
use refused::Refused;
use report::Report;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How long one wait for records lasts at most: the pace at which a lane notices that it is asked to end.
const RECEIVE_SLICE: Duration = Duration::from_millis(20);
/// How often the Kafka client is served while the lane waits for Postgres.
const SERVE_EVERY: Duration = Duration::from_millis(50);
/// Most records taken in at once: few enough that what is made of them stays in the processor's cache until it is folded.
const CHUNK_RECORDS: usize = 2_000;

/// Why a turn of the loop did not go through.
enum Trouble {
    Store(StoreError),
    /// An event that cannot be applied, or a log that cannot be read on: the projection, or the partition alone, stops here and
    /// says why.
    Stop(Box<Stop>),
    /// The same, where what was folded since the last commit is not to be kept.
    Full(Box<Stop>),
    /// So many events fail that none of them is to blame: the projection stands still until that is over.
    Systemic(String),
    /// Somebody wants the lane to end.
    Asked,
    /// A call to Kafka.
    Source(SourceError),
    /// A fault of this program, with the words of the panic.
    Panicked(String),
    /// The lane is beyond repair: it ends and is started anew.
    Broken(String),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        Trouble::Store(error)
    }
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Trouble {
        Trouble::Source(error)
    }
}

/// The batch whose commit is under way on the shared runtime; it gives the connection back.
type InFlight = tokio::task::JoinHandle<(LaneStore, Result<Option<i64>, StoreError>)>;

/// See the module's text.
pub(super) struct Lane {
    work: Arc<Work>,
    /// Host, process and lane: names the owner of a partition to people.
    name: String,
    control: Arc<LaneControl>,
    heartbeat: Heartbeat,
    runtime: Handle,
    consumer: LaneConsumer,
    /// What the source has told and the lane has not yet acted on, oldest first.
    noted: Noted,
    begins: Begins,
    identity: Identity,
    /// Partitions that have stopped by themselves, and are taken up again when that is over.
    apart: Vec<TopicPartition>,
    looked_at_apart: Instant,
    folder: Folder,
    /// The tables as they are now; also says which of them are shared.
    layout: Arc<Layout>,
    partitions: Partitions,
    letters: Letters,
    /// `None` while a commit is in flight, and while there is no connection.
    store: Option<LaneStore>,
    in_flight: Option<InFlight>,
    records: RecordBatch,
    arena: Bump,
    /// Shrinks to one record while a batch that Postgres refuses is searched for its event, and grows back.
    chunk_records: usize,
    /// Records from the checkpoints on among which that event is; 0: it has been found, or is not among them any more.
    search_left: usize,
    /// The one event of a batch of one, in case Postgres refuses it.
    suspect: Option<Box<Stop>>,
    /// Events folded and not yet sealed into a batch, and since when there are any.
    pending_events: usize,
    pending_since: Instant,
    /// When the last batch was sealed, and its events.
    sealed_at: Instant,
    sealed_events: usize,
    /// When offsets were last mirrored and ends written down.
    measured_at: Instant,
    /// The next batch writes down the ends of idle partitions too.
    measure_next: bool,
    /// Since when no connection to Postgres is to be had.
    cut_off_since: Option<Instant>,
    /// Kafka does not let the lane read.
    refused: Option<Refused>,
    /// It is stored that the lane waits, and for what.
    told_waiting: bool,
    /// Tries in a row that did not go through.
    attempt: u32,
    /// Ids of events, of a projection that deduplicates.
    seen: Option<Seen>,
    /// Events at hand that are not to be applied.
    left_out: Vec<(TopicPartition, i64)>,
    /// How the lane folds while the generation is loaded.
    load: Load,
    report: Report,
}

/// What one poll gave.
#[derive(Clone, Copy)]
struct Received {
    /// As much as was asked for: the end of the log is not near.
    is_full: bool,
}

impl Lane {
    /// Joins the generation's consumer group. Runs on the calling thread's tokio runtime later on.
    pub(super) fn new(
        work: Arc<Work>,
        name: String,
        control: Arc<LaneControl>,
        heartbeat: Heartbeat,
    ) -> Result<Lane, String> {
        let topics = work.projection.topic_names();
        let limits = Limits {
            queue_bytes: work.limits.queue_bytes_max,
        };
        let consumer = LaneConsumer::join(&work.kafka, &work.group, &topics, limits)
            .map_err(|error| error.to_string())?;
        let layout = Layout::new(&work.projection, work.generation, &[])
            .map_err(|error| error.to_string())?;
        let records = empty_batch(&work);
        let now = Instant::now();
        let load = Load::new(control.phase());
        let mut folder = Folder::new(
            work.projection.clone(),
            &layout.shared(),
            work.limits.memory.cache_bytes_max(),
        );
        folder.set_bulk(load.is_load());
        Ok(Lane {
            name,
            control,
            heartbeat,
            runtime: Handle::current(),
            consumer,
            noted: Noted::default(),
            begins: Begins::default(),
            identity: Identity::default(),
            apart: Vec::new(),
            looked_at_apart: now,
            folder,
            layout: Arc::new(layout),
            partitions: Partitions::default(),
            letters: Letters::new(work.clone()),
            store: None,
            in_flight: None,
            records,
            arena: Bump::new(),
            chunk_records: CHUNK_RECORDS,
            search_left: 0,
            suspect: None,
            pending_events: 0,
            pending_since: now,
            sealed_at: now,
            sealed_events: 0,
            measured_at: now,
            measure_next: false,
            cut_off_since: None,
            refused: None,
            told_waiting: false,
            attempt: 0,
            seen: Seen::new(&work.projection, false),
            left_out: Vec::new(),
            load,
            report: Report::new(work.clone()),
            work,
        })
    }

    /// Works until asked to end, or until an event stops the projection. What is not committed by then is not applied.
    pub(super) fn run(mut self) -> LaneExit {
        loop {
            self.heartbeat.tick();
            // Whatever a panic leaves half done is thrown away by the answer to it.
            let turn = catch_unwind(AssertUnwindSafe(|| self.turn()));
            let outcome = turn.unwrap_or_else(|panic| Err(Trouble::Panicked(words_of(&*panic))));
            if let Err(trouble) = outcome
                && let Err(exit) = self.answer(trouble)
            {
                self.leave();
                return exit;
            }
        }
    }

    /// One turn of the loop. Rebalances come first, so that no record of a partition that has gone is folded.
    fn turn(&mut self) -> Result<(), Trouble> {
        if self.control.is_asked() {
            self.flush()?;
            return Err(Trouble::Asked);
        }
        self.settle_if_done()?;
        self.tell_going_on();
        self.tell_refused();
        self.act_on_noted()?;
        self.take_up_new()?;
        self.take_up_apart_if_due()?;
        if !self.control.has_joined() && self.consumer.has_joined() {
            self.control.join();
        }
        self.adopt_stops()?;
        if !self.keep_pace()? {
            return Ok(());
        }
        if !self.knows_topics()? {
            return Ok(());
        }
        self.carry_out_if_due()?;
        let received = self.receive()?;
        self.act_on_noted()?;
        if self.load.is_load() {
            return self.load_on();
        }
        self.commit_if_due(received)?;
        self.measure_if_due()
    }

    /// Takes in what the source has, and folds it.
    fn receive(&mut self) -> Result<Received, Trouble> {
        let started = Instant::now();
        let mut records = std::mem::take(&mut self.records);
        let mut arena = std::mem::take(&mut self.arena);
        let memory = &self.work.limits.memory;
        records.set_bytes_max(memory.batch_bytes_max());
        self.folder.set_cache_bytes_max(memory.cache_bytes_max());
        let noted = self
            .consumer
            .poll(self.receive_wait(), self.chunk_records, &mut records);
        let received = Received {
            is_full: records.is_full(self.chunk_records),
        };
        if !records.is_empty() {
            self.work.counters.phase(Phase::Receive, started.elapsed());
            self.refused = None;
        }
        let outcome = self.fold_records(&records, &arena);
        records.clear();
        arena.reset();
        self.records = records;
        self.arena = arena;
        // An end of partition may be among them, and holds only now that the records before it have been folded.
        self.noted.add(noted);
        outcome.map(|()| received)
    }

    /// Until the lingering batch is due; otherwise one slice.
    fn receive_wait(&self) -> Duration {
        if self.partitions.has_unsealed() {
            self.work
                .limits
                .batch_linger
                .saturating_sub(self.sealed_at.elapsed())
                .min(RECEIVE_SLICE)
        } else {
            RECEIVE_SLICE
        }
    }

    /// Runs a future of the store to its end, the Kafka client being served all the while, so that the membership in
    /// the group outlives a slow database (F4, F28).
    fn wait<T>(&mut self, future: impl Future<Output = T>) -> T {
        let Lane {
            runtime,
            consumer,
            noted,
            heartbeat,
            ..
        } = self;
        Waiter {
            runtime,
            consumer,
            noted,
            heartbeat,
        }
        .on(future)
    }

    /// Ends: what is open is rolled back, then the membership is given up.
    fn leave(mut self) {
        self.abandon();
        let held: Vec<TopicPartition> = self.partitions.iter().map(|owned| owned.at).collect();
        self.release(&held);
        self.consumer.close();
    }
}

/// What a lane waits with, in one hand, while its store and its folder are in the other.
struct Waiter<'l> {
    runtime: &'l Handle,
    consumer: &'l mut LaneConsumer,
    noted: &'l mut Noted,
    heartbeat: &'l Heartbeat,
}

impl Waiter<'_> {
    /// See [`Lane::wait`].
    fn on<T>(&mut self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async {
            let mut future = std::pin::pin!(future);
            loop {
                // The answer first: serving is only for the time that it takes.
                tokio::select! {
                    biased;
                    answer = &mut future => return answer,
                    () = tokio::time::sleep(SERVE_EVERY) => {
                        self.heartbeat.tick();
                        self.noted.add(self.consumer.serve());
                    }
                }
            }
        })
    }
}

/// With headers if a rule reads one.
fn empty_batch(work: &Work) -> RecordBatch {
    RecordBatch::with_headers(!work.projection.header_names.is_empty())
}
