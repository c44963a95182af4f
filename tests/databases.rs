//! A database that goes back in time, and one that is full: rows and checkpoints are of one moment, so the worker goes on from there.

use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::chains::{assert_chains, chain_events, chain_value, chains_at_work};
use crate::support::database::Database;
use crate::support::node::Node;
use crate::support::proxy::Proxy;
use crate::support::space::{Space, can_mount};
use crate::support::topic::{Producer, Record};
use crate::support::wait::wait_until;
use crate::support::wire::WireProxy;
use crate::support::{run_dir, start_postgres};

const IN_TIME: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 3;

const APPLIED: &str = "select coalesce(sum(next_offset), 0)::bigint from consolidator.checkpoint";

#[test]
fn a_standby_that_lost_commits_takes_over_and_the_worker_goes_on_from_where_it_stands() {
    let mut primary = Node::start();
    let link = Proxy::to(&primary.address());
    let mut standby = primary.standby(&format!("127.0.0.1:{}", link.port));
    let mut space = Space::on_postgres("fail_over", &|database| primary.url(database));
    let wire = WireProxy::to(&primary.address());
    let through = format!("127.0.0.1:{}", wire.port);
    space.settings.postgres_url = space
        .settings
        .postgres_url
        .replace(&primary.address(), &through);
    let notices = ("topic.metadata.refresh.interval.ms", "1000");
    let notices = (notices.0.to_owned(), notices.1.to_owned());
    space.settings.kafka_properties.push(notices);
    let (topic, producer, worker) = chains_at_work(&space, PARTITIONS, "worker", 2_000);
    let name = space.database.url().rsplit_once('/').unwrap().1.to_owned();
    let follower = Database::at(&standby.url(&name));
    wait_until("the standby to follow", IN_TIME, || {
        follower.number(APPLIED) == 2_000
    });

    link.cut();
    producer.write(&topic, &added(2_000..5_000));
    // A partition of which the standby has not even heard.
    space.kafka.add_partitions(&topic, PARTITIONS as usize + 1);
    let late =
        |number| Record::new("late", chain_value(&format!("e{number}"))).in_partition(PARTITIONS);
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &(0..100).map(late).collect::<Vec<_>>());
    space.wait_applied("chains", &[&topic], IN_TIME);
    assert_eq!(space.database.number(APPLIED), 5_100);
    primary.stop_immediate();
    standby.promote();
    space.database = Database::at(&standby.url(&name));
    assert_eq!(space.database.number(APPLIED), 2_000, "commits were lost");
    wire.redirect(&standby.address());
    producer.write(&topic, &added(5_000..6_000));
    space.wait_applied("chains", &[&topic], IN_TIME);
    assert!(worker.terminate(IN_TIME).success());
    assert_chains(&space, &topic);
}

#[test]
fn a_database_restored_from_an_older_backup_goes_on_from_its_own_checkpoints() {
    let node = std::cell::RefCell::new(Node::start());
    let space = Space::on_postgres("restored", &|database| node.borrow().url(database));
    let mut node = node.borrow_mut();
    let (topic, producer, worker) = chains_at_work(&space, PARTITIONS, "worker", 2_000);
    node.stop_fast();
    let backup = node.backup();
    node.start_again();
    producer.write(&topic, &added(2_000..5_000));
    space.wait_applied("chains", &[&topic], IN_TIME);

    // The worker runs all the while, with rows in its memory that the backup does not have.
    node.stop_fast();
    node.restore(&backup);
    node.start_again();
    producer.write(&topic, &added(5_000..6_000));
    space.wait_applied("chains", &[&topic], IN_TIME);
    assert!(worker.terminate(IN_TIME).success());
    assert_chains(&space, &topic);
}

#[test]
fn a_server_that_goes_away_while_a_worker_starts_is_waited_for() {
    let space = Space::new("starting");
    let (topic, producer, first) = chains_at_work(&space, PARTITIONS, "first", 1_000);
    assert!(first.terminate(IN_TIME).success());
    let holder = Database::at(space.database.url());
    holder.execute("begin; lock table consolidator.projection in access exclusive mode");
    let second = space.start_worker("second");
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
        where datname = current_database() and wait_event_type = 'Lock'";
    wait_until("a session of the worker to end", IN_TIME, || {
        space.database.number(end) > 0
    });
    holder.execute("commit");
    producer.write(&topic, &added(1_000..2_000));
    space.wait_applied("chains", &[&topic], IN_TIME);
    assert!(second.terminate(IN_TIME).success());
    assert_chains(&space, &topic);
}

/// The server's own error, without a disk that is full: how it comes about makes no difference to a client.
#[test]
fn a_full_disk_pauses_the_projection_blames_no_event_and_is_over_by_itself() {
    let space = Space::new("full");
    let (topic, producer, worker) = chains_at_work(&space, PARTITIONS, "worker", 1_000);
    space.database.execute(
        "create function full_disk() returns trigger language plpgsql as $$
           begin raise exception 'could not extend file: No space left on device' using errcode = '53100'; end $$;
         create trigger full_disk before insert or update on consolidator_g1.chains execute function full_disk()",
    );
    producer.write(&topic, &added(1_000..2_000));
    let waiting =
        "select reason like '%No space left%' and hint like '%disk%' from consolidator.waiting";
    wait_until("the projection to wait", IN_TIME, || {
        let told = space.database.try_query(waiting).unwrap_or_default();
        !told.is_empty() && told.iter().all(|row| row[0].as_deref() == Some("t"))
    });
    space
        .database
        .execute("drop trigger full_disk on consolidator_g1.chains");
    space.wait_applied("chains", &[&topic], IN_TIME);
    for blamed in ["consolidator.dead_letter", "consolidator.stop"] {
        let count = format!("select count(*) from {blamed}");
        assert_eq!(space.database.number(&count), 0);
    }
    assert!(worker.terminate(IN_TIME).success());
    assert_chains(&space, &topic);
}

/// Where this machine lets us make file systems: elsewhere only the test above shows it.
#[test]
fn a_disk_that_is_really_full_is_waited_for_and_no_event_is_blamed() {
    if !can_mount() {
        eprintln!("no file system of our own is to be had here");
        return;
    }
    let disk = SmallDisk::new();
    let server = start_postgres(&[]);
    let space = Space::on_postgres("disk", &|database| server.url(database));
    let admin = Database::at(&server.url("postgres"));
    disk.give_to_owner_of(&admin.value("show data_directory").unwrap());
    admin.execute(&format!(
        "create tablespace small location '{}'",
        disk.dir.display()
    ));
    admin.execute(&format!("alter database {} set tablespace small", space.id));
    let (topic, producer, worker) = chains_at_work(&space, PARTITIONS, "worker", 1_000);

    disk.fill();
    let many =
        |number: usize| Record::new(&format!("new{number}"), chain_value(&format!("e{number}")));
    producer.write(&topic, &(1_000..30_000).map(many).collect::<Vec<_>>());
    worker.wait_for_log("No space left on device", IN_TIME);
    worker.wait_for_log("give the server room", IN_TIME);
    disk.make_room();
    space.wait_applied("chains", &[&topic], IN_TIME);
    for blamed in ["consolidator.dead_letter", "consolidator.stop"] {
        let count = format!("select count(*) from {blamed}");
        assert_eq!(space.database.number(&count), 0);
    }
    assert!(worker.terminate(IN_TIME).success());
    assert_chains(&space, &topic);
}

/// A file system in memory that is soon full.
struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    fn new() -> SmallDisk {
        let dir = run_dir().join("small-disk");
        fs::create_dir(&dir).unwrap();
        let disk = SmallDisk { dir };
        disk.run("mount", &["-t", "tmpfs", "-o", "size=64m", "tmpfs"]);
        disk
    }

    fn give_to_owner_of(&self, other: &str) {
        let owner = fs::metadata(other).unwrap();
        chown(&self.dir, Some(owner.uid()), Some(owner.gid())).unwrap();
    }

    fn fill(&self) {
        let mut ballast = File::create(self.ballast()).unwrap();
        while ballast.write_all(&[0; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(program);
        let status = command.args(arguments).arg(&self.dir).status();
        assert!(status.is_ok_and(|status| status.success()), "{program}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.run("umount", &["--lazy"]);
    }
}

fn added(numbers: Range<usize>) -> Vec<Record> {
    chain_events(numbers, PARTITIONS)
}
