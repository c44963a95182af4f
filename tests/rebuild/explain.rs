//! `explain`: the events behind a row, in order, and whether the table has the row that they make.

use serde_json::Value;

use super::{IN_TIME, ledger, run_fine, write};
use crate::support::space::Space;
use crate::support::topic::{Producer, Record};

fn paid(key: &str, id: &str, time: &str, amount: i64) -> Record {
    let data = format!(r#"{{"amount":{amount},"note":"{id}"}}"#);
    let value = format!(r#"{{"type":"Paid","id":"{id}","time":"{time}","data":{data}}}"#);
    Record::new(key, value)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_row_is_explained_by_its_events_in_order_each_with_the_row_before_and_after() {
    let space = Space::new("explain");
    let topic = space.topic("movements", 3);
    space.definition("ledger", &ledger(&topic));
    let producer = Producer::new(space.kafka);
    write(&space, &topic, 0..5_000);
    let first = paid("eve", "one", "2022-03-01T09:00:00Z", 5);
    let second = paid("eve", "two", "2022-03-02T09:00:00Z", 7);
    producer.write(&topic, &[first, second]);
    write(&space, &topic, 5_000..10_000);
    let closed = r#"{"type":"Closed","id":"three","time":"2022-03-03T09:00:00Z"}"#;
    producer.write(&topic, &[Record::new("eve", closed)]);
    producer.write(&topic, &[paid("eve", "four", "2022-03-04T09:00:00Z", 1)]);
    let worker = space.start_worker("worker");
    space.wait_applied("ledger", &[&topic], IN_TIME);

    let text = run_fine(&space, &["explain", "ledger", "accounts", "eve", "--json"]);
    let steps = lines(&text);
    let (end, steps) = steps.split_last().unwrap();
    let member =
        |name: &str| -> Vec<Value> { steps.iter().map(|step| step[name].clone()).collect() };
    assert_eq!(member("id"), ["one", "two", "three", "four"], "{text}");
    assert_eq!(member("type"), ["Paid", "Paid", "Closed", "Paid"]);
    let balance = |row: &Value| row["balance"].as_i64();
    let before: Vec<Option<i64>> = member("before").iter().map(balance).collect();
    let after: Vec<Option<i64>> = member("after").iter().map(balance).collect();
    assert_eq!(before, [None, Some(5), Some(12), None]);
    assert_eq!(after, [Some(5), Some(12), None, Some(1)]);
    assert_eq!(steps[1]["rules"][0]["rule"], "Paid");
    assert_eq!(steps[1]["time"], "2022-03-02 09:00:00+00");
    let offsets: Vec<i64> = member("offset")
        .iter()
        .map(|at| at.as_i64().unwrap())
        .collect();
    assert!(offsets.is_sorted(), "{offsets:?}");
    assert_eq!(
        (&end["same"], &end["events"]),
        (&Value::Bool(true), &4.into())
    );
    assert_eq!(end["row"], end["table"]);

    let text = run_fine(&space, &["explain", "ledger", "accounts", "eve"]);
    assert!(text.contains("balance: 5 -> 12"), "{text}");
    assert!(text.contains("rule Closed (line"), "{text}");
    assert!(
        text.contains("the table has the row that its events make"),
        "{text}"
    );
    let text = run_fine(&space, &["explain", "ledger", "accounts", "nobody"]);
    assert!(text.contains("there is no such row"), "{text}");

    space
        .database
        .execute("update consolidator_g1.accounts set balance = 3 where id = 'eve'");
    let output = space.run(&["explain", "ledger", "accounts", "eve"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("balance: 1 by its events, in the table 3"),
        "{text}"
    );
    let output = space.run(&["explain", "ledger", "acounts", "eve"]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("It has accounts."), "{told}");
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn a_row_that_partitions_share_is_explained_by_the_events_of_all_of_them() {
    let space = Space::new("explain_shared");
    let topic = space.topic("lines", 3);
    let definition = format!(
        "projection: stock\nfrom: [{topic}]\ntables:\n  stock:\n    key:\n      article: text = item.sku\n      size: integer = item.size\n    \
         columns:\n      ordered: bigint not null default 0\n    rules:\n      Ordered:\n        each: data.lines\n        \
         set: ordered = ordered + item.n::bigint\n"
    );
    let order = |partition: i32, lines: &str| {
        let value = format!(r#"{{"type":"Ordered","data":{{"lines":[{lines}]}}}}"#);
        Record::new("order", value).in_partition(partition)
    };
    let records = [
        order(
            0,
            r#"{"sku":"hat","size":1,"n":2},{"sku":"hat","size":2,"n":40}"#,
        ),
        order(
            1,
            r#"{"sku":"hat","size":2,"n":1},{"sku":"hat","size":2,"n":3}"#,
        ),
        order(2, r#"{"sku":"cap","size":2,"n":5}"#),
    ];
    for record in &records {
        Producer::new(space.kafka).write(&topic, std::slice::from_ref(record));
    }
    space.definition("stock", &definition);
    let worker = space.start_worker("worker");
    space.wait_applied("stock", &[&topic], IN_TIME);
    let text = run_fine(&space, &["explain", "stock", "stock", "hat", "2", "--json"]);
    let steps = lines(&text);
    assert_eq!(steps.len(), 3, "{text}");
    assert_eq!(steps[0]["after"]["ordered"], 40, "{text}");
    assert_eq!(steps[1]["after"]["ordered"], 44, "{text}");
    assert_eq!(steps[2]["same"], true);
    assert_eq!(steps[2]["order_known"], false);
    assert!(worker.terminate(IN_TIME).success());
}
