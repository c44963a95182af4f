//! How fast and how lean the worker is. Small forms run with every test; `CONSOLIDATOR_BENCH=1` gives the
//! sizes and the limits that are promised, on a machine with two cores, broker and Postgres beside it.
//!
//! Run it alone: `CONSOLIDATOR_BENCH=1 cargo test --release speed -- --nocapture --test-threads=1`.

use std::time::{Duration, Instant};

use crate::support::database::Database;
use crate::support::space::Space;
use crate::support::steady::{Probe, steady_load};
use crate::support::topic::{Producer, Record};
use crate::support::wait::{let_pass, wait_for, wait_until};
use crate::support::worker::Worker;

const PARTITIONS: i32 = 6;
const IN_TIME: Duration = Duration::from_secs(300);
/// What a worker with `worker.memory_limit: 128MiB` may take: the limit is for events and rows, not for the program.
const PEAK_MAX: u64 = 320 * MIB;
const MIB: u64 = 1024 * 1024;

const TOTALS: &str = "
projection: totals
from: [TOPIC]
tables:
  totals:
    key:
      name: text = event.key
    columns:
      n: bigint not null default 0
      total: numeric(20,2) not null default 0
      status: text
      last_at: timestamptz
      seq: bigint
    rules:
      OrderLineAdded:
        set: n = n + 1, total = total + data.amount, status = data.status,
             last_at = event.time, seq = data.seq
";

/// Live's lag while a rebuild reads the whole log, against its lag without.
#[test]
fn live_keeps_its_freshness_beside_a_rebuild() {
    let (events, rate, seconds) = if is_bench() {
        (2_000_000, 1_000, 30)
    } else {
        (40_000, 200, 4)
    };
    let space = Space::alone("beside");
    let topic = space.topic("orders", PARTITIONS);
    space.definition("totals", &TOTALS.replace("TOPIC", &topic));
    write(&space, &topic, events, 200_000.min(events));
    let worker = space.start_worker("worker");
    space.wait_applied("totals", &[&topic], IN_TIME);
    let watch = Database::at(&space.settings.postgres_url);
    let mut base = 0;
    // `seq` of a probe is above those of the load before.
    let mut load = || {
        base += 10_000_000;
        let event = |seq: u64, key: &str| Record::new(key, value(base + seq));
        let select = format!(
            "select name, greatest(seq - {base}, 0) from read_model.totals where name = any(array[PROBES])"
        );
        let duration = Duration::from_secs(seconds);
        steady_load(
            space.kafka,
            &topic,
            PARTITIONS,
            rate,
            duration,
            &event,
            &watch,
            &select,
        )
    };
    let idle = p95(&load());

    let settings = space.write_settings("rebuild");
    let arguments = ["rebuild", "totals", "--config", &settings];
    let began = Instant::now();
    let command = Worker::start("rebuild", space.dir(), &arguments, &[]);
    let (probes, ended) = std::thread::scope(|scope| {
        let ended = scope.spawn(|| {
            assert!(command.wait(IN_TIME).success(), "{}", command.log());
            Instant::now()
        });
        (load(), ended.join().expect("the rebuild ends"))
    });
    let beside: Vec<Probe> = probes
        .into_iter()
        .filter(|probe| probe.acknowledged_at < ended)
        .collect();
    let p95_beside = p95(&beside);
    println!(
        "live's lag at {rate}/s: p95 {idle:.1?} alone, {p95_beside:.1?} beside a rebuild of {events} events in {:.1?}",
        ended - began
    );
    space.wait_applied("totals", &[&topic], IN_TIME);
    let live = "select generation from consolidator.pointer";
    assert_eq!(space.database.number(live), 2);
    let lost = "select sum(n) - (select sum(events) from consolidator.checkpoint where generation = 2) from read_model.totals";
    assert_eq!(space.database.number(lost), 0);
    if is_bench() {
        assert!(beside.len() > 100, "{} probes", beside.len());
        let most = idle * 2 + Duration::from_millis(100);
        assert!(p95_beside <= most, "{p95_beside:?} of at most {most:?}");
    }
    assert!(worker.terminate(IN_TIME).success());
}

fn p95(probes: &[Probe]) -> Duration {
    quantile(&latencies(probes), 0.95)
}

/// In ascending order.
fn latencies(probes: &[Probe]) -> Vec<Duration> {
    let mut latencies: Vec<Duration> = probes.iter().filter_map(Probe::latency).collect();
    assert_eq!(latencies.len(), probes.len(), "every probe becomes visible");
    latencies.sort();
    latencies
}

fn quantile(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

#[test]
fn events_are_visible_soon_after_their_acknowledgement() {
    let (rate, seconds) = if is_bench() { (5_000, 30) } else { (500, 5) };
    let space = Space::alone("latency");
    let topic = space.topic("orders", PARTITIONS);
    space.definition("totals", &TOTALS.replace("TOPIC", &topic));
    // Every key exists, so that live work is measured, not the first build.
    write(&space, &topic, 10_000, 10_000);
    let worker = space.start_worker("worker");
    space.wait_applied("totals", &[&topic], IN_TIME);

    let event = |seq: u64, key: &str| Record::new(key, value(seq));
    let duration = Duration::from_secs(seconds);
    let watch = Database::at(&space.settings.postgres_url);
    let select = "select name, seq from read_model.totals where name = any(array[PROBES])";
    let probes = steady_load(
        space.kafka,
        &topic,
        PARTITIONS,
        rate,
        duration,
        &event,
        &watch,
        select,
    );
    let latencies = latencies(&probes);
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| quantile(&latencies, share));
    let count = probes.len();
    println!("latency at {rate}/s: p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?} of {count} probes");
    println!(
        "cpu of the worker: {:.2?} in {duration:?}",
        worker.cpu_time()
    );
    if is_bench() {
        assert!(p50 <= Duration::from_millis(15), "p50 {p50:?}");
        assert!(p99 <= Duration::from_millis(60), "p99 {p99:?}");
    }
}

#[test]
fn a_backlog_on_existing_rows_is_caught_up_with_quickly() {
    let (keys, events) = if is_bench() {
        (300_000, 3_000_000)
    } else {
        (10_000, 100_000)
    };
    let space = Space::alone("throughput");
    let topic = space.topic("orders", PARTITIONS);
    space.definition("totals", &TOTALS.replace("TOPIC", &topic));
    write(&space, &topic, keys, keys);
    let first = space.start_worker("first");
    space.wait_applied("totals", &[&topic], IN_TIME);
    assert!(first.terminate(Duration::from_secs(60)).success());

    write(&space, &topic, events, keys);
    let before = applied(&space);
    let started = Instant::now();
    let worker = space.start_worker("worker");
    let (moved, first_at) = wait_for("the first commit", IN_TIME, || {
        let now = applied(&space);
        (now > before).then(|| (now - before, Instant::now()))
    });
    space.wait_applied("totals", &[&topic], IN_TIME);
    let (all, since_first) = (started.elapsed(), first_at.elapsed());
    let rest = events as f64 - moved as f64;
    let rate = rest / since_first.as_secs_f64().max(0.001);
    println!("catching up: {events} events in {all:.2?} from the start of the process");
    println!("  {rate:.0} events/s after the first commit ({moved} events)");
    let (_, peak) = worker.resident_bytes();
    println!("  cpu {:.2?}, peak {} MiB", worker.cpu_time(), peak / MIB);
    if is_bench() {
        assert!(
            events as f64 / all.as_secs_f64() >= 120_000.0,
            "{events} in {all:?}"
        );
    }
    let sum = "select sum(n) from read_model.totals";
    assert_eq!(space.database.number(sum) as u64, (keys + events) as u64);
}

#[test]
fn a_backlog_far_larger_than_memory_stays_within_the_limit() {
    let (limit, peak_max, events) = if is_bench() {
        ("256MiB", PEAK_MAX + 128 * MIB, 5_000_000)
    } else {
        ("128MiB", PEAK_MAX, 300_000)
    };
    let peak = peak_behind(limit, events);
    assert!(peak < peak_max, "{} MiB", peak / MIB);
}

/// The negative control: with a limit that is none, a backlog does not fit into what the check above allows. While its batch waits for
/// a lock, a worker holds all that it may.
#[test]
fn without_a_limit_on_memory_a_backlog_is_found_out_to_take_more() {
    let (space, topic) = backlog("16GiB", 1);
    let worker = space.start_worker("worker");
    space.wait_applied("totals", &[&topic], IN_TIME);
    let holder = Database::at(space.database.url());
    holder.execute("begin; lock table consolidator.checkpoint in exclusive mode");
    write(&space, &topic, 1_500_000, 300_000);
    wait_until("the worker to take more", IN_TIME, || {
        worker.resident_bytes().1 >= PEAK_MAX
    });
    holder.execute("rollback");
    space.wait_applied("totals", &[&topic], IN_TIME);
    assert!(worker.terminate(IN_TIME).success());
}

/// So many events in a topic of its own, for `totals` with this limit of memory.
fn backlog(limit: &str, events: usize) -> (Space, String) {
    let mut space = Space::alone("memory");
    let topic = space.topic("orders", PARTITIONS);
    space.definition("totals", &TOTALS.replace("TOPIC", &topic));
    space.settings.worker.push(format!("memory_limit: {limit}"));
    write(&space, &topic, events, 300_000.min(events));
    (space, topic)
}

/// Bytes that a worker with this limit holds at most while it catches up.
fn peak_behind(limit: &str, events: usize) -> u64 {
    let (space, topic) = backlog(limit, events);
    let worker = space.start_worker("worker");
    space.wait_applied("totals", &[&topic], IN_TIME);
    let (_, peak) = worker.resident_bytes();
    println!(
        "memory: peak {} MiB with {limit} and {events} events behind",
        peak / MIB
    );
    settle(&worker);
    peak
}

/// An idle worker uses next to no CPU: nothing spins.
fn settle(worker: &Worker) {
    let before = worker.cpu_time();
    let idle = Duration::from_secs(3);
    let_pass(idle);
    let used = worker.cpu_time() - before;
    println!("  idle: {used:.2?} of CPU in {idle:?}");
    assert!(used < idle / 2, "an idle worker used {used:?} in {idle:?}");
}

fn is_bench() -> bool {
    std::env::var_os("CONSOLIDATOR_BENCH").is_some()
}

/// Sum of the checkpoints: how many events are applied.
fn applied(space: &Space) -> i64 {
    let sum = "select coalesce(sum(next_offset), 0)::bigint from consolidator.checkpoint";
    let rows = space.database.try_query(sum).unwrap_or_default();
    let value = rows.first().and_then(|row| row[0].as_ref()?.parse().ok());
    value.unwrap_or(0)
}

/// Writes `count` events round the keys.
fn write(space: &Space, topic: &str, count: usize, keys: usize) {
    let producer = Producer::with(
        space.kafka,
        &[("linger.ms", "20"), ("batch.size", "500000")],
    );
    let numbers: Vec<usize> = (0..count).collect();
    for chunk in numbers.chunks(50_000) {
        let record = |n: &usize| Record::new(&format!("k{}", n % keys), value(*n as u64));
        let records: Vec<Record> = chunk.iter().map(record).collect();
        producer.write(topic, &records);
    }
}

/// About 220 bytes, of which the rules read a part.
fn value(seq: u64) -> String {
    let (amount, cents, day) = (seq % 977, seq % 100, seq % 28 + 1);
    format!(
        r#"{{"type":"OrderLineAdded","id":"e-{seq:08}","source":"/shop/web","time":"2024-03-{day:02}T12:30:00Z","data":{{"seq":{seq},"sku":"SKU-{:04}","amount":{amount}.{cents:02},"currency":"EUR","status":"open","note":"left at the door"}}}}"#,
        seq % 10_000,
    )
}
