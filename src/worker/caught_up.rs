//! When a generation that is built has reached the end of its topics: the ends are asked of Kafka, for all partitions, also those that
//! no lane has yet; then the checkpoints are watched until they are at or past them.

use super::Work;
use crate::source::{Cluster, Ends, SourceError};
use crate::store::{BuildProgress, State};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How long Kafka may take to tell the ends of one topic.
const ENDS_TIMEOUT: Duration = Duration::from_secs(5);
/// How often checkpoints are compared with the ends.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Ends that were reached in less than this time are the end. What took longer has left a new backlog meanwhile.
const ROUND_MAX: Duration = Duration::from_secs(5);
/// After an error.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Waits until a generation that is being built has caught up, and moves it to its next state.
pub(super) async fn watch(work: &Work) {
    loop {
        let started = Instant::now();
        let ends = match ends(work).await {
            Ok(ends) => ends,
            Err(error) => {
                warn!(projection = %work.projection.name, "asking Kafka where topics end: {error}");
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
                continue;
            }
        };
        let progress = reached(work, &ends).await;
        if started.elapsed() < ROUND_MAX && advance(work, progress.visible).await {
            return;
        }
    }
}

/// The ends of every partition of every topic, by topic.
async fn ends(work: &Work) -> Result<Vec<(String, Vec<Ends>)>, String> {
    let kafka = work.kafka.clone();
    let topics = work.projection.topic_names();
    let asked = tokio::task::spawn_blocking(move || {
        let cluster = Cluster::connect(&kafka)?;
        let described = cluster.check_topics(&topics, ENDS_TIMEOUT)?;
        let topics = topics.into_iter().zip(described);
        topics
            .map(|(topic, described)| {
                let ends = cluster.ends(&topic, described?.partitions, ENDS_TIMEOUT)?;
                Ok((topic, ends))
            })
            .collect::<Result<_, SourceError>>()
    });
    let answer = asked.await.map_err(|error| error.to_string())?;
    answer.map_err(|error| error.to_string())
}

/// Waits until every checkpoint is at or past its end.
async fn reached(work: &Work, ends: &[(String, Vec<Ends>)]) -> BuildProgress {
    loop {
        match work.store.build_progress(work.generation).await {
            Ok(progress) if is_past(&progress, ends) => return progress,
            Ok(_) => {}
            // The lanes say the same, and louder.
            Err(error) => info!("reading how far a build is: {error}"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is_past(progress: &BuildProgress, ends: &[(String, Vec<Ends>)]) -> bool {
    ends.iter().all(|(topic, ends)| {
        ends.iter().all(|end| {
            let next = progress.next_offset(topic, end.partition);
            next.is_some_and(|next| next >= end.end_offset)
        })
    })
}

/// False if it is to be tried again.
async fn advance(work: &Work, visible: bool) -> bool {
    let next = if visible {
        // The first build, which readers see from the start.
        State::Live
    } else {
        State::CaughtUp
    };
    let moved = work
        .store
        .set_state(work.generation, State::Building, next, None)
        .await;
    match moved {
        Ok(true) => {
            info!(projection = %work.projection.name, generation = work.generation, state = %next, "caught up");
        }
        Ok(false) => {}
        Err(error) => {
            warn!("noting that a build has caught up: {error}");
            return false;
        }
    }
    true
}
