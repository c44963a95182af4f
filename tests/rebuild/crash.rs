//! Postgres is stopped at once, as by a loss of power, while a rebuild loads; when it is back the build goes on and ends exact.

use std::sync::Mutex;

use super::{IN_TIME, check_against_oracle, ledger, rebuild_with, write};
use crate::support::space::Space;
use crate::support::wait::{wait_for, wait_until};
use crate::support::worker::Worker;
use crate::support::{lock, start_postgres};

/// Where the build is held until the server has gone, and what tells that it is there.
const STAGES: [(&str, &str); 3] = [
    (
        // Rows are copied into tables without keys, and not committed.
        "batch-written",
        "select count(*) from pg_stat_activity where datname = current_database() and state = 'idle in transaction'
           and state_change < clock_timestamp() - interval '500 ms'",
    ),
    (
        // Some lanes have written all they had, others fold on.
        "load-parked",
        "select count(*) from consolidator.checkpoint where generation = GENERATION and next_offset > 0",
    ),
    (
        "index-table",
        "select count(*) from consolidator.generation where id = GENERATION and phase = 'index'",
    ),
];

const LIVE: &str = "select count(*) from consolidator.pointer where generation = GENERATION";
/// How often a rebuild may end before it is held.
const TRIES: usize = 10;

#[test]
fn a_rebuild_whose_postgres_crashes_while_it_loads_goes_on_and_ends_exact() {
    let server = Mutex::new(start_postgres(&[]));
    let url = |database: &str| lock(&server).url(database);
    let mut space = Space::on_postgres("load_crash", &url);
    space.settings.more = vec!["rebuild:\n  grace: 0s".to_owned()];
    let topic = space.topic("movements", 3);
    write(&space, &topic, 0..40_000);
    space.definition("ledger", &ledger(&topic));
    let worker = space.start_worker("worker");
    space.wait_applied("ledger", &[&topic], IN_TIME);
    for (number, (point, reached)) in STAGES.iter().enumerate() {
        let (command, generation) = std::iter::repeat_with(|| held_at(&space, point, reached))
            .take(TRIES)
            .flatten()
            .next()
            .expect("a rebuild is held where it is to be");
        lock(&server).stop_immediate();
        let more = 40_000 + number * 1_000;
        write(&space, &topic, more..more + 1_000);
        lock(&server).start_again().unwrap();
        // It says so and ends, or has gone on; the worker goes on in any case.
        command.wait(IN_TIME);
        let live = LIVE.replace("GENERATION", &generation.to_string());
        wait_until("the build to go on to its end", IN_TIME, || {
            let rows = space.database.try_query(&live);
            rows.is_ok_and(|rows| rows[0][0].as_deref() == Some("1"))
        });
        space.wait_applied("ledger", &[&topic], IN_TIME);
        check_against_oracle(&space, &topic);
    }
    assert!(worker.terminate(IN_TIME).success());
}

/// A rebuild that is held there, and its generation; nothing if the worker was faster than the command, which alone is held.
fn held_at(space: &Space, point: &str, reached: &str) -> Option<(Worker, i64)> {
    // A crash skips numbers: the next one is only known once it is there.
    let before = newest(space);
    // Long enough for the server to go meanwhile.
    let points = format!("{point}=1*sleep(5000)");
    let command = rebuild_with(space, "ledger", point, &points);
    wait_until("the rebuild to begin", IN_TIME, || newest(space) > before);
    let generation = newest(space);
    let some = |sql: &str| {
        let rows = space
            .database
            .query(&sql.replace("GENERATION", &generation.to_string()));
        rows[0][0].as_deref() != Some("0")
    };
    let held = wait_for(point, IN_TIME, || match some(reached) {
        true => Some(true),
        false => some(LIVE).then_some(false),
    });
    if held {
        return Some((command, generation));
    }
    command.wait(IN_TIME);
    None
}

fn newest(space: &Space) -> i64 {
    space
        .database
        .number("select max(id) from consolidator.generation")
}
