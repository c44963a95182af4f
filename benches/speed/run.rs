//! Starts a contestant, waits for its end, and takes down what it cost. Knows nothing of what is compared.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::measure::{self, Run};
use crate::support;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record};
use crate::support::wait::wait_for;

pub const LIMIT: Duration = Duration::from_secs(900);

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
