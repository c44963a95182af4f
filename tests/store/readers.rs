use std::time::Instant;

use super::*;
use crate::support::block_on;

/// A database with one projection, and a session of a role that is named in `postgres.readers`.
async fn as_reader(base: &Base, name: &str) -> (Generation, Arc<Layout>, PgConnection, String) {
    let role = format!("{name}_{}", std::process::id());
    let mut sql = base.sql().await;
    execute(
        &mut sql,
        &format!("drop role if exists {role}; create role {role} login password '{PASSWORD}'"),
    )
    .await;
    let read = ReadSettings {
        schema: "read_model".to_owned(),
        readers: vec![role.clone()],
    };
    let mut projection = counters(true);
    projection.views = vec![view("large", "select id from counter where n > 10")];
    let store = &base.store;
    let generation = store
        .ensure_generation(&projection, "f1", "group", &read)
        .await
        .unwrap();
    // A second start finds everything in place.
    store
        .ensure_generation(&projection, "f1", "group", &read)
        .await
        .unwrap();
    let layout = Layout::new(&projection, generation.id, &[]).unwrap();
    let url = as_role(&base.url, &role);
    let reader = PgConnection::connect(&url).await.unwrap();
    (generation, Arc::new(layout), reader, role)
}

async fn remove(base: &Base, role: &str) {
    let mut sql = base.sql().await;
    execute(&mut sql, &format!("drop owned by {role}; drop role {role}")).await;
}

#[test]
fn a_reader_sees_the_read_schema_the_two_views_and_wait_for_and_nothing_else() {
    block_on(async {
        let base = base().await;
        let (generation, layout, mut reader, role) = as_reader(&base, "analyst").await;
        let mut lane = base.lane("a").await;
        let start = lane
            .take_over(generation.id, &partitions(&[0]))
            .await
            .unwrap()
            .checkpoints;
        let mut tx = lane.begin(&layout, &[claim(&start[0], 4)]).await.unwrap();
        tx.write(&changes(&layout, 1, &[counter("a", 11)], &[]))
            .await
            .unwrap();
        tx.commit().await.unwrap();

        assert_eq!(
            rows(&mut reader, "select * from read_model.counter").await,
            ["a|11|null"]
        );
        assert_eq!(
            rows(&mut reader, "select * from read_model.large").await,
            ["a"]
        );
        assert_eq!(
            rows(
                &mut reader,
                "select projection, table_name, gap, state from consolidator.freshness order by 2"
            )
            .await,
            ["counters|counter|0|building", "counters|large|0|building"]
        );
        assert_eq!(
            rows(&mut reader, "select * from consolidator.blocked_keys").await,
            Vec::<String>::new()
        );
        let wait = "select consolidator.wait_for('counters', 'events', 0, 3, '1 second')";
        assert_eq!(rows(&mut reader, wait).await, ["t"]);

        let physical = format!("select * from consolidator_g{}.counter", generation.id);
        for forbidden in [
            physical.as_str(),
            "select * from consolidator.generation",
            "select * from consolidator.checkpoint",
            "select * from consolidator.pointer",
            "select * from consolidator.dead_letter",
            "select * from consolidator._sqlx_migrations",
            "update consolidator.pointer set generation = 1",
            "insert into read_model.counter (id) values ('x')",
            "create table read_model.mine (x int)",
            "create table consolidator.mine (x int)",
        ] {
            assert_eq!(
                failure(&mut reader, forbidden).await.0,
                "42501",
                "{forbidden}"
            );
        }
        remove(&base, &role).await;
    });
}

#[test]
fn somebody_who_is_no_reader_may_not_even_wait() {
    block_on(async {
        let base = base().await;
        let (_, _, _, role) = as_reader(&base, "known").await;
        let mut sql = base.sql().await;
        let other = format!("stranger_{}", std::process::id());
        execute(
            &mut sql,
            &format!("create role {other}; grant usage on schema consolidator to {other}; set role {other}"),
        )
        .await;
        let wait = "select consolidator.wait_for('counters', 'events', 0, 3, '1 second')";
        assert_eq!(failure(&mut sql, wait).await.0, "42501");
        execute(&mut sql, "reset role").await;
        execute(
            &mut sql,
            &format!("drop owned by {other}; drop role {other}"),
        )
        .await;
        remove(&base, &role).await;
    });
}

#[test]
fn wait_for_answers_as_soon_as_the_offset_is_applied() {
    block_on(async {
        let base = base().await;
        let (generation, layout, mut reader, role) = as_reader(&base, "waiter").await;
        let mut lane = base.lane("a").await;
        let start = lane
            .take_over(generation.id, &partitions(&[0]))
            .await
            .unwrap()
            .checkpoints;
        let wait = |offset: i64, timeout: &str| {
            format!("select consolidator.wait_for('counters', 'events', 0, {offset}, '{timeout}')")
        };
        let began = Instant::now();
        assert_eq!(rows(&mut reader, &wait(4, "100 ms")).await, ["f"]);
        assert!(began.elapsed() >= Duration::from_millis(100));

        let waiting = tokio::spawn(async move {
            let answer = rows(&mut reader, &wait(4, "30 s")).await;
            (answer, reader)
        });
        let mut sql = base.sql().await;
        let asleep = "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'";
        while rows(&mut sql, asleep).await == ["0"] {}
        let tx = lane.begin(&layout, &[claim(&start[0], 5)]).await.unwrap();
        assert!(!waiting.is_finished());
        tx.commit().await.unwrap();
        let committed = Instant::now();
        let (answer, mut reader) = waiting.await.unwrap();
        assert_eq!(answer, ["t"]);
        assert!(committed.elapsed() < Duration::from_secs(1));
        assert_eq!(rows(&mut reader, &wait(5, "0 s")).await, ["f"]);
        remove(&base, &role).await;
    });
}

#[test]
fn wait_for_refuses_what_it_could_only_answer_wrongly() {
    block_on(async {
        let base = base().await;
        let (generation, _, mut reader, role) = as_reader(&base, "asker").await;
        let mut lane = base.lane("a").await;
        lane.take_over(generation.id, &partitions(&[0]))
            .await
            .unwrap();
        for (arguments, words) in [
            (
                "'nothing', 'events', 0, 0, '9 s'",
                "no projection \"nothing\"",
            ),
            (
                "'counters', 'other', 0, 0, '9 s'",
                "does not read topic \"other\"",
            ),
            (
                "'counters', 'events', 77, 0, '100 ms'",
                "knows no partition 77",
            ),
            ("'counters', 'events', null, 0, '9 s'", "may be null"),
        ] {
            let (_, message) = failure(
                &mut reader,
                &format!("select consolidator.wait_for({arguments})"),
            )
            .await;
            assert!(message.contains(words), "{message}");
        }
        for isolation in ["repeatable read", "serializable"] {
            execute(&mut reader, &format!("begin isolation level {isolation}")).await;
            let (_, message) = failure(
                &mut reader,
                "select consolidator.wait_for('counters', 'events', 0, 0, '1 s')",
            )
            .await;
            assert!(message.contains("needs read committed"), "{message}");
            execute(&mut reader, "rollback").await;
        }
        remove(&base, &role).await;
    });
}

#[test]
fn freshness_tells_gap_lag_and_why_a_projection_stands_still() {
    block_on(async {
        let base = base().await;
        let (generation, layout) = counters_in(&base, true).await;
        let mut sql = base.sql().await;
        let fresh = "select gap, as_of, lag_seconds > 1e8, state, measured_at is not null from consolidator.freshness";
        assert_eq!(rows(&mut sql, fresh).await, ["null|null|null|building|f"]);
        let mut lane = base.lane("a").await;
        let start = lane
            .take_over(generation.id, &partitions(&[0, 1]))
            .await
            .unwrap()
            .checkpoints;
        let behind = Claim {
            end_offset: Some(15),
            as_of: Some(1_000_000),
            ..claim(&start[0], 5)
        };
        let level = Claim {
            as_of: Some(2_000_000),
            ..claim(&start[1], 5)
        };
        lane.begin(&layout, &[behind, level])
            .await
            .unwrap()
            .commit()
            .await
            .unwrap();
        execute(&mut sql, "set timezone = 'UTC'").await;
        assert_eq!(
            rows(&mut sql, fresh).await,
            ["10|2000-01-01 00:00:01+00|t|building|t"]
        );
        assert!(base.store.pause("counters").await.unwrap());
        assert!(!base.store.pause("counters").await.unwrap());
        assert_eq!(
            rows(&mut sql, "select state from consolidator.freshness").await,
            ["paused"]
        );
        let stop = consolidator::store::Stop {
            generation: generation.id,
            topic: Some("events".to_owned()),
            partition: Some(1),
            reason: "division by zero\0".to_owned(),
            ..Default::default()
        };
        base.store.record_stop(&stop).await.unwrap();
        base.store.record_stop(&stop).await.unwrap();
        assert_eq!(base.store.stops(generation.id).await.unwrap().len(), 1);
        assert_eq!(
            rows(&mut sql, "select state from consolidator.freshness").await,
            ["stopped"]
        );
        assert!(base.store.resume("counters", false).await.unwrap());
        assert!(!base.store.resume("counters", false).await.unwrap());
        assert_eq!(
            rows(&mut sql, "select state from consolidator.freshness").await,
            ["building"]
        );
    });
}
