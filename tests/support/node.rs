//! A Postgres whose data can be copied, restored and followed: a primary, its standby, a backup. Knows nothing of what is stored.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use consolidator::demo::postgres::free_port;
use consolidator::demo::process::ServerProcess;
use tempfile::TempDir;

use super::database::Database;
use super::wait::{wait_for, wait_until};
use super::{run_dir, start_postgres};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const SETTINGS: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "timezone=UTC",
    "max_connections=200",
    "shared_buffers=64MB",
    "wal_keep_size=512MB",
    "max_wal_size=1GB",
];

/// A server and its data, both gone when this is dropped.
pub struct Node {
    program: PathBuf,
    /// With the password of the superuser, up to the host.
    user: String,
    port: u16,
    /// Where a standby finds its primary.
    primary: Option<String>,
    process: Option<ServerProcess>,
    // Dropped last: the server writes into it.
    dir: TempDir,
}

impl Node {
    /// A new, empty primary.
    pub fn start() -> Node {
        let mut made = start_postgres(&[]);
        let pid = made.pid().expect("it runs");
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        let url = made.url("postgres");
        let (user, _) = url.split_once('@').expect("a url with a user");
        made.stop_fast();
        let data = made.log_file().with_file_name("data");
        let mut node = Node {
            program,
            user: user.to_owned(),
            port: free_port().unwrap(),
            primary: None,
            process: None,
            dir: copy_of(&data),
        };
        node.start_again();
        node
    }

    pub fn url(&self, database: &str) -> String {
        format!("{}@{}/{database}", self.user, self.address())
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn start_again(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("server.log"))
            .unwrap();
        let mut command = Command::new(&self.program);
        command.arg("-D").arg(self.data()).current_dir(self.data());
        command.env_clear().env("LC_ALL", "C").stdin(Stdio::null());
        let port = format!("port={}", self.port);
        for setting in SETTINGS.iter().copied().chain([port.as_str()]) {
            command.args(["-c", setting]);
        }
        if let Some(primary) = &self.primary {
            let setting = format!("primary_conninfo={primary}");
            command.args(["-c", &setting]);
        }
        let owner = fs::metadata(self.data()).unwrap();
        if owner.uid() != fs::metadata("/proc/self").unwrap().uid() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        command.stdout(Stdio::null()).stderr(log);
        let process = ServerProcess::spawn(command, libc::SIGQUIT).unwrap();
        let pid = process.pid().to_string();
        wait_until("Postgres to be ready", START_TIMEOUT, || {
            assert!(process.ended().is_none(), "{}", self.log_tail());
            let status = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
            let mut lines = status.lines();
            lines.next() == Some(&pid) && lines.any(|line| line.trim() == "ready")
        });
        self.process = Some(process);
    }

    /// In good order.
    pub fn stop_fast(&mut self) {
        self.stop(libc::SIGINT);
    }

    /// As after a crash.
    pub fn stop_immediate(&mut self) {
        self.stop(libc::SIGQUIT);
    }

    /// A copy of the data of this server, which is stopped.
    pub fn backup(&self) -> TempDir {
        assert!(self.process.is_none(), "data is copied while it rests");
        copy_of(&self.data())
    }

    /// Puts the data of a backup in place of this server's, which is stopped.
    pub fn restore(&mut self, backup: &TempDir) {
        assert!(self.process.is_none(), "data is replaced while it rests");
        self.dir = copy_of(&backup.path().join("data"));
    }

    /// A standby that follows this server by way of `link`, a `host:port` that leads to it. The server is restarted for it.
    pub fn standby(&mut self, link: &str) -> Node {
        self.stop_fast();
        let dir = self.backup();
        self.start_again();
        let (host, port) = link.split_once(':').expect("host and port");
        let (name, password) = self
            .user
            .trim_start_matches("postgres://")
            .split_once(':')
            .expect("name and password");
        let mut standby = Node {
            program: self.program.clone(),
            user: self.user.clone(),
            port: free_port().unwrap(),
            primary: Some(format!(
                "host={host} port={port} user={name} password={password}"
            )),
            process: None,
            dir,
        };
        let signal = standby.data().join("standby.signal");
        File::create(&signal).unwrap();
        let owner = fs::metadata(standby.data()).unwrap();
        chown(&signal, Some(owner.uid()), Some(owner.gid())).unwrap();
        standby.start_again();
        standby
    }

    /// A standby becomes a primary.
    pub fn promote(&mut self) {
        self.primary = None;
        let database = Database::at(&self.url("postgres"));
        let promoted = database.value("select pg_promote(true, 60)");
        assert_eq!(promoted.as_deref(), Some("t"), "{}", self.log_tail());
        wait_for("the end of recovery", START_TIMEOUT, || {
            let recovering = database.value("select pg_is_in_recovery()");
            (recovering.as_deref() == Some("f")).then_some(())
        });
    }

    fn stop(&mut self, signal: libc::c_int) {
        if let Some(process) = self.process.take() {
            process.signal(signal);
            if process.wait(Duration::from_secs(20)).is_none() {
                process.signal(libc::SIGQUIT);
                process.wait(Duration::from_secs(10));
            }
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log_tail(&self) -> String {
        super::worker::tail(&self.dir.path().join("server.log"), 20)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop_immediate();
    }
}

/// A folder with a copy of `data`, owned as that is.
fn copy_of(data: &Path) -> TempDir {
    let dir = tempfile::Builder::new()
        .prefix("node-")
        .tempdir_in(run_dir())
        .unwrap();
    let owner = fs::metadata(data).unwrap();
    chown(dir.path(), Some(owner.uid()), Some(owner.gid())).unwrap();
    let copied = Command::new("cp")
        .arg("-a")
        .arg(data)
        .arg(dir.path().join("data"))
        .status();
    assert!(
        copied.is_ok_and(|status| status.success()),
        "data is copied"
    );
    let _ = fs::remove_file(dir.path().join("data/postmaster.pid"));
    dir
}
