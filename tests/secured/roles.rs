//! Roles in Postgres: what the worker needs, and that it gets along with no more.

use super::{IN_TIME, stderr};
use crate::support::database::Database;
use crate::support::definitions::counter;
use crate::support::root;
use crate::support::space::{Space, can_mount, is_root};
use crate::support::topic::{Producer, Record};

/// The manual's roles in this test's database, under names of its own; gives the urls of owner and writer.
fn with_roles(space: &Space) -> [String; 2] {
    let file = root().join("deploy/postgres/roles.sql");
    let script = std::fs::read_to_string(file).unwrap();
    let prefix = format!("{}_the_", space.id);
    space
        .database
        .execute(&script.replace("consolidator_", &prefix));
    let place = space.settings.postgres_url.split_once('@').unwrap().1;
    ["owner", "writer"].map(|name| {
        let role = format!("{prefix}{name}");
        space
            .database
            .execute(&format!("alter role {role} password 'of-a-role'"));
        format!("postgres://{role}:of-a-role@{place}")
    })
}

#[test]
fn a_worker_that_owns_nothing_folds_what_its_owner_has_made() {
    let mut space = Space::new("writer");
    let [owner, writer] = with_roles(&space);
    let topic = space.topic("events", 2);
    space.definition("small", &counter("small", &topic));
    let event = |n: i32| Record::new("a", r#"{"type":"Added"}"#).in_partition(n % 2);
    let producer = Producer::new(space.kafka);
    producer.write(&topic, &[event(0), event(1)]);

    space.settings.postgres_url = writer.clone();
    let output = space.run(&["run"]);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("permission denied for database"), "{told}");

    space.settings.postgres_url = owner;
    let worker = space.start_worker("owner");
    space.wait_applied("small", &[&topic], IN_TIME);
    assert!(worker.terminate(IN_TIME).success());

    space.settings.postgres_url = writer.clone();
    let worker = space.start_worker("writer");
    producer.write(&topic, &[event(0), event(1)]);
    space.wait_applied("small", &[&topic], IN_TIME);
    let rows = "select n from read_model.small";
    assert_eq!(space.database.number(rows), 4);
    assert!(space.run(&["status"]).status.success(), "{}", worker.log());
    assert!(space.run(&["pause", "small"]).status.success());
    assert!(space.run(&["resume", "small"]).status.success());

    let as_writer = Database::at(&writer);
    for refused in [
        "drop table consolidator_g1.small",
        "truncate consolidator_g1.small",
        "alter table consolidator_g1.small add column x int",
        "drop schema read_model cascade",
        "create table consolidator.mine (n int)",
        "create schema mine",
        "create role mine",
        "select pg_read_file('/etc/passwd')",
    ] {
        let error = as_writer.try_query(refused).expect_err(refused).to_string();
        assert!(
            error.contains("permission denied") || error.contains("must be owner"),
            "{refused}: {error}"
        );
    }
}

#[test]
fn the_whole_suite_runs_as_a_role_that_may_only_create_schemas_in_its_database() {
    let space = Space::new("as_owner");
    let as_worker = Database::at(&space.settings.postgres_url);
    let rights = "select rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls from pg_roles where rolname = current_user";
    assert_eq!(as_worker.value(rights).as_deref(), Some("f"));
    let member = "select count(*) from pg_auth_members m join pg_roles r on r.oid = m.member where r.rolname = current_user";
    assert_eq!(as_worker.number(member), 0);
    let owns = "select count(*) from pg_database d join pg_roles r on r.oid = d.datdba where r.rolname = current_user";
    assert_eq!(as_worker.number(owns), 0);
}

/// As a container does that has nothing: no user of its own, no file that it could write.
#[test]
fn the_worker_runs_as_nobody_on_a_root_that_it_cannot_write_to() {
    let space = Space::new("nobody");
    let topic = space.topic("events", 1);
    space.definition("small", &counter("small", &topic));
    Producer::new(space.kafka).write(&topic, &[Record::new("a", r#"{"type":"Added"}"#)]);
    let worker = space.start_unprivileged_worker("worker");
    space.wait_offset("small", &topic, 0, 0, IN_TIME);
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.unwrap().split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_ne!(field("Uid:"), "0");
    assert_eq!(field("NoNewPrivs:"), "1");
    if is_root() {
        assert_eq!(field("CapEff:"), "0000000000000000");
    }
    if can_mount() {
        let mounts = std::fs::read_to_string(format!("/proc/{}/mounts", worker.pid())).unwrap();
        let root = mounts
            .lines()
            .rev()
            .find(|line| line.split(' ').nth(1) == Some("/"));
        let options = root.unwrap().split(' ').nth(3).unwrap();
        assert!(options.split(',').any(|option| option == "ro"), "{options}");
    }
    assert!(worker.terminate(IN_TIME).success(), "{}", worker.log());
}
