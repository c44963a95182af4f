//! What a contestant costs: time, its own CPU time and Postgres's, memory. Knows nothing of what it does.

use std::fs;
use std::time::Duration;

/// One run of one contestant.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// From the start of the process until everything is in the table.
    pub wall: Duration,
    /// From its first commit on, where that is known.
    pub warm: Option<(u64, Duration)>,
    pub cpu: Duration,
    pub postgres_cpu: Duration,
    pub peak_bytes: u64,
}

/// CPU time of a process in user and system mode, with that of the children it has waited for.
pub fn cpu_with_ended_children(pid: i32) -> Duration {
    cpu(pid, 4)
}

/// CPU time of Postgres: of the postmaster, of the sessions that have ended, and of those that have not.
pub fn postgres_cpu(postmaster: i32) -> Duration {
    let children: Duration = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| parent(*pid) == Some(postmaster))
        .map(|pid| cpu(pid, 2))
        .sum();
    cpu_with_ended_children(postmaster) + children
}

fn cpu(pid: i32, fields: usize) -> Duration {
    let ticks: u64 = stat(pid)
        .iter()
        .skip(11)
        .take(fields)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn parent(pid: i32) -> Option<i32> {
    stat(pid).get(1)?.parse().ok()
}

/// The fields of `/proc/PID/stat` after the name, which may hold spaces.
fn stat(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = text.rsplit(") ").next().unwrap_or_default();
    after_name.split_whitespace().map(str::to_owned).collect()
}

/// The most memory that a process had, in bytes; of a process that has not been waited for.
pub fn peak_bytes(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
