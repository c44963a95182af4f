//! What readers of every kind see while readers are switched to and fro.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};

use super::{IN_TIME, run_fine, states};
use crate::support::database::Database;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record};
use crate::support::wait::{let_pass, wait_until};
use crate::support::{block_on, setting};

const KEYS: usize = 200;
/// Unless `CONSOLIDATOR_TEST_SWITCHES` says otherwise.
const SWITCHES: u64 = 40;

/// Two tables that each say of which generation they are.
const MARKED: &str = "
projection: marked
from: [TOPIC]
tables:
  accounts:
    key:
      id: text = event.key
    columns:
      n: bigint not null default 0
      tag: text not null default 'TAG'
    rules:
      Paid:
        set: n = n + 1
  counts:
    key:
      id: text = event.key
    columns:
      n: bigint not null default 0
      tag: text not null default 'TAG'
    rules:
      Paid:
        set: n = n + 1
";

/// Rows, events of both tables, and generations among them, of one snapshot.
const LOOK: &str =
    "select count(*) as keys, sum(a.n)::bigint as events, sum(c.n)::bigint as counted,
    count(distinct a.tag || c.tag) as tags, min(a.tag) as tag, min(c.tag) as other
    from read_model.accounts a join read_model.counts c using (id)";

fn marked(topic: &str, tag: &str) -> String {
    MARKED.replace("TOPIC", topic).replace("TAG", tag)
}

fn write(space: &Space, topic: &str, rounds: usize) {
    write_by(&Producer::new(space.kafka), topic, rounds);
}

fn write_by(producer: &Producer, topic: &str, rounds: usize) {
    let event = |number: usize| Record::new(&format!("k{}", number % KEYS), r#"{"type":"Paid"}"#);
    let records: Vec<Record> = (0..KEYS * rounds).map(event).collect();
    producer.write(topic, &records);
}

/// Two generations, the older one live, the newer one held.
fn two_generations(name: &str) -> (Space, String, crate::support::worker::Worker) {
    let space = Space::new(name);
    let topic = space.topic("events", 2);
    write(&space, &topic, 3);
    space.definition("marked", &marked(&topic, "old"));
    let worker = space.start_worker("worker");
    space.wait_applied("marked", &[&topic], IN_TIME);
    space.definition("marked", &marked(&topic, "new"));
    run_fine(&space, &["rebuild", "marked", "--hold"]);
    (space, topic, worker)
}

/// What all readers share.
struct Watch {
    url: String,
    over: AtomicBool,
    looks: AtomicUsize,
    slowest_ms: AtomicUsize,
}

impl Watch {
    /// One look, checked; gives the number of events that it saw.
    fn check(&self, row: &sqlx::postgres::PgRow, before: i64, began: Instant) -> i64 {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let took = began.elapsed().as_millis() as usize;
        self.slowest_ms.fetch_max(took, Ordering::Relaxed);
        let number = |name: &str| row.get::<i64, _>(name);
        assert_eq!(
            number("keys"),
            KEYS as i64,
            "no look is empty or half-filled"
        );
        assert_eq!(number("tags"), 1, "no look is mixed");
        assert_eq!(row.get::<String, _>("tag"), row.get::<String, _>("other"));
        assert_eq!(
            number("events"),
            number("counted"),
            "both tables are of one moment"
        );
        let events = number("events");
        assert!(
            events >= before,
            "readers went back in time from {before} to {events}"
        );
        events
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    async fn simple(&self) {
        let (mut sql, mut events) = (self.connect().await, 0);
        while self.goes_on() {
            let began = Instant::now();
            let query = sqlx::query(LOOK).persistent(false);
            events = self.check(&query.fetch_one(&mut sql).await.unwrap(), events, began);
        }
    }

    async fn prepared(&self) {
        let (mut sql, mut events) = (self.connect().await, 0);
        sqlx::raw_sql("set plan_cache_mode = force_generic_plan")
            .execute(&mut sql)
            .await
            .unwrap();
        while self.goes_on() {
            let began = Instant::now();
            events = self.check(
                &sqlx::query(LOOK).fetch_one(&mut sql).await.unwrap(),
                events,
                began,
            );
        }
    }

    /// Opened before a switch, read after others.
    async fn cursor(&self) {
        let (mut sql, mut events) = (self.connect().await, 0);
        while self.goes_on() {
            let began = Instant::now();
            let declare = format!(
                "begin; declare c cursor for {LOOK}; declare d cursor for select tag from read_model.accounts"
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(declare))
                .execute(&mut sql)
                .await
                .unwrap();
            let row = sqlx::query("fetch c")
                .persistent(false)
                .fetch_one(&mut sql)
                .await
                .unwrap();
            events = self.check(&row, events, began);
            let mut tags = std::collections::BTreeMap::new();
            for _ in 0..KEYS {
                let row = sqlx::query("fetch d")
                    .persistent(false)
                    .fetch_one(&mut sql)
                    .await
                    .unwrap();
                *tags.entry(row.get::<String, _>(0)).or_insert(0) += 1;
            }
            assert_eq!(tags.len(), 1, "{tags:?}");
            sqlx::raw_sql("commit").execute(&mut sql).await.unwrap();
        }
    }

    /// Sees the same from its first look to its last.
    async fn repeatable(&self) {
        let (mut sql, mut events) = (self.connect().await, 0);
        while self.goes_on() {
            sqlx::raw_sql("begin isolation level repeatable read")
                .execute(&mut sql)
                .await
                .unwrap();
            let began = Instant::now();
            let first = sqlx::query(LOOK).fetch_one(&mut sql).await.unwrap();
            events = self.check(&first, events, began);
            for _ in 0..20 {
                let again = sqlx::query(LOOK).fetch_one(&mut sql).await.unwrap();
                assert_eq!(self.check(&again, events, Instant::now()), events);
                assert_eq!(again.get::<String, _>("tag"), first.get::<String, _>("tag"));
            }
            sqlx::raw_sql("commit").execute(&mut sql).await.unwrap();
        }
    }
}

#[test]
fn readers_of_every_kind_see_one_whole_generation_through_many_switches() {
    let (space, topic, worker) = two_generations("switching");
    // Begun before the first switch, and looks only after the last one.
    let early = Database::at(space.database.url());
    early.execute("begin isolation level repeatable read; select 1 from consolidator.projection");
    run_fine(&space, &["switch", "marked"]);

    let watch = Arc::new(Watch {
        url: space.database.url().to_owned(),
        over: AtomicBool::new(false),
        looks: AtomicUsize::new(0),
        slowest_ms: AtomicUsize::new(0),
    });
    type Reader = fn(Arc<Watch>);
    let kinds: [Reader; 4] = [
        |watch| block_on(watch.simple()),
        |watch| block_on(watch.prepared()),
        |watch| block_on(watch.cursor()),
        |watch| block_on(watch.repeatable()),
    ];
    let readers: Vec<_> = kinds
        .into_iter()
        .map(|kind| {
            let watch = watch.clone();
            thread::spawn(move || kind(watch))
        })
        .collect();
    let switches = setting("CONSOLIDATOR_TEST_SWITCHES").unwrap_or(SWITCHES);
    let producer = Producer::new(space.kafka);
    let mut took: Vec<Duration> = Vec::new();
    for round in 0..switches {
        write_by(&producer, &topic, 1);
        let began = Instant::now();
        run_fine(&space, &["rollback", "marked"]);
        took.push(began.elapsed());
        assert_eq!(states(&space).len(), 2, "round {round}");
    }
    took.sort();
    watch.over.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.join().expect("no reader saw anything wrong");
    }
    let (looks, slowest_ms) = (
        watch.looks.load(Ordering::Relaxed),
        watch.slowest_ms.load(Ordering::Relaxed),
    );
    println!("{looks} looks through {switches} switches, the slowest {slowest_ms} ms");
    let (middle, last) = (took[took.len() / 2], took[took.len() - 1]);
    println!(
        "  a switch took {middle:.1?} in the middle, {last:.1?} at most, from the start of its process"
    );
    assert!(looks as u64 > switches * 10);

    let row = &early.query(LOOK)[0];
    let text = |number: usize| row[number].as_deref();
    assert_eq!(
        (text(0), text(3), text(4)),
        (Some("200"), Some("1"), Some("old"))
    );
    early.execute("commit");
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn a_switch_waits_for_a_long_query_and_keeps_nobody_else_waiting() {
    let (space, _topic, worker) = two_generations("patient");
    let long = Database::at(space.database.url());
    long.execute("begin; select count(*) from read_model.accounts");
    let pid = long.number("select pg_backend_pid()");
    let settings = space.write_settings("switch");
    let switch = crate::support::worker::Worker::start(
        "switch",
        space.dir(),
        &["switch", "marked", "--config", &settings],
        &[],
    );
    let reason = format!(
        "select count(*) from consolidator.generation where id = 2 and reason like '%readers of accounts: session {pid}%'"
    );
    wait_until("the switch to say for whom it waits", IN_TIME, || {
        space.database.number(&reason) == 1
    });
    let reader = Database::at(space.database.url());
    let mut slowest = Duration::ZERO;
    for _ in 0..100 {
        let began = Instant::now();
        assert_eq!(
            reader.number("select count(*) from read_model.accounts"),
            KEYS as i64
        );
        slowest = slowest.max(began.elapsed());
        let_pass(Duration::from_millis(10));
    }
    assert!(
        slowest < Duration::from_millis(500),
        "a reader waited {slowest:?}"
    );
    assert_eq!(states(&space), ["1 live", "2 held"]);
    long.execute("commit");
    assert!(switch.wait(IN_TIME).success(), "{}", switch.log());
    assert_eq!(states(&space), ["1 grace", "2 live"]);
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn a_generation_whose_grace_is_over_goes_only_when_nobody_can_see_it() {
    let mut space = Space::new("grace");
    space.settings.more = vec!["rebuild:\n  grace: 1s".to_owned()];
    let topic = space.topic("events", 2);
    write(&space, &topic, 3);
    space.definition("marked", &marked(&topic, "old"));
    let worker = space.start_worker("worker");
    space.wait_applied("marked", &[&topic], IN_TIME);
    let early = Database::at(space.database.url());
    early.execute("begin isolation level repeatable read; select 1 from consolidator.projection");
    space.definition("marked", &marked(&topic, "new"));
    run_fine(&space, &["rebuild", "marked"]);
    let waits = "select count(*) from consolidator.generation where id = 1 and state = 'grace'
        and reason like 'it goes when these are over%'";
    wait_until("the older one to wait for the reader", IN_TIME, || {
        space.database.number(waits) == 1
    });
    let row = &early.query(LOOK)[0];
    assert_eq!(
        (row[0].as_deref(), row[4].as_deref()),
        (Some("200"), Some("old"))
    );
    early.execute("commit");
    let gone = "select count(*) from consolidator.generation where id = 1 and state = 'retired'
        and to_regnamespace('consolidator_g1') is null";
    wait_until("the older one to go", IN_TIME, || {
        space.database.number(gone) == 1
    });
    let branches = "select count(*) from consolidator.published where branches <> '{2}'";
    assert_eq!(space.database.number(branches), 0);
    let refused = space.run(&["rollback", "marked"]);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(
        space
            .database
            .number("select count(*) from read_model.accounts where tag = 'new'"),
        KEYS as i64
    );
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn readers_find_the_planner_informed_whether_their_rows_were_loaded_or_folded() {
    for (name, events) in [("loaded", 30_000), ("folded", 3_000)] {
        let space = Space::new(name);
        let topic = space.topic("movements", 3);
        super::write(&space, &topic, 0..100);
        space.definition("ledger", &super::ledger(&topic));
        super::build_live(&space);
        super::write(&space, &topic, 100..events);
        run_fine(&space, &["rebuild", "ledger"]);
        let loaded =
            "select count(*) from consolidator.generation where id = 2 and loaded_at is not null";
        let loaded = space.database.number(loaded) == 1;
        assert_eq!(loaded, name == "loaded");
        let told = "select count(*) from pg_stats s
            join pg_class t on t.relname = s.tablename and t.relnamespace = s.schemaname::regnamespace
            where t.oid = to_regclass('consolidator_g2.accounts') and s.attname = 'id'
              and abs(t.reltuples - (select count(*) from read_model.accounts)) < 100";
        assert_eq!(space.database.number(told), 1, "{name}");
    }
}
