//! Connections that end at their COMMIT, before it took effect and after: nothing lost, nothing twice. The long form is asked for
//! by `CONSOLIDATOR_TEST_COMMITS` (how many of each).

use std::time::{Duration, Instant};

use crate::support::definitions::{ACCOUNTS, BRANCHES};
use crate::support::oracle::{CHAIN, assert_same};
use crate::support::setting;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record, dump};
use crate::support::wait::wait_until;
use crate::support::wire::{Cut, WireProxy};

const IN_TIME: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 4;
const CHUNK_EVENTS: usize = 200;
/// Of each kind, in the short form.
const CUTS: u64 = 20;

const ORACLE_SETUP: &str = "
    create view event as
    select key, \"offset\", v->>'id' as id, v->'data'->>'branch' as branch, (v->'data'->>'amount')::bigint as amount
    from (select key, \"offset\", value::jsonb as v from raw) r";

const ORACLE: [(&str, &str); 2] = [
    (
        "accounts",
        "select key, count(*), sum(amount)::bigint, chain(id order by \"offset\") from event group by key",
    ),
    (
        "branches",
        "select branch, count(*), sum(amount)::bigint from event group by branch",
    ),
];

#[test]
fn connections_cut_before_and_after_their_commit_lose_nothing_and_count_nothing_twice() {
    let cuts = setting("CONSOLIDATOR_TEST_COMMITS").unwrap_or(CUTS);
    let mut space = Space::new("commits");
    let direct = space.settings.postgres_url.clone();
    let (user, server) = direct.split_once('@').unwrap();
    let (server, database) = server.split_once('/').unwrap();
    let proxy = WireProxy::to(server);
    space.settings.postgres_url = format!("{user}@127.0.0.1:{}/{database}", proxy.port);
    let topic = space.topic("payments", PARTITIONS);
    space.definition("accounts", &ACCOUNTS.replace("TOPIC", &topic));
    space.definition("branches", &BRANCHES.replace("TOPIC", &topic));
    let producer = Producer::new(space.kafka);
    let mut written = 0;
    let mut write = || {
        producer.write(&topic, &payments(written..written + CHUNK_EVENTS));
        written += CHUNK_EVENTS;
    };
    write();
    let worker = space.start_worker("worker");
    for projection in ["accounts", "branches"] {
        space.wait_applied(projection, &[&topic], IN_TIME);
    }
    let started = Instant::now();
    for cut in [Cut::BeforeCommit, Cut::AfterCommit].repeat(cuts as usize) {
        let before = proxy.cuts();
        proxy.cut_at_commit(cut);
        write();
        wait_until("a connection to be cut", IN_TIME, || proxy.cuts() > before);
    }
    println!("{cuts} cuts of each kind in {:?}", started.elapsed());
    for projection in ["accounts", "branches"] {
        space.wait_applied(projection, &[&topic], IN_TIME);
    }
    let status = worker.terminate(IN_TIME);
    assert!(status.success(), "{status}");
    assert_eq!(
        dump(space.kafka, &[&topic], &space.database),
        written as u64
    );
    space.database.execute(CHAIN);
    space.database.execute(ORACLE_SETUP);
    for (table, oracle) in ORACLE {
        let product = format!("select * from read_model.{table}");
        assert_same(&space.database, table, &product, oracle);
    }
    let letters = "select count(*) from consolidator.dead_letter";
    assert_eq!(space.database.number(letters), 0);
}

fn payments(numbers: std::ops::Range<usize>) -> Vec<Record> {
    let event = |number: usize| {
        let (branch, amount) = (number % 11, number % 97);
        let value = format!(
            r#"{{"type":"Paid","id":"e{number}","data":{{"branch":"b{branch}","amount":{amount}}}}}"#
        );
        Record::new(&format!("a{}", number * 31 % 500), value)
    };
    numbers.map(event).collect()
}
