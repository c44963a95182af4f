//! How a lane is asked to end, how it says that it has joined, and how it ended; how the whole process is asked to end.
//! Shared by threads; knows nothing of the work.

use crate::store::Phase;
use futures_util::FutureExt;
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tracing::error;

/// Between the supervisor and one lane.
#[derive(Debug, Default)]
pub struct LaneControl {
    asked: AtomicBool,
    joined: AtomicBool,
    phase: AtomicU8,
    stops: Mutex<Stops>,
    news: News,
}

/// Where the partitions of a generation stand still: topic -> partition -> offset (exclusive). Empty: nowhere.
pub type StopAt = BTreeMap<String, BTreeMap<i32, i64>>;

#[derive(Debug, Default)]
struct Stops {
    at: Arc<StopAt>,
    changed: bool,
}

/// In the order of a build; the number stands in [`LaneControl`].
const PHASES: [Phase; 5] = [
    Phase::Measure,
    Phase::Load,
    Phase::Drain,
    Phase::Index,
    Phase::Follow,
];

impl LaneControl {
    /// For a lane of a generation in this phase.
    pub fn new(phase: Phase, news: News) -> LaneControl {
        let control = LaneControl {
            news,
            ..LaneControl::default()
        };
        control.set_phase(phase);
        control
    }

    /// Where the lane's partitions stand still from now on.
    pub fn set_stops(&self, at: &StopAt) {
        let mut stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
        if *stops.at != *at {
            stops.at = Arc::new(at.clone());
            stops.changed = true;
        }
    }

    /// Given once for every change.
    pub fn changed_stops(&self) -> Option<Arc<StopAt>> {
        let mut stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut stops.changed).then(|| stops.at.clone())
    }

    /// The generation's phase, as last seen.
    pub fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Ordering::Acquire))]
    }

    pub fn set_phase(&self, phase: Phase) {
        let number = PHASES.iter().position(|known| *known == phase);
        let number = number.expect("every phase is listed") as u8;
        self.phase.store(number, Ordering::Release);
    }

    /// The lane stands still, and that is stored.
    pub fn parked(&self) {
        self.news.tell();
    }

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

/// Told when this process has moved something that others in it wait for: they look at the stored state at once, and not only when
/// it is time to. What other processes move is found by looking.
#[derive(Clone, Debug)]
pub struct News {
    told: Arc<watch::Sender<()>>,
}

/// Hears what is told from its making on.
#[derive(Debug)]
pub struct Listener {
    heard: watch::Receiver<()>,
    /// Keeps the other end open.
    _news: News,
}

impl Default for News {
    fn default() -> News {
        News {
            told: Arc::new(watch::Sender::new(())),
        }
    }
}

impl News {
    pub fn tell(&self) {
        self.told.send_replace(());
    }

    pub fn listen(&self) -> Listener {
        Listener {
            heard: self.told.subscribe(),
            _news: self.clone(),
        }
    }
}

impl Listener {
    /// Resolves when there are news, also such as came since the last call, at the latest after this time.
    pub async fn heard_within(&mut self, most: Duration) {
        // Either is a reason to look, and nothing else can happen.
        let _ = tokio::time::timeout(most, self.heard.changed()).await;
    }
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

/// One turn of what goes on for as long as the process does: if it panics, that is told, and the next turn comes. Whether it came
/// to its end.
pub async fn survive(turn: impl Future<Output = ()>) -> bool {
    let ended = AssertUnwindSafe(turn).catch_unwind().await;
    if let Err(panic) = &ended {
        let words = words_of(&**panic);
        error!("a fault of this program: {words}; going on with what is stored");
    }
    ended.is_ok()
}

/// What a panic said.
pub fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn what_is_told_before_the_wait_is_heard_and_only_once() {
        let (started, long) = (Instant::now(), Duration::from_secs(60));
        let news = News::default();
        let mut listener = news.listen();
        news.tell();
        listener.heard_within(long).await;
        assert!(started.elapsed() < long);
        let short = Duration::from_millis(10);
        listener.heard_within(short).await;
        assert!(started.elapsed() >= short, "nothing was told since");
    }
}
