//! What an analyst may see, tried as a role that has nothing but the readers' grants.

use std::time::Duration;

use crate::support::database::Database;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record};
use crate::support::wait::wait_until;
use crate::support::worker::Worker;

const IN_TIME: Duration = Duration::from_secs(60);

const ORDERS: &str = r#"
projection: orders
from: [TOPIC]
tables:
  orders:
    comment: One row per order.
    key:
      id: text = event.key
    columns:
      status: text not null default 'new'
      events: bigint not null default 0
    rules:
      "*":
        set: status = event.type, events = events + 1
"#;

#[test]
fn readers_see_tables_freshness_and_wait_and_nothing_else() {
    let (space, topic, reader, _worker) = served("readers");
    let row = reader.query("select id, status, events from read_model.orders order by id");
    let text: Vec<Option<&str>> = row[0].iter().map(Option::as_deref).collect();
    assert_eq!(text, [Some("o-1"), Some("Paid"), Some("2")]);

    let freshness = "select count(*) from consolidator.freshness
        where projection = 'orders' and table_name = 'orders' and state = 'live'
          and gap = 0 and generation > 0 and measured_at > now() - interval '1 minute'";
    // The gap is measured now and then, not with every batch.
    let fresh = || reader.number(freshness) == 1;
    wait_until("the row to be live and without a gap", IN_TIME, fresh);
    let columns = "select as_of, lag_seconds from consolidator.freshness";
    assert_eq!(reader.query(columns).len(), 1);
    let blocked = "select projection, key, since, reason from consolidator.blocked_keys";
    assert!(reader.query(blocked).is_empty());
    assert_eq!(
        ask_to_wait(&reader, &topic, 1).unwrap().as_deref(),
        Some("t")
    );

    for refused in [
        "select * from consolidator.checkpoint",
        "select * from consolidator.generation",
        "delete from read_model.orders",
        "update read_model.orders set status = 'x'",
        "create table read_model.mine (n int)",
        "create table consolidator.mine (n int)",
    ] {
        let error = reader.try_query(refused).expect_err(refused).to_string();
        assert!(
            error.contains("permission denied") || error.contains("cannot"),
            "{refused}: {error}"
        );
    }
    drop(space);
}

#[test]
fn waiting_for_an_offset_that_never_comes_ends_by_its_timeout() {
    let (_space, topic, reader, _worker) = served("waiting");
    assert_eq!(
        ask_to_wait(&reader, &topic, 1_000).unwrap().as_deref(),
        Some("f")
    );
}

#[test]
fn waiting_under_repeatable_read_is_an_error() {
    let (_space, topic, reader, _worker) = served("repeatable");
    reader.execute("begin isolation level repeatable read");
    assert!(ask_to_wait(&reader, &topic, 1).is_err());
}

#[test]
fn waiting_for_what_no_projection_reads_is_an_error() {
    let (_space, _topic, reader, _worker) = served("unread");
    assert!(ask_to_wait(&reader, "another-topic", 1).is_err());
}

#[test]
fn comments_of_the_definition_are_comments_of_the_view() {
    let (_space, _topic, reader, _worker) = served("comments");
    let comment = "select obj_description('read_model.orders'::regclass)";
    assert_eq!(reader.value(comment).as_deref(), Some("One row per order."));
}

/// A worker that has applied two events of one order, and a reader's connection.
fn served(name: &str) -> (Space, String, Database, Worker) {
    let mut space = Space::new(name);
    let topic = space.topic("orders", 2);
    space.definition("orders", &ORDERS.replace("TOPIC", &topic));
    let (role, url) = space.role("analyst");
    space.settings.readers.push(role);
    let event = |kind: &str| Record::new("o-1", format!(r#"{{"type":"{kind}"}}"#)).in_partition(0);
    let events = [event("Placed"), event("Paid")];
    Producer::new(space.kafka).write(&topic, &events);
    let worker = space.start_worker("worker");
    space.wait_applied("orders", &[&topic], IN_TIME);
    (space, topic, Database::at(&url), worker)
}

fn ask_to_wait(reader: &Database, topic: &str, offset: i64) -> Result<Option<String>, sqlx::Error> {
    let sql = format!("select consolidator.wait_for('orders', '{topic}', 0, {offset}, '300 ms')");
    Ok(reader.try_query(&sql)?.remove(0).remove(0))
}
