//! Owns the thread that sends sample events to a broker at a steady rate.
//!
//! Knows neither what the events say (that is `sample`'s) nor who reads them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use super::sample::SampleEvents;
use super::servers::DemoError;

/// Every feed tells the same story.
const SEED: u64 = 42;
/// How often events are sent: often enough for a rate to look steady.
const TICK: Duration = Duration::from_millis(20);
/// How long the last events may take to be acknowledged.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends sample events until it is dropped.
pub struct EventFeed {
    counts: Arc<Counts>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What a feed has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedCounts {
    pub sent: u64,
    pub acknowledged: u64,
    pub failed: u64,
}

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    acknowledged: AtomicU64,
    failed: AtomicU64,
    held: AtomicBool,
}

/// Counts what the broker says of each record.
struct Acknowledgements(Arc<Counts>);

/// The sending side, on its own thread.
struct Sending {
    producer: ThreadedProducer<Acknowledgements>,
    events: SampleEvents,
    counts: Arc<Counts>,
}

impl EventFeed {
    /// Starts to send `events_per_second` events, spread over the topics of `sample::TOPICS`. The embedded broker keeps 5 MB of
    /// a partition and drops the oldest records beyond that, as a topic with retention does.
    pub fn start(brokers: &str, events_per_second: u32) -> Result<EventFeed, DemoError> {
        let counts = Arc::new(Counts::default());
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            // Compressed, what the broker keeps reaches further back; that needs batches of more than one.
            .set("linger.ms", "20")
            .set("compression.type", "zstd")
            .set("log_level", "3")
            .create_with_context(Acknowledgements(Arc::clone(&counts)))?;
        let sending = Sending {
            producer,
            events: SampleEvents::new(SEED),
            counts: Arc::clone(&counts),
        };
        let (stop, stopped) = channel();
        let thread = thread::Builder::new()
            .name("sample-events".into())
            .spawn(move || sending.run(f64::from(events_per_second), &stopped))
            .map_err(|error: io::Error| DemoError::Events(error))?;
        Ok(EventFeed {
            counts,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub fn counts(&self) -> FeedCounts {
        FeedCounts {
            sent: self.counts.sent.load(Ordering::Relaxed),
            acknowledged: self.counts.acknowledged.load(Ordering::Relaxed),
            failed: self.counts.failed.load(Ordering::Relaxed),
        }
    }

    /// Holds back while whoever reads is far behind: the broker would drop what was not read yet.
    pub fn hold(&self, held: bool) {
        self.counts.held.store(held, Ordering::Relaxed);
    }

    /// Stops sending, waits for what is under way, and gives the final counts.
    pub fn stop(&mut self) -> FeedCounts {
        // Dropping the sender is the signal.
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic of the feed has been printed already; the counts are still right.
            let _ = thread.join();
        }
        self.counts()
    }
}

impl Drop for EventFeed {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Sending {
    fn run(mut self, events_per_second: f64, stopped: &Receiver<()>) {
        let mut due = 0.0;
        let mut last = Instant::now();
        while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            let held = self.counts.held.load(Ordering::Relaxed);
            let rate = if held { 0.0 } else { events_per_second };
            due += rate * last.elapsed().as_secs_f64();
            last = Instant::now();
            while due >= 1.0 && self.send_next() {
                due -= 1.0;
            }
            // After a pause (a suspended laptop) nothing is made up for.
            due = due.min(events_per_second);
        }
        // What is not acknowledged by then is not counted as sent.
        let _ = self.producer.flush(DRAIN_TIMEOUT);
    }

    /// Sends one event; false if the producer's queue is full, and the event is lost then.
    fn send_next(&mut self) -> bool {
        let event = self.events.next(Timestamp::now());
        let mut record = BaseRecord::to(event.topic).key(&event.key);
        record.payload = event.value.as_ref();
        match self.producer.send(record) {
            Ok(()) => {
                self.counts.sent.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err((error, _)) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                !matches!(
                    error,
                    KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)
                )
            }
        }
    }
}

impl ClientContext for Acknowledgements {}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let count = match result {
            Ok(_) => &self.0.acknowledged,
            Err(_) => &self.0.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
