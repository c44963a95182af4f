//! `status`: what is stored about every projection, judged: is it fine, and if not, what is to be done. How it looks stands
//! in [`text`] and [`json`]; how it is read, in the store.

mod json;
mod measure;
mod text;

use crate::store::{GenerationStatus, PartitionStatus, ProjectionStatus, State, Store, StoreError};

pub use json::to_json;
pub use measure::Measurer;
pub use text::{Looks, stale, state_cell, to_text};

/// A measurement that is older than this is told with its age: lanes measure every second.
const FRESH_SECONDS: f64 = 10.0;

/// Every projection of a deployment, as of one moment.
#[derive(Clone, Debug)]
pub struct Status {
    pub projections: Vec<ProjectionStatus>,
}

/// How a projection stands, in one word; the same words as in `consolidator.freshness`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Something cannot go on; a person is needed.
    Stopped,
    /// By command.
    Paused,
    /// Something keeps it from going on; it does so by itself once that is gone.
    Waiting,
    /// As the generation that readers see.
    In(State),
    /// There is no generation that readers see.
    Unread,
}

impl Status {
    /// # Errors
    /// As Postgres'. Without Kafka it is a status too.
    pub async fn read(store: &Store, measurer: &mut Measurer) -> Result<Status, StoreError> {
        let projections = store.status().await?;
        let mut status = Status { projections };
        measurer.measure(&mut status).await;
        Ok(status)
    }

    /// Nothing waits for a person.
    pub fn is_fine(&self) -> bool {
        self.projections.iter().all(is_fine)
    }
}

/// The same for one projection: nothing has stopped, failed, is kept from going on, or has been set aside. A pause was somebody's wish.
pub fn is_fine(projection: &ProjectionStatus) -> bool {
    projection.generations.iter().all(|generation| {
        generation.stops.is_empty()
            && generation.waiting.is_empty()
            && generation.dead_letters == 0
            && generation.state != State::Failed
    })
}

/// The generation that readers see.
pub fn seen(projection: &ProjectionStatus) -> Option<&GenerationStatus> {
    projection
        .generations
        .iter()
        .find(|generation| generation.visible)
}

pub fn standing(projection: &ProjectionStatus) -> Standing {
    let Some(generation) = seen(projection) else {
        return Standing::Unread;
    };
    if !generation.stops.is_empty() {
        return Standing::Stopped;
    }
    match &projection.paused_at {
        Some(_) => Standing::Paused,
        None if !generation.waiting.is_empty() => Standing::Waiting,
        None => Standing::In(generation.state),
    }
}

impl Standing {
    pub fn word(self) -> &'static str {
        match self {
            Standing::Stopped => "stopped",
            Standing::Paused => "paused",
            Standing::Waiting => "waiting",
            Standing::In(state) => state.as_str(),
            Standing::Unread => "unread",
        }
    }
}

/// Seconds since its least recent measurement; `None` while some partition was never measured.
pub fn measured_ago(generation: &GenerationStatus) -> Option<f64> {
    let ages = generation
        .partitions
        .iter()
        .map(|partition| partition.measured_ago);
    ages.reduce(|one, other| Some(one?.max(other?))).flatten()
}

/// Somebody with a session that still stands owns the partition.
fn is_worked_on(partition: &PartitionStatus) -> bool {
    partition.owner_name.is_some() && partition.owner_connected
}
