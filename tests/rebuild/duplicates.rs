//! `deduplicate`: each event once, although it comes again, through crashes, rebalances and rebuilds; owned and shared rows.

use super::{IN_TIME, run_fine};
use crate::support::oracle::assert_same;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record, dump};
use crate::support::wait::wait_until;

/// Event `number`; every third one is a repetition of one that came a while ago, every tenth has no id.
fn visit(number: usize) -> Record {
    let original = match number % 3 {
        2 if number > 500 => number - 500 + number % 400,
        _ => number,
    };
    let key = format!("v{}", original % 50);
    let id = match original % 10 {
        0 => String::new(),
        _ => format!(r#""id":"e{original}","#),
    };
    let value = format!(
        r#"{{"type":"Visited",{id}"data":{{"page":"p{}"}}}}"#,
        original % 7
    );
    Record::new(&key, value)
}

fn definition(topic: &str, key: &str) -> String {
    format!(
        "projection: pages\nfrom: [{topic}]\ndeduplicate: {{ by: event.id, keep: 7 days }}\ntables:\n  pages:\n    key:\n      \
         id: text = {key}\n    columns:\n      visits: bigint not null default 0\n    rules:\n      Visited:\n        \
         set: visits = visits + 1\n"
    )
}

fn exact_through_everything(name: &str, key: &str, oracle_key: &str) {
    let space = Space::new(name);
    let topic = space.topic("visits", 4);
    space.definition("pages", &definition(&topic, key));
    let producer = Producer::new(space.kafka);
    let write = |numbers: std::ops::Range<usize>| {
        let records: Vec<Record> = numbers.map(visit).collect();
        producer.write(&topic, &records);
    };
    let oracle = format!(
        "select {oracle_key} as id, count(distinct coalesce(value::jsonb->>'id', partition || '@' || \"offset\")) as visits \
         from raw group by 1"
    );
    let check = || {
        space.wait_applied("pages", &[&topic], IN_TIME);
        dump(space.kafka, &[&topic], &space.database);
        assert_same(
            &space.database,
            "pages",
            "select * from read_model.pages",
            &oracle,
        );
    };
    write(0..3_000);
    let worker = space.start_worker("killed");
    wait_until("some of it to be applied", IN_TIME, || {
        let applied = "select sum(next_offset) from consolidator.checkpoint";
        let rows = space.database.try_query(applied);
        rows.is_ok_and(|rows| rows[0][0].as_deref().is_some_and(|sum| sum != "0"))
    });
    write(3_000..5_000);
    worker.kill();
    let worker = space.start_worker("worker");
    write(5_000..7_000);
    check();
    let another = space.start_worker("another");
    write(7_000..9_000);
    check();
    assert!(another.terminate(IN_TIME).success());
    write(9_000..10_000);
    check();
    run_fine(&space, &["rebuild", "pages"]);
    write(10_000..11_000);
    check();
    let text = run_fine(&space, &["verify", "pages"]);
    assert!(text.contains("0 missing, 0 extra, 0 differ"), "{text}");
    let text = run_fine(&space, &["explain", "pages", "pages", oracle_example(key)]);
    assert!(
        text.contains("the table has the row that its events make"),
        "{text}"
    );
    assert!(worker.terminate(IN_TIME).success());
}

fn oracle_example(key: &str) -> &'static str {
    match key {
        "event.key" => "v1",
        _ => "p1",
    }
}

#[test]
fn an_event_that_comes_twice_counts_once_where_partitions_own_their_rows() {
    exact_through_everything("duplicates", "event.key", "key");
}

#[test]
fn an_event_that_comes_twice_counts_once_where_partitions_share_rows() {
    exact_through_everything(
        "duplicates_shared",
        "data.page",
        "value::jsonb->'data'->>'page'",
    );
}
