//! pgbouncer between workers and Postgres, in one of its pool modes. Knows nothing of the product.

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use consolidator::demo::postgres::free_port;
use consolidator::demo::process::ServerProcess;
use tempfile::TempDir;

use super::run_dir;
use super::space::is_root;
use super::wait::wait_until;
use super::worker::tail;

/// pgbouncer does not run as root; this is `nobody`.
const UNPRIVILEGED: u32 = 65_534;
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running pooler, gone when this is dropped.
pub struct Pooler {
    /// Leads through the pooler.
    pub url: String,
    port: u16,
    process: ServerProcess,
    dir: TempDir,
}

impl Pooler {
    /// In front of the server that a `postgres://user:password@host:port/database` leads to, for that user. Everything that is not
    /// named here is pgbouncer's own default.
    pub fn start(mode: &str, url: &str) -> Pooler {
        let (user, server) = url
            .trim_start_matches("postgres://")
            .split_once('@')
            .expect("a url with a user");
        let (name, password) = user.split_once(':').expect("name and password");
        let (address, database) = server.split_once('/').expect("server and database");
        let (host, server_port) = address.split_once(':').expect("host and port");
        let dir = tempfile::Builder::new()
            .prefix("pgbouncer-")
            .tempdir_in(run_dir())
            .unwrap();
        let port = free_port().unwrap();
        let users = dir.path().join("users.txt");
        fs::write(&users, format!("\"{name}\" \"{password}\"\n")).unwrap();
        let settings = format!(
            "[databases]\n* = host={host} port={server_port}\n\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = scram-sha-256\nauth_file = {}\npool_mode = {mode}\n",
            users.display()
        );
        fs::write(dir.path().join("pgbouncer.ini"), settings).unwrap();
        if is_root() {
            for path in [dir.path(), &users] {
                chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
            }
        }
        let pooler = Pooler {
            url: format!("postgres://{user}@127.0.0.1:{port}/{database}"),
            port,
            process: spawn(dir.path()),
            dir,
        };
        pooler.await_ready();
        pooler
    }

    /// Ends, with every connection through it, and starts in another mode at the same place.
    pub fn restart(&mut self, mode: &str) {
        let file = self.dir.path().join("pgbouncer.ini");
        let settings = fs::read_to_string(&file).unwrap();
        let (kept, _) = settings.split_once("pool_mode").expect("a pool mode");
        fs::write(&file, format!("{kept}pool_mode = {mode}\n")).unwrap();
        self.process.signal(libc::SIGKILL);
        self.process.wait(START_TIMEOUT);
        self.process = spawn(self.dir.path());
        self.await_ready();
    }

    /// How many clients have logged in since it was made.
    pub fn logins(&self) -> usize {
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        log.matches("login attempt").count()
    }

    fn await_ready(&self) {
        wait_until("pgbouncer to listen", START_TIMEOUT, || {
            let log = self.dir.path().join("log");
            assert!(self.process.ended().is_none(), "{}", tail(&log, 20));
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }
}

fn spawn(dir: &Path) -> ServerProcess {
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"))
        .unwrap();
    let mut command = Command::new(program());
    command.arg(dir.join("pgbouncer.ini")).current_dir(dir);
    command.stdout(log.try_clone().unwrap()).stderr(log);
    if is_root() {
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    ServerProcess::spawn(command, libc::SIGKILL).unwrap()
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where Debian has it, which is not on everybody's path.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut programs = folders.map(|folder| folder.join("pgbouncer"));
    let program = programs.find(|program| program.is_file());
    program.expect("pgbouncer is neither on PATH nor in /usr/sbin: install it (Debian: apt-get install pgbouncer)")
}
