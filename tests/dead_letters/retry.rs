//! `dead-letters`: what is shown, and what becomes of letters that are tried again or thrown away.

use serde_json::Value;

use super::{
    IN_TIME, Sent, both, check, check_tables, ledger, letters, no_number, paid, poisoned, told,
    write,
};
use crate::support::space::Space;
use crate::support::wait::wait_until;

/// Everything is applied.
const ALL: &str = "with split as (select *, false as aside from sent)";
/// All but the poison.
const ALL_GOOD: &str = "with split as (select *, bad as aside from sent)";
/// A total that a constraint of somebody's refuses.
const REFUSED: i64 = 1_234_567;

/// An event that is fine but for the constraint.
fn refused(key: &str, number: usize) -> Sent {
    let value = format!(
        r#"{{"type":"Paid","id":"e{number}","data":{{"amount":{REFUSED},"kind":"kind0"}}}}"#
    );
    let mut sent = poisoned(Some(key), number, value);
    (sent.amount, sent.kind) = (REFUSED, "kind0".to_owned());
    sent
}

/// A live projection of two partitions whose keys `k0` to `k4` are blocked by a constraint.
fn blocked(name: &str, definition: fn(&str, &str) -> String) -> (Space, String) {
    let space = Space::new(name);
    let topic = space.topic("events", 2);
    space.definition("ledger", &definition(&topic, "dead_letter"));
    let worker = space.start_worker("first");
    worker.wait_for_log("caught up: live", IN_TIME);
    let constraint =
        format!("alter table consolidator_g1.accounts add constraint c check (total < {REFUSED})");
    space.database.execute(&constraint);
    let mut events = keyed(0..600);
    for number in [100, 101, 102, 203, 304] {
        events[number] = refused(&format!("k{}", number % 10), number);
    }
    write(&space, &topic, &events);
    space.wait_applied("ledger", &[&topic], IN_TIME);
    check(&space, 1);
    assert!(worker.terminate(IN_TIME).success());
    (space, topic)
}

fn keyed(numbers: std::ops::Range<usize>) -> Vec<Sent> {
    let key = |number: usize| format!("k{}", number % 10);
    numbers
        .map(|number| paid(Some(&key(number)), number))
        .collect()
}

fn lift(space: &Space) {
    space
        .database
        .execute("alter table consolidator_g1.accounts drop constraint c");
}

#[test]
fn a_retry_applies_letters_in_order_and_takes_their_keys_back_into_the_flow() {
    for (name, definition) in [
        ("retry_owned", ledger as fn(&str, &str) -> String),
        ("retry_shared", both),
    ] {
        let (space, topic) = blocked(name, definition);
        let worker = space.start_worker("worker");
        let before = letters(&space);
        let text = told(
            &space,
            1,
            &["dead-letters", "retry", "ledger", "--key", "k1"],
        );
        assert!(
            text.contains("applied: 0 events") && text.contains("still set aside: 50 events"),
            "{text}"
        );
        assert!(text.contains("refused"), "{text}");
        assert_eq!(letters(&space), before);
        check(&space, 1);

        lift(&space);
        // What comes meanwhile waits behind the letters.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 6..20 {
                    write(&space, &topic, &keyed(round * 100..round * 100 + 100));
                }
            });
            let text = told(
                &space,
                0,
                &["dead-letters", "retry", "ledger", "--key", "k1"],
            );
            assert!(text.contains("applied: "), "{text}");
            // The command waits for the letters that there were; what came behind them follows.
            let keys = "select count(distinct key) from consolidator.dead_letter";
            wait_until("k1 to hold nothing back", IN_TIME, || {
                space.database.number(keys) == 4
            });
            told(&space, 0, &["dead-letters", "retry", "ledger"]);
        });
        space.wait_applied("ledger", &[&topic], IN_TIME);
        assert_eq!(letters(&space), 0);
        check_tables(&space, 1, ALL);
        write(&space, &topic, &keyed(2_000..2_100));
        space.wait_applied("ledger", &[&topic], IN_TIME);
        assert_eq!(letters(&space), 0);
        check_tables(&space, 1, ALL);
        assert!(worker.terminate(IN_TIME).success());
    }
}

#[test]
fn a_retry_is_carried_out_once_whatever_is_killed_in_between() {
    for (point, definition) in [
        ("letters-written", ledger as fn(&str, &str) -> String),
        ("letters-carried-out", ledger),
        ("letters-written", both),
    ] {
        let (mut space, topic) = blocked("retry_killed", definition);
        let all = letters(&space);
        lift(&space);
        let text = told(&space, 0, &["dead-letters", "retry", "ledger", "--no-wait"]);
        assert!(text.contains(&format!("asked for: {all} events")), "{text}");
        space.environment = vec![("FAILPOINTS".to_owned(), format!("{point}=pause"))];
        let killed = space.start_worker("killed");
        match point {
            "letters-written" => {
                wait_until("letters to be taken, and not for good", IN_TIME, || {
                    let open = "select count(*) from pg_stat_activity where datname = current_database() and state = 'idle in transaction'";
                    space.database.number(open) > 0
                })
            }
            _ => wait_until("letters to be taken", IN_TIME, || letters(&space) < all),
        }
        killed.kill();
        space.environment = Vec::new();
        let worker = space.start_worker("worker");
        wait_until("the request to be carried out", IN_TIME, || {
            letters(&space) == 0
        });
        write(&space, &topic, &keyed(600..700));
        space.wait_applied("ledger", &[&topic], IN_TIME);
        check_tables(&space, 1, ALL);
        assert!(worker.terminate(IN_TIME).success());
    }
}

#[test]
fn what_fails_again_stays_with_its_reason_and_what_is_behind_it_too() {
    let space = Space::new("again");
    let topic = space.topic("events", 1);
    space.definition("ledger", &ledger(&topic, "dead_letter"));
    let worker = space.start_worker("worker");
    worker.wait_for_log("caught up: live", IN_TIME);
    let constraint =
        format!("alter table consolidator_g1.accounts add constraint c check (total < {REFUSED})");
    space.database.execute(&constraint);
    let mut events = keyed(0..100);
    events[10] = refused("k0", 10);
    events[30] = no_number(Some("k0"), 30);
    events[41] = poisoned(Some("k1"), 41, "{");
    events[51] = poisoned(Some("k1"), 51, "[");
    write(&space, &topic, &events);
    space.wait_applied("ledger", &[&topic], IN_TIME);
    check(&space, 1);
    lift(&space);
    let text = told(&space, 1, &["dead-letters", "retry", "ledger"]);
    // Of k0: 10 and 20, of k1 nothing.
    assert!(
        text.contains("applied: 2 events") && text.contains("still set aside: 13 events"),
        "{text}"
    );
    let failed = "select string_agg(\"offset\"::text, ' ' order by \"offset\") from consolidator.dead_letter where not follows";
    assert_eq!(space.database.value(failed).as_deref(), Some("30 41 51"));
    let open = "select count(*) from consolidator.dead_letter where requested is not null";
    assert_eq!(space.database.number(open), 0);

    let text = told(
        &space,
        0,
        &[
            "dead-letters",
            "discard",
            "ledger",
            "--reason",
            "INVALID INPUT",
        ],
    );
    assert!(text.contains("thrown away: 1 event"), "{text}");
    told(
        &space,
        0,
        &["dead-letters", "retry", "ledger", "--key", "k0"],
    );
    assert_eq!(letters(&space), 6, "those of k1");
    let id = space
        .database
        .number("select id from consolidator.dead_letter where \"offset\" = 51");
    told(
        &space,
        0,
        &["dead-letters", "discard", "ledger", "--id", &id.to_string()],
    );
    told(
        &space,
        0,
        &[
            "dead-letters",
            "discard",
            "ledger",
            "--reason",
            "cannot be decoded",
        ],
    );
    told(&space, 0, &["dead-letters", "retry", "ledger"]);
    space
        .database
        .execute("update sent set bad = false where \"offset\" = 10");
    check_tables(&space, 1, ALL_GOOD);
    assert_eq!(letters(&space), 0);
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn letters_are_listed_and_shown_and_a_request_says_when_nobody_carries_it_out() {
    let (space, _topic) = blocked("listed", ledger);
    let list = |more: &[&str]| -> Vec<Value> {
        let arguments = [&["dead-letters", "list", "--json"], more].concat();
        let text = told(&space, 0, &arguments);
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let all = list(&[]);
    assert_eq!(all.len() as i64, letters(&space));
    assert_eq!(list(&["ledger"]).len(), all.len());
    let own = list(&["ledger", "--reason", "refused"]);
    assert_eq!(own.len(), 5);
    let k3 = list(&["ledger", "--key", "k3"]);
    assert_eq!(k3.len(), 40);
    assert_eq!(
        (&k3[0]["follows"], &k3[1]["follows"]),
        (&Value::Bool(false), &Value::Bool(true))
    );
    assert_eq!(
        (&k3[0]["projection"], &k3[0]["sqlstate"]),
        (&"ledger".into(), &"23514".into())
    );
    let id = k3[0]["id"].to_string();
    let shown = told(
        &space,
        0,
        &["dead-letters", "show", "ledger", &id, "--json"],
    );
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert!(
        shown["value"].as_str().unwrap().contains("\"e203\""),
        "{shown}"
    );
    assert!(told(&space, 0, &["dead-letters", "show", "ledger", &id]).contains("SQLSTATE: 23514"));
    assert!(told(&space, 0, &["dead-letters", "list"]).contains("key \"k3\" Paid"));

    for (arguments, expected) in [
        (vec!["list", "nothing"], "no projection nothing"),
        (vec!["show", "ledger", "999999"], "no dead letter 999999"),
        (
            vec!["retry", "ledger", "--key", "nobody"],
            "is meant by that",
        ),
        (
            vec!["retry", "ledger", "--generation", "7"],
            "no generation 7",
        ),
        (vec!["discard", "ledger"], "--all"),
    ] {
        let arguments = [&["dead-letters"], &arguments[..]].concat();
        let text = told(&space, 2, &arguments);
        assert!(text.contains(expected), "{text}");
    }
    told(&space, 0, &["pause", "ledger"]);
    let text = told(
        &space,
        1,
        &["dead-letters", "retry", "ledger", "--key", "k3"],
    );
    assert!(
        text.contains("is paused") && text.contains("the request is kept"),
        "{text}"
    );
    told(&space, 0, &["resume", "ledger"]);
    let text = told(&space, 1, &["dead-letters", "discard", "ledger", "--all"]);
    assert!(text.contains("no worker runs"), "{text}");
    let worker = space.start_worker("late");
    wait_until("what was asked for", IN_TIME, || letters(&space) == 0);
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn a_retry_waits_for_the_partitions_that_go_on_and_not_for_one_that_stands_still() {
    let (space, topic) = blocked("retry_apart", ledger);
    // Partition 0 lacks events that were never applied.
    write(&space, &topic, &keyed(600..700));
    let (_, end) = space.kafka.offsets(&topic)[0];
    space.kafka.delete_below(&topic, end);
    lift(&space);
    let worker = space.start_worker("worker");
    let stop = "select count(*) from consolidator.stop where alone and partition = 0";
    wait_until("the partition to stop", IN_TIME, || {
        space.database.number(stop) == 1
    });
    let of = |partition: i32| {
        let of_it =
            format!("select count(*) from consolidator.dead_letter where partition = {partition}");
        space.database.number(&of_it)
    };
    let key = "select min(key) from consolidator.dead_letter where partition = 1";
    let key = space.database.value(key).expect("a key of partition 1");
    told(
        &space,
        0,
        &["dead-letters", "retry", "ledger", "--key", &key],
    );
    let (held, rest) = (of(0), of(1));
    assert!(held > 0 && rest > 0, "{held} and {rest}");
    let text = told(&space, 1, &["dead-letters", "retry", "ledger"]);
    assert!(text.contains(&format!("applied: {rest} events")), "{text}");
    assert!(
        text.contains(&format!(
            "not yet come to: {held} events; a partition is stopped ({topic} [0]"
        )),
        "{text}"
    );
    assert_eq!((of(0), of(1)), (held, 0));
    told(&space, 0, &["resume", "ledger", "--accept-hole"]);
    wait_until("those of the partition too", IN_TIME, || {
        letters(&space) == 0
    });
    space.wait_offset(
        "ledger",
        &topic,
        1,
        space.kafka.offsets(&topic)[1].1 - 1,
        IN_TIME,
    );
    let all_but_lost =
        "with split as (select *, partition = 0 and substr(id, 2)::int >= 600 as aside from sent)";
    check_tables(&space, 1, all_but_lost);
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn redacted_letters_hold_neither_payload_nor_reason_and_only_a_rebuild_applies_them() {
    let mut space = Space::new("redacted");
    space.settings.more = vec!["dead_letters: { payloads: redact }".to_owned()];
    let topic = space.topic("events", 1);
    space.definition("ledger", &ledger(&topic, "dead_letter"));
    let worker = space.start_worker("worker");
    let mut events = keyed(0..50);
    events[15] = no_number(Some("k5"), 15);
    write(&space, &topic, &events);
    space.wait_applied("ledger", &[&topic], IN_TIME);
    check(&space, 1);
    let held = "select count(*) from consolidator.dead_letter d \
        where d::text like '%many%' or value is not null or record_key is not null or not redacted";
    assert_eq!(space.database.number(held), 0);
    let own = "select key || ' ' || sqlstate from consolidator.dead_letter where not follows";
    assert_eq!(space.database.value(own).as_deref(), Some("k5 22P02"));
    let text = told(&space, 2, &["dead-letters", "retry", "ledger"]);
    assert!(
        text.contains("was not kept") && text.contains("rebuild"),
        "{text}"
    );
    let asked = "select count(*) from consolidator.dead_letter where requested is not null";
    assert_eq!(space.database.number(asked), 0);
    told(&space, 0, &["dead-letters", "discard", "ledger", "--all"]);
    assert_eq!(letters(&space), 0);
    assert!(worker.terminate(IN_TIME).success());
}
