//! Definitions that several tests fold, the events for them, and what must come of them. `TOPIC` stands for the topic's name.

use super::oracle::{CHAIN, assert_same};
use super::space::Space;
use super::topic::{Record, dump};

/// Counts the events of each key.
const COUNTER: &str = "
projection: NAME
from: [TOPIC]
tables:
  NAME:
    key:
      name: text = event.key
    columns:
      n: bigint not null default 0
    rules:
      Added:
        set: n = n + 1
";

/// Rows of one partition each, in which loss, repetition and another order show.
pub const ACCOUNTS: &str = "
projection: accounts
from: [TOPIC]
tables:
  accounts:
    key:
      account: text = event.key
    columns:
      n: bigint not null default 0
      sum: bigint not null default 0
      h: text not null default ''
    rules:
      Paid:
        set: n = n + 1, sum = sum + data.amount, h = md5(h || event.id)
";

/// Rows that partitions share, from the same events.
pub const BRANCHES: &str = "
projection: branches
from: [TOPIC]
tables:
  branches:
    key:
      branch: text = data.branch
    columns:
      n: bigint not null default 0
      sum: bigint not null default 0
    rules:
      Paid:
        set: n = n + 1, sum = sum + data.amount
";

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

/// The projection `name`, which counts the events of each key.
pub fn counter(name: &str, topic: &str) -> String {
    COUNTER.replace("NAME", name).replace("TOPIC", topic)
}

/// Events that a counter counts, of seven keys.
pub fn added(numbers: std::ops::Range<usize>) -> Vec<Record> {
    let event = |number| {
        let value = format!(r#"{{"type":"Added","id":"e{number}","data":{{}}}}"#);
        Record::new(&format!("k{}", number % 7), value)
    };
    numbers.map(event).collect()
}

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
