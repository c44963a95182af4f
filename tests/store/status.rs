use super::*;
use crate::support::block_on;

#[test]
fn status_tells_per_generation_where_it_stands_and_who_works_on_it() {
    block_on(async {
        let base = base().await;
        let (generation, layout) = counters_in(&base, true).await;
        let mut lane = base.lane("here/1/0").await;
        let start = lane
            .take_over(generation.id, &partitions(&[0, 1]))
            .await
            .unwrap()
            .checkpoints;
        let behind = Claim {
            end_offset: Some(12),
            as_of: Some(1_000_000),
            ..claim(&start[0], 5)
        };
        let mut tx = lane
            .begin(&layout, &[behind, claim(&start[1], 3)])
            .await
            .unwrap();
        tx.write(&changes(&layout, 1, &[counter("a", 1)], &[]))
            .await
            .unwrap();
        tx.commit().await.unwrap();

        let status = base.store.status().await.unwrap();
        assert_eq!(status.len(), 1);
        assert_eq!(
            (status[0].name.as_str(), &status[0].paused_at),
            ("counters", &None)
        );
        let generation = &status[0].generations[0];
        assert!(generation.visible);
        assert_eq!((generation.gap(), generation.events()), (Some(7), 8));
        assert!(generation.lag_seconds().unwrap() > 1e8);
        assert_eq!(generation.tables[0].name, "counter");
        let first = &generation.partitions[0];
        assert_eq!(first.as_of.as_deref(), Some("2000-01-01T00:00:01.000000Z"));
        assert_eq!(first.owner_name.as_deref(), Some("here/1/0"));
        assert!(first.owner_connected);

        lane.release(generation.id, &[(1, first.epoch)])
            .await
            .unwrap();
        drop(lane);
        let status = base.store.status().await.unwrap();
        assert_eq!(status[0].generations[0].partitions[0].owner_name, None);
    });
}

#[test]
fn status_names_the_session_that_a_lane_waits_for() {
    block_on(async {
        let base = base().await;
        let (generation, layout) = counters_in(&base, true).await;
        let mut lane = base.lane("a").await;
        let start = lane
            .take_over(generation.id, &partitions(&[0]))
            .await
            .unwrap()
            .checkpoints;
        let mut analyst = base.sql().await;
        let lock = format!(
            "begin; lock table consolidator_g{}.counter in exclusive mode",
            generation.id
        );
        execute(&mut analyst, &lock).await;
        let pid: i32 = rows(&mut analyst, "select pg_backend_pid()").await[0]
            .parse()
            .unwrap();
        let writing = tokio::spawn(async move {
            let mut tx = lane.begin(&layout, &[claim(&start[0], 1)]).await.unwrap();
            tx.write(&changes(&layout, 1, &[counter("a", 1)], &[]))
                .await
                .unwrap();
            tx.commit().await.unwrap();
        });
        let blockers = loop {
            let status = base.store.status().await.unwrap();
            let blockers = status[0].generations[0].blockers.clone();
            if !blockers.is_empty() {
                break blockers;
            }
        };
        assert_eq!(blockers[0].pid, pid);
        assert_eq!(blockers[0].state.as_deref(), Some("idle in transaction"));
        execute(&mut analyst, "commit").await;
        writing.await.unwrap();
    });
}
