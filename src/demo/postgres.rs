//! Owns a throw-away Postgres server: finds or fetches its binaries, makes its data directory, starts
//! and ends it. Knows nothing of what is stored in it and speaks no SQL.
//!
//! Postgres refuses to run as root, so root hands the server and its data to another user of the machine.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postgresql_embedded::{PostgreSQL, Settings as EmbeddedSettings, VersionReq};
use rand::RngExt;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::process::ServerProcess;

/// The server that is fetched when the machine has none.
const FETCHED_VERSION: &str = "15.18.0";
/// What its program `postgres` must be (SHA-256). On another architecture the checksum that the archive
/// is published with has to do; `postgresql_embedded` checks that one everywhere.
const FETCHED_SHA256: Option<&str> = if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
    Some("34909ddf65e9da7defdead621bfe1a8ba1b83b5ac11bac21c1a378c6d0d035e4")
} else {
    None
};
/// Where `postgresql_embedded` finds the binaries of the zonky project, which a package registry serves.
const RELEASES_URL: &str = "https://github.com/zonkyio/embedded-postgres-binaries";
/// The oldest server that gives what the product promises.
const OLDEST_MAJOR: u32 = 15;
/// Name of the superuser.
const SUPERUSER: &str = "postgres";
/// A server that is not ready after this time will not become so.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a starting server's status file is looked at: the server offers no signal to wait for.
const READY_POLL: Duration = Duration::from_millis(10);
/// A free port is found before the server binds it, so another process may be faster.
const PORT_TRIES: u32 = 5;

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Whether a commit waits for the disk.
    pub fsync: bool,
    /// More server settings: name and value, as in `postgresql.conf`.
    pub settings: Vec<(String, String)>,
    /// Where the data directory is made; the system's temporary directory by default.
    pub parent_dir: Option<PathBuf>,
}

/// Why there is no Postgres.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error(
        "no PostgreSQL {OLDEST_MAJOR} or newer on this machine, and none could be fetched: {0}"
    )]
    Fetch(String),
    #[error("cannot make a PostgreSQL data directory: {0}")]
    Initialise(String),
    #[error("PostgreSQL did not start: {0}")]
    Start(String),
    #[error("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`")]
    NoUser,
    #[error("{doing}: {source}")]
    Io { doing: String, source: io::Error },
}

/// A server and its data, both gone when this is dropped.
#[derive(Debug)]
pub struct PostgresServer {
    process: Option<ServerProcess>,
    bin_dir: PathBuf,
    user: Option<User>,
    password: String,
    port: u16,
    options: PostgresOptions,
    // Dropped last: the server writes into it.
    dir: TempDir,
}

/// The user that a server runs as when we are root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        PostgresOptions {
            fsync: true,
            settings: Vec::new(),
            parent_dir: None,
        }
    }
}

impl PostgresServer {
    /// Starts a new, empty server: UTF8, byte order, time zone UTC. Blocks until it answers.
    pub fn start(options: PostgresOptions) -> Result<PostgresServer, PostgresError> {
        let bin_dir = match find_binaries() {
            Some(bin_dir) => bin_dir,
            None => fetch_binaries()?,
        };
        let user = user_to_run_as()?;
        let dir = make_dir(options.parent_dir.as_deref(), user)?;
        let password: String = rand::rng()
            .sample_iter(rand::distr::Alphanumeric)
            .take(20)
            .map(char::from)
            .collect();
        let mut server = PostgresServer {
            process: None,
            bin_dir,
            user,
            password,
            port: 0,
            options,
            dir,
        };
        server.initialise()?;
        server.start_again()?;
        Ok(server)
    }

    /// The url of a database of this server, with the superuser's name and password.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}",
            self.password, self.port
        )
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the postmaster, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(ServerProcess::pid)
    }

    /// The file that holds the server's log.
    pub fn log_file(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }

    /// Ends the server as after a crash: open transactions are lost, the next start recovers from the log.
    pub fn stop_immediate(&mut self) {
        self.stop_with(libc::SIGQUIT);
    }

    /// Ends the server in good order; open transactions are rolled back.
    pub fn stop_fast(&mut self) {
        self.stop_with(libc::SIGINT);
    }

    /// Starts the stopped server on its old data, and on its old port if it had one.
    pub fn start_again(&mut self) -> Result<(), PostgresError> {
        let keep_port = self.port != 0;
        for attempt in 1.. {
            if !keep_port {
                self.port = free_port().map_err(|source| io_error("find a free port", source))?;
            }
            match self.start_on_port() {
                Err(_) if attempt < PORT_TRIES && !keep_port => {}
                outcome => return outcome,
            }
        }
        unreachable!("the loop ends by its last attempt")
    }

    fn start_on_port(&mut self) -> Result<(), PostgresError> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .map_err(|source| io_error("open the server's log", source))?;
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data_dir());
        let fsync = if self.options.fsync { "on" } else { "off" };
        let fixed = [
            ("listen_addresses", "127.0.0.1"),
            ("port", &self.port.to_string()),
            ("unix_socket_directories", ""),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
            ("fsync", fsync),
        ];
        for (name, value) in fixed {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        for (name, value) in &self.options.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdout(Stdio::null()).stderr(log);
        // SIGQUIT is Postgres' immediate shutdown: the postmaster ends its children as well.
        let process = ServerProcess::spawn(command, libc::SIGQUIT)
            .map_err(|source| io_error("start postgres", source))?;
        self.await_ready(&process)?;
        self.process = Some(process);
        Ok(())
    }

    /// Waits until the postmaster writes `ready` into the last line of its status file.
    fn await_ready(&self, process: &ServerProcess) -> Result<(), PostgresError> {
        let deadline = Instant::now() + START_TIMEOUT;
        let pid = process.pid().to_string();
        loop {
            let status = fs::read_to_string(self.data_dir().join("postmaster.pid"));
            let status = status.unwrap_or_default();
            let mut lines = status.lines();
            if lines.next() == Some(&pid) && lines.any(|line| line.trim() == "ready") {
                return Ok(());
            }
            if process.ended().is_some() || Instant::now() > deadline {
                return Err(PostgresError::Start(self.log_tail()));
            }
            thread::sleep(READY_POLL);
        }
    }

    fn initialise(&self) -> Result<(), PostgresError> {
        let password_file = self.dir.path().join("password");
        let mut file = File::create(&password_file)
            .map_err(|source| io_error("write the password file", source))?;
        writeln!(file, "{}", self.password)
            .map_err(|source| io_error("write the password file", source))?;
        own(&password_file, self.user)?;
        let mut refused = String::new();
        // Not every machine has C.UTF-8; in a UTF8 database C orders the same way.
        for locale in ["C.UTF-8", "C"] {
            let output = self
                .command("initdb")
                .arg("-D")
                .arg(self.data_dir())
                .args(["--username", SUPERUSER, "--auth", "scram-sha-256"])
                .args(["--encoding", "UTF8", "--locale", locale, "--no-sync"])
                .arg("--pwfile")
                .arg(&password_file)
                .output()
                .map_err(|source| io_error("run initdb", source))?;
            if output.status.success() {
                return Ok(());
            }
            refused = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        }
        Err(PostgresError::Initialise(refused))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin_dir.join(program));
        command.current_dir(self.dir.path()).env_clear();
        command.env("PATH", &self.bin_dir).env("LC_ALL", "C");
        command.stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    fn stop_with(&mut self, signal: libc::c_int) {
        if let Some(process) = self.process.take() {
            process.signal(signal);
            if process.wait(Duration::from_secs(15)).is_none() {
                process.signal(libc::SIGQUIT);
                process.wait(Duration::from_secs(10));
            }
        }
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.stop_fast();
    }
}

/// A server is there already: on this machine, or fetched earlier.
pub fn is_installed() -> bool {
    let fetched = |cache: PathBuf| cache.join(FETCHED_VERSION).is_dir();
    find_binaries().is_some() || cache_dir().is_ok_and(fetched)
}

/// The folder of a server's binaries on this machine: of the oldest version that will do.
fn find_binaries() -> Option<PathBuf> {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<(u32, PathBuf)> = debian
        .flatten()
        .map(|version| version.path().join("bin"))
        .chain(std::env::split_paths(
            &std::env::var_os("PATH").unwrap_or_default(),
        ))
        .filter(|dir| dir.join("initdb").is_file() && dir.join("postgres").is_file())
        .filter_map(|dir| Some((major_version(&dir)?, fs::canonicalize(dir).ok()?)))
        .filter(|(major, _)| *major >= OLDEST_MAJOR)
        .collect();
    // The oldest is nearest to the one whose behaviour the expressions promise.
    found.sort();
    found.into_iter().next().map(|(_, dir)| dir)
}

fn major_version(bin_dir: &Path) -> Option<u32> {
    let output = Command::new(bin_dir.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_whitespace().nth(2)?;
    version.split('.').next()?.parse().ok()
}

/// Fetches a server into a cache folder that the user who runs it can read.
fn fetch_binaries() -> Result<PathBuf, PostgresError> {
    let cache = cache_dir()?;
    let scratch = tempfile::tempdir().map_err(|source| io_error("make a folder", source))?;
    // `setup` also makes a data directory, as the current user; one that looks made already is left
    // alone, so that nothing but the installation happens.
    fs::write(scratch.path().join("postgresql.conf"), "")
        .map_err(|source| io_error("make a folder", source))?;
    let version = VersionReq::parse(&format!("={FETCHED_VERSION}"))
        .map_err(|error| PostgresError::Fetch(error.to_string()))?;
    let mut settings = EmbeddedSettings::new();
    settings.releases_url = RELEASES_URL.to_owned();
    settings.version = version;
    settings.installation_dir = cache;
    settings.data_dir = scratch.path().to_owned();
    // A thread of its own, because the caller may be inside a runtime already.
    let installed = thread::scope(|scope| scope.spawn(|| install(settings)).join())
        .map_err(|_| PostgresError::Fetch("the installer panicked".to_owned()))??;
    check_binary(&installed.join("bin/postgres"))?;
    fs::set_permissions(&installed, fs::Permissions::from_mode(0o755))
        .map_err(|source| io_error("open the installation to its user", source))?;
    Ok(installed.join("bin"))
}

fn install(settings: EmbeddedSettings) -> Result<PathBuf, PostgresError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| io_error("start a runtime", source))?;
    let mut server = PostgreSQL::new(settings);
    runtime
        .block_on(server.setup())
        .map_err(|error| PostgresError::Fetch(error.to_string()))?;
    Ok(server.settings().installation_dir.clone())
}

fn check_binary(file: &Path) -> Result<(), PostgresError> {
    let bytes = fs::read(file).map_err(|source| io_error("read the fetched server", source))?;
    let digest = Sha256::digest(&bytes);
    let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    match FETCHED_SHA256 {
        Some(expected) if expected != found => Err(PostgresError::Fetch(format!(
            "{} is not the server that is expected: its checksum is {found}",
            file.display()
        ))),
        _ => Ok(()),
    }
}

/// Root's home is closed to other users, so root keeps the binaries elsewhere.
fn cache_dir() -> Result<PathBuf, PostgresError> {
    let base = if is_root() {
        PathBuf::from("/var/cache")
    } else {
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        cache.or(home).unwrap_or_else(std::env::temp_dir)
    };
    let dir = base.join("consolidator").join("postgresql");
    fs::create_dir_all(&dir)
        .map_err(|source| io_error(&format!("make {}", dir.display()), source))?;
    Ok(dir)
}

fn make_dir(parent: Option<&Path>, user: Option<User>) -> Result<TempDir, PostgresError> {
    let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
    let dir = tempfile::Builder::new()
        .prefix("consolidator-postgres-")
        .tempdir_in(&parent)
        .map_err(|source| io_error(&format!("make a folder in {}", parent.display()), source))?;
    own(dir.path(), user)?;
    Ok(dir)
}

fn own(path: &Path, user: Option<User>) -> Result<(), PostgresError> {
    match user {
        Some(user) => chown(path, Some(user.uid), Some(user.gid))
            .map_err(|source| io_error("hand a folder to the server's user", source)),
        None => Ok(()),
    }
}

fn user_to_run_as() -> Result<Option<User>, PostgresError> {
    if !is_root() {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| find_user(&passwd, name))
        .map(Some)
        .ok_or(PostgresError::NoUser)
}

fn find_user(passwd: &str, name: &str) -> Option<User> {
    let mut fields = passwd
        .lines()
        .map(|line| line.split(':'))
        .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(User { uid, gid })
}

fn is_root() -> bool {
    // SAFETY: geteuid takes nothing, changes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// A port of 127.0.0.1 that nobody listens on right now, below those that connections are given: so none of them has it by the time
/// that it is used.
pub fn free_port() -> io::Result<u16> {
    const FIRST: u32 = 15_000;
    const COUNT: u32 = 17_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let own = std::process::id().wrapping_mul(997);
    loop {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + own.wrapping_add(given) % COUNT) as u16;
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return Ok(port),
            Err(error) if given >= COUNT => return Err(error),
            Err(_) => {}
        }
    }
}

fn io_error(doing: &str, source: io::Error) -> PostgresError {
    PostgresError::Io {
        doing: format!("cannot {doing}"),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let passwd = "postgresql:x:1:2::/:/bin/sh\npostgres:x:101:104:,,,:/var/lib:/bin/bash\n";
        let expected = Some(User { uid: 101, gid: 104 });
        assert_eq!(find_user(passwd, "postgres"), expected);
        assert_eq!(find_user(passwd, "nobody"), None);
    }
}
