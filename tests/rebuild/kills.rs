//! Builds that are killed, meet a key in two partitions, or do not fit into memory: they go on and end exact.

use std::time::Duration;

use super::{
    IN_TIME, ORACLE, build_live, check_against_oracle, ledger, rebuild_with, run_fine, states,
    write,
};
use crate::support::database::Database;
use crate::support::oracle::assert_same;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record, dump};
use crate::support::wait::wait_until;
use crate::support::worker::Worker;

/// A live projection whose worker has ended.
fn live(name: &str, events: usize) -> (Space, String) {
    let space = Space::new(name);
    let topic = space.topic("movements", 3);
    write(&space, &topic, 0..events);
    space.definition("ledger", &ledger(&topic));
    build_live(&space);
    (space, topic)
}

/// A rebuild that stands still at a fail point.
fn rebuild_until(space: &Space, name: &str, point: &str) -> Worker {
    rebuild_with(space, "ledger", name, &format!("{point}=pause"))
}

#[test]
fn a_rebuild_killed_at_any_of_its_stages_goes_on_and_ends_exact() {
    let (space, topic) = live("killed", 40_000);
    let stages = [
        (
            "load-parked",
            "phase = 'load' and exists (select from consolidator.checkpoint c where c.generation = g.id and c.next_offset > 0)",
        ),
        ("index-table", "phase = 'index'"),
        ("caught-up", "phase = 'follow'"),
        (
            "views-prepared",
            "state = 'caught_up' and exists (select from consolidator.published p where g.id = any (p.branches))",
        ),
        (
            "switch-before-commit",
            "state = 'caught_up' and exists (select from consolidator.published p where g.id = any (p.branches))",
        ),
    ];
    for (number, (point, reached)) in stages.iter().enumerate() {
        let generation = number as i64 + 2;
        let killed = rebuild_until(&space, &format!("killed-{point}"), point);
        let ask = format!(
            "select count(*) from consolidator.generation g where g.id = {generation} and {reached}"
        );
        let what = format!("the rebuild to reach {point}");
        wait_until(&what, IN_TIME, || space.database.number(&ask) == 1);
        killed.kill();
        let live = space
            .database
            .number("select generation from consolidator.pointer");
        assert_eq!(live, generation - 1, "{point}: readers see what they saw");
        check_against_oracle(&space, &topic);

        let text = run_fine(&space, &["rebuild", "ledger"]);
        assert!(
            text.contains("left unfinished: going on with it"),
            "{point}: {text}"
        );
        let live = space
            .database
            .number("select generation from consolidator.pointer");
        assert_eq!(live, generation, "{point}");
        check_against_oracle(&space, &topic);
    }
    let live = "select count(*) from consolidator.generation where state = 'live'";
    assert_eq!(space.database.number(live), 1);
    let worker = space.start_worker("last");
    let orphans = "select count(*) from pg_namespace n where n.nspname like 'consolidator\\_g%' and not exists (
        select from consolidator.generation g where g.state in ('live', 'grace') and n.nspname = 'consolidator_g' || g.id)";
    worker.wait_for_log("folding", IN_TIME);
    wait_until("what is superseded to go", IN_TIME, || {
        space.database.number(orphans) == 0
    });
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn a_second_rebuild_is_refused_while_one_is_under_way() {
    let (space, _topic) = live("second", 1_000);
    // Its switch waits for a reader, so that it is under way for as long as we like.
    let reader = Database::at(space.database.url());
    reader.execute("begin; select count(*) from read_model.accounts");
    let first = rebuild_until(&space, "first", "no-such-point");
    let under_way =
        "select count(*) from consolidator.generation where id = 2 and state = 'caught_up'";
    wait_until("the rebuild to wait for the reader", IN_TIME, || {
        space.database.number(under_way) == 1
    });
    let refused = space.run(&["rebuild", "ledger"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(
        told.contains("generation 2 of ledger is being built already, led by"),
        "{told}"
    );
    reader.execute("commit");
    assert!(first.wait(IN_TIME).success());
    assert_eq!(states(&space), ["1 grace", "2 live"]);
}

#[test]
fn a_worker_takes_over_a_build_whose_command_was_killed() {
    let (space, topic) = live("left", 30_000);
    let command = rebuild_until(&space, "command", "load-parked");
    let loaded =
        "select count(*) from consolidator.checkpoint where generation = 2 and next_offset > 0";
    wait_until("something to be loaded", IN_TIME, || {
        space.database.number(loaded) > 0
    });
    assert!(command.gives_way_by() > 0, "live comes first");
    command.kill();
    let worker = space.start_worker("worker");
    wait_until("the worker to end the build", IN_TIME, || {
        states(&space) == ["1 grace", "2 live"]
    });
    space.wait_applied("ledger", &[&topic], IN_TIME);
    check_against_oracle(&space, &topic);
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn events_whose_row_postgres_refuses_in_a_load_are_set_aside_and_nothing_else_is() {
    let (space, topic) = live("refusedload", 40_000);
    let build = rebuild_with(&space, "ledger", "slow", "load-on=sleep(200)");
    wait_until("the table to be made", IN_TIME, || {
        let rows = space
            .database
            .try_query("select from consolidator_g2.accounts");
        rows.is_ok()
    });
    space
        .database
        .execute("alter table consolidator_g2.accounts add constraint luck check (id <> 'a7')");
    build.wait(IN_TIME);
    assert_eq!(states(&space), ["1 live", "2 held"]);
    dump(space.kafka, &[&topic], &space.database);
    assert_same(
        &space.database,
        "events set aside",
        "select partition, \"offset\" from consolidator.dead_letter where generation = 2 and (follows or reason like '%luck%')",
        "select partition, \"offset\" from raw where key = 'a7'",
    );
    assert_same(
        &space.database,
        "accounts",
        "select id, balance, movements, last_note from consolidator_g2.accounts",
        &format!("select * from ({ORACLE}) as all_of_them where id <> 'a7'"),
    );
}

#[test]
fn a_build_whose_rows_do_not_fit_into_memory_ends_all_the_same() {
    let (mut space, topic) = live("small", 0);
    write_long_notes(&space, &topic, 120_000, 60_000);
    space.settings.worker = vec!["memory_limit: 64MiB".to_owned()];
    run_fine(&space, &["rebuild", "ledger"]);
    check_against_oracle(&space, &topic);
    assert_eq!(space.database.query(ENDED_EARLY), [[Some("2".to_owned())]]);
}

#[test]
fn a_rebuild_shares_its_memory_with_no_generation_that_it_does_not_fold() {
    let (mut space, topic) = live("unshared", 0);
    // Some 15 MiB of rows. A lane alone may hold 25, and a quarter of that if it shared with four generations.
    write_long_notes(&space, &topic, 80_000, 40_000);
    let alone = ["memory_limit: 96MiB", "lanes: 1"];
    space.settings.worker = alone.map(str::to_owned).to_vec();
    for _ in 0..3 {
        run_fine(&space, &["rebuild", "ledger"]);
    }
    check_against_oracle(&space, &topic);
    assert!(space.database.query(ENDED_EARLY).is_empty());
}

/// Generations whose load was ended early.
const ENDED_EARLY: &str = "select id from consolidator.generation where keys_wanted";

fn write_long_notes(space: &Space, topic: &str, events: usize, keys: usize) {
    let event = |number: usize| {
        let note = "x".repeat(200);
        let value = format!(r#"{{"type":"Paid","data":{{"amount":1,"note":"{note}"}}}}"#);
        Record::new(&format!("k{}", number % keys), value)
    };
    let records: Vec<Record> = (0..events).map(event).collect();
    Producer::new(space.kafka).write(topic, &records);
}

#[test]
fn a_key_that_came_from_two_partitions_does_not_keep_a_build_from_ending() {
    let space = Space::new("moved");
    let topic = space.topic("movements", 2);
    let event = |number: usize, partition: i32| {
        let value = r#"{"type":"Paid","data":{"amount":2,"note":"n"}}"#;
        Record::new(&format!("k{}", number % 500), value).in_partition(partition)
    };
    let records: Vec<Record> = (0..30_000)
        .map(|number| event(number, i32::from(number % 1_000 == 7)))
        .collect();
    Producer::new(space.kafka).write(&topic, &records);
    space.definition("ledger", &ledger(&topic));
    let worker = space.start_worker("worker");
    space.wait_applied("ledger", &[&topic], Duration::from_secs(180));
    assert!(worker.terminate(IN_TIME).success());
    run_fine(&space, &["rebuild", "ledger"]);
    dump(space.kafka, &[&topic], &space.database);
    assert_same(
        &space.database,
        "accounts",
        "select id, balance, movements from read_model.accounts",
        "select key, 2 * count(*), count(*) from raw group by key",
    );
    let shared = "select count(*) from consolidator.generation where id = 2 and shared_tables = '{accounts}'";
    assert_eq!(space.database.number(shared), 1);
}
