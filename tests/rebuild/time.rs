//! The state as of a time or of offsets: what it shows, where, and that it stands still.

use super::{IN_TIME, ORACLE, ledger, run_fine, states, write};
use crate::support::database::Database;
use crate::support::oracle::assert_same;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record, dump};

fn stock(kind: &str, time: &str, data: &str) -> Record {
    let value = format!(r#"{{"type":"{kind}","time":"{time}","data":{data}}}"#);
    Record::new("XYZ-1", value)
}

#[test]
fn the_stock_card_as_of_three_days_gives_its_three_known_states() {
    let mut space = Space::new("as_of_stock");
    let (role, url) = space.role("analyst");
    space.settings.readers.push(role);
    let topic = space.topic("inventory-events", 3);
    let sample = include_str!("../../projections/inventory.yaml");
    space.definition("inventory", &sample.replace("inventory-events", &topic));
    let initial = r#"{"units":100,"incoming":"2022-01-01","outgoing":"2022-02-01"}"#;
    let events = [
        stock("Initial", "2022-02-01T08:00:00Z", initial),
        stock("Received", "2022-03-01T09:00:00Z", r#"{"units":100}"#),
        stock("Sold", "2022-03-15T10:00:00Z", r#"{"units":20}"#),
        stock("Received", "2022-03-15T11:00:00Z", r#"{"units":50}"#),
        stock("Sold", "2022-04-01T10:00:00Z", r#"{"units":20}"#),
        stock("Adjusted", "2022-04-01T12:00:00Z", r#"{"units":-20}"#),
    ];
    Producer::new(space.kafka).write(&topic, &events);
    let worker = space.start_worker("worker");
    space.wait_applied("inventory", &[&topic], IN_TIME);
    let days = [
        ("2022-03-01", ["200", "2022-03-01", "2022-02-01"]),
        ("2022-03-15", ["230", "2022-03-15", "2022-03-15"]),
        ("2022-04-01", ["190", "2022-03-15", "2022-04-01"]),
    ];
    for (day, _) in days {
        let text = run_fine(
            &space,
            &[
                "rebuild",
                "inventory",
                "--as-of",
                &format!("{day}T23:59:59Z"),
            ],
        );
        assert!(text.contains("frozen"), "{text}");
    }
    assert_eq!(
        states(&space),
        ["1 live", "2 frozen", "3 frozen", "4 frozen"]
    );
    // What comes later is not applied to them.
    Producer::new(space.kafka).write(
        &topic,
        &[stock(
            "Received",
            "2022-02-02T00:00:00Z",
            r#"{"units":1000}"#,
        )],
    );
    space.wait_applied("inventory", &[&topic], IN_TIME);
    let reader = Database::at(&url);
    for (day, state) in days {
        let schema = format!("read_model_as_of_{}t235959z", day.replace('-', ""));
        let columns = "unit_count, date_incoming, date_outgoing";
        let rows = reader.query(&format!("select {columns} from {schema}.inventory"));
        let rows: Vec<Vec<String>> = rows
            .into_iter()
            .map(|row| row.into_iter().flatten().collect())
            .collect();
        assert_eq!(rows, [state], "as of {day}");
        let fresh = format!(
            "select as_of = '{day} 23:59:59+00' and state = 'frozen' and gap is null from consolidator.freshness \
             where table_name = '{schema}.inventory'"
        );
        assert_eq!(reader.value(&fresh).as_deref(), Some("t"), "as of {day}");
    }
    run_fine(&space, &["drop", "inventory", "--generation", "3"]);
    assert_eq!(states(&space), ["1 live", "2 frozen", "4 frozen"]);
    let left = "select count(*) from pg_namespace where nspname in ('consolidator_g3', 'read_model_as_of_20220315t235959z')";
    assert_eq!(space.database.number(left), 0);
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn the_state_as_of_offsets_is_the_fold_of_what_comes_before_them() {
    let space = Space::new("as_of_offsets");
    let topic = space.topic("movements", 3);
    write(&space, &topic, 0..3_000);
    space.definition("ledger", &ledger(&topic));
    let worker = space.start_worker("worker");
    space.wait_applied("ledger", &[&topic], IN_TIME);
    worker.wait_for_log("caught up: live", IN_TIME);
    assert!(worker.terminate(IN_TIME).success());
    let stops: Vec<String> = space
        .kafka
        .offsets(&topic)
        .into_iter()
        .enumerate()
        .map(|(partition, (_, end))| format!("  {partition}: {}", end / (partition as i64 + 1)))
        .collect();
    let file = space.dir().join("offsets.yaml");
    let file = file.display().to_string();
    std::fs::write(&file, format!("{topic}:\n{}\n", stops[1..].join("\n"))).unwrap();
    let asked = [
        "rebuild",
        "ledger",
        "--as-of-offsets",
        &file,
        "--into",
        "then",
    ];
    let refused = space.run(&asked);
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("partition 0 of topic"), "{told}");

    std::fs::write(&file, format!("{topic}:\n{}\n", stops.join("\n"))).unwrap();
    let text = run_fine(&space, &asked);
    assert!(
        text.contains("in schema \"then\"") || text.contains("in schema then"),
        "{text}"
    );
    dump(space.kafka, &[&topic], &space.database);
    let ends = space.kafka.offsets(&topic);
    let before = ends.iter().enumerate().map(|(partition, (_, end))| {
        format!(
            "(partition = {partition} and \"offset\" < {})",
            end / (partition as i64 + 1)
        )
    });
    let before = before.collect::<Vec<_>>().join(" or ");
    space
        .database
        .execute(&format!("delete from raw where not ({before})"));
    let shown = "select * from \"then\".accounts";
    assert_same(&space.database, "accounts as of offsets", shown, ORACLE);
    assert!(
        space
            .database
            .number("select count(*) from \"then\".accounts")
            > 100
    );

    let refused = space.run(&asked);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("generation 2 of ledger has it"), "{told}");
    run_fine(&space, &["drop", "ledger", "--generation", "2"]);
    assert_eq!(states(&space), ["1 live"]);
    assert_eq!(
        space
            .database
            .number("select count(*) from pg_namespace where nspname = 'then'"),
        0
    );
}
