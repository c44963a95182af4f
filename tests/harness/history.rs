//! The oracle: folds the topic's records by itself, and knows for every offset what each row must be once exactly the records below
//! it are applied. Shares no code with the product.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::load::is_poison;
use crate::support::kafka::KafkaServer;

/// How long Kafka may need for what is stored as applied.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a row holds: events, their amounts, and the hash over their ids in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub n: i64,
    pub sum: i64,
    pub h: String,
}

/// The first offset not applied, by partition.
pub type Checkpoints = BTreeMap<i32, i64>;

/// By partition and key: the row after each of its events, with the event's offset.
type States = HashMap<(i32, String), Vec<(i64, Row)>>;

pub struct History {
    consumer: BaseConsumer,
    topic: String,
    /// By partition: all below is known.
    read: BTreeMap<i32, i64>,
    accounts: States,
    branches: States,
}

impl History {
    pub fn of(kafka: &KafkaServer, topic: &str) -> History {
        let mut config = kafka.client_config();
        config
            .set("group.id", "oracle")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("log_level", "0");
        History {
            consumer: config.create().unwrap(),
            topic: topic.to_owned(),
            read: BTreeMap::new(),
            accounts: States::new(),
            branches: States::new(),
        }
    }

    /// Reads on until everything below these checkpoints is known; false if Kafka cannot be read at the moment.
    pub fn knows(&mut self, checkpoints: &Checkpoints) -> bool {
        if checkpoints
            .keys()
            .any(|partition| !self.read.contains_key(partition))
        {
            self.assign(checkpoints);
        }
        let deadline = Instant::now() + PATIENCE;
        let is_behind = |read: &BTreeMap<i32, i64>| {
            let mut wanted = checkpoints.iter();
            wanted.any(|(partition, next)| read[partition] < *next)
        };
        while is_behind(&self.read) {
            if Instant::now() > deadline {
                return false;
            }
            self.read_one();
        }
        true
    }

    /// What `accounts` must hold.
    pub fn accounts(&self, checkpoints: &Checkpoints) -> BTreeMap<String, Row> {
        let mut rows = BTreeMap::new();
        for ((_, key), row) in at(&self.accounts, checkpoints) {
            rows.insert(key.clone(), row.clone());
        }
        rows
    }

    /// What `branches` must hold: rows of all partitions together, so in no order.
    pub fn branches(&self, checkpoints: &Checkpoints) -> BTreeMap<String, Row> {
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        for ((_, key), row) in at(&self.branches, checkpoints) {
            let all = rows.entry(key.clone()).or_default();
            all.n += row.n;
            all.sum += row.sum;
        }
        rows
    }

    fn assign(&mut self, checkpoints: &Checkpoints) {
        let mut list = TopicPartitionList::new();
        for partition in checkpoints.keys() {
            let from = *self.read.entry(*partition).or_insert(0);
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(from))
                .unwrap();
        }
        self.consumer.assign(&list).unwrap();
    }

    fn read_one(&mut self) {
        let message = match self.consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => message.detach(),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let ends = self.consumer.position().unwrap();
                if let Some(end) = ends.find_partition(&self.topic, partition)
                    && let Offset::Offset(end) = end.offset()
                {
                    // Markers and aborted records at the end count as read.
                    let read = self.read.entry(partition).or_insert(0);
                    *read = end.max(*read);
                }
                return;
            }
            // Brokers come and go.
            Some(Err(_)) | None => return,
        };
        let (partition, offset) = (message.partition(), message.offset());
        let read = self.read.entry(partition).or_insert(0);
        if offset < *read {
            return;
        }
        *read = offset + 1;
        let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
        if is_poison(&key) {
            return;
        }
        let event: serde_json::Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
        let id = event["id"].as_str().unwrap();
        let amount = event["data"]["amount"].as_i64().unwrap();
        let branch = event["data"]["branch"].as_str().unwrap().to_owned();
        apply(&mut self.accounts, (partition, key), offset, id, amount);
        apply(&mut self.branches, (partition, branch), offset, id, amount);
    }
}

fn apply(states: &mut States, key: (i32, String), offset: i64, id: &str, amount: i64) {
    let states = states.entry(key).or_default();
    let before = states
        .last()
        .map(|(_, row)| row.clone())
        .unwrap_or_default();
    let digest = Md5::digest(format!("{}{id}", before.h));
    let row = Row {
        n: before.n + 1,
        sum: before.sum + amount,
        h: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    states.push((offset, row));
}

/// The rows that there are at these checkpoints.
fn at<'s>(
    states: &'s States,
    checkpoints: &Checkpoints,
) -> impl Iterator<Item = (&'s (i32, String), &'s Row)> {
    states.iter().filter_map(move |(key, states)| {
        let next = checkpoints.get(&key.0)?;
        let applied = states.partition_point(|(offset, _)| offset < next);
        Some((key, &states[applied.checked_sub(1)?].1))
    })
}
