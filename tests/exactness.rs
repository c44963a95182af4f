//! Exactly once under faults: tables against an oracle in plain SQL over a raw dump of the topic.
//!
//! The fold is order-sensitive and not idempotent (`chain` is a hash over the hashes before), so that an
//! event lost, applied twice or out of order shows.

use std::time::Duration;

use consolidator::demo::postgres::PostgresServer;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::support::oracle::{CHAIN, assert_same, differences};
use crate::support::space::Space;
use crate::support::topic::{Producer, Record, dump};
use crate::support::wait::let_pass;
use crate::support::worker::Worker;
use crate::support::{lock, setting, start_postgres};

const SEED: u64 = 20_220_401;
const PARTITIONS: i32 = 6;
const CHUNK_EVENTS: usize = 1_000;
const ROUNDS_MAX: usize = 5;
const HEALED_WITHIN: Duration = Duration::from_secs(120);

const LEDGER: &str = "
projection: ledger
from: [TOPIC]
tables:
  accounts:
    key:
      account: text = event.key
    columns:
      n: bigint not null default 0
      balance: numeric(24,4) not null default 0
      chain: text not null default ''
    rules:
      Paid:
        set: n = n + 1, balance = balance + data.amount, chain = md5(chain || event.id)
      Withdrawn:
        set: n = n + 1, balance = balance - data.amount, chain = md5(chain || event.id)
      Closed:
        delete: true
  branches:
    key:
      branch: text = data.branch
    columns:
      n: bigint not null default 0
      total: numeric(24,4) not null default 0
    rules:
      Paid:
        set: n = n + 1, total = total + data.amount
      Withdrawn:
        set: n = n + 1, total = total - data.amount
  lines:
    key:
      account: text = event.key
      sku: text = item.sku
    columns:
      quantity: bigint not null default 0
      chain: text not null default ''
    rules:
      Ordered:
        each: data.lines
        set: quantity = quantity + item.quantity, chain = md5(chain || event.id)
      Cleared:
        each: data.lines
        delete: true
";

/// For the negative control: rows that stay once they are there. Where rows come and go, the next line of defence (a row that is
/// not as the fold knows it) would notice most of what the claim would have refused.
const BALANCES: &str = "
projection: ledger
from:
  - topic: TOPIC
    ignore: [Ordered, Cleared, Closed]
tables:
  accounts:
    key:
      account: text = event.key
    columns:
      n: bigint not null default 0
      balance: numeric(24,4) not null default 0
      chain: text not null default ''
    rules:
      Paid:
        set: n = n + 1, balance = balance + data.amount, chain = md5(chain || event.id)
      Withdrawn:
        set: n = n + 1, balance = balance - data.amount, chain = md5(chain || event.id)
";

const BALANCES_ORACLE: &str =
    "select key, count(*), sum(sign * amount)::numeric(24,4), chain(id order by \"offset\")
     from event where type in ('Paid', 'Withdrawn') group by key";

/// The tables of `LEDGER`, each with the query that tells what must be in it.
const ORACLE: [(&str, &str); 3] = [
    (
        "accounts",
        "select key, count(*), sum(sign * amount)::numeric(24,4), chain(id order by \"offset\")
         from (select *, max(\"offset\") filter (where type = 'Closed') over (partition by key) as closed
               from event) e
         where type in ('Paid', 'Withdrawn') and \"offset\" > coalesce(closed, -1)
         group by key",
    ),
    (
        "branches",
        "select branch, count(*), sum(sign * amount)::numeric(24,4)
         from event where type in ('Paid', 'Withdrawn') group by branch",
    ),
    (
        "lines",
        "select key, sku, sum(quantity)::bigint, chain(id order by \"offset\", line)
         from (select e.key, e.id, e.type, e.\"offset\", l.line, l.item->>'sku' as sku,
                      (l.item->>'quantity')::bigint as quantity,
                      max(\"offset\") filter (where type = 'Cleared')
                          over (partition by key, l.item->>'sku') as cleared
               from event e, jsonb_array_elements(e.lines) with ordinality l (item, line)
               where e.type in ('Ordered', 'Cleared')) x
         where type = 'Ordered' and \"offset\" > coalesce(cleared, -1)
         group by key, sku",
    ),
];

const ORACLE_SETUP: &str = "
    create table event as
    select key, \"offset\", v->>'type' as type, v->>'id' as id, v->'data'->>'branch' as branch,
           (v->'data'->>'amount')::numeric as amount, v->'data'->'lines' as lines,
           case v->>'type' when 'Withdrawn' then -1 else 1 end as sign
    from (select key, \"offset\", value::jsonb as v from raw) r";

const ORACLE_REMOVED: &str =
    "drop table event; drop aggregate chain(text); drop function chain_step(text, text)";

/// Something done to the servers or the workers after a given chunk of events.
enum Fault {
    Kill(usize),
    Start(usize),
    Freeze(usize),
    Thaw(usize),
    StopPostgres,
    StartPostgres,
}

#[test]
fn tables_are_exact_although_workers_are_killed_and_frozen_and_postgres_crashes() {
    let server = std::sync::Mutex::new(start_postgres(&[]));
    let url = |database: &str| lock(&server).url(database);
    let mut space = Space::on_postgres("exactness", &url);
    let mut chunks = 200;
    let mut schedule = vec![
        (20, Fault::Kill(0)),
        (22, Fault::Start(0)),
        (45, Fault::Freeze(1)),
        (90, Fault::Thaw(1)),
        (110, Fault::Kill(1)),
        (112, Fault::Start(1)),
        (135, Fault::StopPostgres),
        (145, Fault::StartPostgres),
        (170, Fault::Kill(0)),
        (172, Fault::Start(0)),
    ];
    if let Some(long) = long_schedule() {
        schedule = long;
        chunks = schedule.last().map_or(0, |(chunk, _)| chunk + 20);
        space.settings.kafka_properties = short_session();
    }
    let topic = space.topic("movements", PARTITIONS);
    space.definition("ledger", &LEDGER.replace("TOPIC", &topic));
    let pause = Duration::from_millis(220);
    run(&space, &topic, chunks, pause, &schedule, &server);

    space.wait_applied("ledger", &[&topic], HEALED_WITHIN);
    let written = (chunks * CHUNK_EVENTS) as u64;
    assert_eq!(dump(space.kafka, &[&topic], &space.database), written);
    space.database.execute(CHAIN);
    space.database.execute(ORACLE_SETUP);
    for (table, oracle) in ORACLE {
        let product = format!("select * from read_model.{table}");
        assert_same(&space.database, table, &product, oracle);
    }
}

/// The negative control: a test that cannot fail proves nothing. A worker that comes back from being
/// frozen and whose claim is not guarded overwrites what its successor did.
#[test]
fn without_the_guard_on_the_claim_a_thawed_worker_is_found_out() {
    let server = std::sync::Mutex::new(start_postgres(&[]));
    let url = |database: &str| lock(&server).url(database);
    let mut space = Space::on_postgres("unguarded", &url);
    space.environment = vec![(
        "FAILPOINTS".to_owned(),
        // A worker is slow to claim, so that it is frozen with a batch in its hands.
        "claim-without-epoch=return;batch-ready=sleep(300)".to_owned(),
    )];
    space.settings.kafka_properties = short_session();
    let topic = space.topic("movements", PARTITIONS);
    space.definition("ledger", &BALANCES.replace("TOPIC", &topic));
    // Whether a worker is frozen with a batch in its hands is up to chance: nearly always, but not every time.
    for _ in 0..ROUNDS_MAX {
        // Every account is known by the freeze.
        let schedule = [(40, Fault::Freeze(0)), (70, Fault::Thaw(0))];
        let pause = Duration::from_millis(120);
        run(&space, &topic, 80, pause, &schedule, &server);
        dump(space.kafka, &[&topic], &space.database);
        space.database.execute(CHAIN);
        space.database.execute(ORACLE_SETUP);
        let product = "select * from read_model.accounts";
        if !differences(&space.database, product, BALANCES_ORACLE).is_empty() {
            return;
        }
        space.database.execute(ORACLE_REMOVED);
    }
    panic!("the oracle found nothing although the guard was off");
}

/// As many kills (`CONSOLIDATOR_TEST_KILLS`) and zombies (`CONSOLIDATOR_TEST_ZOMBIES`) as asked for, seeded
/// (`CONSOLIDATOR_TEST_SEED`). A zombie stays frozen for longer than its session lasts, so that others have its partitions when it wakes.
fn long_schedule() -> Option<Vec<(usize, Fault)>> {
    let asked = |name: &str| setting(name).unwrap_or(0) as usize;
    let kills = asked("CONSOLIDATOR_TEST_KILLS");
    let zombies = asked("CONSOLIDATOR_TEST_ZOMBIES");
    let mut kinds = [vec![true; kills], vec![false; zombies]].concat();
    if kinds.is_empty() {
        return None;
    }
    let seed = setting("CONSOLIDATOR_TEST_SEED").unwrap_or(SEED);
    println!("{kills} kills, {zombies} zombies, seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    kinds.shuffle(&mut random);
    let mut schedule = Vec::new();
    let mut chunk = 5;
    for is_kill in kinds {
        let number = random.random_range(0..2);
        let after = random.random_range(1..4);
        if is_kill {
            schedule.push((chunk, Fault::Kill(number)));
            schedule.push((chunk + after, Fault::Start(number)));
        } else {
            schedule.push((chunk, Fault::Freeze(number)));
            schedule.push((chunk + 15 + after, Fault::Thaw(number)));
            chunk += 15;
        }
        chunk += after + random.random_range(1..6);
    }
    Some(schedule)
}

fn short_session() -> Vec<(String, String)> {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let properties = [
        ("session.timeout.ms", "2000"),
        ("heartbeat.interval.ms", "500"),
    ];
    properties.map(owned).to_vec()
}

/// Writes the events chunk by chunk while two workers run and the schedule is carried out. The workers
/// are ended in good order, after they have applied what they can.
fn run(
    space: &Space,
    topic: &str,
    chunks: usize,
    pause: Duration,
    schedule: &[(usize, Fault)],
    server: &std::sync::Mutex<PostgresServer>,
) {
    println!("seed {SEED}");
    let mut random = StdRng::seed_from_u64(SEED);
    let producer = Producer::new(space.kafka);
    let start =
        |number: usize, chunk: usize| space.start_worker(&format!("worker-{number}-{chunk}"));
    let mut workers: Vec<Option<Worker>> = (0..2).map(|number| Some(start(number, 0))).collect();
    for chunk in 0..chunks {
        for (_, fault) in schedule.iter().filter(|(at, _)| *at == chunk) {
            match fault {
                Fault::Kill(number) => workers[*number].take().expect("it runs").kill(),
                Fault::Start(number) => workers[*number] = Some(start(*number, chunk)),
                Fault::Freeze(number) => running(&workers, *number).freeze(),
                Fault::Thaw(number) => running(&workers, *number).thaw(),
                Fault::StopPostgres => lock(server).stop_immediate(),
                Fault::StartPostgres => lock(server).start_again().unwrap(),
            }
        }
        let first = chunk * CHUNK_EVENTS;
        let events: Vec<Record> = (first..first + CHUNK_EVENTS)
            .map(|number| event(number, &mut random))
            .collect();
        producer.write(topic, &events);
        let_pass(pause);
    }
    space.wait_applied("ledger", &[topic], HEALED_WITHIN);
    for worker in workers.iter().flatten() {
        let status = worker.terminate(Duration::from_secs(30));
        assert!(status.success(), "{} ended with {status}", worker.name);
    }
}

fn running(workers: &[Option<Worker>], number: usize) -> &Worker {
    workers[number].as_ref().expect("the worker runs")
}

fn event(number: usize, random: &mut StdRng) -> Record {
    let account = random.random_range(0..2_000);
    let (kind, data) = match random.random_range(0..100) {
        0..45 => ("Paid", movement(random)),
        45..70 => ("Withdrawn", movement(random)),
        70..92 => ("Ordered", lines(random)),
        92..96 => ("Cleared", lines(random)),
        _ => ("Closed", "{}".to_owned()),
    };
    let value = format!(r#"{{"type":"{kind}","id":"e{number}","data":{data}}}"#);
    Record::new(&format!("a{account}"), value)
}

/// An amount with up to 18 digits: too many for a binary float.
fn movement(random: &mut StdRng) -> String {
    let digits = random.random_range(1..14);
    let whole = random.random_range(0..10_i64.pow(digits));
    let fraction = random.random_range(0..10_000);
    let branch = random.random_range(0..20);
    format!(
        r#"{{"branch":"b{branch}","amount":{whole}.{fraction:04},"note":"paid at the counter"}}"#
    )
}

fn lines(random: &mut StdRng) -> String {
    let count = random.random_range(0..4);
    let line = |_| {
        let sku = random.random_range(0..8);
        let quantity = random.random_range(1..10);
        format!(r#"{{"sku":"s{sku}","quantity":{quantity}}}"#)
    };
    let lines: Vec<String> = (0..count).map(line).collect();
    format!(r#"{{"lines":[{}]}}"#, lines.join(","))
}
