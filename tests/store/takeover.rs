use std::time::Instant;

use consolidator::store::ErrorKind;

use super::*;
use crate::support::block_on;

#[test]
fn a_new_owner_waits_for_an_open_transaction_and_starts_from_its_outcome() {
    block_on(async {
        let base = base().await;
        let (generation, layout) = counters_in(&base, true).await;
        let mut old = base.lane("old").await;
        let mut new = LaneStore::connect(&base.store, "new", Duration::from_secs(20))
            .await
            .unwrap();
        let parts = partitions(&[0]);
        let before = old
            .take_over(generation.id, &parts)
            .await
            .unwrap()
            .checkpoints;
        let tx = old.begin(&layout, &[claim(&before[0], 5)]).await.unwrap();
        let taking = tokio::spawn(async move { new.take_over(generation.id, &parts).await });
        wait_until_blocked(&base).await;
        tx.commit().await.unwrap();
        let after = taking.await.unwrap().unwrap().checkpoints;
        assert_eq!(
            (after[0].next_offset, after[0].epoch),
            (5, before[0].epoch + 1)
        );
    });
}

#[test]
fn an_owner_that_was_fenced_cannot_say_that_a_partition_stands_still() {
    block_on(async {
        let base = base().await;
        let (generation, layout) = counters_in(&base, true).await;
        let (mut old, mut new) = (base.lane("old").await, base.lane("new").await);
        let parts = partitions(&[0]);
        let before = old.take_over(generation.id, &parts).await.unwrap();
        let after = new.take_over(generation.id, &parts).await.unwrap();
        let stands = |checkpoint: &Checkpoint| claim(checkpoint, checkpoint.next_offset);
        let fenced = old
            .begin(&layout, &[stands(&before.checkpoints[0])])
            .await
            .unwrap_err();
        assert_eq!(fenced.kind, ErrorKind::Fenced);
        let stop = consolidator::store::Stop {
            generation: generation.id,
            reason: "the log ends here".to_owned(),
            ..Default::default()
        };
        let claims = [stands(&after.checkpoints[0])];
        let mut tx = new.begin(&layout, &claims).await.unwrap();
        tx.record_stop(&stop).await.unwrap();
        assert_eq!(base.store.stops(generation.id).await.unwrap(), []);
        tx.commit().await.unwrap();
        assert_eq!(base.store.stops(generation.id).await.unwrap().len(), 1);
    });
}

#[test]
fn a_frozen_owner_is_ended_after_a_bounded_wait_and_finds_itself_cut_off() {
    block_on(async {
        let base = base().await;
        let (generation, layout) = counters_in(&base, true).await;
        let (mut frozen, mut new) = (base.lane("frozen").await, base.lane("new").await);
        let parts = partitions(&[0]);
        let before = frozen
            .take_over(generation.id, &parts)
            .await
            .unwrap()
            .checkpoints;
        let mut tx = frozen
            .begin(&layout, &[claim(&before[0], 5)])
            .await
            .unwrap();
        tx.write(&changes(&layout, 1, &[counter("a", 1)], &[]))
            .await
            .unwrap();

        let start = Instant::now();
        let after = new
            .take_over(generation.id, &parts)
            .await
            .unwrap()
            .checkpoints;
        assert!(start.elapsed() < Duration::from_secs(10));
        assert_eq!(after[0].next_offset, 0);
        let lost = tx.commit().await.unwrap_err();
        assert_eq!(lost.kind, ErrorKind::CommitUnknown, "{lost}");

        frozen.reconnect().await.unwrap();
        let stale = frozen
            .begin(&layout, &[claim(&before[0], 5)])
            .await
            .unwrap_err();
        assert_eq!(stale.kind, ErrorKind::Fenced);
        new.begin(&layout, &[claim(&after[0], 3)])
            .await
            .unwrap()
            .commit()
            .await
            .unwrap();
        let mut sql = base.sql().await;
        assert_eq!(
            rows(&mut sql, "select count(*) from read_model.counter").await,
            ["0"]
        );
    });
}

#[test]
fn an_owner_that_froze_inside_a_copy_is_ended_too() {
    block_on(async {
        let base = base().await;
        let (generation, layout) = counters_in(&base, true).await;
        let mut new = base.lane("new").await;
        let parts = partitions(&[0]);
        let before = new
            .take_over(generation.id, &parts)
            .await
            .unwrap()
            .checkpoints;
        let mut frozen = base.sql().await;
        execute(
            &mut frozen,
            &format!(
                "begin; update consolidator.checkpoint set next_offset = next_offset, owner_pid = pg_backend_pid(), \
                 owner_backend_start = (select backend_start from pg_stat_activity where pid = pg_backend_pid()); \
                 commit; begin; update consolidator.checkpoint set next_offset = 7 where generation = {}",
                generation.id
            ),
        )
        .await;
        let sql = format!(
            "copy consolidator_g{}.counter (id, n, \"$owner\") from stdin",
            generation.id
        );
        let mut copy = frozen.copy_in_raw(&sql).await.unwrap();
        copy.send(b"half a li".as_slice()).await.unwrap();

        let after = new
            .take_over(generation.id, &parts)
            .await
            .unwrap()
            .checkpoints;
        assert_eq!(
            (after[0].next_offset, after[0].epoch),
            (0, before[0].epoch + 1)
        );
        new.begin(&layout, &[claim(&after[0], 1)])
            .await
            .unwrap()
            .commit()
            .await
            .unwrap();
        assert!(copy.finish().await.is_err());
    });
}

#[test]
fn a_session_that_only_looks_like_the_recorded_owner_is_left_alone() {
    block_on(async {
        let base = base().await;
        let (generation, _) = counters_in(&base, true).await;
        let mut lane = base.lane("a").await;
        let parts = partitions(&[0]);
        lane.take_over(generation.id, &parts).await.unwrap();
        let mut stranger = base.sql().await;
        execute(
            &mut stranger,
            "update consolidator.checkpoint set owner_pid = pg_backend_pid()",
        )
        .await;
        execute(
            &mut stranger,
            "begin; select * from consolidator.checkpoint for update",
        )
        .await;
        let refused = lane.take_over(generation.id, &parts).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Contention, "{refused}");
        execute(&mut stranger, "commit").await;
        lane.take_over(generation.id, &parts).await.unwrap();
    });
}

#[test]
fn the_outcome_of_a_commit_without_an_answer_is_read_from_the_checkpoint() {
    block_on(async {
        let base = base().await;
        let (generation, layout) = counters_in(&base, true).await;
        let mut lane = base.lane("a").await;
        let parts = partitions(&[0]);
        let mut start = lane
            .take_over(generation.id, &parts)
            .await
            .unwrap()
            .checkpoints;
        let mut applied = 0;
        let mut sql = base.sql().await;
        for round in 0..10 {
            let mut tx = lane.begin(&layout, &[claim(&start[0], 1)]).await.unwrap();
            let id = format!("k{round}");
            tx.write(&changes(&layout, 1, &[counter(&id, 1)], &[]))
                .await
                .unwrap();
            // Cut before the commit arrives, in every second round.
            if round % 2 == 0 {
                tx.commit().await.unwrap();
                applied += 1;
            } else {
                execute(
                    &mut sql,
                    "select pg_terminate_backend(owner_pid, 5000) from consolidator.checkpoint",
                )
                .await;
                assert_eq!(
                    tx.commit().await.unwrap_err().kind,
                    ErrorKind::CommitUnknown
                );
                lane.reconnect().await.unwrap();
            }
            start = lane
                .take_over(generation.id, &parts)
                .await
                .unwrap()
                .checkpoints;
            assert_eq!(start[0].next_offset, applied);
        }
        assert_eq!(
            rows(&mut sql, "select count(*) from read_model.counter").await,
            ["5"]
        );
    });
}

#[test]
fn partitions_found_by_two_lanes_at_once_get_different_slots() {
    block_on(async {
        let base = base().await;
        let (generation, _) = counters_in(&base, true).await;
        let mut tasks = tokio::task::JoinSet::new();
        for lane in 0..4 {
            let mut store = base.lane(&format!("lane {lane}")).await;
            tasks.spawn(async move {
                let numbers: Vec<i32> = (0..12).map(|n| (n * 5 + lane) % 12).collect();
                store
                    .take_over(generation.id, &partitions(&numbers))
                    .await
                    .map(|_| store)
            });
        }
        let lanes: Vec<LaneStore> = tasks
            .join_all()
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let mut sql = base.sql().await;
        let slots = "select count(*), count(distinct slot), min(epoch), max(epoch), max(slot) from consolidator.checkpoint";
        assert_eq!(rows(&mut sql, slots).await, ["12|12|4|4|12"]);
        drop(lanes);
    });
}

#[test]
fn a_fenced_lane_holds_nothing_back_from_the_new_owner() {
    block_on(async {
        let base = base().await;
        let (generation, layout) = counters_in(&base, true).await;
        let (mut old, mut new) = (base.lane("old").await, base.lane("new").await);
        let before = old
            .take_over(generation.id, &partitions(&[0, 1]))
            .await
            .unwrap()
            .checkpoints;
        new.take_over(generation.id, &partitions(&[1]))
            .await
            .unwrap();
        let both: Vec<Claim> = before
            .iter()
            .map(|checkpoint| claim(checkpoint, 1))
            .collect();
        assert_eq!(
            old.begin(&layout, &both).await.unwrap_err().kind,
            ErrorKind::Fenced
        );
        // Its claim of the first partition held until the second one's failed.
        new.take_over(generation.id, &partitions(&[0]))
            .await
            .unwrap();
        old.reread(generation.id, &[1]).await.unwrap();
    });
}

#[test]
fn giving_up_ownership_fences_every_lane_of_the_generation_once() {
    block_on(async {
        let base = base().await;
        let (generation, layout) = counters_in(&base, true).await;
        let (mut one, mut two) = (base.lane("one").await, base.lane("two").await);
        let first = one
            .take_over(generation.id, &partitions(&[0]))
            .await
            .unwrap();
        let second = two
            .take_over(generation.id, &partitions(&[1]))
            .await
            .unwrap();
        assert!(second.shared_tables.is_empty());

        assert!(one.give_up_ownership(&layout, 0).await.unwrap());
        for (lane, checkpoint) in [
            (&mut one, &first.checkpoints[0]),
            (&mut two, &second.checkpoints[0]),
        ] {
            let error = lane
                .begin(&layout, &[claim(checkpoint, 1)])
                .await
                .unwrap_err();
            assert_eq!(error.kind, ErrorKind::Fenced);
        }
        let second = two
            .take_over(generation.id, &partitions(&[1]))
            .await
            .unwrap();
        assert_eq!(second.shared_tables, ["counter"]);
        // The other one noticed the same conflict: nobody is fenced again.
        assert!(!one.give_up_ownership(&layout, 0).await.unwrap());
        two.begin(&layout, &[claim(&second.checkpoints[0], 1)])
            .await
            .unwrap()
            .commit()
            .await
            .unwrap();
    });
}

/// Until some session of this database waits for a lock.
async fn wait_until_blocked(base: &Base) {
    let mut sql = base.sql().await;
    let waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    while rows(&mut sql, waiting).await == ["0"] {
        tokio::task::yield_now().await;
    }
}
