//! When a generation that is built has reached the end of its topics: asked of Kafka, not of measurements that lanes made some time
//! ago, and for all partitions, also those that no lane has yet.

use super::Work;
use crate::source::{Cluster, Ends, KafkaSettings, SourceError};
use crate::store::{BuildProgress, State};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How long Kafka may take to tell the ends of one topic.
const ENDS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long what was there when asking may take to be applied; then Kafka is asked again.
const APPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the checkpoints are looked at meanwhile.
const APPLY_POLL: Duration = Duration::from_millis(50);

/// By topic.
type TopicEnds = Vec<(String, Vec<Ends>)>;

/// Moves a generation that is being built to its next state if it has caught up. To be called now and then; it asks Kafka only
/// when the last measurements say that the end is near.
pub(super) async fn note(work: &Work) {
    match has_caught_up(work).await {
        Ok(Some(visible)) => advance(work, visible).await,
        Ok(None) => {}
        Err(error) => {
            warn!(projection = %work.projection.name, "finding out how far a build is: {error}")
        }
    }
}

/// Has everything been applied that was there when asking? If so: do readers see it?
async fn has_caught_up(work: &Work) -> Result<Option<bool>, String> {
    if !progress(work).await?.is_near_the_end() {
        return Ok(None);
    }
    let (kafka, projection) = (work.kafka.clone(), work.projection.clone());
    let asking = tokio::task::spawn_blocking(move || {
        let topics = projection.topics.iter().map(|topic| topic.name.as_str());
        ends(&kafka, topics).map_err(|error| error.to_string())
    });
    let ends = asking.await.map_err(|error| error.to_string())??;
    let deadline = Instant::now() + APPLY_TIMEOUT;
    // More is written all the time: what counts is the end as it was, not as it is.
    while Instant::now() < deadline {
        let progress = progress(work).await?;
        if is_applied(&ends, &progress) {
            return Ok(Some(progress.visible));
        }
        tokio::time::sleep(APPLY_POLL).await;
    }
    Ok(None)
}

async fn progress(work: &Work) -> Result<BuildProgress, String> {
    let progress = work.store.build_progress(work.generation).await;
    progress.map_err(|error| error.to_string())
}

fn ends<'t>(
    kafka: &KafkaSettings,
    topics: impl Iterator<Item = &'t str>,
) -> Result<TopicEnds, SourceError> {
    let cluster = Cluster::connect(kafka)?;
    let mut all = Vec::new();
    for topic in topics {
        for found in cluster.check_topics(&[topic.to_owned()], ENDS_TIMEOUT)? {
            let ends = cluster.ends(topic, found?.partitions, ENDS_TIMEOUT)?;
            all.push((topic.to_owned(), ends));
        }
    }
    Ok(all)
}

fn is_applied(ends: &TopicEnds, progress: &BuildProgress) -> bool {
    let mut partitions = ends
        .iter()
        .flat_map(|(topic, ends)| ends.iter().map(move |end| (topic, end)));
    partitions.all(|(topic, end)| {
        let next = progress.next_offset(topic, end.partition);
        next.is_some_and(|next| next >= end.end_offset)
    })
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
