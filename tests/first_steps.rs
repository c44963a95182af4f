//! `new` and `try` on real topics, `test` on a real PostgreSQL: a first definition that holds, what events would do, and values
//! that both agree on.

use std::process::Output;
use std::time::Duration;

use crate::support::space::Space;
use crate::support::topic::{Producer, Record};
use crate::support::worker::run_command;

const IN_TIME: Duration = Duration::from_secs(60);

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn run_well(space: &Space, arguments: &[&str]) -> String {
    let output = space.run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", out(&output));
    out(&output)
}

/// Orders that are placed, most of them paid, some erased; keys over all partitions.
fn orders() -> Vec<Record> {
    let mut records = Vec::new();
    for n in 0..60 {
        let key = format!("o-{n}");
        let placed = format!(
            r#"{{"type":"Placed","id":"p{n}","time":"2026-01-01T08:00:{n:02}Z","data":{{"orderId":"{key}","total":{n}.50,"customerId":"c-{}"{},"lines":[{{"sku":"A"}}]}}}}"#,
            n % 7,
            if n % 3 == 0 { r#","note":"x""# } else { "" },
        );
        records.push(Record::new(&key, placed));
        if n % 2 == 0 {
            let paid = format!(r#"{{"type":"Paid","data":{{"paidOn":"2026-01-02","cents":{n}}}}}"#);
            records.push(Record::new(&key, paid));
        }
        if n % 10 == 9 {
            records.push(Record {
                value: None,
                ..Record::new(&key, "")
            });
        }
    }
    records
}

#[test]
fn a_first_definition_is_written_from_a_topic_and_runs_as_it_is() {
    let space = Space::new("first");
    let topic = space.topic("orders", 3);
    Producer::new(space.kafka).write(&topic, &orders());
    let said = run_well(&space, &["new", "orders", "--from-topic", &topic]);
    assert!(
        said.contains("3 partitions, envelope plain, 2 event types"),
        "{said}"
    );
    let file = space.definition_file("orders").display().to_string();
    for command in ["lint", "test"] {
        run_well(&space, &[command, &file]);
    }
    let again = space.run(&["new", "orders", "--from-topic", &topic]);
    assert_eq!(again.status.code(), Some(2));
    assert!(out(&again).contains("is there already"), "{}", out(&again));
    let shown = run_well(
        &space,
        &["new", "orders", "--from-topic", &topic, "--stdout"],
    );
    assert_eq!(shown, std::fs::read_to_string(&file).unwrap());

    let worker = space.start_worker("worker");
    space.wait_applied("orders", &[&topic], IN_TIME);
    let counted = space.database.query(
        "select count(*)::text, count(note)::text, sum(total)::text, count(paid_on)::text, pg_typeof(min(total))::text, \
         pg_typeof(min(paid_on))::text, min(lines->0->>'sku') from read_model.orders",
    );
    let found: Vec<&str> = counted[0]
        .iter()
        .map(|v| v.as_deref().unwrap_or("null"))
        .collect();
    // 60 orders without the six that end in 9 (one in two of those has a note).
    assert_eq!(found, ["54", "18", "1593.00", "30", "numeric", "date", "A"]);
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn a_topic_without_keys_and_with_an_envelope_of_its_own_gives_a_definition_that_runs() {
    let space = Space::new("first_keyless");
    let topic = space.topic("ledger", 2);
    let entry = |n: i32| {
        Record {
        key: None,
        partition: Some(n % 2),
        value: Some(
            format!(r#"{{"meta":{{"eventType":"Booked","occurredAt":"2026-01-01T00:00:00Z"}},"payload":{{"accountNo":"A{}","amount":{n}}}}}"#, n % 4)
                .into_bytes(),
        ),
        ..Record::default()
    }
    };
    let records: Vec<Record> = (0..40).map(entry).collect();
    Producer::new(space.kafka).write(&topic, &records);
    run_well(
        &space,
        &["new", "ledger", "--from-topic", &topic, "--limit", "10"],
    );
    let worker = space.start_worker("worker");
    space.wait_applied("ledger", &[&topic], IN_TIME);
    let accounts = space
        .database
        .value("select string_agg(account_no, ',' order by account_no) from read_model.ledger");
    assert_eq!(accounts.as_deref(), Some("A0,A1,A2,A3"));
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn the_oldest_events_of_a_topic_can_be_tried() {
    let space = Space::new("tried");
    let topic = space.topic("orders", 3);
    Producer::new(space.kafka).write(&topic, &orders());
    run_well(&space, &["new", "orders", "--from-topic", &topic]);
    let file = space.definition_file("orders").display().to_string();
    let said = run_well(
        &space,
        &[
            "try",
            &file,
            "--from-topic",
            &topic,
            "--limit",
            "7",
            "--json",
        ],
    );
    let accounts: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(accounts.len(), 7);
    assert!(
        accounts.iter().all(|account| account["applied"] == true),
        "{said}"
    );
    let first = &accounts[0];
    assert_eq!(first["event"]["type"], "Placed");
    assert_eq!(first["rows"][0]["before"], serde_json::Value::Null);
    let number = first["event"]["key"]
        .as_str()
        .unwrap()
        .trim_start_matches("o-");
    let customer = format!("c-{}", number.parse::<u32>().unwrap() % 7);
    assert_eq!(first["rows"][0]["after"]["customer_id"], customer);

    let missing = space.run(&["try", &file, "--from-topic", "elsewhere"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        out(&missing).contains("does not read the topic"),
        "{}",
        out(&missing)
    );
    let missing = space.run(&[
        "new",
        "nothing",
        "--from-topic",
        &format!("{topic}.missing"),
    ]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(out(&missing).contains("missing"), "{}", out(&missing));
}

#[test]
fn postgresql_agrees_with_every_value_that_the_samples_and_the_cookbook_come_to() {
    let space = Space::new("agreed");
    let root = crate::support::root();
    let url = &space.settings.postgres_url;
    let output = run_command(
        root,
        &["test", "projections", "docs/cookbook", "--postgres", url],
    );
    assert!(output.status.success(), "{}", out(&output));
    let said = out(&output);
    let last = said.lines().last().unwrap();
    let asked = last.rsplit("; ").next().unwrap();
    let asked: usize = asked.split(' ').next().unwrap().parse().unwrap();
    assert!(asked > 300, "{last}");

    let nowhere = run_command(root, &["test", "--postgres", "postgres://localhost:1/none"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(
        out(&nowhere).contains("--postgres: connecting"),
        "{}",
        out(&nowhere)
    );
}
