//! The projection `chains`, which nothing lost, repeated or out of order leaves as it must be: its events, a worker that folds them, and
//! what must come of them.

use std::ops::Range;
use std::time::Duration;

use super::oracle::{CHAIN, assert_same};
use super::space::Space;
use super::topic::{Producer, Record, dump};
use super::worker::Worker;

const KEYS: usize = 113;
const IN_TIME: Duration = Duration::from_secs(60);

const CHAINS: &str = "
projection: chains
from: [TOPIC]
tables:
  chains:
    key:
      name: text = event.key
    columns:
      n: bigint not null default 0
      h: text not null default ''
    rules:
      Added:
        set: n = n + 1, h = md5(h || event.id)
";

/// A topic, and the projection `chains` of it: for each key the number of its events, and the chain of their ids.
pub fn define_chains(space: &Space, partitions: i32) -> String {
    let topic = space.topic("events", partitions);
    space.definition("chains", &CHAINS.replace("TOPIC", &topic));
    topic
}

/// Fails unless `chains` is what the topic's records give, once all are applied. Gives their number.
pub fn assert_chains(space: &Space, topic: &str) -> u64 {
    let records = dump(space.kafka, &[topic], &space.database);
    space.database.execute(CHAIN);
    assert_same(
        &space.database,
        "chains",
        "select * from read_model.chains",
        "select key, count(*), chain(value::jsonb->>'id' order by \"offset\") from raw group by key",
    );
    records
}

/// [`define_chains`], with a worker of that name that has folded the first `events`, and who writes more.
pub fn chains_at_work(
    space: &Space,
    partitions: i32,
    worker: &str,
    events: usize,
) -> (String, Producer, Worker) {
    let topic = define_chains(space, partitions);
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &chain_events(0..events, partitions));
    let worker = space.start_worker(worker);
    space.wait_applied("chains", &[&topic], IN_TIME);
    (topic, producer, worker)
}

/// Each in the partition of its key, whatever partitions are added.
pub fn chain_events(numbers: Range<usize>, partitions: i32) -> Vec<Record> {
    let event = |number| chain_event(&format!("e{number}"), number, partitions);
    numbers.map(event).collect()
}

/// The same with an id of its own.
pub fn chain_event(id: &str, number: usize, partitions: i32) -> Record {
    let key = number % KEYS;
    Record::new(&format!("k{key}"), chain_value(id)).in_partition(key as i32 % partitions)
}

pub fn chain_value(id: &str) -> String {
    format!(r#"{{"type":"Added","id":"{id}","data":{{}}}}"#)
}
