//! The events: a steady stream with poison among it, transactions that are committed, aborted, or left open for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::support::kafka::KafkaServer;
use crate::support::topic::{Producer, Record};
use crate::support::wait::let_pass;

const CHUNK_EVENTS: u64 = 50;
const PAUSE: Duration = Duration::from_millis(50);
/// One chunk of so many is a transaction.
const TRANSACTION_EVERY: u32 = 40;
const KEYS_PER_PARTITION: u32 = 100;
/// One event of so many cannot be decoded.
const POISON_EVERY: u32 = 300;
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(20);

/// Writes until it is ended.
pub struct Load {
    ended: Arc<AtomicBool>,
    /// Grows with the topic's.
    pub partitions: Arc<AtomicI32>,
    thread: Option<JoinHandle<u64>>,
}

/// Keys of which no event can be decoded.
pub fn is_poison(key: &str) -> bool {
    key.starts_with('p')
}

impl Load {
    pub fn start(kafka: &'static KafkaServer, topic: &str, partitions: i32, seed: u64) -> Load {
        let ended = Arc::new(AtomicBool::new(false));
        let partitions_at_first = partitions;
        let partitions = Arc::new(AtomicI32::new(partitions));
        let (stop, known, topic) = (ended.clone(), partitions.clone(), topic.to_owned());
        let thread = std::thread::spawn(move || {
            let mut random = StdRng::seed_from_u64(seed);
            let mut producer = Producer::new(kafka);
            let mut written_to = partitions_at_first;
            let mut number = 0;
            while !stop.load(Ordering::Acquire) {
                let partitions = known.load(Ordering::Acquire);
                if partitions != written_to {
                    // One that knows of no more partitions than there were refuses records for the new ones.
                    producer = Producer::new(kafka);
                    written_to = partitions;
                }
                let numbers = number..number + CHUNK_EVENTS;
                let events: Vec<Record> =
                    numbers.map(|n| event(n, partitions, &mut random)).collect();
                number += CHUNK_EVENTS;
                if random.random_range(0..TRANSACTION_EVERY) == 0 {
                    let commits = random.random_bool(0.5);
                    let open = Duration::from_millis(random.random_range(0..1_500));
                    // What becomes of it, if the broker is killed meanwhile, is what a reader of committed records sees.
                    let _ = transact(kafka.client_config(), &topic, &events, commits, open);
                } else {
                    producer.write(&topic, &events);
                }
                let_pass(PAUSE);
            }
            number
        });
        Load {
            ended,
            partitions,
            thread: Some(thread),
        }
    }

    /// Gives how many events were written, those of aborted transactions included.
    pub fn end(mut self) -> u64 {
        self.ended.store(true, Ordering::Release);
        let thread = self.thread.take().expect("it is ended once");
        thread.join().unwrap()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
    }
}

/// Every key belongs to one partition, whatever partitions are added.
fn event(number: u64, partitions: i32, random: &mut StdRng) -> Record {
    let partition = random.random_range(0..partitions);
    let key = random.random_range(0..KEYS_PER_PARTITION);
    if random.random_range(0..POISON_EVERY) == 0 {
        let key = format!("p{partition}-{}", key % 5);
        return Record::new(&key, r#"{"type":"Paid","id":"#).in_partition(partition);
    }
    let (branch, amount) = (
        random.random_range(0..20),
        random.random_range(-1_000..1_000),
    );
    let value = format!(
        r#"{{"type":"Paid","id":"e{number}","data":{{"branch":"b{branch}","amount":{amount}}}}}"#
    );
    Record::new(&format!("a{partition}-{key}"), value).in_partition(partition)
}

fn transact(
    mut config: ClientConfig,
    topic: &str,
    events: &[Record],
    commits: bool,
    open: Duration,
) -> KafkaResult<()> {
    config
        .set("transactional.id", topic)
        .set("transaction.timeout.ms", "10000")
        .set("log_level", "0");
    let producer: BaseProducer = config.create()?;
    producer.init_transactions(TRANSACTION_TIMEOUT)?;
    producer.begin_transaction()?;
    for event in events {
        let mut record = BaseRecord::<String, Vec<u8>>::to(topic);
        record.key = event.key.as_ref();
        record.payload = event.value.as_ref();
        record.partition = event.partition;
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(TRANSACTION_TIMEOUT)?;
    let_pass(open);
    if commits {
        producer.commit_transaction(TRANSACTION_TIMEOUT)
    } else {
        producer.abort_transaction(TRANSACTION_TIMEOUT)
    }
}
