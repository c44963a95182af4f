//! Rebuilds from outside: the real binary, real servers. What readers see through a rebuild and a switch, what a killed rebuild
//! leaves, and whether what was rebuilt is what was folded live.

mod alone;
mod changes;
mod compare;
mod crash;
mod duplicates;
mod equality;
mod explain;
mod guards;
mod history;
mod kills;
mod random;
mod repair;
mod switching;
mod time;

use std::time::Duration;

use crate::support::oracle::assert_same;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record, dump};
use crate::support::wait::wait_until;
use crate::support::worker::Worker;

pub const IN_TIME: Duration = Duration::from_secs(120);

/// Rows that belong to one partition at a time: long logs are loaded in bulk.
const LEDGER: &str = r#"
projection: ledger
from: [TOPIC]
tables:
  accounts:
    comment: One row per account.
    key:
      id: text = event.key
    columns:
      balance: bigint not null default 0
      movements: bigint not null default 0
      last_note: text
    indexes:
      - { columns: [balance] }
    rules:
      Paid:
        set: balance = balance + data.amount, movements = movements + 1, last_note = data.note
      Closed:
        delete: true
"#;

const ORACLE: &str = "
    with numbered as (
        select key, \"offset\", value::jsonb as v,
               max(case when value::jsonb->>'type' = 'Closed' then \"offset\" else -1 end) over (partition by key) as closed
        from raw)
    select key as id, sum((v->'data'->>'amount')::bigint)::bigint as balance, count(*) as movements,
           (array_agg(v->'data'->>'note' order by \"offset\" desc))[1] as last_note
    from numbered where \"offset\" > closed group by key";

pub fn ledger(topic: &str) -> String {
    LEDGER.replace("TOPIC", topic)
}

/// Event `number` of a log that touches `accounts` keys and closes one now and then.
pub fn movement(number: usize, accounts: usize) -> Record {
    let key = format!("a{}", number * 7919 % accounts);
    if number % 97 == 96 {
        return Record::new(&key, r#"{"type":"Closed"}"#);
    }
    let value = format!(
        r#"{{"type":"Paid","data":{{"amount":{},"note":"n{number}"}}}}"#,
        number % 1000
    );
    Record::new(&key, value)
}

pub fn write(space: &Space, topic: &str, numbers: std::ops::Range<usize>) {
    let records: Vec<Record> = numbers.map(|number| movement(number, 3_000)).collect();
    Producer::new(space.kafka).write(topic, &records);
}

pub fn check_against_oracle(space: &Space, topic: &str) {
    check_against(space, topic, ORACLE);
}

/// Fails unless `accounts` is what a query gives of the topic's records.
pub fn check_against(space: &Space, topic: &str, oracle: &str) {
    dump(space.kafka, &[topic], &space.database);
    assert_same(
        &space.database,
        "accounts",
        "select * from read_model.accounts",
        oracle,
    );
}

/// The first build of what is defined, by a worker that has ended.
pub fn build_live(space: &Space) {
    let worker = space.start_worker("worker");
    worker.wait_for_log("caught up: live", IN_TIME);
    assert!(worker.terminate(IN_TIME).success());
}

/// A `rebuild` under way, with fail points.
pub fn rebuild_with(space: &Space, projection: &str, name: &str, points: &str) -> Worker {
    let settings = space.write_settings(name);
    let arguments = ["rebuild", projection, "--config", &settings];
    Worker::start(name, space.dir(), &arguments, &[("FAILPOINTS", points)])
}

pub fn run_fine(space: &Space, arguments: &[&str]) -> String {
    let output = space.run(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{arguments:?}: {}: {text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

pub fn states(space: &Space) -> Vec<String> {
    let rows = space
        .database
        .query("select id || ' ' || state from consolidator.generation order by id");
    rows.into_iter()
        .map(|mut row| row.remove(0).unwrap())
        .collect()
}

#[test]
fn a_rebuild_gives_the_tables_that_live_has_and_goes_on_from_there() {
    let space = Space::new("rebuild");
    let topic = space.topic("movements", 3);
    write(&space, &topic, 0..60_000);
    space.definition("ledger", &ledger(&topic));
    let worker = space.start_worker("worker");
    space.wait_applied("ledger", &[&topic], IN_TIME);
    check_against_oracle(&space, &topic);

    let text = run_fine(&space, &["rebuild", "ledger"]);
    assert!(
        text.contains("ledger generation 2: live, 60000 events"),
        "{text}"
    );
    assert_eq!(states(&space), ["1 grace", "2 live"]);
    check_against_oracle(&space, &topic);
    let keys = "select count(*) from pg_indexes where schemaname = 'consolidator_g2'";
    assert_eq!(space.database.number(keys), 2, "key and index are there");

    write(&space, &topic, 60_000..61_000);
    space.wait_applied("ledger", &[&topic], IN_TIME);
    check_against_oracle(&space, &topic);
    let text = run_fine(&space, &["rollback", "ledger"]);
    assert!(text.contains("see generation 1 now"), "{text}");
    check_against_oracle(&space, &topic);
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn a_rebuild_needs_no_worker() {
    let space = Space::new("alone");
    let topic = space.topic("movements", 2);
    write(&space, &topic, 0..30_000);
    space.definition("ledger", &ledger(&topic));
    let worker = space.start_worker("worker");
    space.wait_applied("ledger", &[&topic], IN_TIME);
    assert!(worker.terminate(IN_TIME).success());

    write(&space, &topic, 30_000..31_000);
    run_fine(&space, &["rebuild", "ledger"]);
    assert_eq!(states(&space), ["1 grace", "2 live"]);
    check_against_oracle(&space, &topic);
}

#[test]
fn a_held_generation_waits_for_the_switch_and_both_stay_current() {
    let space = Space::new("held");
    let topic = space.topic("movements", 2);
    write(&space, &topic, 0..1_000);
    space.definition("ledger", &ledger(&topic));
    let _worker = space.start_worker("worker");
    space.wait_applied("ledger", &[&topic], IN_TIME);
    run_fine(&space, &["rebuild", "ledger", "--hold"]);
    assert_eq!(states(&space), ["1 live", "2 held"]);
    let refused = space.run(&["rebuild", "ledger"]);
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("generation 2 of ledger is held"), "{told}");

    let mut expected = ["1 grace", "2 live"];
    for (round, command) in ["switch", "rollback", "rollback", "rollback"]
        .iter()
        .enumerate()
    {
        let first = 1_000 + round * 100;
        write(&space, &topic, first..first + 100);
        run_fine(&space, &[command, "ledger"]);
        assert_eq!(states(&space), expected, "after {command}");
        expected = if expected[0] == "1 grace" {
            ["1 live", "2 grace"]
        } else {
            ["1 grace", "2 live"]
        };
        space.wait_applied("ledger", &[&topic], IN_TIME);
        check_against_oracle(&space, &topic);
    }
}

#[test]
fn a_cancelled_rebuild_leaves_nothing_behind() {
    let space = Space::new("cancelled");
    let topic = space.topic("movements", 2);
    write(&space, &topic, 0..1_000);
    space.definition("ledger", &ledger(&topic));
    let _worker = space.start_worker("worker");
    space.wait_applied("ledger", &[&topic], IN_TIME);
    run_fine(&space, &["rebuild", "ledger", "--hold"]);
    run_fine(&space, &["cancel", "ledger"]);
    assert_eq!(states(&space), ["1 live", "2 failed"]);
    let left = "select count(*) from pg_namespace where nspname = 'consolidator_g2'";
    assert_eq!(space.database.number(left), 0);
    let left = "select count(*) from consolidator.checkpoint where generation = 2";
    assert_eq!(space.database.number(left), 0);
    check_against_oracle(&space, &topic);
    run_fine(&space, &["drop", "ledger", "--generation", "2"]);
    assert_eq!(states(&space), ["1 live"]);
    wait_until("live to be folded on", IN_TIME, || {
        space
            .database
            .number("select count(*) from consolidator.stop")
            == 0
    });
}
