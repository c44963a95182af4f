//! `rebuild --compare`: what differs from live at equal offsets, told before the switch, live going on. `verify --key`.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{IN_TIME, check_against_oracle, ledger, run_fine, states, write};
use crate::support::space::Space;
use crate::support::topic::{Producer, Record};

/// Runs the command while events arrive.
pub fn while_events_arrive(space: &Space, topic: &str, first: usize, run: impl FnOnce()) {
    let writing = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut first = first;
            while writing.load(Ordering::Relaxed) {
                write(space, topic, first..first + 100);
                first += 100;
            }
        });
        run();
        writing.store(false, Ordering::Relaxed);
    });
}

#[test]
fn a_rebuild_that_compares_lists_what_a_changed_rule_changes_and_switches_all_the_same() {
    let space = Space::new("compares");
    let topic = space.topic("movements", 3);
    write(&space, &topic, 0..3_000);
    space.definition("ledger", &ledger(&topic));
    let worker = space.start_worker("worker");
    space.wait_applied("ledger", &[&topic], IN_TIME);

    while_events_arrive(&space, &topic, 3_000, || {
        let text = run_fine(&space, &["rebuild", "ledger", "--compare"]);
        assert!(text.contains("0 missing, 0 extra, 0 differ"), "{text}");
    });
    assert_eq!(states(&space), ["1 grace", "2 live"]);
    space.wait_applied("ledger", &[&topic], IN_TIME);
    check_against_oracle(&space, &topic);

    // One account gets twice of what it got before.
    let changed = ledger(&topic).replace(
        "balance + data.amount",
        "balance + case when event.key = 'a7' then 2 else 1 end * data.amount::bigint",
    );
    space.definition("ledger", &changed);
    while_events_arrive(&space, &topic, 200_000, || {
        let text = run_fine(&space, &["rebuild", "ledger", "--compare", "--json"]);
        let summary = text.lines().last().unwrap();
        let summary: serde_json::Value = serde_json::from_str(summary).unwrap();
        let table = &summary["compared"][0];
        assert_eq!(table["differing"], 1, "{text}");
        assert_eq!(table["missing"], 0, "{text}");
        assert_eq!(table["extra"], 0, "{text}");
        assert_eq!(table["shown"][0]["key"], "(a7)", "{text}");
        assert_ne!(table["shown"][0]["live"], table["shown"][0]["folded"]);
    });
    assert_eq!(states(&space)[2], "3 live");
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn columns_that_the_order_between_partitions_decides_are_told_apart() {
    let space = Space::new("apart");
    let topic = space.topic("visits", 2);
    let definition = format!(
        "projection: pages\nfrom: [{topic}]\ntables:\n  pages:\n    key:\n      id: text = data.page\n    columns:\n      \
         visits: bigint not null default 0\n      last_visitor: text\n    rules:\n      Visited:\n        \
         set: visits = visits + 1, last_visitor = data.visitor\n"
    );
    let visit = |page: &str, visitor: &str, partition: i32| {
        let data = format!(r#"{{"page":"{page}","visitor":"{visitor}"}}"#);
        let value = format!(r#"{{"type":"Visited","data":{data}}}"#);
        Record::new(visitor, value).in_partition(partition)
    };
    Producer::new(space.kafka).write(&topic, &[visit("p", "eve", 0), visit("p", "bob", 1)]);
    space.definition("pages", &definition);
    let worker = space.start_worker("worker");
    space.wait_applied("pages", &[&topic], IN_TIME);
    space
        .database
        .execute("update consolidator_g1.pages set last_visitor = 'somebody else'");
    let lines = run_fine(&space, &["verify", "pages"]);
    assert!(lines.contains("0 differ, 1 more"), "{lines}");
    space
        .database
        .execute("update consolidator_g1.pages set visits = visits + 1");
    let output = space.run(&["verify", "pages"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("0 extra, 1 differ"), "{text}");
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn verify_of_a_key_looks_at_that_key_alone() {
    let space = Space::new("verify_key");
    let topic = space.topic("movements", 2);
    write(&space, &topic, 0..2_000);
    space.definition("ledger", &ledger(&topic));
    let worker = space.start_worker("worker");
    worker.wait_for_log("caught up: live", IN_TIME);
    space.wait_applied("ledger", &[&topic], IN_TIME);
    space
        .database
        .execute("update consolidator_g1.accounts set balance = balance + 1 where id = 'a0'");
    let text = run_fine(&space, &["verify", "ledger", "--key", "a1919"]);
    assert!(text.contains("accounts: 1 rows are the same"), "{text}");
    for key in ["a0", "(a0)"] {
        let output = space.run(&["verify", "ledger", "--key", key, "--json"]);
        assert_eq!(output.status.code(), Some(1), "{key}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(r#""differing":1"#), "{text}");
        assert!(text.contains(r#""same":0"#), "{text}");
    }
    assert!(worker.terminate(IN_TIME).success());
}
