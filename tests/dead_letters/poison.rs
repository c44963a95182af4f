//! Poison of every kind among good events, while workers are killed, folded live and loaded in bulk.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{IN_TIME, Sent, both, check, ledger, letters, paid, poisoned, write};
use crate::support::space::Space;
use crate::support::wait::wait_until;

/// What no rule, no column or no parser takes. `ID` is the event's.
const POISON: [&str; 14] = [
    r#"{"type":"Paid","id":"ID","data":{"amount":1"#,
    "",
    r#"{"type":"Paid","id":"ID","data":{"amount":1,"note":"\u0000"}}"#,
    r#"{"type":"Paid","id":"ID","data":{"amount":1,"note":"\ud800"}}"#,
    r#"{"type":"Paid","id":"ID","data":{"amount":1e999999}}"#,
    r#"{"type":"Paid","id":"ID","data":{"amount":9223372036854775808}}"#,
    r#"{"type":"Paid","id":"ID","data":{"amount":-9223372036854775809,"kind":"k"}}"#,
    r#"{"type":"Paid","id":"ID","data":{"amount":"many"}}"#,
    r#"{"type":"Paid","id":"ID","data":{"amount":[1]}}"#,
    r#"{"type":"Paid","id":"ID","data":{"amount":{}}}"#,
    r#"{"type":"Paid","id":"ID","data":{}}"#,
    r#"{"type":7,"id":"ID","data":{"amount":1}}"#,
    r#"{"id":"ID","data":{"amount":1}}"#,
    r#"[1,2,3]"#,
];

/// Bytes and depths that no text literal shows.
fn bytes_of(kind: usize, id: &str) -> Vec<u8> {
    let in_note = |note: &[u8]| {
        let mut value =
            format!(r#"{{"type":"Paid","id":"{id}","data":{{"amount":1,"note":""#).into_bytes();
        value.extend_from_slice(note);
        value.extend_from_slice(br#""}}"#);
        value
    };
    match kind.checked_sub(POISON.len()) {
        None => POISON[kind].replace("ID", id).into_bytes(),
        Some(0) => in_note(&[0xff, 0xfe]),
        Some(1) => in_note(&[0]),
        Some(_) => format!(
            r#"{{"type":"Paid","id":"{id}","data":{}1{}}}"#,
            "[".repeat(10_000),
            "]".repeat(10_000)
        )
        .into_bytes(),
    }
}

const KINDS: usize = POISON.len() + 3;

/// One event in a hundred is poison; most of them have keys of few events, so that not all of the log follows them.
fn events(random: &mut StdRng, numbers: std::ops::Range<usize>) -> Vec<Sent> {
    let event = |number: usize| {
        let key = format!("k{}", random.random_range(0..20_000));
        if random.random_range(0..100) > 0 {
            // A member that is there twice is none of ours: the last one counts, as in PostgreSQL.
            let mut sent = paid(Some(&key), number);
            if number.is_multiple_of(500) {
                let value = format!(
                    r#"{{"type":"Nothing","type":"Paid","id":"{}","data":{{"amount":7,"amount":{},"kind":"{}"}}}}"#,
                    sent.id, sent.amount, sent.kind
                );
                sent.record.value = Some(value.into_bytes());
            }
            return sent;
        }
        let kind = random.random_range(0..KINDS);
        poisoned(Some(&key), number, bytes_of(kind, &format!("e{number}")))
    };
    numbers.map(event).collect()
}

#[test]
fn exactly_the_poisoned_keys_are_set_aside_whatever_is_killed() {
    for (name, definition) in [
        ("poison_owned", ledger as fn(&str, &str) -> String),
        ("poison_shared", both),
    ] {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let mut space = Space::new(name);
        space.settings.worker = vec!["lanes: 2".to_owned(), "batch_events: 500".to_owned()];
        let topic = space.topic("events", 4);
        space.definition("ledger", &definition(&topic, "dead_letter"));
        let mut workers = vec![space.start_worker("w0"), space.start_worker("w1")];
        let mut written = 0;
        for round in 0..6 {
            write(
                &space,
                &topic,
                &events(&mut random, written..written + 16_000),
            );
            written += 16_000;
            if round < 4 {
                workers.remove(0).kill();
                workers.push(space.start_worker(&format!("w{}", round + 2)));
            }
        }
        space.wait_applied("ledger", &[&topic], IN_TIME);
        check(&space, 1);
        let own = letters(&space);
        assert!(own > 900, "{own} letters");

        // Long enough to be loaded in bulk.
        let rebuilt = space.run(&["rebuild", "ledger"]);
        let told = String::from_utf8_lossy(&rebuilt.stdout).into_owned();
        assert!(told.contains(&format!("rejected events: {own}")), "{told}");
        check(&space, 2);
        write(
            &space,
            &topic,
            &events(&mut random, written..written + 4_000),
        );
        space.wait_applied("ledger", &[&topic], IN_TIME);
        wait_until("both generations to have all", IN_TIME, || {
            let behind = "select count(*) from (select count(*) as letters from consolidator.dead_letter group by generation having count(*) < \
                (select count(*) from consolidator.dead_letter where generation = 1)) d";
            space.database.number(behind) == 0
        });
        check(&space, 1);
        for worker in &workers {
            assert!(!worker.log().contains("panicked"), "{}", worker.log());
            assert!(worker.terminate(IN_TIME).success());
        }
    }
}
