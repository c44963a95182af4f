//! How fast the worker is beside programs written by hand for the same job, in one run on one machine: real Kafka, real Postgres with
//! fsync on, contestants in turn.
//!
//! `cargo bench --bench speed [-- --events N --keys N --rounds N --only build|live]`; the full size is 3,000,000 events and 300,000 keys, 3 rounds.

#[path = "../../tests/support/mod.rs"]
mod support;

mod hand;
mod measure;
mod orders;

use std::process::Command;
use std::time::{Duration, Instant};

use measure::{Run, median};
use support::oracle::assert_same;
use support::space::Space;
use support::topic::{Producer, Record};
use support::wait::wait_for;

/// Whole rows: what two contestants must agree on.
const COLUMNS: &str = "order_id, events, quantity, amount, carrier, tracking, status, version";
const LIMIT: Duration = Duration::from_secs(900);

struct Size {
    events: u64,
    keys: u64,
    rounds: usize,
}

/// Whom a row of the table is about.
#[derive(Clone, Copy, PartialEq)]
enum Contestant {
    Consume,
    Hand,
    /// `run`, until the first generation has everything.
    FirstBuild,
    Worker,
}

impl Contestant {
    fn name(self) -> &'static str {
        match self {
            Contestant::Consume => "plain consume",
            Contestant::Hand => "written by hand",
            Contestant::FirstBuild => "run, first build",
            Contestant::Worker => "consolidator",
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "hand") {
        return be_hand(&arguments[1..]);
    }
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok())
            .unwrap_or(default)
    };
    let size = Size {
        events: number("--events", 3_000_000),
        keys: number("--keys", 300_000),
        rounds: number("--rounds", 3) as usize,
    };
    println!(
        "{} events, {} keys, {} partitions, {} rounds",
        size.events,
        size.keys,
        orders::PARTITIONS,
        size.rounds
    );
    let only = arguments.iter().position(|argument| argument == "--only");
    let only = only.and_then(|at| arguments.get(at + 1));
    let wanted = |part: &str| only.is_none_or(|only| only == part);
    if wanted("build") {
        build(&size);
    }
    if wanted("live") {
        live(&size);
    }
}

/// What a child of this process does: `hand WHAT BROKERS TOPIC POSTGRES FROM…`.
fn be_hand(arguments: &[String]) {
    let [what, brokers, topic, postgres, from @ ..] = arguments else {
        panic!("started by hand");
    };
    let from: Vec<i64> = from.iter().map(|n| n.parse().expect("offsets")).collect();
    match what.as_str() {
        "consume" => hand::consume(brokers, topic, &from),
        "rebuild" => hand::rebuild(brokers, topic, postgres),
        "live" => hand::live(brokers, topic, postgres, &from),
        other => panic!("{other}?"),
    }
}

/// From the beginning of the topic into empty tables.
fn build(size: &Size) {
    let space = Space::alone("build");
    let topic = space.topic("orders", orders::PARTITIONS);
    let producer = bulk_producer(&space);
    write(&producer, &topic, 0, size.events, size.keys);
    let definition = orders::DEFINITION.replace("TOPIC", &topic);
    space.definition("orders", &definition);
    let first = worker(&space, "orders", &topic, size.events);
    let zeros = vec![0; orders::PARTITIONS as usize];
    let mut runs = vec![(Contestant::FirstBuild, first)];
    for _ in 0..size.rounds {
        runs.push((Contestant::Consume, hand(&space, "consume", &topic, &zeros)));
        runs.push((Contestant::Hand, hand(&space, "rebuild", &topic, &zeros)));
        runs.push((Contestant::Worker, rebuild(&space)));
        let product = format!("select {} from read_model.orders", COLUMNS);
        let by_hand = format!("select {} from hand_orders", COLUMNS);
        assert_same(&space.database, "orders", &product, &by_hand);
    }
    report("rebuild", size.events, &runs);
}

/// A backlog on rows that exist.
fn live(size: &Size) {
    let space = Space::alone("live");
    let topic = space.topic("orders", orders::PARTITIONS);
    let producer = bulk_producer(&space);
    write(&producer, &topic, 0, size.keys, size.keys);
    let definition = orders::DEFINITION.replace("TOPIC", &topic);
    space.definition("orders", &definition);
    worker(&space, "orders", &topic, size.keys);
    let zeros = vec![0; orders::PARTITIONS as usize];
    hand(&space, "rebuild", &topic, &zeros);
    space.database.execute(
        "create table hand_checkpoint as select partition, next_offset from consolidator.checkpoint;
         alter table hand_checkpoint add primary key (partition);
         create table begin_offset as select partition, next_offset from consolidator.checkpoint",
    );
    let from: Vec<i64> = space
        .kafka
        .offsets(&topic)
        .iter()
        .map(|ends| ends.1)
        .collect();
    write(
        &producer,
        &topic,
        size.keys,
        size.keys + size.events,
        size.keys,
    );
    let mut runs = Vec::new();
    for _ in 0..size.rounds {
        rewind(&space);
        runs.push((Contestant::Hand, hand(&space, "live", &topic, &from)));
        rewind(&space);
        runs.push((
            Contestant::Worker,
            worker(&space, "orders", &topic, size.events),
        ));
        let product = format!("select {} from read_model.orders", COLUMNS);
        let by_hand = format!("select {} from hand_orders", COLUMNS);
        assert_same(&space.database, "orders", &product, &by_hand);
    }
    report("live, catching up on existing rows", size.events, &runs);
}

/// Both have the same backlog again: a measurement may do what nobody else may, fold the same events another time.
fn rewind(space: &Space) {
    space.database.execute(
        "update hand_checkpoint c set next_offset = b.next_offset from begin_offset b where b.partition = c.partition;
         update consolidator.checkpoint c set next_offset = b.next_offset from begin_offset b where b.partition = c.partition",
    );
    space.database.execute("checkpoint");
}

/// Writes events `from..to` over `keys` keys.
fn write(producer: &Producer, topic: &str, from: u64, to: u64, keys: u64) {
    let numbers: Vec<u64> = (from..to).collect();
    let record = |n: &u64| {
        let (key, value) = orders::event(*n, keys);
        Record::new(&key, value)
    };
    for chunk in numbers.chunks(50_000) {
        let records: Vec<Record> = chunk.iter().map(record).collect();
        producer.write(topic, &records);
    }
}

fn bulk_producer(space: &Space) -> Producer {
    Producer::with(
        space.kafka,
        &[("linger.ms", "20"), ("batch.size", "500000")],
    )
}

fn postmaster() -> i32 {
    support::postgres_pid()
}

/// A program written by hand, as a process of its own.
fn hand(space: &Space, what: &str, topic: &str, from: &[i64]) -> Run {
    let program = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(program);
    command.args([
        "hand",
        what,
        &space.kafka.brokers,
        topic,
        &space.settings.postgres_url,
    ]);
    command.args(from.iter().map(i64::to_string));
    to_its_end(command)
}

/// `rebuild`, until readers see the new generation.
fn rebuild(space: &Space) -> Run {
    let mut command = Command::new(support::worker::BINARY);
    let settings = space.write_settings("rebuild");
    command.args(["rebuild", "orders", "--config", &settings]);
    to_its_end(command.current_dir(space.dir()))
}

fn to_its_end(mut command: impl std::borrow::BorrowMut<Command>) -> Run {
    let command = command.borrow_mut();
    let before = measure::postgres_cpu(postmaster());
    let start = Instant::now();
    let child = command.spawn().expect("it starts");
    let pid = child.id() as i32;
    // Not yet waited for: what it used can still be read.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is ours; WNOWAIT leaves the child to be waited for below.
    let status = unsafe {
        libc::waitid(
            libc::P_PID,
            pid as u32,
            &mut info,
            libc::WEXITED | libc::WNOWAIT,
        )
    };
    assert_eq!(status, 0);
    let wall = start.elapsed();
    let cpu = measure::cpu_with_ended_children(pid);
    let (ended, peak_bytes) = wait_with_peak(child);
    assert!(ended, "{command:?} failed");
    Run {
        wall,
        warm: None,
        cpu,
        postgres_cpu: measure::postgres_cpu(postmaster()) - before,
        peak_bytes,
    }
}

fn wait_with_peak(child: std::process::Child) -> (bool, u64) {
    let pid = child.id() as i32;
    let mut status = 0;
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both places are ours; the child is waited for once, here.
    let waited = unsafe { libc::wait4(pid, &mut status, 0, &mut usage) };
    assert_eq!(waited, pid);
    (status == 0, usage.ru_maxrss as u64 * 1024)
}

/// The worker, from its start until it has applied everything.
fn worker(space: &Space, projection: &str, topic: &str, events: u64) -> Run {
    let before = measure::postgres_cpu(postmaster());
    let applied_before = applied(space);
    let start = Instant::now();
    let worker = space.start_worker(projection);
    let (first, first_at) = wait_for("the first commit", LIMIT, || {
        let now = applied(space);
        (now > applied_before).then(|| (now - applied_before, Instant::now()))
    });
    space.wait_applied(projection, &[topic], LIMIT);
    let wall = start.elapsed();
    let run = Run {
        wall,
        warm: Some((events.saturating_sub(first as u64), first_at.elapsed())),
        cpu: worker.cpu_time(),
        postgres_cpu: measure::postgres_cpu(postmaster()) - before,
        peak_bytes: measure::peak_bytes(worker.pid()),
    };
    assert!(worker.terminate(Duration::from_secs(60)).success());
    run
}

/// Sum of the checkpoints.
fn applied(space: &Space) -> i64 {
    let sum = "select coalesce(sum(next_offset), 0)::bigint from consolidator.checkpoint";
    let rows = space.database.try_query(sum).unwrap_or_default();
    let value = rows.first().and_then(|row| row[0].as_ref()?.parse().ok());
    value.unwrap_or(0)
}

fn report(what: &str, events: u64, runs: &[(Contestant, Run)]) {
    println!("\n{what}");
    println!(
        "{:18} {:>9} {:>9} {:>9} {:>11} {:>12} {:>9}",
        "", "k/s", "spread", "warm k/s", "CPU us/ev", "pg us/ev", "peak MiB"
    );
    let rates = |who: Contestant| -> Vec<f64> {
        let of = runs.iter().filter(|(one, _)| *one == who);
        of.map(|(_, run)| events as f64 / run.wall.as_secs_f64() / 1e3)
            .collect()
    };
    let all = [
        Contestant::Consume,
        Contestant::Hand,
        Contestant::FirstBuild,
        Contestant::Worker,
    ];
    for who in all {
        let of: Vec<Run> = runs
            .iter()
            .filter(|(one, _)| *one == who)
            .map(|(_, run)| *run)
            .collect();
        if of.is_empty() {
            continue;
        }
        let all = rates(who);
        let (low, high) = all.iter().fold((f64::MAX, 0f64), |(low, high), rate| {
            (low.min(*rate), high.max(*rate))
        });
        let per_event = |time: fn(&Run) -> Duration| {
            median(
                of.iter()
                    .map(|run| time(run).as_secs_f64() * 1e6 / events as f64)
                    .collect(),
            )
        };
        let warm: Vec<f64> = of
            .iter()
            .filter_map(|run| run.warm)
            .map(|(events, time)| events as f64 / time.as_secs_f64() / 1e3)
            .collect();
        let warm = if warm.is_empty() {
            "-".to_owned()
        } else {
            format!("{:.0}", median(warm))
        };
        println!(
            "{:18} {:>9.0} {:>4.0}-{:<4.0} {:>9} {:>11.2} {:>12.2} {:>9.0}",
            who.name(),
            median(all),
            low,
            high,
            warm,
            per_event(|run| run.cpu),
            per_event(|run| run.postgres_cpu),
            of.iter().map(|run| run.peak_bytes).max().unwrap_or(0) as f64 / 1048576.0,
        );
    }
    let ratio: Vec<f64> = rates(Contestant::Worker)
        .iter()
        .zip(rates(Contestant::Hand))
        .map(|(worker, hand)| worker / hand)
        .collect();
    println!("consolidator / by hand: {:.2}", median(ratio));
}
