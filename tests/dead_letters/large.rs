//! Records of every kind that is wrong among good ones: set aside, tried again once the cause is gone, and accepted by a rule that
//! takes them; each time all tables against an oracle in plain SQL. `CONSOLIDATOR_TEST_POISON` says how many there are, each
//! among a hundred good ones.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::kinds::{
    AMOUNT, COLUMNS, LENIENT, OBSTACLES, Reason, STRICT, good, poison, tombstone, with_serial,
};
use super::{Sent, check_letters, check_tables, letters, told, write};
use crate::support::oracle::assert_same;
use crate::support::setting;
use crate::support::space::Space;
use crate::support::wait::wait_until;

/// Wrong records, unless the variable says otherwise.
const POISON: u64 = 100;
/// For each of them.
const GOOD: usize = 100;
const PARTITIONS: i32 = 4;
/// Records that are written together.
const WRITTEN_AT_ONCE: usize = 50_000;
/// Rows that are met from every partition.
const KINDS_TABLE: &str = "
  kinds:
    key:
      kind: text = coalesce(data.kind, 'none')
    columns:
      n: bigint not null default 0
      total: bigint not null default 0
    rules:
      Paid, Corrected:
        set: n = n + 1, total = total + AMOUNT
";

/// A topic of many records, and what a definition says of it.
struct World {
    space: Space,
    topic: String,
    random: StdRng,
    keys: usize,
    written: usize,
    poisoned: usize,
    poison: usize,
    in_time: Duration,
    has_kinds: bool,
}

#[test]
fn poison_of_every_kind_is_set_aside_then_retried_then_accepted_where_partitions_own_their_rows() {
    run("poison_kinds", false);
}

#[test]
fn poison_of_every_kind_is_set_aside_then_retried_then_accepted_where_partitions_share_rows() {
    run("poison_kinds_shared", true);
}

fn run(name: &str, has_kinds: bool) {
    let mut world = World::new(name, has_kinds);
    world.define(STRICT, "data.amount");
    let worker = world.space.start_worker("strict");
    worker.wait_for_log("caught up: live", world.in_time);
    world.obstruct();
    world.note("written", World::write_all);
    world.note("folded, with what is wrong set aside", |world| {
        world.await_all();
        world.check(1, &["decoder", "rule", "postgres"]);
    });
    let before = letters(&world.space);

    world.clear();
    world.note("retried", |world| {
        let text = told(&world.space, 1, &["dead-letters", "retry", "ledger"]);
        let stay = letters(&world.space);
        assert!(
            text.contains(&format!("applied: {} events", before - stay)),
            "{text}"
        );
        assert!(
            text.contains(&format!("still set aside: {stay} events")),
            "{text}"
        );
        world.check(1, &["decoder", "rule"]);
    });
    assert!(worker.terminate(world.in_time).success());

    world.define(LENIENT, AMOUNT);
    let lenient = world.space.start_worker("lenient");
    world.note(
        "rebuilt by a rule that takes all that are events",
        |world| {
            let held =
                "select count(*) from consolidator.generation where id = 2 and state = 'held'";
            let space = &world.space;
            wait_until("the second build", world.in_time, || {
                space.database.number(held) == 1
            });
            world.check(2, &["decoder"]);
        },
    );
    told(
        &world.space,
        0,
        &["switch", "ledger", "--accept-dead-letters"],
    );
    world.write_some(2_000);
    world.await_all();
    world.check(2, &["decoder"]);
    for worker in [&worker, &lenient] {
        assert!(!worker.log().contains("panicked"), "{}", worker.log());
    }
    assert!(lenient.terminate(world.in_time).success());
}

impl World {
    fn new(name: &str, has_kinds: bool) -> World {
        let seed = setting("CONSOLIDATOR_TEST_SEED").unwrap_or_else(rand::random);
        let poison = setting("CONSOLIDATOR_TEST_POISON").unwrap_or(POISON) as usize;
        println!("CONSOLIDATOR_TEST_SEED={seed}, {poison} wrong records");
        let mut space = Space::new(name);
        space.settings.worker = vec!["lanes: 2".to_owned()];
        let topic = space.topic("events", PARTITIONS);
        World {
            topic,
            random: StdRng::seed_from_u64(seed),
            // Few events of a key, so that not all of the log follows those that fail.
            keys: poison * GOOD / 5,
            written: 0,
            poisoned: 0,
            poison,
            in_time: Duration::from_secs(120 + poison as u64 / 5),
            has_kinds,
            space,
        }
    }

    fn define(&self, definition: &str, amount: &str) {
        let kinds = if self.has_kinds { KINDS_TABLE } else { "" };
        let text = format!("{definition}{kinds}").replace("TOPIC", &self.topic);
        let text = text.replace("COLUMNS", COLUMNS).replace("AMOUNT", amount);
        self.space.definition("ledger", &text);
    }

    fn obstruct(&self) {
        let first = with_serial("first", self.poison * GOOD * 10);
        self.put(&[(first, None)]);
        self.await_all();
        for (put, _) in OBSTACLES {
            self.execute(put);
        }
    }

    fn clear(&self) {
        for (_, clear) in OBSTACLES {
            self.execute(clear);
        }
    }

    fn execute(&self, statement: &str) {
        let statement = statement.replace("TABLE", "SCHEMA.accounts");
        let statement = statement.replace("SCHEMA", "consolidator_g1");
        self.space.database.execute(&statement);
    }

    fn write_all(&mut self) {
        let mut left = self.poison * (GOOD + 1);
        while left > 0 {
            let now = left.min(WRITTEN_AT_ONCE);
            self.write_some(now);
            left -= now;
        }
    }

    fn write_some(&mut self, count: usize) {
        let events: Vec<_> = (0..count).map(|_| self.event()).collect();
        self.put(&events);
    }

    fn event(&mut self) -> (Sent, Option<Reason>) {
        let number = self.written;
        self.written += 1;
        let key = match self.random.random_range(0..self.keys) {
            // A key all the same.
            0 => String::new(),
            key => format!("k{key}"),
        };
        if number.is_multiple_of(GOOD + 1) {
            self.poisoned += 1;
            let (sent, reason) = poison(&mut self.random, &key, number, self.poisoned);
            return (sent, Some(reason));
        }
        match number % 97 {
            0 => (tombstone(&key, number), None),
            _ => (good(&key, number), None),
        }
    }

    /// Writes, and tells the oracle who refuses what.
    fn put(&self, events: &[(Sent, Option<Reason>)]) {
        let sent: Vec<Sent> = events.iter().map(|(sent, _)| sent.clone()).collect();
        let places = write(&self.space, &self.topic, &sent);
        let lines: String = events
            .iter()
            .zip(places)
            .filter_map(|((_, reason), (partition, offset))| {
                let Reason { refuser, told } = reason.as_ref()?;
                let refuser = refuser.name();
                Some(format!("{partition}\t{offset}\t{refuser}\t{told}\n"))
            })
            .collect();
        let database = &self.space.database;
        database.execute(
            "create table if not exists refused (partition int, \"offset\" bigint, by text, told text)",
        );
        database.copy_in("copy refused from stdin", vec![lines.into_bytes()]);
    }

    fn await_all(&self) {
        self.space
            .wait_applied("ledger", &[&self.topic], self.in_time);
    }

    /// Tables and letters are what they are to be, as long as just these refuse events.
    fn check(&self, generation: i64, refusers: &[&str]) {
        let by = format!("'{}'", refusers.join("', '"));
        let split = format!(
            "with marked as (
                select s.*, r.by is not null as fails,
                    min(s.\"offset\") filter (where r.by is not null) over (partition by s.partition, s.key) as first_bad
                from sent s left join refused r on r.partition = s.partition and r.\"offset\" = s.\"offset\" and r.by in ({by})),
            all_of as (
                select partition, \"offset\", key, id, kind, amount,
                    fails or (key is not null and \"offset\" > coalesce(first_bad, \"offset\")) as aside from marked)"
        );
        let kept = format!(
            "select r.told from refused r join consolidator.dead_letter d
                on d.generation = {generation} and (d.partition, d.\"offset\") = (r.partition, r.\"offset\") where r.by in ({by})"
        );
        let all = format!("select told from refused where by in ({by})");
        assert_same(
            &self.space.database,
            "what is wrong with what is set aside",
            &kept,
            &all,
        );
        check_letters(
            &self.space,
            generation,
            &format!("{split}, split as (select * from all_of)"),
        );
        let applied = "split as (select partition, \"offset\", coalesce(key, 'none of ' || partition) as key, id, kind, amount, aside
            from all_of where id <> '')";
        check_tables(&self.space, generation, &format!("{split}, {applied}"));
    }

    /// Says how long it took.
    fn note(&mut self, what: &str, work: impl FnOnce(&mut World)) {
        let started = Instant::now();
        work(self);
        println!(
            "{} records, {} of them wrong: {what} in {:.1?}",
            self.written,
            self.poisoned,
            started.elapsed()
        );
    }
}
