//! Definitions that several tests fold, and the events for them. `TOPIC` stands for the topic's name.

use super::topic::Record;

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
