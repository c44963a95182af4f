//! `history: true`: every state that a row has had, live, after crashes, loaded in bulk, and in tables that partitions share.

use super::{IN_TIME, ledger, run_fine, states};
use crate::support::oracle::assert_same;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record, dump};
use crate::support::wait::wait_until;

fn with_history(topic: &str) -> String {
    ledger(topic).replace("    indexes:", "    history: true\n    indexes:")
}

/// Event `number`, a minute after the one before; of accounts that begin with `l` some come late.
fn movement(number: usize) -> Record {
    let account = number * 7919 % 400;
    let late = account.is_multiple_of(4);
    let key = format!("{}{account}", if late { "l" } else { "a" });
    let minute = match late && number.is_multiple_of(3) {
        true => number.saturating_sub(1_000),
        false => number,
    };
    let (day, hour, minute) = (1 + minute / 1440, minute / 60 % 24, minute % 60);
    let time = format!("2022-01-{day:02}T{hour:02}:{minute:02}:00Z");
    let (kind, data) = match number % 13 {
        12 => ("Closed", "{}".to_owned()),
        _ => (
            "Paid",
            format!(r#"{{"amount":{},"note":"n{number}"}}"#, number % 100),
        ),
    };
    let value = format!(r#"{{"type":"{kind}","id":"e{number}","time":"{time}","data":{data}}}"#);
    Record::new(&key, value)
}

fn write(space: &Space, topic: &str, numbers: std::ops::Range<usize>) {
    let records: Vec<Record> = numbers.map(movement).collect();
    Producer::new(space.kafka).write(topic, &records);
}

const ORACLE: &str = "
    with events as (
        select key, topic, partition, \"offset\", value::jsonb as v, (value::jsonb->>'time')::timestamptz as t,
               lag(value::jsonb->>'type') over (partition by key order by \"offset\") as before
        from raw),
    effective as (
        select *, count(*) filter (where v->>'type' = 'Closed') over (partition by key order by \"offset\") as lives
        from events where v->>'type' = 'Paid' or before = 'Paid'),
    states as (
        select *, sum((v->'data'->>'amount')::bigint) over life as balance,
               count(*) filter (where v->>'type' = 'Paid') over life as movements,
               max(t) over so_far as valid_from, lead(t) over so_far is not null as ended,
               max(t) over (partition by key order by \"offset\" rows between unbounded preceding and 1 following) as next_from
        from effective
        window life as (partition by key, lives order by \"offset\"), so_far as (partition by key order by \"offset\"))
    select key as id, balance::bigint, movements, v->'data'->>'note' as last_note, valid_from,
           case when ended then next_from end as valid_to, t < valid_from as late, v->>'id' as event_id, v->>'type' as event_type,
           topic as event_topic, partition as event_partition, \"offset\" as event_offset
    from states where v->>'type' = 'Paid'";

fn check(space: &Space, topic: &str) {
    dump(space.kafka, &[topic], &space.database);
    let product = "select * from read_model.accounts_history";
    assert_same(&space.database, "accounts_history", product, ORACLE);
}

#[test]
fn every_state_is_kept_with_its_cause_through_crashes_and_rebuilds_and_equals_the_state_as_of_a_time()
 {
    let mut space = Space::new("history");
    let (role, url) = space.role("analyst");
    space.settings.readers.push(role);
    let topic = space.topic("movements", 3);
    space.definition("ledger", &with_history(&topic));
    let worker = space.start_worker("killed");
    write(&space, &topic, 0..8_000);
    wait_until("some of it to be applied", IN_TIME, || {
        let applied = "select sum(next_offset) from consolidator.checkpoint";
        let rows = space.database.try_query(applied);
        rows.is_ok_and(|rows| rows[0][0].as_deref().is_some_and(|sum| sum != "0"))
    });
    worker.kill();
    let worker = space.start_worker("worker");
    write(&space, &topic, 8_000..16_000);
    space.wait_applied("ledger", &[&topic], IN_TIME);
    check(&space, &topic);
    let late = "select count(*) from read_model.accounts_history where late";
    assert!(space.database.number(late) > 100);
    let reader = crate::support::database::Database::at(&url);
    assert_eq!(reader.number(late), space.database.number(late));

    // Of one key, by its index.
    let plan = space
        .database
        .query("explain select * from read_model.accounts_history where id = 'a1'");
    let plan: Vec<String> = plan.into_iter().flatten().flatten().collect();
    assert!(
        plan.join("\n").contains("accounts$history_pkey"),
        "{plan:#?}"
    );

    // Loaded in bulk: the log is long enough for it.
    write(&space, &topic, 16_000..24_000);
    let text = run_fine(&space, &["rebuild", "ledger"]);
    assert!(text.contains("load "), "{text}");
    space.wait_applied("ledger", &[&topic], IN_TIME);
    check(&space, &topic);
    let text = run_fine(&space, &["verify", "ledger"]);
    assert!(text.contains("accounts_history: "), "{text}");

    let moment = "2022-01-08T11:30:00Z";
    run_fine(
        &space,
        &["rebuild", "ledger", "--as-of", moment, "--into", "that_day"],
    );
    assert_eq!(states(&space).last().unwrap(), "4 frozen");
    let columns = "id, balance, movements, last_note";
    let then = format!(
        "select {columns} from read_model.accounts_history \
         where valid_from <= '{moment}' and (valid_to is null or valid_to > '{moment}') and id like 'a%'"
    );
    let as_of = format!("select {columns} from that_day.accounts where id like 'a%'");
    assert_same(&space.database, "the state as of a time", &then, &as_of);
    assert!(
        space
            .database
            .number(&format!("select count(*) from ({as_of}) a"))
            > 100
    );
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn states_of_a_row_that_partitions_share_follow_the_order_in_which_its_events_were_applied() {
    let space = Space::new("history_shared");
    let topic = space.topic("visits", 4);
    let definition = format!(
        "projection: pages\nfrom: [{topic}]\ntables:\n  pages:\n    history: true\n    key:\n      id: text = data.page\n    columns:\n      \
         visits: bigint not null default 0\n    rules:\n      Visited:\n        set: visits = visits + 1\n"
    );
    space.definition("pages", &definition);
    let visits: Vec<Record> = (0..4_000)
        .map(|number| {
            let value = format!(
                r#"{{"type":"Visited","data":{{"page":"p{}"}}}}"#,
                number % 7
            );
            Record::new(&format!("visitor{number}"), value)
        })
        .collect();
    let one = space.start_worker("one");
    let two = space.start_worker("two");
    Producer::new(space.kafka).write(&topic, &visits);
    space.wait_applied("pages", &[&topic], IN_TIME);
    let wrong = "select count(*) from (select visits, row_number() over (partition by id order by \"$seq\") as n
        from consolidator_g1.\"pages$history\") s where visits <> n";
    assert_eq!(space.database.number(wrong), 0);
    let all = "select count(*) from read_model.pages_history";
    assert_eq!(space.database.number(all), 4_000);
    assert_same(
        &space.database,
        "pages as their last states have them",
        "select id, visits from read_model.pages_history where valid_to is null",
        "select id, visits from read_model.pages",
    );
    for worker in [one, two] {
        assert!(worker.terminate(IN_TIME).success());
    }
}
