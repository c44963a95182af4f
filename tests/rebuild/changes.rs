//! Definitions that change under a running deployment.

use super::{IN_TIME, check_against_oracle, ledger, run_fine, states, write};
use crate::support::oracle::assert_same;
use crate::support::space::Space;
use crate::support::wait::wait_until;

fn doubled(topic: &str) -> String {
    ledger(topic).replace("balance + data.amount", "balance + 2 * data.amount::bigint")
}

#[test]
fn a_changed_rule_is_built_beside_the_live_one_and_a_superseded_one_is_not_built_again() {
    let space = Space::new("changed");
    let topic = space.topic("movements", 2);
    write(&space, &topic, 0..2_000);
    space.definition("ledger", &ledger(&topic));
    let worker = space.start_worker("before");
    space.wait_applied("ledger", &[&topic], IN_TIME);
    assert!(worker.terminate(IN_TIME).success());
    space
        .database
        .execute("create table before as select * from read_model.accounts");

    space.definition("ledger", &doubled(&topic));
    let plan = run_fine(&space, &["plan"]);
    assert!(
        plan.starts_with("ledger: rebuild: needs a rebuild"),
        "{plan}"
    );
    assert!(plan.contains("changed: rule Paid of accounts"), "{plan}");
    assert!(plan.contains("up to 2000 events to fold"), "{plan}");
    let worker = space.start_worker("after");
    wait_until("readers to be switched", IN_TIME, || {
        states(&space) == ["1 grace", "2 live"]
    });
    let doubled = "select id, 2 * balance, movements, last_note from before";
    assert_same(
        &space.database,
        "accounts",
        "select * from read_model.accounts",
        doubled,
    );
    assert!(worker.terminate(IN_TIME).success());

    // The older text is put back: that generation is still there, nothing is built.
    space.definition("ledger", &ledger(&topic));
    let worker = space.start_worker("back");
    worker.wait_for_log("is the definition of an earlier generation", IN_TIME);
    assert_eq!(states(&space), ["1 grace", "2 live"]);
    let plan = run_fine(&space, &["plan"]);
    assert!(plan.contains("rollback: generation 1 is that"), "{plan}");
    run_fine(&space, &["rollback", "ledger"]);
    check_against_oracle(&space, &topic);
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn what_needs_no_replay_is_changed_in_place() {
    let space = Space::new("inplace");
    let topic = space.topic("movements", 2);
    write(&space, &topic, 0..500);
    space.definition("ledger", &ledger(&topic));
    let worker = space.start_worker("before");
    space.wait_applied("ledger", &[&topic], IN_TIME);
    worker.wait_for_log("caught up: live", IN_TIME);
    assert!(worker.terminate(IN_TIME).success());

    let changed = ledger(&topic)
        .replace("One row per account.", "What each account has.")
        .replace("columns: [balance]", "columns: [movements]")
        + "views:\n  rich: select id, balance from accounts where balance > 100\n";
    space.definition("ledger", &changed);
    let worker = space.start_worker("after");
    worker.wait_for_log("done in place", IN_TIME);
    assert_eq!(states(&space), ["1 live"]);
    let comment = "select obj_description('read_model.accounts'::regclass)";
    assert_eq!(
        space.database.value(comment).as_deref(),
        Some("What each account has.")
    );
    let index =
        "select string_agg(indexdef, ' ') from pg_indexes where schemaname = 'consolidator_g1'";
    let indexes = space.database.value(index).unwrap();
    assert!(
        indexes.contains("(movements)") && !indexes.contains("(balance)"),
        "{indexes}"
    );
    assert!(
        space
            .database
            .number("select count(*) from read_model.rich")
            > 0
    );

    write(&space, &topic, 500..600);
    space.wait_applied("ledger", &[&topic], IN_TIME);
    check_against_oracle(&space, &topic);
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn a_new_column_appears_with_the_switch_and_a_dropped_one_needs_incompatible() {
    let mut space = Space::new("columns");
    let (role, url) = space.role("analyst");
    space.settings.readers.push(role.clone());
    let topic = space.topic("movements", 2);
    write(&space, &topic, 0..500);
    space.definition("ledger", &ledger(&topic));
    let worker = space.start_worker("worker");
    space.wait_applied("ledger", &[&topic], IN_TIME);
    space.database.execute(
        "create schema mine; create view mine.notes as select id, last_note from read_model.accounts;
         create role helper_of_analysts; grant select on read_model.accounts to helper_of_analysts;
         comment on column read_model.accounts.id is 'asked for by the auditors'",
    );
    // The new column stands first in the file; readers get it last.
    let wider = ledger(&topic).replace(
        "      balance: bigint",
        "      kind: text not null default 'plain'\n      balance: bigint",
    );
    space.definition("ledger", &wider);
    run_fine(&space, &["rebuild", "ledger"]);
    let columns = "select string_agg(attname, ',' order by attnum) from pg_attribute
        where attrelid = 'read_model.accounts'::regclass and attnum > 0 and not attisdropped";
    assert_eq!(
        space.database.value(columns).as_deref(),
        Some("id,balance,movements,last_note,kind")
    );
    assert!(space.database.number("select count(*) from mine.notes") > 0);

    let narrower = wider
        .replace("      last_note: text\n", "")
        .replace(", last_note = data.note", "");
    space.definition("ledger", &narrower);
    let text = run_fine(&space, &["rebuild", "ledger"]);
    assert!(
        text.contains("column accounts.last_note is no longer there"),
        "{text}"
    );
    assert_eq!(states(&space).last().map(String::as_str), Some("3 held"));
    let refused = space.run(&["switch", "ledger"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        told.contains("column accounts.last_note is no longer there"),
        "{told}"
    );
    let refused = space.run(&["switch", "ledger", "--incompatible"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("mine.notes"), "{told}");
    space.database.execute("drop view mine.notes");
    run_fine(&space, &["switch", "ledger", "--incompatible"]);
    assert_eq!(
        space.database.value(columns).as_deref(),
        Some("id,balance,movements,kind")
    );
    let reader = crate::support::database::Database::at(&url);
    assert!(reader.number("select count(*) from read_model.accounts") > 0);
    let kept = "select has_table_privilege('helper_of_analysts', 'read_model.accounts', 'select')
        and col_description('read_model.accounts'::regclass, 1) = 'asked for by the auditors'";
    assert_eq!(space.database.value(kept).as_deref(), Some("t"));
    space
        .database
        .execute("drop owned by helper_of_analysts; drop role helper_of_analysts");
    assert!(worker.terminate(IN_TIME).success());
}
