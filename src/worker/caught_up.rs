//! When a generation that is built has reached the end of its topics: asked of Kafka, not of measurements that lanes made some time
//! ago, and for all partitions, also those that no lane has yet.

use super::Work;
use crate::source::Cluster;
use crate::store::{BuildProgress, State};
use std::time::Duration;
use tracing::{info, warn};

/// How long Kafka may take to tell the ends of one topic.
const ENDS_TIMEOUT: Duration = Duration::from_secs(5);

/// Moves a generation that is being built to its next state if it has caught up. To be called now and then; it blocks on Kafka only
/// when the last measurements say that the end is near.
pub(super) async fn note(work: &Work) {
    let progress = match work.store.build_progress(work.generation).await {
        Ok(progress) => progress,
        Err(error) => return warn!("reading how far a build is: {error}"),
    };
    if !progress.is_near_the_end() {
        return;
    }
    let kafka = work.kafka.clone();
    let topics: Vec<String> = work
        .projection
        .topics
        .iter()
        .map(|topic| topic.name.clone())
        .collect();
    let visible = progress.visible;
    let asked = tokio::task::spawn_blocking(move || {
        let cluster = Cluster::connect(&kafka).map_err(|error| error.to_string())?;
        topics.iter().try_fold(true, |so_far, topic| {
            Ok::<_, String>(so_far && is_applied(&cluster, topic, &progress)?)
        })
    });
    match asked.await {
        Ok(Ok(true)) => advance(work, visible).await,
        Ok(Ok(false)) | Err(_) => {}
        Ok(Err(error)) => warn!("asking Kafka where topics end: {error}"),
    }
}

fn is_applied(cluster: &Cluster, topic: &str, progress: &BuildProgress) -> Result<bool, String> {
    let text = |error: crate::source::SourceError| error.to_string();
    let described = cluster
        .check_topics(&[topic.to_owned()], ENDS_TIMEOUT)
        .map_err(text)?;
    for found in described {
        let partitions = found.map_err(text)?.partitions;
        let ends = cluster
            .ends(topic, partitions, ENDS_TIMEOUT)
            .map_err(text)?;
        let applied = ends.iter().all(|end| {
            let next = progress.next_offset(topic, end.partition);
            next.is_some_and(|next| next >= end.end_offset)
        });
        if !applied {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn advance(work: &Work, visible: bool) {
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
            info!(projection = %work.projection.name, generation = work.generation, state = %next, "caught up")
        }
        Ok(false) => {}
        Err(error) => warn!("noting that a build has caught up: {error}"),
    }
}
