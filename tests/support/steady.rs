//! Writes at a steady rate and measures from acknowledgement to visible, by probes among the load.
//! Knows nothing of the product but a query that shows the probes' rows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use super::database::Database;
use super::kafka::KafkaServer;
use super::lock;
use super::topic::Record;
use super::wait::let_pass;

/// Events are sent in steps of this length.
const STEP: Duration = Duration::from_millis(5);
/// Every so many steps each partition gets a probe.
const STEPS_PER_PROBE: u64 = 4;
/// Other keys than the probes'.
const KEYS: u64 = 10_000;
/// How often the probes' rows are looked at; the measured latency is at most this much too long.
const LOOK: Duration = Duration::from_millis(1);
/// How long the last probes may take.
const LAST_PROBES: Duration = Duration::from_secs(30);

/// An event of its own key, of which there is one per partition.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    pub acknowledged_at: Instant,
    pub visible_at: Option<Instant>,
}

/// When a probe (its partition and `seq`) was acknowledged.
#[derive(Clone, Default)]
struct Acknowledged(Arc<Mutex<Vec<(i32, u64, Instant)>>>);

/// When a partition's row was first seen with a `seq`.
type Seen = HashMap<i32, Vec<(u64, Instant)>>;

impl Probe {
    pub fn latency(&self) -> Option<Duration> {
        let visible_at = self.visible_at?;
        // It may be seen before its acknowledgement arrives.
        Some(visible_at.saturating_duration_since(self.acknowledged_at))
    }
}

/// Sends `rate` events per second, made by `event(seq, key)`, for `duration`. `select` gives name and seq of the rows
/// of the probes, whose names it is given in the place of `PROBES`.
#[allow(clippy::too_many_arguments)]
pub fn steady_load(
    kafka: &KafkaServer,
    topic: &str,
    partitions: i32,
    rate: u64,
    duration: Duration,
    event: &dyn Fn(u64, &str) -> Record,
    watch: &Database,
    select: &str,
) -> Vec<Probe> {
    let names: Vec<String> = (0..partitions)
        .map(|p| format!("'{}'", probe_key(p)))
        .collect();
    let select = select.replace("PROBES", &names.join(", "));
    let acknowledged = Acknowledged::default();
    let last: Mutex<HashMap<i32, u64>> = Mutex::default();
    let ended = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let looking = scope.spawn(|| look(watch, &select, &ended, &last));
        let sent = send(
            kafka,
            topic,
            partitions,
            rate,
            duration,
            event,
            &acknowledged,
        );
        *lock(&last) = sent;
        ended.store(true, Ordering::Release);
        looking.join().unwrap()
    });
    let acknowledged = lock(&acknowledged.0);
    let probe = |(partition, seq, at): &(i32, u64, Instant)| Probe {
        acknowledged_at: *at,
        visible_at: first_seen(&seen, *partition, *seq),
    };
    acknowledged.iter().map(probe).collect()
}

/// Gives the last `seq` of each partition's probe.
fn send(
    kafka: &KafkaServer,
    topic: &str,
    partitions: i32,
    rate: u64,
    duration: Duration,
    event: &dyn Fn(u64, &str) -> Record,
    acknowledged: &Acknowledged,
) -> HashMap<i32, u64> {
    let mut config = kafka.client_config();
    config.set("linger.ms", "2").set("acks", "all");
    let producer: ThreadedProducer<Acknowledged> =
        config.create_with_context(acknowledged.clone()).unwrap();
    let start = Instant::now();
    let mut last = HashMap::new();
    let (mut seq, mut step) = (0, 0);
    while start.elapsed() < duration {
        let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
        while seq < due {
            seq += 1;
            let key = format!("k{}", seq * 7_919 % KEYS);
            deliver(&producer, topic, &event(seq, &key), None, seq);
        }
        if step % STEPS_PER_PROBE == 0 {
            for partition in 0..partitions {
                seq += 1;
                let record = event(seq, &probe_key(partition));
                deliver(&producer, topic, &record, Some(partition), seq);
                last.insert(partition, seq);
            }
        }
        step += 1;
        let_pass((start + STEP * step as u32).saturating_duration_since(Instant::now()));
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    last
}

fn deliver(
    producer: &ThreadedProducer<Acknowledged>,
    topic: &str,
    record: &Record,
    probe: Option<i32>,
    seq: u64,
) {
    // The opaque value of a probe is its number; others have none.
    let opaque = if probe.is_some() { seq as usize } else { 0 };
    let mut message = BaseRecord::with_opaque_to(topic, opaque);
    message.key = record.key.as_ref();
    message.payload = record.value.as_ref();
    message.partition = probe;
    let sent = producer.send::<String, Vec<u8>>(message);
    sent.unwrap_or_else(|(error, _)| panic!("cannot send: {error}"));
}

fn look(
    watch: &Database,
    select: &str,
    ended: &AtomicBool,
    last: &Mutex<HashMap<i32, u64>>,
) -> Seen {
    let mut seen = Seen::new();
    let mut end = None;
    loop {
        let rows = watch.try_query(select).unwrap_or_default();
        let now = Instant::now();
        for row in rows {
            let (Some(name), Some(seq)) = (&row[0], &row[1]) else {
                continue;
            };
            let partition = name.trim_start_matches("probe-").parse().unwrap();
            let seq = seq.parse().unwrap();
            let states: &mut Vec<(u64, Instant)> = seen.entry(partition).or_default();
            if states.last().is_none_or(|(known, _)| *known < seq) {
                states.push((seq, now));
            }
        }
        if ended.load(Ordering::Acquire) {
            let end = *end.get_or_insert(now + LAST_PROBES);
            let last = lock(last);
            let done =
                |(partition, seq): (&i32, &u64)| first_seen(&seen, *partition, *seq).is_some();
            if now > end || last.iter().all(done) {
                return seen;
            }
        }
        let_pass(LOOK);
    }
}

fn first_seen(seen: &Seen, partition: i32, seq: u64) -> Option<Instant> {
    let states = seen.get(&partition)?;
    let first = states.partition_point(|(known, _)| *known < seq);
    states.get(first).map(|(_, at)| *at)
}

fn probe_key(partition: i32) -> String {
    format!("probe-{partition}")
}

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, seq: usize) {
        use rdkafka::Message as _;
        let now = Instant::now();
        if let (Ok(message), true) = (result, seq > 0) {
            lock(&self.0).push((message.partition(), seq as u64, now));
        }
    }
}
