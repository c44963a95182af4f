//! What one test has to itself: a database, topics, a folder with settings and definitions, workers.
//! Knows the product's settings file and its promises to readers, nothing of its insides.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use consolidator::demo::postgres::free_port;
use rand::RngExt;
use tempfile::TempDir;

use super::certificates::open_to_all;
use super::database::Database;
use super::kafka::KafkaServer;
use super::wait::wait_until;
use super::worker::{BINARY, Worker, run_command, tail};
use super::{kafka, postgres_url, run_dir};

/// Held shared by tests that only want to be right, alone by those that measure time.
static MACHINE: RwLock<()> = RwLock::new(());

/// Of the worker's role.
const PASSWORD: &str = "worker-secret";
/// How many lines of each worker's log a failed test shows.
const LINES_SHOWN: usize = 60;

/// One test's place in the world.
pub struct Space {
    /// Distinct for every test and run: `NAME_xxxxxx`. Topics and roles begin with it.
    pub id: String,
    pub kafka: &'static KafkaServer,
    /// A connection of the superuser to the test's own database.
    pub database: Database,
    /// What `settings` writes; a test may change it before it starts workers.
    pub settings: WorkerSettings,
    /// What workers find in their environment.
    pub environment: Vec<(String, String)>,
    dir: TempDir,
    _machine: Machine,
}

/// The settings that tests vary; the rest stays at its default.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    pub brokers: String,
    pub postgres_url: String,
    /// Written instead of the url, if there is one.
    pub postgres_url_file: Option<String>,
    pub readers: Vec<String>,
    pub kafka_properties: Vec<(String, String)>,
    /// More lines of the `kafka:` section.
    pub kafka_lines: Vec<String>,
    /// More lines of the `http:` section.
    pub http_lines: Vec<String>,
    /// Lines of the `worker:` section, like `lanes: 2`.
    pub worker: Vec<String>,
    /// Whole top-level lines, appended as they are.
    pub more: Vec<String>,
}

const READ_ONLY: &str = "mount --make-rprivate / && mount -o remount,ro,bind /";
const AS_NOBODY: &str = "exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \"$0\" \"$@\"";

/// Whether this machine lets us have a root of our own that cannot be written to.
pub fn can_mount() -> bool {
    let script = format!("{READ_ONLY} && ! touch /consolidator-was-here 2>/dev/null");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    command.stderr(Stdio::null());
    is_root() && command.status().is_ok_and(|status| status.success())
}

pub fn is_root() -> bool {
    // SAFETY: geteuid takes nothing, changes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

enum Machine {
    Shared(#[allow(dead_code)] RwLockReadGuard<'static, ()>),
    Alone(#[allow(dead_code)] RwLockWriteGuard<'static, ()>),
}

impl Space {
    /// A space on the servers that all tests share.
    pub fn new(name: &str) -> Space {
        let machine = MACHINE.read().unwrap_or_else(|error| error.into_inner());
        Space::with(name, &postgres_url, Machine::Shared(machine))
    }

    /// The same while no other test runs.
    pub fn alone(name: &str) -> Space {
        let machine = MACHINE.write().unwrap_or_else(|error| error.into_inner());
        Space::with(name, &postgres_url, Machine::Alone(machine))
    }

    /// A space in a Postgres of the test's own; `url` gives the url of a database there.
    pub fn on_postgres(name: &str, url: &dyn Fn(&str) -> String) -> Space {
        let machine = MACHINE.read().unwrap_or_else(|error| error.into_inner());
        Space::with(name, url, Machine::Shared(machine))
    }

    fn with(name: &str, url: &dyn Fn(&str) -> String, machine: Machine) -> Space {
        let id = format!("{name}_{:06x}", rand::rng().random_range(0..1 << 24));
        // The worker's role has what the manual says that it needs, and no more.
        let role = format!("{id}_owner");
        let server = Database::at(&url("postgres"));
        server.execute(&format!("create role {role} login password '{PASSWORD}'"));
        server.execute(&format!("create database {id}"));
        server.execute(&format!("grant create on database {id} to {role}"));
        let place = url(&id)
            .split_once('@')
            .expect("a url with a user")
            .1
            .to_owned();
        let kafka = kafka();
        let dir = tempfile::Builder::new()
            .prefix(&format!("{id}-"))
            .tempdir_in(run_dir())
            .unwrap();
        fs::create_dir(dir.path().join("projections")).unwrap();
        let settings = WorkerSettings {
            brokers: kafka.brokers.clone(),
            postgres_url: format!("postgres://{role}:{PASSWORD}@{place}"),
            postgres_url_file: None,
            readers: Vec::new(),
            // The shortest session that is not a risk on a busy machine of two cores.
            kafka_properties: vec![
                ("session.timeout.ms".to_owned(), "6000".to_owned()),
                ("heartbeat.interval.ms".to_owned(), "1000".to_owned()),
            ],
            kafka_lines: Vec::new(),
            http_lines: Vec::new(),
            worker: Vec::new(),
            more: Vec::new(),
        };
        Space {
            database: Database::at(&url(&id)),
            id,
            kafka,
            settings,
            environment: Vec::new(),
            dir,
            _machine: machine,
        }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Makes a topic of this test and gives its full name.
    pub fn topic(&self, name: &str, partitions: i32) -> String {
        let topic = format!("{}.{name}", self.id);
        self.kafka.create_topic(&topic, partitions, &[]);
        topic
    }

    /// Makes a role of this test that may log in; gives its name and the url for it.
    pub fn role(&self, name: &str) -> (String, String) {
        let role = format!("{}_{name}", self.id);
        let create = format!("create role {role} login password 'reader-secret'");
        self.database.execute(&create);
        let url = &self.settings.postgres_url;
        let server = url.split_once('@').expect("a url with a user").1;
        let url = format!("postgres://{role}:reader-secret@{server}");
        (role, url)
    }

    /// Writes a definition to `projections/NAME.yaml`.
    pub fn definition(&self, name: &str, text: &str) {
        fs::write(self.definition_file(name), text).unwrap();
    }

    pub fn definition_file(&self, name: &str) -> PathBuf {
        self.dir().join("projections").join(format!("{name}.yaml"))
    }

    /// Starts a worker with the settings as they are now.
    pub fn start_worker(&self, name: &str) -> Worker {
        let file = self.write_settings(name);
        let environment: Vec<(&str, &str)> = self
            .environment
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let arguments = ["run", "--config", &file];
        Worker::start(name, self.dir(), &arguments, &environment)
    }

    /// As a container with a read-only root runs it, as far as this machine allows: another user than root, who can become nobody
    /// else; and a root that cannot be written to, where that can be had ([`can_mount`]).
    pub fn start_unprivileged_worker(&self, name: &str) -> Worker {
        let file = self.write_settings(name);
        let mut command = Command::new("sh");
        let script = match (is_root(), can_mount()) {
            (true, true) => {
                format!("exec unshare --mount sh -c '{READ_ONLY} && {AS_NOBODY}' \"$0\" \"$@\"")
            }
            (true, false) => AS_NOBODY.to_owned(),
            (false, _) => "exec setpriv --no-new-privs \"$0\" \"$@\"".to_owned(),
        };
        // Where another user may read it.
        let binary = self.dir().join("consolidator");
        fs::copy(BINARY, &binary).unwrap();
        open_to_all(self.dir(), 0o755);
        open_to_all(&self.dir().join("projections"), 0o755);
        command
            .arg("-c")
            .arg(script)
            .arg(&binary)
            .args(["run", "--config", &file]);
        Worker::start_command(name, self.dir(), command, &[])
    }

    /// Runs another command to its end, with the settings as they are now.
    pub fn run(&self, arguments: &[&str]) -> std::process::Output {
        let file = self.write_settings("command");
        let mut all = arguments.to_vec();
        all.extend(["--config", &file]);
        run_command(self.dir(), &all)
    }

    /// Waits until readers see every record that the topics hold now, as `consolidator.wait_for` tells.
    pub fn wait_applied(&self, projection: &str, topics: &[&str], timeout: Duration) {
        for topic in topics {
            for (partition, (first, end)) in self.kafka.offsets(topic).into_iter().enumerate() {
                if first < end {
                    self.wait_offset(projection, topic, partition, end - 1, timeout);
                }
            }
        }
    }

    /// The same for one record. Until there is a worker, and while Postgres is down, the question fails:
    /// it is asked again.
    pub fn wait_offset(
        &self,
        projection: &str,
        topic: &str,
        partition: usize,
        offset: i64,
        timeout: Duration,
    ) {
        let ask = format!(
            "select consolidator.wait_for('{projection}', '{topic}', {partition}, {offset}, '500 ms')"
        );
        let mut last = String::new();
        let what = format!("offset {offset} of {topic} [{partition}] to be applied");
        let asked = std::panic::AssertUnwindSafe(|| {
            wait_until(&what, timeout, || match self.database.try_query(&ask) {
                Ok(rows) => rows[0][0].as_deref() == Some("t"),
                Err(error) => {
                    last = error.to_string();
                    false
                }
            });
        });
        if let Err(panic) = std::panic::catch_unwind(asked) {
            eprintln!("last answer of wait_for: {last}");
            std::panic::resume_unwind(panic);
        }
    }

    fn show_logs(&self) {
        let files = fs::read_dir(self.dir()).into_iter().flatten().flatten();
        let mut logs: Vec<PathBuf> = files.map(|file| file.path()).collect();
        logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.sort();
        for log in logs {
            eprintln!(
                "--- end of {} ---\n{}",
                log.display(),
                tail(&log, LINES_SHOWN)
            );
        }
    }

    /// Writes the settings for one process and gives the file's path.
    pub fn write_settings(&self, name: &str) -> String {
        let file = self.dir().join(format!("{name}.settings.yaml"));
        fs::write(&file, self.settings_text()).unwrap();
        file.display().to_string()
    }

    fn settings_text(&self) -> String {
        let settings = &self.settings;
        let mut lines = vec![
            "kafka:".to_owned(),
            format!("  brokers: \"{}\"", settings.brokers),
            format!("  group: \"{}\"", self.id),
            "  properties:".to_owned(),
        ];
        let property = |(name, value): &(String, String)| format!("    {name}: \"{value}\"");
        // Of equal names the last one counts.
        let all: std::collections::BTreeMap<_, _> =
            settings.kafka_properties.iter().cloned().collect();
        lines.extend(
            all.iter()
                .map(|(name, value)| property(&(name.clone(), value.clone()))),
        );
        lines.extend(settings.kafka_lines.iter().cloned());
        lines.push("postgres:".to_owned());
        lines.push(match &settings.postgres_url_file {
            Some(file) => format!("  url_file: \"{file}\""),
            None => format!("  url: \"{}\"", settings.postgres_url),
        });
        lines.push(format!("  readers: [{}]", settings.readers.join(", ")));
        let projections = self.dir().join("projections");
        lines.push(format!("projections: \"{}\"", projections.display()));
        let http_port = free_port().unwrap();
        lines.push(format!("http:\n  listen: \"127.0.0.1:{http_port}\""));
        lines.extend(settings.http_lines.iter().cloned());
        if !settings.worker.is_empty() {
            lines.push("worker:".to_owned());
            lines.extend(settings.worker.iter().map(|line| format!("  {line}")));
        }
        lines.extend(settings.more.iter().cloned());
        lines.join("\n") + "\n"
    }
}

impl Drop for Space {
    /// A test that fails shows what its workers said, those that are gone too.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
    }
}
