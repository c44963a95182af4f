//! The demonstration as a newcomer runs it: it shows tables that fill, and leaves nothing behind.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::database::Database;
use crate::support::run_dir;
use crate::support::space::Space;
use crate::support::wait::{wait_for, wait_until};
use crate::support::worker::Worker;

const IN_TIME: Duration = Duration::from_secs(90);
const TABLES: [&str; 5] = [
    "customers",
    "inventory",
    "order_lines",
    "orders",
    "revenue_per_customer_day",
];

#[test]
fn a_demonstration_fills_the_tables_sums_up_and_leaves_nothing_behind() {
    let demo = Demo::start("demo_for", &["--for", "8s", "--rate", "400"]);
    let database = demo.database();
    for table in TABLES {
        wait_until(&format!("rows in {table}"), IN_TIME, || {
            let count = database.try_query(&format!("select 1 from read_model.{table} limit 1"));
            count.is_ok_and(|rows| !rows.is_empty())
        });
    }
    assert!(demo.is_there(), "or the check for what is left is blind");
    let status = demo.process.wait(IN_TIME);
    let log = demo.process.log();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(
        log.contains("Every event that was sent has been applied, exactly once."),
        "{log}"
    );
    for table in TABLES {
        let line = log
            .lines()
            .rfind(|line| line.trim_start().starts_with(table));
        let rows = line.and_then(|line| line.split_whitespace().last());
        let rows: u64 = rows.unwrap_or_default().replace(',', "").parse().unwrap();
        assert!(rows > 0, "{log}");
    }
    demo.assert_gone();
}

#[test]
fn a_demonstration_shows_what_a_changed_rule_leads_to() {
    let demo = Demo::start(
        "demo_rebuild",
        &["--rebuild", "--for", "8s", "--rate", "400"],
    );
    let status = demo.process.wait(IN_TIME);
    let log = demo.process.log();
    assert_eq!(status.code(), Some(0), "{log}");
    for shown in [
        "inventory: rebuild: needs a rebuild",
        "inventory generation",
        " differ",
        "readers of inventory see generation 1 now",
        "Every event that was sent has been applied, exactly once.",
    ] {
        assert!(log.contains(shown), "{shown}: {log}");
    }
    demo.assert_gone();
}

#[test]
fn a_demonstration_that_is_told_to_end_takes_everything_with_it() {
    let demo = Demo::start("demo_ends", &[]);
    demo.database();
    assert!(demo.is_there(), "or the check for what is left is blind");
    let status = demo.process.terminate(IN_TIME);
    let log = demo.process.log();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(
        log.contains("Everything that was started has ended."),
        "{log}"
    );
    demo.assert_gone();
}

/// A demonstration in a folder of its own, without definitions: it shows those that the program carries.
struct Demo {
    process: Worker,
    /// Its folder for temporary files.
    temporary: PathBuf,
    /// Keeps tests that measure time apart.
    _space: Space,
}

impl Demo {
    fn start(name: &str, arguments: &[&str]) -> Demo {
        let space = Space::new(name);
        // Not in the space's own folder, which is closed to other users: the server may run as one.
        let dir = run_dir().join(&space.id);
        let temporary = dir.join("temporary");
        fs::create_dir_all(&temporary).unwrap();
        let arguments = [&["demo"], arguments].concat();
        let environment = [("TMPDIR", temporary.to_str().unwrap())];
        Demo {
            process: Worker::start("demo", &dir, &arguments, &environment),
            temporary,
            _space: space,
        }
    }

    /// As the demonstration tells a person to reach it.
    fn database(&self) -> Database {
        let url = wait_for("the psql command", IN_TIME, || {
            let log = self.process.log();
            assert!(self.process.is_running(), "{log}");
            let line = log
                .lines()
                .find_map(|line| line.trim().strip_prefix("psql '"))?;
            Some(line.strip_suffix('\'')?.to_owned())
        });
        Database::at(&url)
    }

    /// Are there files of it, or processes that name them?
    fn is_there(&self) -> bool {
        self.files() > 0 && !self.processes().is_empty()
    }

    fn assert_gone(&self) {
        assert_eq!(self.processes(), Vec::<String>::new());
        assert_eq!(
            self.files(),
            0,
            "files are left in {}",
            self.temporary.display()
        );
    }

    fn files(&self) -> usize {
        fs::read_dir(&self.temporary).unwrap().count()
    }

    /// The command lines that name the folder.
    fn processes(&self) -> Vec<String> {
        let folder = self.temporary.to_str().unwrap();
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
        lines.filter(|line| line.contains(folder)).collect()
    }
}
