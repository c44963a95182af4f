//! Writes records to topics and copies topics into Postgres as they are. Knows nothing of projections.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::database::Database;
use super::kafka::KafkaServer;
use super::lock;

const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a COPY that are sent at a time.
const COPY_CHUNK_BYTES: usize = 1 << 20;

/// A record to be written.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// None: by the hash of the key.
    pub partition: Option<i32>,
    pub key: Option<String>,
    /// In place of `key`: one that is no text.
    pub key_bytes: Option<Vec<u8>>,
    /// None: a tombstone.
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, String)>,
    /// Milliseconds since 1970; none: now.
    pub timestamp_ms: Option<i64>,
}

/// Where a record was written.
pub type Place = (i32, i64);

/// A producer that waits for acknowledgements.
pub struct Producer {
    producer: BaseProducer<Acknowledgements>,
}

/// Collects what the broker acknowledged, by the number of the record.
#[derive(Default)]
struct Acknowledgements {
    places: Mutex<Vec<Option<Place>>>,
}

impl Record {
    /// A JSON record with a key, partitioned by it.
    pub fn new(key: &str, value: impl Into<String>) -> Record {
        Record {
            key: Some(key.to_owned()),
            value: Some(value.into().into_bytes()),
            ..Record::default()
        }
    }

    /// The same record for a given partition.
    pub fn in_partition(mut self, partition: i32) -> Record {
        self.partition = Some(partition);
        self
    }
}

impl Producer {
    pub fn new(kafka: &KafkaServer) -> Producer {
        Producer::with(kafka, &[])
    }

    /// A producer with more librdkafka properties.
    pub fn with(kafka: &KafkaServer, properties: &[(&str, &str)]) -> Producer {
        let mut config: ClientConfig = kafka.client_config();
        config.set("linger.ms", "5").set("acks", "all");
        config.set("enable.idempotence", "true");
        for (name, value) in properties {
            config.set(*name, *value);
        }
        let context = Acknowledgements::default();
        let producer = config.create_with_context(context).unwrap();
        Producer { producer }
    }

    /// Writes the records in order and waits until the broker has them all; gives their places.
    pub fn write(&self, topic: &str, records: &[Record]) -> Vec<Place> {
        let context = self.producer.context();
        *lock(&context.places) = vec![None; records.len()];
        for (number, record) in records.iter().enumerate() {
            self.send(topic, record, number);
        }
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        while self.producer.in_flight_count() > 0 {
            assert!(Instant::now() < deadline, "{topic} takes no records");
            self.producer.poll(Duration::from_millis(10));
        }
        let places = std::mem::take(&mut *lock(&context.places));
        let acknowledged = places.into_iter().collect::<Option<Vec<_>>>();
        acknowledged.expect("every record is acknowledged")
    }

    fn send(&self, topic: &str, record: &Record, number: usize) {
        let mut message: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(topic, number);
        if let Some(key) = &record.key {
            message = message.key(key.as_bytes());
        }
        if let Some(key) = &record.key_bytes {
            message = message.key(key.as_slice());
        }
        if let Some(value) = &record.value {
            message = message.payload(value.as_slice());
        }
        message.partition = record.partition;
        message.timestamp = record.timestamp_ms;
        if !record.headers.is_empty() {
            message.headers = Some(headers(&record.headers));
        }
        loop {
            match self.producer.send(message) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    message = back;
                    self.producer.poll(Duration::from_millis(20));
                }
                Err((error, _)) => panic!("cannot write to {topic}: {error}"),
            }
        }
        if number.is_multiple_of(1000) {
            self.producer.poll(Duration::ZERO);
        }
    }
}

impl ClientContext for Acknowledgements {}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        if let Ok(message) = result {
            lock(&self.places)[number] = Some((message.partition(), message.offset()));
        }
    }
}

/// Copies all records that the topics hold now into the table `raw` of the database, which it makes where
/// it is missing: `topic, partition, "offset", key, value, at`. Values must be text. Independent of the product: it
/// is what the oracle reads.
pub fn dump(kafka: &KafkaServer, topics: &[&str], database: &Database) -> u64 {
    database.execute(
        "create table if not exists raw (topic text, partition int, \"offset\" bigint, key text,
            value text, at timestamptz, primary key (topic, partition, \"offset\"))",
    );
    database.execute("truncate raw");
    let mut count = 0;
    for topic in topics {
        count += dump_topic(kafka, topic, database);
    }
    database.execute("analyze raw");
    count
}

fn dump_topic(kafka: &KafkaServer, topic: &str, database: &Database) -> u64 {
    let offsets = kafka.offsets(topic);
    let mut config = kafka.client_config();
    config
        .set("group.id", "raw-dump")
        .set("enable.auto.commit", "false");
    config
        .set("enable.partition.eof", "true")
        .set("fetch.queue.backoff.ms", "5");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut assignment = TopicPartitionList::new();
    let mut open = 0;
    for (partition, (first, end)) in offsets.iter().enumerate() {
        if first < end {
            let place = Offset::Offset(*first);
            assignment
                .add_partition_offset(topic, partition as i32, place)
                .unwrap();
            open += 1;
        }
    }
    consumer.assign(&assignment).unwrap();
    let mut rows = Vec::new();
    let mut count = 0;
    let mut chunks = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(120);
    while open > 0 {
        assert!(
            Instant::now() < deadline,
            "the dump of {topic} takes too long"
        );
        match consumer.poll(Duration::from_millis(500)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => panic!("cannot dump {topic}: {error}"),
            Some(Ok(message)) => {
                copy_row(&message, &mut rows);
                count += 1;
                if rows.len() > COPY_CHUNK_BYTES {
                    chunks.push(std::mem::take(&mut rows));
                }
            }
        }
    }
    chunks.push(rows);
    let copy = "copy raw (topic, partition, \"offset\", key, value, at) from stdin";
    database.copy_in(copy, chunks);
    count
}

/// One line of COPY's text format.
fn copy_row(message: &impl Message, out: &mut Vec<u8>) {
    let at_ms = message.timestamp().to_millis();
    let at = at_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let fields = [
        Some(message.topic().as_bytes().to_vec()),
        Some(message.partition().to_string().into_bytes()),
        Some(message.offset().to_string().into_bytes()),
        message.key().map(<[u8]>::to_vec),
        message.payload().map(<[u8]>::to_vec),
        at.map(|at| at.to_string().into_bytes()),
    ];
    for (number, field) in fields.iter().enumerate() {
        if number > 0 {
            out.push(b'\t');
        }
        match field {
            None => out.extend_from_slice(b"\\N"),
            Some(bytes) => copy_text(bytes, out),
        }
    }
    out.push(b'\n');
}

fn copy_text(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => out.push(*other),
        }
    }
}

fn headers(pairs: &[(String, String)]) -> OwnedHeaders {
    pairs
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        })
}
