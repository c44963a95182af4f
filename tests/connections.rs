//! Workers that go, and connections that are not to be had: killed, asked to end once and twice, too many connections, a pooler in
//! between. Whatever it is, the tables are exact, and what keeps a worker waiting is told.

use std::fs;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::chains::{
    assert_chains, chain_event, chain_events, chains_at_work, define_chains,
};
use crate::support::database::Database;
use crate::support::pooler::Pooler;
use crate::support::root;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record};
use crate::support::wait::{let_pass, wait_for, wait_until};
use crate::support::worker::{Worker, http_address, is_ready, metrics};

const IN_TIME: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 4;
/// As `Space` sets it.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// What is promised behind it.
const TAKE_OVER: Duration = Duration::from_secs(5);
/// How long a worker is watched that cannot get on, and how often it may log in meanwhile: two lanes, each every other second, and a
/// pool of three, each of which begins with short pauses again after ten seconds.
const WATCHED: Duration = Duration::from_secs(10);
const LOGINS_MAX: usize = 60;

#[test]
fn the_partitions_of_a_killed_worker_go_on_within_five_seconds_of_the_session_timeout() {
    let space = Space::alone("killed");
    let topic = define_chains(&space, PARTITIONS);
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &added(0..100));
    let workers = [space.start_worker("one"), space.start_worker("two")];
    wait_until("both workers to own partitions", IN_TIME, || {
        let owned = workers.each_ref().map(|worker| owned_by(&space, worker));
        owned.iter().all(|owned| !owned.is_empty()) && owned.concat().len() == PARTITIONS as usize
    });
    let [killed, other] = workers;
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| write_until(&ended, &space, &topic, "during"));
        // Of what arrives by now, both have committed something.
        let before = next_offsets(&space);
        wait_until("every partition to go on", IN_TIME, || {
            let now = next_offsets(&space);
            now.iter().zip(&before).all(|(now, before)| now > before)
        });
        let partitions = owned_by(&space, &killed);
        assert!(!partitions.is_empty(), "it owned some a moment ago");
        killed.kill();
        let killed_at = Instant::now();
        let written = producer.write(&topic, &added(100..200));
        let first_after = |partition: i64| {
            let mut places = written.iter();
            let place = places.find(|(other, _)| i64::from(*other) == partition);
            place.expect("every partition is written to").1
        };
        let limit = SESSION_TIMEOUT + TAKE_OVER;
        for partition in partitions {
            let offset = first_after(partition);
            let left = limit.saturating_sub(killed_at.elapsed());
            wait_until("the other worker to commit for the dead one", left, || {
                next_offsets(&space)[partition as usize] > offset
            });
        }
        println!("all went on {:.1?} after the kill", killed_at.elapsed());
        ended.store(true, Ordering::SeqCst);
    });
    space.wait_applied("chains", &[&topic], IN_TIME);
    assert!(other.terminate(IN_TIME).success());
    assert_chains(&space, &topic);
}

#[test]
fn a_worker_that_is_asked_to_end_under_load_ends_well_within_its_grace_period() {
    let space = Space::new("asked");
    let topic = define_chains(&space, PARTITIONS);
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &added(0..20_000));
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| write_until(&ended, &space, &topic, "load"));
        let first = space.start_worker("first");
        wait_until("the first commit", IN_TIME, || {
            let applied = space.database.try_query(APPLIED).unwrap_or_default();
            !applied.is_empty() && applied[0][0].as_deref() != Some("0")
        });
        let status = first.terminate(grace_period());
        assert_eq!(status.code(), Some(0));
        // It has gone in good order: nobody takes it for the owner, and its group does not wait for it.
        let owners = "select count(*) from consolidator.checkpoint where owner_pid is not null";
        assert_eq!(space.database.number(owners), 0);
        ended.store(true, Ordering::SeqCst);
    });
    assert_no_more_than_the_checkpoints(&space);
    let second = space.start_worker("second");
    space.wait_applied("chains", &[&topic], IN_TIME);
    assert!(second.terminate(grace_period()).success());
    assert_chains(&space, &topic);
}

#[test]
fn a_second_signal_ends_a_worker_at_once_that_cannot_commit_and_nothing_is_lost() {
    let space = Space::new("twice");
    let (topic, producer, first) = chains_at_work(&space, PARTITIONS, "first", 1_000);
    let holder = hold_table(&space);
    producer.write(&topic, &added(1_000..2_000));
    wait_for_blocked(&space);
    first.signal(libc::SIGTERM);
    first.wait_for_log("asked to end", IN_TIME);
    assert!(first.is_running(), "its batch is not done");
    let signalled_at = Instant::now();
    first.signal(libc::SIGTERM);
    assert_eq!(first.wait(Duration::from_secs(1)).code(), Some(1));
    println!("ended in {:.1?}", signalled_at.elapsed());
    holder.execute("rollback");
    let second = space.start_worker("second");
    producer.write(&topic, &added(2_000..3_000));
    space.wait_applied("chains", &[&topic], IN_TIME);
    assert!(second.terminate(IN_TIME).success());
    assert_chains(&space, &topic);
}

#[test]
fn a_worker_that_is_asked_to_end_while_its_table_is_locked_gives_its_batch_up_in_time() {
    let space = Space::new("locked");
    let (topic, producer, first) = chains_at_work(&space, PARTITIONS, "first", 1_000);
    let holder = hold_table(&space);
    producer.write(&topic, &added(1_000..2_000));
    wait_for_blocked(&space);
    assert_eq!(first.terminate(grace_period()).code(), Some(0));
    assert_eq!(space.database.number(APPLIED), 1_000);
    holder.execute("rollback");
    let second = space.start_worker("second");
    space.wait_applied("chains", &[&topic], IN_TIME);
    assert!(second.terminate(IN_TIME).success());
    assert_chains(&space, &topic);
}

#[test]
fn a_lane_that_gets_no_connection_says_so_and_goes_on_when_there_is_one() {
    let space = Space::new("no_lane");
    let (topic, producer, worker) = chains_at_work(&space, PARTITIONS, "worker", 1_000);
    // What it has for control stays, and counts: nothing is left for lanes.
    limit_connections(&space, 1);
    space.database.execute(
        "select pg_terminate_backend(pid, 5000) from (select distinct owner_pid as pid from consolidator.checkpoint) owners",
    );
    producer.write(&topic, &added(1_000..2_000));
    let waiting = "select reason like '%too many connections%' and hint like '%connections%' from consolidator.waiting";
    wait_until("the projection to wait", IN_TIME, || {
        let told = space.database.query(waiting);
        !told.is_empty() && told.iter().all(|row| row[0].as_deref() == Some("t"))
    });
    let state = "select state from consolidator.freshness";
    assert_eq!(space.database.value(state).as_deref(), Some("waiting"));
    limit_connections(&space, -1);
    space.wait_applied("chains", &[&topic], IN_TIME);
    wait_until("the projection not to wait any more", IN_TIME, || {
        space.database.value(state).as_deref() == Some("live")
    });
    assert_nothing_blamed(&space);
    assert!(worker.terminate(IN_TIME).success());
    assert_chains(&space, &topic);
}

#[test]
fn workers_that_get_no_connection_at_all_wait_and_go_on_when_there_are_some() {
    let space = Space::new("no_connection");
    let (topic, producer, running) = chains_at_work(&space, PARTITIONS, "running", 1_000);
    let http = http_address(&space.dir().join("running.settings.yaml"));
    limit_connections(&space, 0);
    let role = format!("{}_owner", space.id);
    space.database.execute(&format!(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = '{role}'"
    ));
    producer.write(&topic, &added(1_000..2_000));
    running.wait_for_log("too many connections", IN_TIME);
    running.wait_for_log("give the server room", IN_TIME);
    wait_until("the metrics to tell of tries", IN_TIME, || {
        retries(&http) > 0
    });
    let starting = space.start_worker("starting");
    starting.wait_for_log("too many connections", IN_TIME);
    starting.wait_for_log("waiting for Postgres", IN_TIME);
    let its_http = http_address(&space.dir().join("starting.settings.yaml"));
    assert!(!is_ready(&its_http));
    let asked = space.run(&["status"]);
    let told = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert_eq!(asked.status.code(), Some(2), "{told}");
    assert!(told.contains("too many connections"), "{told}");
    limit_connections(&space, -1);
    producer.write(&topic, &added(2_000..3_000));
    space.wait_applied("chains", &[&topic], IN_TIME);
    wait_until("the other worker to be ready", IN_TIME, || {
        is_ready(&its_http)
    });
    assert_nothing_blamed(&space);
    for worker in [running, starting] {
        assert!(worker.terminate(IN_TIME).success());
    }
    assert_chains(&space, &topic);
}

#[test]
fn behind_a_pooler_in_session_mode_everything_works() {
    let mut space = Space::new("pooled");
    let pooler = Pooler::start("session", &space.settings.postgres_url);
    space.settings.postgres_url.clone_from(&pooler.url);
    let (topic, producer, worker) = chains_at_work(&space, PARTITIONS, "worker", 1_000);
    producer.write(&topic, &added(1_000..2_000));
    for command in [
        &["rebuild", "chains"][..],
        &["verify", "chains"],
        &["status"],
    ] {
        let output = space.run(command);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command:?}: {told}");
    }
    producer.write(&topic, &added(2_000..3_000));
    space.wait_applied("chains", &[&topic], IN_TIME);
    assert!(worker.terminate(IN_TIME).success());
    assert_chains(&space, &topic);
}

#[test]
fn a_pooler_in_transaction_mode_is_found_out_before_anything_is_done() {
    let mut space = Space::new("unpooled");
    define_chains(&space, PARTITIONS);
    for mode in ["transaction", "statement"] {
        let pooler = Pooler::start(mode, &space.settings.postgres_url);
        let direct = std::mem::replace(&mut space.settings.postgres_url, pooler.url.clone());
        for command in ["run", "status"] {
            let output = space.run(&[command]);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{told}");
            let what_to_do = "pool_mode must be session";
            assert!(
                told.contains("a pooler") && told.contains(what_to_do),
                "{told}"
            );
        }
        space.settings.postgres_url = direct;
    }
    let made = "select count(*) from pg_namespace where nspname like 'consolidator%'";
    assert_eq!(space.database.number(made), 0);
}

#[test]
fn a_pooler_that_goes_over_to_transaction_mode_is_named_and_not_flooded_until_it_is_back() {
    let mut space = Space::new("repooled");
    let mut pooler = Pooler::start("session", &space.settings.postgres_url);
    space.settings.postgres_url.clone_from(&pooler.url);
    let (topic, producer, worker) = chains_at_work(&space, PARTITIONS, "worker", 1_000);
    pooler.restart("transaction");
    producer.write(&topic, &added(1_000..2_000));
    worker.wait_for_log("pool_mode must be session", IN_TIME);
    let before = pooler.logins();
    let_pass(WATCHED);
    let logins = pooler.logins() - before;
    println!("{logins} logins in {WATCHED:?}");
    assert!(logins < LOGINS_MAX, "{logins} logins in {WATCHED:?}");
    assert_no_more_than_the_checkpoints(&space);
    pooler.restart("session");
    producer.write(&topic, &added(2_000..3_000));
    space.wait_applied("chains", &[&topic], IN_TIME);
    assert_nothing_blamed(&space);
    assert!(worker.terminate(IN_TIME).success());
    assert_chains(&space, &topic);
}

#[test]
fn a_worker_that_waits_for_a_server_without_an_answer_ends_when_asked() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let mut space = Space::new("silent");
    define_chains(&space, PARTITIONS);
    let address = silent.local_addr().unwrap();
    space.settings.postgres_url = format!("postgres://nobody:nothing@{address}/nowhere");
    let worker = space.start_worker("worker");
    let _unanswered = wait_for("the worker to connect", IN_TIME, || silent.accept().ok());
    assert!(worker.terminate(Duration::from_secs(5)).success());
}

fn write_until(ended: &AtomicBool, space: &Space, topic: &str, name: &str) {
    let producer = Producer::new(space.kafka);
    let mut number = 0;
    while !ended.load(Ordering::SeqCst) {
        let event = |number| chain_event(&format!("{name}{number}"), number, PARTITIONS);
        let events: Vec<_> = (number..number + 40).map(event).collect();
        producer.write(topic, &events);
        number += events.len();
        let_pass(Duration::from_millis(20));
    }
}

fn added(numbers: Range<usize>) -> Vec<Record> {
    chain_events(numbers, PARTITIONS)
}

const APPLIED: &str = "select coalesce(sum(next_offset), 0)::bigint from consolidator.checkpoint";

/// In the order of partitions.
fn next_offsets(space: &Space) -> Vec<i64> {
    numbers(
        space,
        "select next_offset from consolidator.checkpoint order by partition",
    )
}

/// What is committed, and nothing else, is in the table: every record is one event.
fn assert_no_more_than_the_checkpoints(space: &Space) {
    let counted = "select coalesce(sum(n), 0)::bigint from read_model.chains";
    assert_eq!(
        space.database.number(counted),
        space.database.number(APPLIED)
    );
}

fn owned_by(space: &Space, worker: &Worker) -> Vec<i64> {
    let pid = worker.pid();
    numbers(
        space,
        &format!(
            "select partition from consolidator.checkpoint where owner_name like '%/{pid}/%' order by partition"
        ),
    )
}

/// None as long as there is no control schema.
fn numbers(space: &Space, sql: &str) -> Vec<i64> {
    let rows = space.database.try_query(sql).unwrap_or_default();
    let number = |row: &Vec<Option<String>>| row[0].as_ref().unwrap().parse().unwrap();
    rows.iter().map(number).collect()
}

/// Nobody writes to the table, or reads it, until the session that this gives rolls back.
fn hold_table(space: &Space) -> Database {
    let holder = Database::at(space.database.url());
    holder.execute("begin; lock table consolidator_g1.chains in access exclusive mode");
    holder
}

fn wait_for_blocked(space: &Space) {
    let blocked = "select count(*) from pg_stat_activity a join consolidator.checkpoint c on c.owner_pid = a.pid \
        where a.wait_event_type = 'Lock'";
    wait_until("a batch to be in front of the lock", IN_TIME, || {
        space.database.number(blocked) > 0
    });
}

fn retries(http: &str) -> u64 {
    let metrics = metrics(http);
    let counted = metrics
        .lines()
        .find(|line| line.starts_with("consolidator_retries_total"));
    let count = counted.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    count.unwrap_or(0)
}

/// What we deploy with.
fn grace_period() -> Duration {
    let manifest = fs::read_to_string(root().join("deploy/kubernetes/deployment.yaml")).unwrap();
    let mut lines = manifest.lines();
    let seconds =
        lines.find_map(|line| line.trim().strip_prefix("terminationGracePeriodSeconds: "));
    Duration::from_secs(seconds.expect("a grace period").parse().unwrap())
}

fn limit_connections(space: &Space, limit: i32) {
    let role = format!("{}_owner", space.id);
    let limit = format!("alter role {role} connection limit {limit}");
    space.database.execute(&limit);
}

fn assert_nothing_blamed(space: &Space) {
    for blamed in ["consolidator.dead_letter", "consolidator.stop"] {
        let count = format!("select count(*) from {blamed}");
        assert_eq!(space.database.number(&count), 0);
    }
}
