//! How a lane is asked to end, how it says that it has joined, and how it ended; how the whole process is asked to end.
//! Shared by threads; knows nothing of the work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// Between the supervisor and one lane.
#[derive(Debug, Default)]
pub struct LaneControl {
    asked: AtomicBool,
    joined: AtomicBool,
}

impl LaneControl {
    /// Asks the lane to commit what it has and end.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Release);
    }

    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// The lane's group has taken it in, with or without partitions.
    pub fn join(&self) {
        self.joined.store(true, Ordering::Release);
    }

    pub fn has_joined(&self) -> bool {
        self.joined.load(Ordering::Acquire)
    }
}

/// Why a lane ended.
#[derive(Debug, PartialEq, Eq)]
pub enum LaneExit {
    /// It was asked to.
    Asked,
    /// An event stopped the projection; why is stored.
    Stopped,
    /// Something that a fresh start may put right.
    Failed(String),
}

/// A request that the whole process ends, shared by everyone who waits for it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    state: Arc<ShutdownState>,
}

#[derive(Debug, Default)]
struct ShutdownState {
    asked: AtomicBool,
    notify: Notify,
}

impl Shutdown {
    pub fn ask(&self) {
        self.state.asked.store(true, Ordering::Release);
        self.state.notify.notify_waiters();
    }

    pub fn is_asked(&self) -> bool {
        self.state.asked.load(Ordering::Acquire)
    }

    /// Resolves once somebody asked.
    pub async fn asked(&self) {
        loop {
            // Made before the look: an `ask` in between wakes it.
            let notified = self.state.notify.notified();
            if self.is_asked() {
                return;
            }
            notified.await;
        }
    }
}
