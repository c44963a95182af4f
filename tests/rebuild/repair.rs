//! `verify --repair`: rows that were changed by hand are put right, and nothing else, while live goes on, whatever is killed.

use super::compare::while_events_arrive;
use super::{IN_TIME, ORACLE, ledger, run_fine, write};
use crate::support::oracle::assert_same;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record, dump};
use crate::support::wait::wait_until;
use crate::support::worker::Worker;

/// Beside the rows of partitions, rows that partitions share.
const NOTES: &str = "
  notes:
    key:
      note: text = left(data.note, 2)
    columns:
      n: bigint not null default 0
      total: bigint not null default 0
    rules:
      Paid:
        set: n = n + 1, total = total + data.amount
";

const NOTES_ORACLE: &str = "
    select left(v->'data'->>'note', 2), count(*), sum((v->'data'->>'amount')::bigint)
    from (select value::jsonb as v from raw) r where v->>'type' = 'Paid' group by 1";

/// A changed value, a row that has gone, one that came from nowhere, and a history without its middle; of keys that get events all
/// the while, and of others.
const DAMAGE: &str = r#"
    update consolidator_g1.accounts set balance = balance + 1000000, last_note = 'by hand' where id in ('quiet1', 'a7', 'a14');
    delete from consolidator_g1.accounts where id in ('quiet2', 'quiet3');
    insert into consolidator_g1.accounts values ('nobody', 1, 1, 'by hand', 1);
    delete from consolidator_g1."accounts$history" where id = 'quiet4' and "$seq" % 2 = 0;
    update consolidator_g1.notes set total = total - 5 where note in ('q1', 'n1');
    delete from consolidator_g1.notes where note = 'q2';
    insert into consolidator_g1.notes values ('zz', 3, 4, -1)"#;

fn definition(topic: &str) -> String {
    ledger(topic).replace("    indexes:", "    history: true\n    indexes:")
        + NOTES.trim_start_matches('\n')
}

fn live(name: &str) -> (Space, String) {
    let space = Space::new(name);
    let topic = space.topic("movements", 3);
    let quiet: Vec<Record> = (0..60)
        .map(|number| {
            let data = format!(r#"{{"amount":{number},"note":"q{}"}}"#, number % 3);
            let value = format!(r#"{{"type":"Paid","data":{data}}}"#);
            Record::new(&format!("quiet{}", number % 6), value)
        })
        .collect();
    Producer::new(space.kafka).write(&topic, &quiet);
    write(&space, &topic, 0..3_000);
    space.definition("ledger", &definition(&topic));
    (space, topic)
}

fn check(space: &Space, topic: &str) {
    space.wait_applied("ledger", &[topic], IN_TIME);
    dump(space.kafka, &[topic], &space.database);
    assert_same(
        &space.database,
        "accounts",
        "select * from read_model.accounts",
        ORACLE,
    );
    assert_same(
        &space.database,
        "notes",
        "select * from read_model.notes",
        NOTES_ORACLE,
    );
    let text = run_fine(space, &["verify", "ledger"]);
    assert_eq!(
        text.matches("0 missing, 0 extra, 0 differ").count(),
        3,
        "{text}"
    );
}

#[test]
fn rows_that_were_changed_by_hand_are_put_right_while_events_arrive_at_two_workers() {
    let (space, topic) = live("repaired");
    let workers = [space.start_worker("one"), space.start_worker("two")];
    space.wait_applied("ledger", &[&topic], IN_TIME);
    space.database.execute(DAMAGE);
    let found = space.run(&["verify", "ledger"]);
    assert_eq!(found.status.code(), Some(1));
    while_events_arrive(&space, &topic, 3_000, || {
        let text = run_fine(&space, &["verify", "ledger", "--repair"]);
        for key in [
            "(quiet1)", "(quiet2)", "(quiet3)", "(nobody)", "(quiet4,", "(q1)", "(q2)", "(zz)",
        ] {
            assert!(text.contains(key), "{key}: {text}");
        }
        for table in ["accounts: ", "accounts_history: ", "notes: "] {
            let put_right =
                |line: &str| line.starts_with(table) && line.contains(" rows were put right");
            assert!(text.lines().any(put_right), "{table}: {text}");
        }
    });
    check(&space, &topic);
    let built_for_it = "select count(*) from consolidator.generation where id <> 1";
    assert_eq!(space.database.number(built_for_it), 0);
    for worker in &workers {
        assert!(worker.terminate(IN_TIME).success());
    }
}

#[test]
fn one_row_alone_is_put_right_when_it_is_named() {
    let (space, topic) = live("repaired_key");
    let worker = space.start_worker("worker");
    space.wait_applied("ledger", &[&topic], IN_TIME);
    space.database.execute(DAMAGE);
    let text = run_fine(
        &space,
        &["verify", "ledger", "--repair", "--key", "quiet2", "--json"],
    );
    assert!(
        text.contains(r#"{"repaired":1,"table":"accounts"}"#),
        "{text}"
    );
    let left =
        "select count(*) from read_model.accounts where last_note = 'by hand' or id = 'quiet2'";
    assert_eq!(
        space.database.number(left),
        5,
        "the others are as they were"
    );
    run_fine(&space, &["verify", "ledger", "--repair"]);
    check(&space, &topic);
    assert!(worker.terminate(IN_TIME).success());
}

/// `verify --repair` up to a fail point.
fn repair_at(space: &Space, name: &str, what: &str) -> Worker {
    let settings = space.write_settings(name);
    let points = format!("rows-put-right={what}");
    let arguments = ["verify", "ledger", "--repair", "--config", &settings];
    let command = Worker::start(name, space.dir(), &arguments, &[("FAILPOINTS", &points)]);
    let at_it = "select count(*) from pg_stat_activity where datname = current_database() and state = 'idle in transaction'
        and query like 'insert into \"consolidator_g1\"%'";
    wait_until("the rows to be written", IN_TIME, || {
        space.database.number(at_it) > 0
    });
    command
}

#[test]
fn a_repair_that_is_killed_changes_nothing_and_one_whose_workers_are_killed_is_exact() {
    let (space, topic) = live("repair_killed");
    let worker = space.start_worker("worker");
    space.wait_applied("ledger", &[&topic], IN_TIME);
    space.database.execute(DAMAGE);
    repair_at(&space, "killed", "pause").kill();
    write(&space, &topic, 3_000..4_000);
    space.wait_applied("ledger", &[&topic], IN_TIME);
    let still = "select count(*) from read_model.accounts where id in ('quiet2', 'quiet3')";
    assert_eq!(space.database.number(still), 0);

    write(&space, &topic, 4_000..5_000);
    let command = repair_at(&space, "goes-on", "sleep(1000)");
    worker.kill();
    let worker = space.start_worker("another");
    write(&space, &topic, 5_000..6_000);
    assert!(command.wait(IN_TIME).success(), "{}", command.log());
    check(&space, &topic);
    assert!(worker.terminate(IN_TIME).success());
}
