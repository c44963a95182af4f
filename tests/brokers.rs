//! Three brokers, of which the one that leads is killed and comes back, while events arrive and a worker folds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::chains::{assert_chains, chain_value, define_chains};
use crate::support::kafka::KafkaServer;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record};
use crate::support::wait::{wait_for, wait_until};

const IN_TIME: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 6;
const EVENTS_AT_ONCE: usize = 200;

#[test]
fn a_leader_that_is_killed_and_comes_back_costs_no_event_that_was_acknowledged() {
    let brokers = KafkaServer::start_three().into_boxed_slice();
    let brokers: &'static [KafkaServer] = Box::leak(brokers);
    let mut space = Space::new("brokers");
    space.kafka = &brokers[0];
    space.settings.brokers = space.kafka.brokers.clone();
    let topic = define_chains(&space, PARTITIONS);
    let worker = space.start_worker("worker");
    let is_over = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let producing = scope.spawn(|| {
            let producer = Producer::new(space.kafka);
            let mut written = 0;
            while !is_over.load(Ordering::Relaxed) {
                producer.write(&topic, &added(written));
                written += EVENTS_AT_ONCE;
            }
            written
        });
        await_progress(&space);
        let (leader, _) = space.kafka.leader(&topic, 0).expect("a leader");
        let killed = &brokers[leader as usize - 1];
        killed.kill();
        wait_until("another leader", IN_TIME, || {
            let now = space.kafka.leader(&topic, 0);
            now.is_some_and(|(now, _)| now >= 0 && now != leader)
        });
        await_progress(&space);
        killed.start_again();
        wait_until("all replicas to be whole again", IN_TIME, || {
            (0..PARTITIONS as usize).all(|partition| {
                let now = space.kafka.leader(&topic, partition);
                now.is_some_and(|(_, whole)| whole == 3)
            })
        });
        await_progress(&space);
        is_over.store(true, Ordering::Relaxed);
        producing.join().expect("every event is acknowledged")
    });
    space.wait_applied("chains", &[&topic], IN_TIME);
    assert_eq!(assert_chains(&space, &topic), written as u64);
    wait_until("no lag", IN_TIME, || {
        let behind = "select count(*) from consolidator.freshness where gap > 0 or state <> 'live'";
        space.database.number(behind) == 0
    });
    assert!(worker.terminate(IN_TIME).success());
    for broker in brokers {
        broker.kill();
    }
}

fn added(first: usize) -> Vec<Record> {
    let record = |number: usize| {
        let value = chain_value(&format!("e{number}"));
        Record::new(&format!("k{}", number % 50), value)
    };
    (first..first + EVENTS_AT_ONCE).map(record).collect()
}

/// Until every partition has been folded further than now.
fn await_progress(space: &Space) {
    let ask =
        "select string_agg(next_offset::text, ' ' order by partition) from consolidator.checkpoint";
    let offsets = || -> Option<Vec<i64>> {
        let rows = space.database.try_query(ask).ok()?;
        let text = rows.first()?.first()?.clone()?;
        let offsets: Option<Vec<i64>> = text.split(' ').map(|offset| offset.parse().ok()).collect();
        offsets.filter(|offsets| offsets.len() == PARTITIONS as usize)
    };
    let before = wait_for("checkpoints", IN_TIME, &offsets);
    wait_until("every partition to be folded on", IN_TIME, || {
        offsets().is_some_and(|now| now.iter().zip(&before).all(|(now, before)| now > before))
    });
}
