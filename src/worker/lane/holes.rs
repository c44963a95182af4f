//! A partition whose next offset Kafka no longer holds: it stops and names the hole, or goes on behind it if an operator has said so.

use super::recovery::blames_no_event;
use super::{Lane, Trouble};
use crate::source::{Cluster, TopicPartition};
use crate::store::{Claim, Hole};
use std::time::Duration;
use tracing::warn;

/// How long Kafka may take to say where a log begins.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

impl Lane {
    pub(super) fn out_of_range(
        &mut self,
        at: TopicPartition,
        offset: Option<i64>,
        message: &str,
    ) -> Result<(), Trouble> {
        // What is folded is before the hole.
        self.flush()?;
        let log_begin = self.ask_log_begin(at);
        let owned = self.partitions.iter().find(|owned| owned.at == at);
        let Some((slot, epoch, from_offset)) =
            owned.map(|owned| (owned.slot, owned.epoch, owned.committed_offset))
        else {
            return Ok(());
        };
        let hole_end = log_begin.filter(|begin| *begin > from_offset);
        let generation = self.work.generation;
        let accepts = match hole_end {
            Some(_) => self.on_store(async |store| store.accepts_hole(generation, slot).await)?,
            None => false,
        };
        let (Some(to_offset), true) = (hole_end, accepts) else {
            let stop = self.report.out_of_range(at, offset, message, hole_end);
            return Err(Trouble::Stop(Box::new(stop)));
        };
        let hole = Hole {
            topic: self.work.projection.topics[at.topic].name.clone(),
            partition: at.partition,
            from_offset,
            to_offset,
            accepted_at: None,
        };
        let claim = Claim {
            slot,
            epoch,
            expected: from_offset,
            next: to_offset,
            end_offset: None,
            as_of: None,
            events: 0,
        };
        let layout = self.layout.clone();
        self.on_store(async |store| {
            let mut transaction = store.begin(&layout, &[claim]).await?;
            transaction.record_hole(generation, &hole).await?;
            transaction.commit().await
        })
        .map_err(blames_no_event)?;
        warn!(lane = %self.name, projection = %self.work.projection.name, generation, "goes on without {hole}, as accepted");
        self.start_again()
    }

    /// `None`: Kafka does not say.
    fn ask_log_begin(&mut self, at: TopicPartition) -> Option<i64> {
        let work = self.work.clone();
        let question = self.runtime.spawn_blocking(move || {
            let cluster = Cluster::connect(&work.kafka).ok()?;
            let name = &work.projection.topics[at.topic].name;
            let begins = cluster.begins(name, &[at.partition], ANSWER_TIMEOUT);
            begins.into_iter().next()?.ok()
        });
        self.wait(question).ok().flatten()
    }
}
