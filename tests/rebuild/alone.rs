//! Loads of rows that partitions share: made in memory by one lane that has all partitions, and exact whoever comes, goes or dies.

use super::{IN_TIME, build_live, check_against, rebuild_with, run_fine, states};
use crate::support::space::Space;
use crate::support::topic::{Producer, Record};
use crate::support::wait::wait_until;
use crate::support::worker::Worker;

const PARTITIONS: i32 = 3;

/// Every account is met from every partition.
const TALLY: &str = "
projection: tally
from: [TOPIC]
tables:
  accounts:
    key:
      name: text = data.account
    columns:
      n: bigint not null default 0
      total: bigint not null default 0
    rules:
      Paid:
        set: n = n + 1, total = total + data.amount
";

/// How often the load of a generation came to its end.
const LOADED: &str =
    "select count(*) from consolidator.generation where loaded_at is not null and id = ";

fn paid(numbers: std::ops::Range<usize>) -> Vec<Record> {
    let event = |number: usize| {
        let (account, amount) = (number * 7919 % 700, number % 1000);
        let value =
            format!(r#"{{"type":"Paid","data":{{"account":"a{account}","amount":{amount}}}}}"#);
        Record::new(&format!("k{number}"), value).in_partition(number as i32 % PARTITIONS)
    };
    numbers.map(event).collect()
}

fn check(space: &Space, topic: &str) {
    let oracle = "select value::jsonb->'data'->>'account' as name, count(*) as n,
        sum((value::jsonb->'data'->>'amount')::bigint)::bigint as total from raw group by 1";
    check_against(space, topic, oracle);
}

fn defined(name: &str, events: usize) -> (Space, String) {
    let space = Space::new(name);
    let topic = space.topic("payments", PARTITIONS);
    Producer::new(space.kafka).write(&topic, &paid(0..events));
    space.definition("tally", &TALLY.replace("TOPIC", &topic));
    (space, topic)
}

/// A live projection whose worker has ended.
fn live(name: &str, events: usize) -> (Space, String) {
    let (space, topic) = defined(name, events);
    build_live(&space);
    (space, topic)
}

/// A rebuild that takes its time, with a lane that has all partitions.
fn slow_load(space: &Space) -> Worker {
    let slow = rebuild_with(space, "tally", "slow", "load-on=sleep(300)");
    wait_until("a lane to have all partitions", IN_TIME, || {
        held_by(space, &slow) == i64::from(PARTITIONS)
    });
    slow
}

/// Partitions of the rebuild.
fn held_by(space: &Space, process: &Worker) -> i64 {
    let name = format!("%/{}/%", process.pid());
    space.database.number(&format!(
        "select count(*) from consolidator.checkpoint where generation = 2 and owner_name like '{name}'"
    ))
}

#[test]
fn rows_that_partitions_share_are_loaded_by_one_lane_and_folded_on_by_all() {
    let (space, topic) = defined("loadalone", 40_000);
    let workers = ["first", "second"].map(|name| space.start_worker(name));
    space.wait_applied("tally", &[&topic], IN_TIME);
    check(&space, &topic);
    assert_eq!(space.database.number(&format!("{LOADED} 1")), 1);
    Producer::new(space.kafka).write(&topic, &paid(40_000..43_000));
    run_fine(&space, &["rebuild", "tally"]);
    assert_eq!(space.database.number(&format!("{LOADED} 2")), 1);
    Producer::new(space.kafka).write(&topic, &paid(43_000..46_000));
    space.wait_applied("tally", &[&topic], IN_TIME);
    check(&space, &topic);
    let folding =
        "select count(distinct owner_name) from consolidator.checkpoint where generation = 2";
    wait_until(
        "several lanes to fold the loaded generation",
        IN_TIME,
        || space.database.number(folding) > 1,
    );
    for worker in workers {
        assert!(worker.terminate(IN_TIME).success());
    }
}

#[test]
fn a_load_of_shared_rows_that_is_killed_is_gone_on_with_by_another_and_exact() {
    let (space, topic) = live("killalone", 30_000);
    let stages = [
        ("batch-ready", "phase = 'load'"),
        (
            "load-parked",
            "phase = 'load' and exists (select from consolidator.checkpoint c where c.generation = g.id and c.next_offset > 0)",
        ),
        ("index-table", "phase = 'index'"),
    ];
    for (number, (point, reached)) in stages.iter().enumerate() {
        let generation = number as i64 + 2;
        let name = format!("killed-{point}");
        let killed = rebuild_with(&space, "tally", &name, &format!("{point}=pause"));
        let ask = format!(
            "select count(*) from consolidator.generation g where g.id = {generation} and {reached}"
        );
        let what = format!("the rebuild to reach {point}");
        wait_until(&what, IN_TIME, || space.database.number(&ask) == 1);
        killed.kill();
        let worker = space.start_worker(&format!("after-{point}"));
        let live = "select generation from consolidator.pointer";
        wait_until("a worker to end the build", IN_TIME, || {
            space.database.number(live) == generation
        });
        space.wait_applied("tally", &[&topic], IN_TIME);
        check(&space, &topic);
        assert!(worker.terminate(IN_TIME).success());
    }
}

#[test]
fn a_lane_that_loads_alone_and_loses_partitions_folds_nothing_twice_and_nothing_never() {
    let (space, topic) = live("notalone", 40_000);
    let other = space.start_worker("other");
    other.wait_for_log("folding", IN_TIME);
    let slow = slow_load(&space);
    // Who takes itself for the leader starts a lane too, which gets some of the partitions.
    let host = "select split_part(leader, '/', 1) from consolidator.generation where id = 2";
    let host = space.database.query(host).remove(0).remove(0).unwrap();
    space.database.execute(&format!(
        "update consolidator.generation set leader = '{host}/{}', leader_until = clock_timestamp() + interval '10 s' where id = 2",
        other.pid()
    ));
    wait_until("another lane to get some of them", IN_TIME, || {
        held_by(&space, &other) > 0
    });
    wait_until("the build to end", IN_TIME, || {
        states(&space) == ["1 grace", "2 live"]
    });
    space.wait_applied("tally", &[&topic], IN_TIME);
    check(&space, &topic);
    assert!(slow.wait(IN_TIME).success());
    assert!(other.terminate(IN_TIME).success());
}

#[test]
fn partitions_that_are_added_while_one_lane_loads_are_folded_once_and_exact() {
    let (mut space, topic) = live("addalone", 40_000);
    let refresh = "topic.metadata.refresh.interval.ms".to_owned();
    space
        .settings
        .kafka_properties
        .push((refresh, "500".to_owned()));
    let slow = slow_load(&space);
    space.kafka.add_partitions(&topic, PARTITIONS as usize + 1);
    // The accounts of all the others.
    let added: Vec<Record> = paid(40_000..43_000)
        .into_iter()
        .map(|record| record.in_partition(PARTITIONS))
        .collect();
    Producer::new(space.kafka).write(&topic, &added);
    assert!(slow.wait(IN_TIME).success());
    assert_eq!(states(&space), ["1 grace", "2 live"]);
    let worker = space.start_worker("follower");
    space.wait_applied("tally", &[&topic], IN_TIME);
    check(&space, &topic);
    assert!(worker.terminate(IN_TIME).success());
}
