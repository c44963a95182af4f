//! Hostile definitions and hostile records: what they may do to a database, and to the worker. They may be wrong; they reach nothing
//! outside of the consolidator's own schemas, and take bounded time and memory.

use std::time::{Duration, Instant};

use super::{IN_TIME, stderr};
use crate::support::definitions::counter;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record};
use crate::support::wait::wait_until;

/// A definition that is fine, with places to put something else into.
const TABLE: &str = "
projection: NAME
description: Counts.
from: [TOPIC]
tables:
  hostile:
    comment: COMMENT
    key:
      name: text = event.key
    columns:
      n: bigint not null default 0
      COLUMN: TYPE default DEFAULT
    indexes:
      - { columns: [n], where: \"CONDITION\" }
    rules:
      Added:
        set: n = n + 1
views:
  shown:
    comment: COMMENT
    sql: |
      VIEW
";

struct Hostile<'a> {
    place: &'a str,
    text: &'a str,
}

fn definition(topic: &str, hostile: &Hostile<'_>) -> String {
    let usual = [
        ("NAME", "hostile"),
        ("COMMENT", "of no harm"),
        ("COLUMN", "note"),
        ("TYPE", "text"),
        ("DEFAULT", "'none'"),
        ("CONDITION", "n > 0"),
        ("VIEW", "select name, n from hostile"),
    ];
    let mut text = TABLE.replace("TOPIC", topic);
    for (place, usual) in usual {
        let written = match place == hostile.place {
            true => hostile.text,
            false => usual,
        };
        text = text.replace(place, written);
    }
    text
}

fn victims(space: &Space) -> i64 {
    let database = &space.database;
    database.number("select count(*) from pg_class where relname = 'victim'")
        + database.number("select count(*) from victim")
}

#[test]
fn names_types_defaults_and_conditions_that_are_more_than_that_are_refused_before_postgres_sees_them()
 {
    let cases = [
        ("NAME", "a; drop table victim"),
        ("NAME", "\"a\\\"; drop table victim; --\""),
        ("NAME", "pg_catalog.x"),
        ("NAME", "ÜBER"),
        ("COLUMN", "a int, b"),
        ("COLUMN", "\"a\\\" int); drop table victim; --\""),
        ("COLUMN", "$owner"),
        ("COLUMN", "xmin"),
        ("TYPE", "text); drop table victim; --"),
        ("TYPE", "text collate \"C\""),
        ("TYPE", "serial"),
        ("TYPE", "text references victim"),
        ("TYPE", "text generated always as ('x') stored"),
        ("DEFAULT", "(select count(*) from victim)"),
        ("DEFAULT", "nextval('victims')"),
        ("DEFAULT", "'x'); drop table victim; --"),
        ("CONDITION", "true); drop table victim; --"),
        ("CONDITION", "n > 0; drop table victim"),
        ("CONDITION", "n > 0) with (fillfactor = 10"),
        ("VIEW", "select 1 as a; drop table victim"),
        ("VIEW", "delete from victim returning *"),
        ("VIEW", "drop table victim"),
        ("VIEW", "select 1 as a) as x; drop table victim; --"),
        ("VIEW", "select name from hostile for update"),
        ("VIEW", "copy victim to program 'true'"),
    ];
    let judged = |place, text| {
        let text = definition("events", &Hostile { place, text });
        consolidator::definition::load("hostile.yaml", &text).projection
    };
    assert!(
        judged("nothing", "").is_some(),
        "without hostility it is fine"
    );
    for (place, text) in cases {
        assert!(judged(place, text).is_none(), "{place}: {text}");
    }
}

#[test]
fn what_only_postgres_can_judge_changes_nothing_outside_of_our_schemas() {
    let space = Space::new("judged");
    let topic = space.topic("events", 1);
    space.database.execute(
        "create table victim as select 1 as a; grant all on victim to public; create sequence victims; grant all on victims to public; \
         create function victim_gone() returns int language sql volatile as 'delete from public.victim returning a'; \
         create function public.\"hostile\"(int) returns int language sql volatile as 'delete from public.victim returning a'",
    );
    let before = victims(&space);
    let refused = [
        ("CONDITION", "public.victim_gone() > 0", "IMMUTABLE"),
        (
            "VIEW",
            "with gone as (delete from public.victim returning a) select a from gone",
            "",
        ),
        ("VIEW", "select public.victim_gone() as a", "victim_gone()"),
        ("VIEW", "select nextval('public.victims') as a", "nextval"),
        (
            "VIEW",
            "select set_config('search_path', 'public', false) as a",
            "set_config",
        ),
        (
            "VIEW",
            "select pg_read_file('/etc/passwd') as a",
            "pg_read_file",
        ),
        ("VIEW", "select * from pg_ls_dir('/') as a", "pg_ls_dir"),
        (
            "VIEW",
            "select pg_terminate_backend(1) as a",
            "pg_terminate_backend",
        ),
        (
            "VIEW",
            "select query_to_xml('delete from public.victim', true, true, '')::text as a",
            "query_to_xml",
        ),
        (
            "VIEW",
            "select name from hostile order by pg_sleep(1) is null",
            "pg_sleep",
        ),
        (
            "VIEW",
            "select a from public.victim",
            "not of this projection",
        ),
        (
            "VIEW",
            "select definition from consolidator.generation",
            "not of this projection",
        ),
        ("VIEW", "select 1 as a into victim", ""),
    ];
    for (place, text, reason) in refused {
        space.definition("hostile", &definition(&topic, &Hostile { place, text }));
        let output = space.run(&["run"]);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text}: {told}");
        assert!(told.contains(reason), "{text}: {told}");
        assert_eq!(victims(&space), before, "{text}");
        let left = "select count(*) from pg_namespace where nspname like 'consolidator\\_g%'";
        assert_eq!(space.database.number(left), 0, "{text}");
    }
}

#[test]
fn texts_that_would_end_a_statement_stay_texts() {
    let space = Space::new("texts");
    let topic = space.topic("events", 1);
    space
        .database
        .execute("create table victim as select 1 as a");
    let hostile = "'; drop table victim; --\\' $$ $a$ /* \u{202e} %s";
    let quoted = format!("\"{}\"", hostile.replace('\\', "\\\\"));
    let text = TABLE
        .replace("TOPIC", &topic)
        .replace("NAME", "hostile")
        .replace("COMMENT", &quoted)
        .replace("COLUMN", "note")
        .replace("TYPE", "text")
        .replace(
            "default DEFAULT",
            &format!("default '{}'", hostile.replace('\'', "''")),
        )
        .replace("CONDITION", "note <> '''; drop table victim; --'")
        .replace(
            "VIEW",
            "select name, n, note || '''; drop table victim; --' as more from hostile",
        );
    let text = text.replace("      note: text", "      note: |-\n        text");
    space.definition("hostile", &text);
    let event = Record::new(hostile, r#"{"type":"Added"}"#);
    Producer::new(space.kafka).write(&topic, &[event]);
    let _worker = space.start_worker("worker");
    space.wait_offset("hostile", &topic, 0, 0, IN_TIME);
    let row = &space.database.query("select name, note, obj_description('read_model.hostile'::regclass) from read_model.hostile")[0];
    assert_eq!(row[0].as_deref(), Some(hostile));
    assert_eq!(row[1].as_deref(), Some(hostile));
    assert_eq!(row[2].as_deref(), Some(hostile));
    assert_eq!(space.database.number("select count(*) from victim"), 1);
}

#[test]
fn definitions_that_would_take_all_time_or_memory_are_refused_at_once() {
    let space = Space::new("bombs");
    let rule = |expression: &str| {
        TABLE
            .replace("TOPIC", "events")
            .replace("NAME", "hostile")
            .replace("n = n + 1", &format!("n = {expression}"))
    };
    let mut laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, before) in ["b", "c", "d", "e", "f", "g", "h"]
        .iter()
        .zip(["a", "b", "c", "d", "e", "f", "g"])
    {
        let aliases = vec![format!("*{before}"); 9].join(", ");
        laughs += &format!("{name}: &{name} [{aliases}]\n");
    }
    let bombs = [
        laughs,
        "a: ".to_owned() + &"[".repeat(100_000),
        "a: ".to_owned() + &"{a: ".repeat(100_000),
        "? ".repeat(100_000),
        "- ".repeat(100_000),
        "a: |\n ".to_owned() + &"x".repeat(20 << 20),
        rule(&"(".repeat(200_000)),
        rule(&"- ".repeat(200_000)),
        rule(&"not ".repeat(100_000)),
        rule(&format!("1{}", " + 1".repeat(150_000))),
        rule(&"case when true then ".repeat(30_000)),
        rule(&"coalesce(".repeat(50_000)),
        rule("repeat(repeat(repeat('x', 1000000), 1000000), 1000000)::bigint"),
        TABLE.replace("VIEW", &format!("select {}1", "(".repeat(100_000))),
        TABLE.replace("CONDITION", &"not ".repeat(100_000)),
    ];
    for (number, bomb) in bombs.iter().enumerate() {
        let started = Instant::now();
        let loaded = consolidator::definition::load("bomb.yaml", bomb);
        assert!(loaded.projection.is_none(), "bomb {number}");
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "bomb {number} took {:.1?}",
            started.elapsed()
        );
    }
    let endless = space.definition_file("endless");
    std::os::unix::fs::symlink("/dev/zero", &endless).unwrap();
    let output = space.run(&["lint", &endless.display().to_string()]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
}

/// A topic that takes large records, and the projection `hostile` of it, folded within little memory.
fn with_room_for_bombs(space: &mut Space, partitions: i32) -> String {
    let topic = format!("{}.events", space.id);
    let room = [("max.message.bytes", "120000000")];
    space.kafka.create_topic(&topic, partitions, &room);
    space.definition("hostile", &counter("hostile", &topic));
    let limit = "memory_limit: 256MiB".to_owned();
    space.settings.worker.push(limit);
    topic
}

/// Of a few kilobytes on the wire, and forty megabytes unpacked, more than a record may have.
#[test]
fn a_record_that_unpacks_to_forty_megabytes_is_set_aside_and_the_rest_is_folded() {
    let mut space = Space::alone("unpacks");
    let topic = with_room_for_bombs(&mut space, 1);
    let producer = Producer::with(
        space.kafka,
        &[
            ("compression.type", "zstd"),
            ("message.max.bytes", "120000000"),
        ],
    );
    let good = |key: &str| Record::new(key, r#"{"type":"Added"}"#);
    producer.write(&topic, &[good("a")]);
    let padding = " ".repeat(40 << 20);
    producer.write(
        &topic,
        &[Record::new(
            "bomb",
            format!("{{\"type\":\"Added\"{padding}}}"),
        )],
    );
    let nested = format!(
        r#"{{"type":"Added","data":{}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    producer.write(&topic, &[Record::new("deep", nested), good("b")]);

    let worker = space.start_worker("worker");
    space.wait_offset("hostile", &topic, 0, 3, IN_TIME);
    let keys = space
        .database
        .query("select name from read_model.hostile order by name");
    assert_eq!(keys, [[Some("a".to_owned())], [Some("b".to_owned())]]);
    wait_until("both to be set aside", IN_TIME, || {
        let aside = "select count(*) from consolidator.dead_letter where key in ('bomb', 'deep') and \"offset\" in (1, 2)";
        space.database.number(aside) == 2
    });
    // Of one that librdkafka does not even unpack, the place is told and the way out.
    let larger = " ".repeat(90 << 20);
    producer.write(&topic, &[Record::new("larger", larger)]);
    wait_until("status to tell", IN_TIME, || {
        let status = space.run(&["status"]);
        let told = String::from_utf8_lossy(&status.stdout).into_owned();
        told.contains("receive.message.max.bytes") && told.contains("offset 4")
    });
    let (_, most) = worker.resident_bytes();
    assert!(most < 1 << 30, "{} MiB", most >> 20);
}

/// Uncompressed, as large as the broker takes.
#[test]
fn a_record_of_almost_a_hundred_megabytes_is_set_aside_within_the_memory_limit() {
    let mut space = Space::alone("hundred");
    let topic = with_room_for_bombs(&mut space, 2);
    let producer = Producer::with(space.kafka, &[("message.max.bytes", "120000000")]);
    let good = |key: &str| Record::new(key, r#"{"type":"Added"}"#).in_partition(0);
    let padding = "x".repeat(99_000_000);
    let large = format!(r#"{{"type":"Added","data":{{"padding":"{padding}"}}}}"#);
    let large = Record::new("large", large).in_partition(0);
    producer.write(&topic, &[good("a"), large, good("b")]);
    producer.write(&topic, &[good("c").in_partition(1)]);
    let worker = space.start_worker("worker");
    space.wait_offset("hostile", &topic, 1, 0, IN_TIME);
    space.wait_offset("hostile", &topic, 0, 2, IN_TIME);
    let keys = space
        .database
        .query("select string_agg(name, ' ' order by name) from read_model.hostile");
    assert_eq!(keys, [[Some("a b c".to_owned())]]);
    let place = "select partition, \"offset\", key from consolidator.dead_letter";
    let place: Vec<_> = space
        .database
        .query(place)
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    assert_eq!(place, ["0", "1", "large"]);
    let (_, most) = worker.resident_bytes();
    assert!(most < 768 << 20, "{} MiB", most >> 20);
    assert!(worker.terminate(IN_TIME).success());
}
