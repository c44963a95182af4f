//! `version`: exact although events come twice, late, and through restarts and rebuilds. `verify`: what it finds.

use super::{IN_TIME, ledger, run_fine, states};
use crate::support::oracle::assert_same;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record, dump};

const STATUSES: &str = "
projection: statuses
from: [TOPIC]
tables:
  statuses:
    key:
      id: text = event.key
    columns:
      status: text
      changes: bigint not null default 0
    version: event.version
    rules:
      Set:
        set: status = data.status, changes = changes + 1
      Gone:
        delete: true
views:
  everything: select * from statuses
";

/// An event counts if its version is above all that came before it; a row is there if the last that counted set it.
const ORACLE: &str = "
    with e as (
        select key, \"offset\", v->>'type' as type, (v->>'version')::bigint as version, v->'data'->>'status' as status
        from (select key, \"offset\", value::jsonb as v from raw) r),
    counted as (
        select *, max(version) over w as best from e
        window w as (partition by key order by \"offset\" rows between unbounded preceding and 1 preceding)),
    fresh as (select * from counted c where best is null or version > best),
    -- A deletion of a row that is not there counts for nothing.
    last as (select distinct on (key) key, type, status, \"offset\" from fresh order by key, \"offset\" desc)
    select key, status,
        (select count(*) from fresh f where f.key = l.key and f.type = 'Set' and f.\"offset\" >
            coalesce((select max(g.\"offset\") from fresh g where g.key = l.key and g.type = 'Gone'), -1))
    from last l where type = 'Set'";

fn events(rounds: std::ops::Range<usize>) -> Vec<Record> {
    let mut records = Vec::new();
    for round in rounds {
        for key in 0..700_usize {
            // The first event of every key makes its row; later versions wander, and some come twice.
            let version = if round == 0 {
                1
            } else {
                round * 3 + key * 31 % 11
            };
            let value = match (round, key % 13 == round % 13) {
                (1.., true) => format!(r#"{{"type":"Gone","version":{version}}}"#),
                _ => format!(
                    r#"{{"type":"Set","version":{version},"data":{{"status":"s{round}"}}}}"#
                ),
            };
            records.push(Record::new(&format!("k{key}"), value));
        }
    }
    records
}

#[test]
fn versions_are_exact_through_restarts_and_rebuilds() {
    let space = Space::new("versions");
    let topic = space.topic("changes", 3);
    let producer = Producer::new(space.kafka);
    space.definition("statuses", &STATUSES.replace("TOPIC", &topic));
    let check = || {
        dump(space.kafka, &[&topic], &space.database);
        for relation in ["statuses", "everything"] {
            let product = format!("select * from read_model.{relation}");
            assert_same(&space.database, relation, &product, ORACLE);
        }
    };
    producer.write(&topic, &events(0..20));
    let worker = space.start_worker("first");
    space.wait_applied("statuses", &[&topic], IN_TIME);
    worker.kill();
    producer.write(&topic, &events(15..40));
    let worker = space.start_worker("second");
    space.wait_applied("statuses", &[&topic], IN_TIME);
    check();
    run_fine(&space, &["rebuild", "statuses"]);
    assert_eq!(states(&space), ["1 grace", "2 live"]);
    check();
    producer.write(&topic, &events(38..45));
    space.wait_applied("statuses", &[&topic], IN_TIME);
    check();
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn verify_finds_exactly_the_rows_that_are_not_the_fold_of_their_events() {
    let space = Space::new("verify");
    let topic = space.topic("movements", 3);
    super::write(&space, &topic, 0..30_000);
    space.definition("ledger", &ledger(&topic));
    let worker = space.start_worker("worker");
    worker.wait_for_log("caught up: live", IN_TIME);
    // Live goes on all the while.
    let writing = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut first = 30_000;
            while writing.load(std::sync::atomic::Ordering::Relaxed) {
                super::write(&space, &topic, first..first + 200);
                first += 200;
            }
        });
        let output = space.run(&["verify", "ledger"]);
        writing.store(false, std::sync::atomic::Ordering::Relaxed);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            text.contains("0 missing, 0 extra, 0 differ"),
            "{text}{told}"
        );
    });
    space.wait_applied("ledger", &[&topic], IN_TIME);
    space.database.execute(
        "update consolidator_g1.accounts set balance = balance + 1 where id = 'a7';
         delete from consolidator_g1.accounts where id = 'a8';
         insert into consolidator_g1.accounts (id, \"$owner\") values ('nobody', 1)",
    );
    let output = space.run(&["verify", "ledger", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains(r#""differing":1,"extra":1,"missing":1"#),
        "{text}"
    );
    for key in [r#""key":"(a7)""#, r#""key":"(a8)""#, r#""key":"(nobody)""#] {
        assert!(text.contains(key), "{key} in {text}");
    }
    assert_eq!(states(&space), ["1 live"], "nothing is left of it");
    assert!(worker.terminate(IN_TIME).success());
}
