//! `on_error`, and when it is too much.

use super::{
    BOTH, IN_TIME, LEDGER, Sent, both, check, check_tables, ledger, letters, no_number, paid,
    poisoned, write,
};
use crate::support::space::Space;
use crate::support::wait::wait_until;

/// Keys `a`, `b` and none, in turns.
fn mixed(numbers: std::ops::Range<usize>) -> Vec<Sent> {
    let keys = [Some("a"), Some("b"), None];
    numbers
        .map(|number| paid(keys[number % 3], number))
        .collect()
}

#[test]
fn a_failing_event_is_set_aside_with_what_follows_of_its_key_and_nothing_else() {
    for (name, definition) in [
        ("aside_owned", ledger as fn(&str, &str) -> String),
        ("aside_shared", both),
    ] {
        let space = Space::new(name);
        let topic = space.topic("events", 1);
        // Without a key there would be no account.
        let definition = definition(&topic, "dead_letter").replace(
            "id: text = event.key",
            "id: text = coalesce(event.key, 'nobody')",
        );
        space.definition("ledger", &definition);
        let worker = space.start_worker("worker");
        let mut events = mixed(0..30);
        events[9] = no_number(Some("a"), 9);
        events[14] = no_number(None, 14);
        events[20] = no_number(None, 20);
        write(&space, &topic, &events);
        space.wait_applied("ledger", &[&topic], IN_TIME);
        write(&space, &topic, &mixed(30..60));
        space.wait_applied("ledger", &[&topic], IN_TIME);
        let split = "with split as (select partition, \"offset\", coalesce(key, 'nobody') as key, id, kind, amount, \
            bad or (coalesce(key, '') = 'a' and \"offset\" > 9) as aside from sent)";
        check_tables(&space, 1, split);
        let kept = "select count(*), count(*) filter (where follows), count(distinct key), min(\"offset\") from consolidator.dead_letter";
        let row: Vec<_> = space
            .database
            .query(kept)
            .remove(0)
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(row, ["19", "16", "1", "9"]);
        let first = "select key, convert_from(record_key, 'UTF8'), convert_from(value, 'UTF8') like '%many%', event_type, event_id, \
            table_name, sqlstate, reason like '%invalid input syntax%', record_at is not null, event_time is not null \
            from consolidator.dead_letter where \"offset\" = 9";
        let row: Vec<_> = space
            .database
            .query(first)
            .remove(0)
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(
            row,
            [
                "a", "a", "t", "Paid", "e9", "accounts", "22P02", "t", "t", "t"
            ]
        );
        let blocked =
            "select projection, key, reason like '%invalid%' from consolidator.blocked_keys";
        let row: Vec<_> = space
            .database
            .query(blocked)
            .remove(0)
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(row, ["ledger", "a", "t"]);
        let status = space.run(&["status", "--json"]);
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        assert!(status.contains(r#""dead_letters":19"#), "{status}");
        assert!(!worker.log().contains("many"), "payloads are not logged");
        assert!(worker.terminate(IN_TIME).success());
    }
}

#[test]
fn blocked_keys_stay_blocked_through_restarts_and_changes_of_the_policy() {
    let space = Space::new("restarts");
    let topic = space.topic("events", 2);
    space.definition("ledger", &ledger(&topic, "dead_letter"));
    let worker = space.start_worker("first");
    let keyed = |numbers: std::ops::Range<usize>| -> Vec<Sent> {
        let key = |number: usize| format!("k{}", number % 10);
        numbers
            .map(|number| paid(Some(&key(number)), number))
            .collect()
    };
    let mut events = keyed(0..100);
    events[33] = no_number(Some("k3"), 33);
    events[44] = poisoned(Some("k4"), 44, "{");
    write(&space, &topic, &events);
    space.wait_applied("ledger", &[&topic], IN_TIME);
    worker.kill();
    write(&space, &topic, &keyed(100..200));
    let worker = space.start_worker("second");
    space.wait_applied("ledger", &[&topic], IN_TIME);
    check(&space, 1);
    assert!(worker.terminate(IN_TIME).success());

    for policy in ["skip", "stop"] {
        space.definition("ledger", &ledger(&topic, policy));
        let worker = space.start_worker(policy);
        write(&space, &topic, &keyed(200..300));
        space.wait_applied("ledger", &[&topic], IN_TIME);
        check(&space, 1);
        assert!(worker.terminate(IN_TIME).success());
    }
    let generations = "select count(*) from consolidator.generation";
    assert_eq!(
        space.database.number(generations),
        1,
        "no rebuild was needed"
    );
}

#[test]
fn skipped_events_are_counted_and_named_and_hold_nothing_back() {
    for (name, definition) in [
        ("skip_owned", ledger as fn(&str, &str) -> String),
        ("skip_shared", both),
    ] {
        let space = Space::new(name);
        let topic = space.topic("events", 1);
        space.definition("ledger", &definition(&topic, "skip"));
        let worker = space.start_worker("worker");
        let mut events: Vec<Sent> = (0..30).map(|number| paid(Some("a"), number)).collect();
        events[9] = no_number(Some("a"), 9);
        events[10] = poisoned(Some("a"), 10, "not JSON");
        write(&space, &topic, &events);
        space.wait_applied("ledger", &[&topic], IN_TIME);
        check_tables(
            &space,
            1,
            "with split as (select *, bad as aside from sent)",
        );
        assert_eq!(letters(&space), 0);
        let log = worker.log();
        for offset in ["\"offset\":9", "\"offset\":10"] {
            assert!(log.contains(offset), "{offset} in {log}");
        }
        assert!(
            !log.contains("many") && !log.contains("not JSON"),
            "payloads are not logged"
        );
        let http = crate::support::worker::http_address(&space.dir().join("worker.settings.yaml"));
        let metric = "consolidator_events_skipped_total{projection=\"ledger\",reason=\"failed\"} 2";
        wait_until("the metric", IN_TIME, || {
            crate::support::worker::metrics(&http).contains(metric)
        });
        assert!(worker.terminate(IN_TIME).success());
    }
}

#[test]
fn an_event_whose_row_postgres_refuses_is_set_aside_and_the_rest_is_folded() {
    for (name, definition) in [
        ("refused_owned", ledger as fn(&str, &str) -> String),
        ("refused_shared", both),
    ] {
        let space = Space::new(name);
        let topic = space.topic("events", 1);
        space.definition("ledger", &definition(&topic, "dead_letter"));
        let worker = space.start_worker("worker");
        worker.wait_for_log("caught up: live", IN_TIME);
        space
            .database
            .execute("alter table consolidator_g1.accounts add check (total < 1234567)");
        let mut events: Vec<Sent> = (0..10_000)
            .map(|number| paid(Some(&format!("k{}", number % 70)), number))
            .collect();
        for number in [1_234, 7_001] {
            let key = format!("refused{number}");
            let value = format!(
                r#"{{"type":"Paid","id":"e{number}","data":{{"amount":1234567,"kind":"x"}}}}"#
            );
            events[number] = poisoned(Some(&key), number, value);
            events[number + 1] = paid(Some(&key), number + 1);
        }
        write(&space, &topic, &events);
        space.wait_applied("ledger", &[&topic], IN_TIME);
        check(&space, 1);
        let told = "select count(*) from consolidator.dead_letter where sqlstate = '23514' and reason like '%refused%'";
        assert_eq!(space.database.number(told), 2);
        assert!(worker.terminate(IN_TIME).success());
    }
}

#[test]
fn a_constraint_that_no_new_row_of_a_shared_table_meets_is_waited_for_and_blames_no_event() {
    let space = Space::new("constrained");
    let topic = space.topic("events", 2);
    space.definition("ledger", &both(&topic, "dead_letter"));
    let worker = space.start_worker("worker");
    worker.wait_for_log("caught up: live", IN_TIME);
    // True of every row that events make, and not of the one that holds a missing key's place.
    space
        .database
        .execute("alter table consolidator_g1.kinds add constraint c check (n > 0)");
    let events: Vec<Sent> = (0..100)
        .map(|number| paid(Some(&format!("k{number}")), number))
        .collect();
    write(&space, &topic, &events);
    wait_until("the projection to wait", IN_TIME, || {
        let told = "select count(*) from consolidator.waiting where reason like '%check constraint%' and hint like '%changed or dropped a table%'";
        space.database.number(told) > 0
    });
    assert_eq!(letters(&space), 0);
    space
        .database
        .execute("alter table consolidator_g1.kinds drop constraint c");
    space.wait_applied("ledger", &[&topic], IN_TIME);
    check(&space, 1);
    assert_eq!(letters(&space), 0);
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn when_a_fifth_of_the_events_fails_none_is_blamed_and_the_projection_waits() {
    for (name, definition) in [
        ("systemic_owned", ledger as fn(&str, &str) -> String),
        ("systemic_shared", both),
    ] {
        let space = Space::new(name);
        let topic = space.topic("events", 1);
        space.definition("ledger", &definition(&topic, "dead_letter"));
        let worker = space.start_worker("worker");
        let good: Vec<Sent> = (0..1_000).map(|number| paid(Some("a"), number)).collect();
        write(&space, &topic, &good);
        space.wait_applied("ledger", &[&topic], IN_TIME);
        // One transaction, so that all of it is met at once; keys of its own, so that none only follows.
        let bad: Vec<Sent> = (1_000..2_000)
            .map(|number| match number % 4 {
                0 => no_number(Some(&format!("b{number}")), number),
                _ => paid(Some(&format!("g{number}")), number),
            })
            .collect();
        write(&space, &topic, &bad);
        wait_until("the projection to wait", IN_TIME, || {
            let told = "select count(*) from consolidator.waiting where reason like '%dead_letters.share%'";
            space.database.number(told) == 1
        });
        assert!(letters(&space) < 250, "never all of them");
        let status = space.run(&["status"]);
        assert!(String::from_utf8_lossy(&status.stdout).contains("waiting"));
        // Somebody says that it is the events' own fault.
        assert!(worker.terminate(IN_TIME).success());
        let mut space = space;
        space.settings.more = vec!["dead_letters: { share: 30 }".to_owned()];
        let worker = space.start_worker("told");
        space.wait_applied("ledger", &[&topic], IN_TIME);
        check(&space, 1);
        wait_until("nothing to be waited for", IN_TIME, || {
            let state = "select state from consolidator.freshness limit 1";
            space.database.value(state).as_deref() == Some("live")
        });
        assert!(worker.terminate(IN_TIME).success());
    }
}

#[test]
fn no_more_letters_than_allowed_are_kept_and_then_the_projection_stops() {
    for (name, definition) in [
        ("full_owned", LEDGER.to_owned()),
        ("full_shared", format!("{LEDGER}{BOTH}")),
    ] {
        let mut space = Space::new(name);
        space.settings.more = vec!["dead_letters: { max: 7 }".to_owned()];
        let topic = space.topic("events", 1);
        let definition = definition
            .replace("TOPIC", &topic)
            .replace("POLICY", "dead_letter");
        space.definition("ledger", &definition);
        let worker = space.start_worker("worker");
        let events = |numbers: std::ops::Range<usize>| -> Vec<Sent> {
            numbers
                .map(|number| match number % 10 {
                    5 => no_number(Some(&format!("b{number}")), number),
                    _ => paid(Some("a"), number),
                })
                .collect()
        };
        write(&space, &topic, &events(0..50));
        space.wait_applied("ledger", &[&topic], IN_TIME);
        assert_eq!(letters(&space), 5);
        write(&space, &topic, &events(50..100));
        wait_until("the projection to stop", IN_TIME, || {
            let stop = "select count(*) from consolidator.stop where reason like '%dead_letters.max%' and \"offset\" = 75 and key = 'b75'";
            space.database.number(stop) == 1
        });
        assert!(letters(&space) <= 7);
        assert!(worker.terminate(IN_TIME).success());
        space.settings.more = Vec::new();
        assert!(space.run(&["resume", "ledger"]).status.success());
        let worker = space.start_worker("more");
        space.wait_applied("ledger", &[&topic], IN_TIME);
        check(&space, 1);
        assert!(worker.terminate(IN_TIME).success());
    }
}
