//! Rebuilds that are killed at random moments beside a worker that folds on.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{IN_TIME, check_against_oracle, ledger, write};
use crate::support::setting;
use crate::support::space::Space;
use crate::support::wait::{let_pass, wait_until};
use crate::support::worker::Worker;

/// Unless `CONSOLIDATOR_TEST_KILLS` says otherwise.
const KILLS: u64 = 4;
const EVENTS: usize = 40_000;
/// About as long as a rebuild takes.
const LATEST_KILL_MS: u64 = 2_500;
const NO_GRACE: (&str, &str) = ("CONSOLIDATOR__REBUILD__GRACE", "0s");

#[test]
fn rebuilds_killed_at_random_leave_live_undisturbed_and_nothing_orphaned() {
    let seed = setting("CONSOLIDATOR_TEST_SEED").unwrap_or_else(|| rand::random::<u32>().into());
    let kills = setting("CONSOLIDATOR_TEST_KILLS").unwrap_or(KILLS);
    println!("seed {seed}, {kills} kills");
    let mut random = StdRng::seed_from_u64(seed);
    let mut space = Space::new("killed_at_random");
    space.environment = vec![(NO_GRACE.0.to_owned(), NO_GRACE.1.to_owned())];
    let topic = space.topic("movements", 3);
    write(&space, &topic, 0..EVENTS);
    space.definition("ledger", &ledger(&topic));
    let worker = space.start_worker("worker");
    space.wait_applied("ledger", &[&topic], IN_TIME);
    let settings = space.write_settings("command");
    for round in 0..kills as usize {
        let arguments = ["rebuild", "ledger", "--config", &settings];
        let name = format!("command-{round}");
        let command = Worker::start(&name, space.dir(), &arguments, &[NO_GRACE]);
        let_pass(Duration::from_millis(
            random.random_range(0..LATEST_KILL_MS),
        ));
        command.kill();
        let written = EVENTS + round * 1_000;
        write(&space, &topic, written..written + 1_000);
        space.wait_applied("ledger", &[&topic], IN_TIME);
        let under_way =
            "select count(*) from consolidator.generation where state in ('building', 'caught_up')";
        wait_until("the worker to end what was begun", IN_TIME, || {
            space.database.number(under_way) == 0
        });
        space.wait_applied("ledger", &[&topic], IN_TIME);
        check_against_oracle(&space, &topic);
        let live = "select count(*) from consolidator.generation where state = 'live'";
        assert_eq!(space.database.number(live), 1, "round {round}");
    }
    let orphans = "select count(*) from pg_namespace n where n.nspname like 'consolidator\\_g%' and not exists (
        select from consolidator.generation g where g.state = 'live' and n.nspname = 'consolidator_g' || g.id)";
    wait_until("what is superseded to go", IN_TIME, || {
        space.database.number(orphans) == 0
    });
    assert!(worker.terminate(IN_TIME).success());
}
