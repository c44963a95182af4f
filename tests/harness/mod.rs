//! Everything at once: a seeded schedule of faults, the tables compared with an oracle all the while. First faults (safety: what
//! stands in the tables is always the fold of what the checkpoints say), then none (liveness: the gap closes within a bound).
//!
//! The long form: `CONSOLIDATOR_TEST_HARNESS=2h CONSOLIDATOR_TEST_SEED=7 cargo test --release --test integration -- harness --nocapture`.

mod check;
mod history;
mod load;
mod world;

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::support::oracle::{CHAIN, assert_same};
use crate::support::setting;
use crate::support::topic::dump;
use crate::support::wait::let_pass;
use check::Checker;
use world::{FAULTS, Fault, World};

const SEED: u64 = 11;
const SHORT: Duration = Duration::from_secs(35);
const LOOK: Duration = Duration::from_millis(200);
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// From the last fault to a gap of 0.
const LEVEL_WITHIN: Duration = Duration::from_secs(90);

/// What the tables must be in the end, once more in plain SQL over a raw dump.
const ORACLE: [(&str, &str); 2] = [
    (
        "select account, n, sum, h from read_model.accounts",
        "select key, count(*), sum(amount)::bigint, chain(id order by \"offset\") from event group by key",
    ),
    (
        "select branch, n, sum from read_model.branches",
        "select branch, count(*), sum(amount)::bigint from event group by branch",
    ),
];

const ORACLE_SETUP: &str = "
    create view event as
    select key, \"offset\", v->>'id' as id, v->'data'->>'branch' as branch, (v->'data'->>'amount')::bigint as amount
    from (select key, \"offset\", value::jsonb as v from raw where key not like 'p%') r";

#[test]
fn tables_are_the_fold_of_their_checkpoints_at_every_moment_of_a_random_schedule_of_faults() {
    let seed = setting("CONSOLIDATOR_TEST_SEED").unwrap_or(SEED);
    let duration = std::env::var("CONSOLIDATOR_TEST_HARNESS");
    let duration = duration.map_or(SHORT, |text| length(&text));
    println!("harness: seed {seed}, {duration:?}");
    let mut world = World::new(seed);
    let mut checker = Checker::new(&world);
    let mut struck = 0;
    safety(&mut world, &mut checker, seed, duration, &mut struck);

    world.heal_all();
    println!("everything is healed");
    let healed = Instant::now();
    world.wait_level(LEVEL_WITHIN);
    println!("level after {:?}", healed.elapsed());
    let events = world.end_load();
    world.wait_level(LEVEL_WITHIN);
    assert!(checker.check(&world), "everything can be read");
    world.end_workers();
    dump(world.kafka, &[&world.topic], &world.space.database);
    world.space.database.execute(CHAIN);
    world.space.database.execute(ORACLE_SETUP);
    for (product, oracle) in ORACLE {
        assert_same(&world.space.database, product, product, oracle);
    }
    println!(
        "harness: seed {seed}: {struck} faults, {events} events written, {} looks, {} at more than one generation of a projection",
        checker.looks, checker.looks_at_builds
    );
    assert!(checker.looks > 0, "the tables were looked at");
    world.kafka.kill();
}

/// The oracle is found out to be able to fail: a row that is changed by hand shows.
#[test]
fn a_row_that_is_not_the_fold_is_found_out_by_the_harness() {
    let mut world = World::new(SEED);
    let mut checker = Checker::new(&world);
    world.end_load();
    world.wait_level(LEVEL_WITHIN);
    assert!(checker.check(&world) && checker.looks == 2);
    let change = "update consolidator_g1.accounts set h = md5(h) where account = (select min(account) from consolidator_g1.accounts)";
    world.space.database.execute(change);
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| checker.check(&world)));
    assert!(found.is_err(), "the changed row was not found out");
    world.kafka.kill();
}

fn safety(
    world: &mut World,
    checker: &mut Checker,
    seed: u64,
    duration: Duration,
    struck: &mut usize,
) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut deck: Vec<Fault> = Vec::new();
    let started = Instant::now();
    let (mut next_fault_at, mut next_check_at) = (Duration::from_secs(3), Duration::ZERO);
    while started.elapsed() < duration {
        world.heal_due();
        if started.elapsed() >= next_check_at {
            checker.check(world);
            next_check_at = started.elapsed() + CHECK_EVERY;
        }
        if started.elapsed() >= next_fault_at {
            if deck.is_empty() {
                // All kinds come by before one comes again.
                deck = FAULTS.to_vec();
                deck.shuffle(&mut random);
            }
            let fault = deck.pop().expect("it was just filled");
            if world.strike(fault, &mut random) {
                println!("{:>8.1} s  {fault:?}", started.elapsed().as_secs_f64());
                *struck += 1;
            } else {
                deck.insert(0, fault);
            }
            let pause = Duration::from_millis(random.random_range(200..1_500));
            next_fault_at = started.elapsed() + pause;
        }
        let_pass(LOOK);
    }
}

/// `90s`, `30m` or `2h`.
fn length(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let number: u64 = number
        .parse()
        .expect("a length of time like 90s, 30m or 2h");
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        other => panic!("a length of time ends in s, m or h, not {other}"),
    };
    Duration::from_secs(number * seconds)
}
