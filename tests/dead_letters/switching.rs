//! Letters of a generation that is built beside the live one.

use rand::RngExt;
use rand::distr::Alphanumeric;

use super::{IN_TIME, Sent, check, check_tables, ledger, letters, no_number, paid, told, write};
use crate::support::space::Space;
use crate::support::wait::wait_until;

fn events(numbers: std::ops::Range<usize>) -> Vec<Sent> {
    let event = |number: usize| {
        let key = format!("k{}", number % 1_000);
        match number % 1_111 {
            77 => no_number(Some(&key), number),
            _ => paid(Some(&key), number),
        }
    };
    numbers.map(event).collect()
}

#[test]
fn a_generation_with_letters_is_held_until_it_is_accepted_or_has_none() {
    let space = Space::new("held_letters");
    let topic = space.topic("events", 2);
    space.definition("ledger", &ledger(&topic, "dead_letter"));
    write(&space, &topic, &events(0..25_000));
    let worker = space.start_worker("worker");
    space.wait_applied("ledger", &[&topic], IN_TIME);
    wait_until("the first build to be live", IN_TIME, || {
        states(&space) == ["1 live"]
    });
    check(&space, 1);
    let of_one = letters(&space);

    let text = told(&space, 0, &["rebuild", "ledger"]);
    assert!(text.contains("--accept-dead-letters"), "{text}");
    assert_eq!(states(&space), ["1 live", "2 held"]);
    check(&space, 2);
    assert_eq!(letters(&space), 2 * of_one);
    let text = told(&space, 2, &["switch", "ledger"]);
    assert!(
        text.contains(&format!("{of_one} events of generation 2 are set aside")),
        "{text}"
    );
    told(&space, 0, &["switch", "ledger", "--accept-dead-letters"]);
    assert_eq!(states(&space), ["1 grace", "2 live"]);

    told(&space, 0, &["rebuild", "ledger"]);
    assert_eq!(states(&space)[1..], ["2 live", "3 held"]);
    told(
        &space,
        0,
        &[
            "dead-letters",
            "discard",
            "ledger",
            "--generation",
            "3",
            "--reason",
            "invalid input",
        ],
    );
    told(
        &space,
        0,
        &["dead-letters", "retry", "ledger", "--generation", "3"],
    );
    told(&space, 0, &["switch", "ledger"]);
    check_tables(
        &space,
        3,
        "with split as (select *, bad as aside from sent)",
    );
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn a_rule_that_takes_what_was_poison_has_all_of_it_after_its_rebuild() {
    let space = Space::new("cured");
    let topic = space.topic("events", 2);
    let definition = ledger(&topic, "dead_letter");
    space.definition("ledger", &definition);
    write(&space, &topic, &events(0..25_000));
    let worker = space.start_worker("worker");
    space.wait_applied("ledger", &[&topic], IN_TIME);
    check(&space, 1);
    assert!(worker.terminate(IN_TIME).success());

    let cured = definition.replace(
        "data.amount",
        "case when data.amount = 'many' then 0 else data.amount::bigint end",
    );
    space.definition("ledger", &cured);
    let worker = space.start_worker("cured");
    wait_until("the switch", IN_TIME, || {
        states(&space) == ["1 grace", "2 live"]
    });
    write(&space, &topic, &events(25_000..26_000));
    space.wait_applied("ledger", &[&topic], IN_TIME);
    check_tables(
        &space,
        2,
        "with split as (select partition, \"offset\", key, id, kind, case when bad then 0 else amount end as amount, \
            false as aside from sent)",
    );
    let of_two = "select count(*) from consolidator.dead_letter where generation = 2";
    assert_eq!(space.database.number(of_two), 0);
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn a_key_too_long_for_an_index_is_found_also_in_a_load() {
    let space = Space::new("too_long");
    let topic = space.topic("events", 2);
    space.definition("ledger", &ledger(&topic, "dead_letter"));
    let mut all = events(0..22_000);
    // Not to be compressed.
    let mut random = rand::rng();
    let long: String = (0..6_000)
        .map(|_| random.sample(Alphanumeric) as char)
        .collect();
    all[11_000] = paid(Some(&long), 11_000);
    all[11_000].bad = true;
    write(&space, &topic, &all);
    let worker = space.start_worker("worker");
    wait_until("the first build to be live", IN_TIME, || {
        states(&space) == ["1 live"]
    });
    space.wait_applied("ledger", &[&topic], IN_TIME);
    check(&space, 1);
    let told = "select count(*) from consolidator.dead_letter where sqlstate = '54000' and length(key) = 6000";
    assert_eq!(space.database.number(told), 1);
    assert!(worker.terminate(IN_TIME).success());
}

fn states(space: &Space) -> Vec<String> {
    let rows = space
        .database
        .try_query("select id || ' ' || state from consolidator.generation order by id");
    let rows = rows.unwrap_or_default();
    rows.into_iter().flatten().flatten().collect()
}
