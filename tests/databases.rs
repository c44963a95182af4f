//! A database that goes back in time, and one that is full: rows and checkpoints are of one moment, so the worker goes on from there.

use std::time::Duration;

use crate::support::database::Database;
use crate::support::node::Node;
use crate::support::oracle::assert_same;
use crate::support::proxy::Proxy;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record, dump};
use crate::support::wait::wait_until;
use crate::support::wire::WireProxy;

const IN_TIME: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 3;

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

const APPLIED: &str = "select coalesce(sum(next_offset), 0)::bigint from consolidator.checkpoint";

#[test]
fn a_standby_that_lost_commits_takes_over_and_the_worker_goes_on_from_where_it_stands() {
    let mut primary = Node::start();
    let link = Proxy::to(&primary.address());
    let mut standby = primary.standby(&format!("127.0.0.1:{}", link.port));
    let mut space = Space::on_postgres("fail_over", &|database| primary.url(database));
    let wire = WireProxy::to(&primary.address());
    let through = format!("127.0.0.1:{}", wire.port);
    space.settings.postgres_url = space
        .settings
        .postgres_url
        .replace(&primary.address(), &through);
    let notices = ("topic.metadata.refresh.interval.ms", "1000");
    let notices = (notices.0.to_owned(), notices.1.to_owned());
    space.settings.kafka_properties.push(notices);
    let topic = chains(&space);
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &added(0..2_000));
    let worker = space.start_worker("worker");
    space.wait_applied("chains", &[&topic], IN_TIME);
    let name = space.database.url().rsplit_once('/').unwrap().1.to_owned();
    let follower = Database::at(&standby.url(&name));
    wait_until("the standby to follow", IN_TIME, || {
        follower.number(APPLIED) == 2_000
    });

    link.cut();
    producer.write(&topic, &added(2_000..5_000));
    // A partition of which the standby has not even heard.
    space.kafka.add_partitions(&topic, PARTITIONS as usize + 1);
    let late = |number| Record::new("late", value(number)).in_partition(PARTITIONS);
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &(0..100).map(late).collect::<Vec<_>>());
    space.wait_applied("chains", &[&topic], IN_TIME);
    assert_eq!(space.database.number(APPLIED), 5_100);
    primary.stop_immediate();
    standby.promote();
    space.database = Database::at(&standby.url(&name));
    assert_eq!(space.database.number(APPLIED), 2_000, "commits were lost");
    wire.redirect(&standby.address());
    producer.write(&topic, &added(5_000..6_000));
    space.wait_applied("chains", &[&topic], IN_TIME);
    assert!(worker.terminate(IN_TIME).success());
    assert_exact(&space, &topic);
}

#[test]
fn a_database_restored_from_an_older_backup_goes_on_from_its_own_checkpoints() {
    let node = std::cell::RefCell::new(Node::start());
    let space = Space::on_postgres("restored", &|database| node.borrow().url(database));
    let mut node = node.borrow_mut();
    let topic = chains(&space);
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &added(0..2_000));
    let worker = space.start_worker("worker");
    space.wait_applied("chains", &[&topic], IN_TIME);
    node.stop_fast();
    let backup = node.backup();
    node.start_again();
    producer.write(&topic, &added(2_000..5_000));
    space.wait_applied("chains", &[&topic], IN_TIME);

    // The worker runs all the while, with rows in its memory that the backup does not have.
    node.stop_fast();
    node.restore(&backup);
    node.start_again();
    producer.write(&topic, &added(5_000..6_000));
    space.wait_applied("chains", &[&topic], IN_TIME);
    assert!(worker.terminate(IN_TIME).success());
    assert_exact(&space, &topic);
}

/// The server's own error, without a disk that is full: how it comes about makes no difference to a client.
#[test]
fn a_full_disk_pauses_the_projection_blames_no_event_and_is_over_by_itself() {
    let space = Space::new("full");
    let topic = chains(&space);
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &added(0..1_000));
    let worker = space.start_worker("worker");
    space.wait_applied("chains", &[&topic], IN_TIME);
    space.database.execute(
        "create function full_disk() returns trigger language plpgsql as $$
           begin raise exception 'could not extend file: No space left on device' using errcode = '53100'; end $$;
         create trigger full_disk before insert or update on consolidator_g1.chains execute function full_disk()",
    );
    producer.write(&topic, &added(1_000..2_000));
    let waiting =
        "select reason like '%No space left%' and hint like '%disk%' from consolidator.waiting";
    wait_until("the projection to wait", IN_TIME, || {
        let told = space.database.try_query(waiting).unwrap_or_default();
        !told.is_empty() && told.iter().all(|row| row[0].as_deref() == Some("t"))
    });
    space
        .database
        .execute("drop trigger full_disk on consolidator_g1.chains");
    space.wait_applied("chains", &[&topic], IN_TIME);
    for blamed in ["consolidator.dead_letter", "consolidator.stop"] {
        let count = format!("select count(*) from {blamed}");
        assert_eq!(space.database.number(&count), 0);
    }
    assert!(worker.terminate(IN_TIME).success());
    assert_exact(&space, &topic);
}

fn chains(space: &Space) -> String {
    let topic = space.topic("events", PARTITIONS);
    space.definition("chains", &CHAINS.replace("TOPIC", &topic));
    topic
}

/// Every key belongs to one partition, whatever partitions are added.
fn added(numbers: std::ops::Range<usize>) -> Vec<Record> {
    let event = |number| {
        let key = number % 113;
        Record::new(&format!("k{key}"), value(number)).in_partition(key as i32 % PARTITIONS)
    };
    numbers.map(event).collect()
}

fn value(number: usize) -> String {
    format!(r#"{{"type":"Added","id":"e{number}","data":{{}}}}"#)
}

fn assert_exact(space: &Space, topic: &str) {
    dump(space.kafka, &[topic], &space.database);
    space.database.execute(
        "create function chain_step(text, text) returns text language sql immutable as 'select md5($1 || $2)';
         create aggregate chain(text) (sfunc = chain_step, stype = text, initcond = '')",
    );
    let oracle = "select key, count(*), chain(value::jsonb->>'id' order by \"offset\") from raw group by key";
    assert_same(
        &space.database,
        "chains",
        "select * from read_model.chains",
        oracle,
    );
}
