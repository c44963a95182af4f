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

pub use control::Shutdown;
pub use start::{definitions, read_settings, worker_name};
pub use supervisor::{run, work_along};

use crate::definition::Projection;
use crate::event::Decoder;
use crate::metrics::{Metrics, ProjectionMetrics};
use crate::source::KafkaSettings;
use crate::store::Store;
use std::sync::Arc;
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
    kafka: KafkaSettings,
    store: Store,
    metrics: Metrics,
    counters: ProjectionMetrics,
    limits: LaneLimits,
}

/// The limits of one lane.
#[derive(Clone, Debug)]
struct LaneLimits {
    /// Near the end of the log, a batch is committed at this many events at the latest.
    batch_events: usize,
    /// Near the end of the log, the least time between the starts of two commits.
    batch_linger: Duration,
    /// Bytes of records taken in at once.
    batch_bytes_max: usize,
    /// Rows in memory, those not yet written included.
    cache_bytes_max: usize,
    /// What the Kafka client may hold ready.
    queue_bytes_max: usize,
}
