//! The data plane: which generations this process folds, and with which lanes. [`run`] is the worker from start to end.
//!
//! A [`lane`] does the work; [`partitions`] keeps how far it has got; [`policy`] says what each error means;
//! [`supervisor`] starts and ends lanes as the stored state asks; [`start`] is what comes before the first lane.

mod control;
mod lane;
mod partitions;
mod policy;
mod start;
mod supervisor;

pub use control::{News, Shutdown, survive};
pub use start::{definitions, read_settings, worker_name};
pub use supervisor::{run, work_along};

use crate::definition::Projection;
use crate::event::Decoder;
use crate::metrics::{Metrics, ProjectionMetrics};
use crate::settings::MemoryPlan;
use crate::source::KafkaSettings;
use crate::store::Store;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// One generation to fold: everything that its lanes share.
#[derive(Debug)]
struct Work {
    projection: Arc<Projection>,
    /// By topic.
    decoders: Vec<Decoder>,
    generation: i64,
    /// The Kafka consumer group: `<kafka.group>.<projection>.g<id>`.
    group: String,
    /// [`Generation::loaded_alone`](crate::store::Generation::loaded_alone), when its lanes were started.
    alone: Option<usize>,
    kafka: KafkaSettings,
    store: Store,
    metrics: Metrics,
    counters: ProjectionMetrics,
    limits: LaneLimits,
    /// Events of a later time (µs since 2000) are left out.
    as_of: Option<i64>,
    letters: LetterLimits,
}

/// When events that fail are too many.
#[derive(Clone, Copy, Debug)]
struct LetterLimits {
    /// Letters of one generation.
    max: i64,
    /// Events, at least, of which a share is taken.
    window: usize,
    /// Of these so many in a hundred may fail by themselves.
    share: usize,
    /// What the records held is kept.
    keeps_payloads: bool,
}

/// The limits of one lane.
#[derive(Debug)]
struct LaneLimits {
    /// Near the end of the log, a batch is committed at this many events at the latest.
    batch_events: usize,
    /// Near the end of the log, the least time between the starts of two commits.
    batch_linger: Duration,
    /// That the process has for a generation: one that works alone may take the memory of all.
    lanes: usize,
    /// What the Kafka client may hold ready.
    queue_bytes_max: usize,
    memory: LaneMemory,
}

/// What a lane may hold in memory; less as soon as the process has more generations to share it with.
#[derive(Debug, Default)]
struct LaneMemory {
    batch_bytes: AtomicUsize,
    cache_bytes: AtomicUsize,
}

impl LaneMemory {
    fn set(&self, plan: &MemoryPlan) {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        self.batch_bytes
            .store(bytes(plan.batch_bytes_max), Ordering::Relaxed);
        self.cache_bytes
            .store(bytes(plan.cache_bytes_per_lane), Ordering::Relaxed);
    }

    /// Bytes of records taken in at once.
    fn batch_bytes_max(&self) -> usize {
        self.batch_bytes.load(Ordering::Relaxed)
    }

    /// Rows in memory, those not yet written included.
    fn cache_bytes_max(&self) -> usize {
        self.cache_bytes.load(Ordering::Relaxed)
    }
}
