//! Starts a contestant, waits for its end, and takes down what it cost. Knows nothing of what is compared.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::measure::{self, Run};
use crate::support;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record};
use crate::support::wait::{let_pass, wait_for};

pub const LIMIT: Duration = Duration::from_secs(900);
/// How often a process's peak of memory is read.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Writes the records in the order of their numbers, `from..to`.
pub fn write(space: &Space, topic: &str, from: u64, to: u64, record: &dyn Fn(u64) -> Record) {
    let properties = [("linger.ms", "20"), ("batch.size", "500000")];
    let producer = Producer::with(space.kafka, &properties);
    let numbers: Vec<u64> = (from..to).collect();
    for chunk in numbers.chunks(50_000) {
        let records: Vec<Record> = chunk.iter().map(|n| record(*n)).collect();
        producer.write(topic, &records);
    }
}

pub fn postmaster() -> i32 {
    support::postgres_pid()
}

/// A program written by hand, as a process of its own.
pub fn hand(space: &Space, what: &str, topic: &str, from: &[i64]) -> Run {
    let program = std::env::current_exe().expect("the path of this program");
    // The worker's role may make schemas alone; the program makes its tables in the one that is there.
    space
        .database
        .execute("grant create on schema public to public");
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
pub fn rebuild(space: &Space) -> Run {
    let mut command = Command::new(support::worker::BINARY);
    let settings = space.write_settings("rebuild");
    command.args(["rebuild", "orders", "--config", &settings]);
    to_its_end(command.current_dir(space.dir()))
}

fn to_its_end(mut command: impl std::borrow::BorrowMut<Command>) -> Run {
    let command = command.borrow_mut();
    let before = measure::postgres_cpu(postmaster());
    let start = Instant::now();
    let mut child = command.spawn().expect("it starts");
    let pid = child.id() as i32;
    let (wall, cpu, peak_bytes) = watch_to_the_end(start, pid);
    assert!(
        child.wait().expect("a child").success(),
        "{command:?} failed"
    );
    Run {
        wall,
        warm: None,
        cpu,
        postgres_cpu: measure::postgres_cpu(postmaster()) - before,
        peak_bytes,
    }
}

/// How long it ran from `start` on, its CPU time and its peak. It is left to be waited for.
fn watch_to_the_end(start: Instant, pid: i32) -> (Duration, Duration, u64) {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Of a process that has ended there is no memory to read, and what the system tells of it counts its parent's.
        let watching = scope.spawn(|| {
            let mut peak_bytes = 0;
            while !ended.load(Ordering::Relaxed) {
                peak_bytes = measure::peak_bytes(pid).max(peak_bytes);
                let_pass(LOOK_EVERY);
            }
            peak_bytes
        });
        let status = wait_unreaped(pid);
        let wall = start.elapsed();
        ended.store(true, Ordering::Relaxed);
        assert_eq!(status, 0);
        let cpu = measure::cpu_with_ended_children(pid);
        (wall, cpu, watching.join().expect("a peak"))
    })
}

fn wait_unreaped(pid: i32) -> i32 {
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is ours; WNOWAIT leaves the child to be waited for below.
    unsafe {
        libc::waitid(
            libc::P_PID,
            pid as u32,
            &mut info,
            libc::WEXITED | libc::WNOWAIT,
        )
    }
}

/// The worker, from its start until it has applied everything.
pub fn worker(space: &Space, projection: &str, topic: &str, events: u64) -> Run {
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
