//! Runs the real `consolidator` binary as a process that a test can freeze, thaw, kill and end.
//! Knows nothing of what the worker does.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use consolidator::demo::process::ServerProcess;

use super::wait::wait_until;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_consolidator");
/// A running worker. Killed when dropped.
pub struct Worker {
    pub name: String,
    process: ServerProcess,
    log_file: PathBuf,
}

impl Worker {
    /// Runs the binary with `arguments`; its output goes to `NAME.log` in `dir`.
    pub fn start(
        name: &str,
        dir: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Worker {
        let mut command = Command::new(BINARY);
        command.args(arguments);
        Worker::start_command(name, dir, command, environment)
    }

    /// The same by way of another program, which becomes the binary.
    pub fn start_command(
        name: &str,
        dir: &Path,
        mut command: Command,
        environment: &[(&str, &str)],
    ) -> Worker {
        let log_file = dir.join(format!("{name}.log"));
        let mut options = File::options();
        options.create(true).append(true);
        command.current_dir(dir);
        command.env("RUST_BACKTRACE", "1");
        for (key, value) in environment {
            command.env(key, value);
        }
        command.stdout(options.open(&log_file).unwrap());
        command.stderr(options.open(&log_file).unwrap());
        let process = ServerProcess::spawn(command, libc::SIGKILL).unwrap();
        Worker {
            name: name.to_owned(),
            process,
            log_file,
        }
    }

    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// kill -9.
    pub fn kill(self) {
        self.process.signal(libc::SIGKILL);
        let ended = self.process.wait(Duration::from_secs(10));
        assert!(ended.is_some(), "a killed process ends");
    }

    pub fn freeze(&self) {
        self.process.signal(libc::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.process.signal(libc::SIGCONT);
    }

    pub fn signal(&self, signal: libc::c_int) {
        self.process.signal(signal);
    }

    /// SIGTERM, then waits for the end.
    pub fn terminate(&self, timeout: Duration) -> ExitStatus {
        self.process.signal(libc::SIGTERM);
        self.wait(timeout)
    }

    /// Waits until the process ends by itself.
    pub fn wait(&self, timeout: Duration) -> ExitStatus {
        let ended = self.process.wait(timeout);
        ended.unwrap_or_else(|| panic!("{} still runs after {timeout:?}", self.name))
    }

    pub fn is_running(&self) -> bool {
        self.process.ended().is_none()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log_file).unwrap_or_default()
    }

    /// Waits until the log holds `text`.
    pub fn wait_for_log(&self, text: &str, timeout: Duration) {
        let what = format!("`{text}` in the log of {}", self.name);
        wait_until(&what, timeout, || self.log().contains(text));
    }

    /// The same behind the last time that it held `before`.
    pub fn wait_for_log_after(&self, before: &str, text: &str, timeout: Duration) {
        let what = format!("`{text}` after `{before}` in the log of {}", self.name);
        wait_until(&what, timeout, || {
            let log = self.log();
            log.rsplit_once(before)
                .is_some_and(|(_, after)| after.contains(text))
        });
    }

    /// Memory that is resident now, and at its highest so far, in bytes.
    pub fn resident_bytes(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            kib.unwrap_or(0) * 1024
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// CPU time that the process has used, in user and system mode together.
    pub fn cpu_time(&self) -> Duration {
        let ticks = numbers_of(self.pid(), 11, 2).iter().sum::<i64>();
        Duration::from_millis(ticks as u64 * 10)
    }

    /// Its nice value, above that of these tests.
    pub fn gives_way_by(&self) -> i64 {
        let niceness = |pid| numbers_of(pid, 16, 1)[0];
        niceness(self.pid()) - niceness(std::process::id() as i32)
    }
}

/// Of /proc/PID/stat, behind the name in parentheses, which may hold spaces.
fn numbers_of(pid: i32, first: usize, count: usize) -> Vec<i64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let fields = after_name.split_whitespace().skip(first).take(count);
    fields.filter_map(|field| field.parse().ok()).collect()
}

/// Runs a command of the binary to its end.
pub fn run_command(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(dir);
    command.env("RUST_BACKTRACE", "1").env("NO_COLOR", "1");
    command.output().unwrap()
}

/// The last lines of a file.
pub fn tail(file: &Path, count: usize) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Where the process with these settings answers probes.
pub fn http_address(settings: &Path) -> String {
    let text = fs::read_to_string(settings).unwrap();
    let listen = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("listen: "));
    listen.expect("an address").trim_matches('"').to_owned()
}

/// Whether `/readyz` says so.
pub fn is_ready(http: &str) -> bool {
    get(http, "/readyz").is_ok_and(|answer| answer.contains(" 200 "))
}

/// What `/metrics` gives; nothing while nobody answers.
pub fn metrics(http: &str) -> String {
    get(http, "/metrics").unwrap_or_default()
}

fn get(http: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(http)?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
