//! Starts what tests need and takes it away again: servers shared by all tests of the process, and for
//! each test a `Space` of its own. Knows nothing of what a test checks.

// Every test uses a part of what is here.
#![allow(dead_code)]

pub mod certificates;
pub mod chains;
pub mod database;
pub mod definitions;
pub mod download;
pub mod kafka;
pub mod kafka_rights;
pub mod node;
pub mod oracle;
pub mod pooler;
pub mod proxy;
pub mod space;
pub mod steady;
pub mod topic;
pub mod wait;
pub mod wire;
pub mod worker;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};

use consolidator::demo::postgres::{PostgresOptions, PostgresServer};
use tokio::runtime::Runtime;

use kafka::KafkaServer;

static KAFKA: Mutex<Option<&'static KafkaServer>> = Mutex::new(None);
static POSTGRES: Mutex<Option<PostgresServer>> = Mutex::new(None);

/// The Kafka that tests share. A test that stops or kills its broker starts one of its own.
pub fn kafka() -> &'static KafkaServer {
    let mut kafka = lock(&KAFKA);
    kafka.get_or_insert_with(|| Box::leak(Box::new(KafkaServer::start())))
}

/// The url of a database of the Postgres that tests share. A test that stops its server starts one of
/// its own.
pub fn postgres_url(database: &str) -> String {
    let mut postgres = lock(&POSTGRES);
    let server = postgres.get_or_insert_with(|| start_postgres(&[]));
    server.url(database)
}

/// The process id of the Postgres that tests share; it runs once its url was asked for.
pub fn postgres_pid() -> i32 {
    let postgres = lock(&POSTGRES);
    let pid = postgres.as_ref().and_then(PostgresServer::pid);
    pid.expect("the Postgres of the tests runs")
}

/// A Postgres of the test's own, with more settings than the usual ones.
pub fn start_postgres(settings: &[(&str, &str)]) -> PostgresServer {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let mut settings: Vec<_> = settings.iter().map(owned).collect();
    settings.push(("max_connections".to_owned(), "200".to_owned()));
    settings.push(("shared_buffers".to_owned(), "256MB".to_owned()));
    settings.push(("max_wal_size".to_owned(), "4GB".to_owned()));
    PostgresServer::start(PostgresOptions {
        fsync: true,
        settings,
        parent_dir: Some(run_dir().to_owned()),
    })
    .unwrap_or_else(|error| panic!("{error}"))
}

/// The folder of this run; it goes when the process ends.
pub fn run_dir() -> &'static Path {
    static RUN_DIR: OnceLock<PathBuf> = OnceLock::new();
    RUN_DIR.get_or_init(|| {
        sweep_dead_runs();
        let dir = std::env::temp_dir().join(format!("{RUN_PREFIX}{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        end_with_process();
        dir
    })
}

/// The folder of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A number from the environment, for the long forms of tests.
pub fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a future to its end on a runtime that all tests share.
pub fn block_on<F: Future>(future: F) -> F::Output {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let start = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    };
    RUNTIME.get_or_init(start).block_on(future)
}

/// A lock that a failed test does not close for the others.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const RUN_PREFIX: &str = "consolidator-test-";

/// Ends the servers and removes their data when the process exits. Where it is killed instead, the
/// kernel ends the servers and the next run removes the data.
fn end_with_process() {
    static ONCE: Once = Once::new();
    extern "C" fn end() {
        if let Some(kafka) = lock(&KAFKA).take() {
            kafka.kill();
        }
        if let Some(mut postgres) = lock(&POSTGRES).take() {
            postgres.stop_immediate();
        }
        let _ = std::fs::remove_dir_all(run_dir());
    }
    // SAFETY: `end` is a plain function without arguments that lives as long as the process.
    ONCE.call_once(|| assert_eq!(unsafe { libc::atexit(end) }, 0));
}

fn sweep_dead_runs() {
    let entries = std::fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(RUN_PREFIX));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
