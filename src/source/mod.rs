//! The log that events come from: the only code that names rdkafka. Knows nothing of rows, SQL, or
//! what an event means.
//!
//! - [`LaneConsumer`]: a lane's membership in a consumer group. It starts every partition at the
//!   offset it is given, hands over records in batches, and tells of everything else as
//!   [`SourceEvent`]s.
//! - [`RecordBatch`]: the records, read in place.
//! - [`Cluster`]: what the brokers say about topics and the ends of their partitions.
//! - [`read_log`]: a part of one partition's log, apart from any group.
//! - [`sample`]: some records of a topic, for people who look at it.
//! - [`KafkaSettings`]: how to reach them.
//!
//! A lane is a group member of its own, with its own client. Rebalances are only noted; the lane
//! answers them when the database has given the offsets. Before a partition starts, its queue is
//! forwarded into the lane's one queue, which is read in batches; the client's other queue then
//! holds nothing but rebalances, errors and logs.

use crate::event::Mark;

mod batch;
mod cluster;
mod credentials;
mod error;
mod lane;
mod log;
mod progress;
mod raw;
mod rebalance;
mod sample;
mod settings;
#[cfg(test)]
mod tests;
mod token;

pub use batch::RecordBatch;
pub use cluster::{Cluster, Ends, Topic};
pub use error::{ErrorKind, SourceError};
pub use lane::{LaneConsumer, LaneWaker, TopicIds};
pub use log::read_log;
pub use sample::{SampledRecord, Side, sample};
pub use settings::{KafkaSettings, Limits, owned_properties, shown_value};

/// A partition of one of the topics that a lane (or [`Cluster`] call) was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Index into the list of topics.
    pub topic: usize,
    pub partition: i32,
}

/// Where a partition is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    pub at: TopicPartition,
    /// The first offset not yet applied.
    pub next_offset: i64,
    /// The last record that was applied, or one before it. Reading begins there, and tells whether it is still the same; it is
    /// not handed out again.
    pub last: Option<Mark>,
}

/// What a lane is told besides records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceEvent {
    /// The group gave these to the lane: take them over in the database, then
    /// [`LaneConsumer::assign`]. Never empty.
    Assigned(Vec<TopicPartition>),
    /// The group wants these back: finish or roll back what is under way, then
    /// [`LaneConsumer::revoke`] with the whole list. Nobody else gets them before. Never empty, and
    /// may name partitions that were not assigned yet: forget those.
    Revoked(Vec<TopicPartition>),
    /// As revoked, but somebody else may own them already: whatever is under way will be fenced.
    /// [`LaneConsumer::revoke`] all the same.
    Lost(Vec<TopicPartition>),
    /// All records below `next_offset` were handed over before, and there were no more when Kafka
    /// answered. Offsets that records do not show (transaction markers, aborted records, holes of
    /// compaction) are below it too. Under an open transaction this is the offset where it begins.
    EndOfPartition {
        at: TopicPartition,
        next_offset: i64,
    },
    /// Kafka does not have the offset that was asked for: it is below the log's start (retention),
    /// beyond its end, or on a branch that was cut off. The partition stands still until it is
    /// revoked, or started again with [`LaneConsumer::seek`].
    OutOfRange {
        at: TopicPartition,
        /// What was asked for, if librdkafka tells.
        offset: Option<i64>,
        message: String,
    },
    /// What Kafka holds is not what was applied: the record that [`Start::last`] names is another one, or the log was cut off
    /// below what was read and written on. The partition hands out nothing more until it is revoked, or started again.
    OtherLog { at: TopicPartition, message: String },
    /// The log holds something at `offset` that cannot be read: a damaged batch, or one written in a way that this build does
    /// not know. librdkafka would go on behind it; the partition hands out nothing more until it is revoked, or started again
    /// with [`LaneConsumer::seek`].
    Damaged {
        at: TopicPartition,
        /// All readable records below it were handed over before.
        offset: i64,
        message: String,
    },
    /// One partition cannot be read at the moment. The client goes on trying.
    PartitionError {
        at: TopicPartition,
        kind: ErrorKind,
        message: String,
    },
    /// The client as a whole has trouble; it goes on trying, unless `fatal`: then close this lane
    /// and join again.
    Error {
        kind: ErrorKind,
        message: String,
        fatal: bool,
    },
}
