//! How a lane answers rebalances: it notes them, and starts and stops partitions when it is told to.
//! Knows nothing of records.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use tracing::{debug, warn};

use super::lane::LaneConsumer;
use super::raw::Named;
use super::{ErrorKind, SourceError, SourceEvent, Start, TopicPartition};

/// How long a wait lasts at most while a partition has started and not delivered.
const FORWARD_AGAIN_MIN: Duration = Duration::from_millis(5);
const FORWARD_AGAIN_MAX: Duration = Duration::from_millis(100);

impl LaneConsumer {
    /// Starts partitions that [`SourceEvent::Assigned`] named, each at the first offset not yet
    /// applied. All of one event at once, or in parts, in any order. One that has been revoked
    /// meanwhile is passed over; one that is being read already is started again at the new offset.
    ///
    /// # Errors
    /// librdkafka refused; nothing was started. The group will time out and rebalance.
    pub fn assign(&mut self, new: &[(TopicPartition, i64)]) -> Result<(), SourceError> {
        let start = |(at, next_offset): &(TopicPartition, i64)| Start {
            at: *at,
            next_offset: *next_offset,
            last: None,
        };
        self.start(&new.iter().map(start).collect::<Vec<_>>())
    }

    /// The same, each looking whether the log is still the one that was applied.
    ///
    /// # Errors
    /// As for [`assign`](LaneConsumer::assign).
    pub fn start(&mut self, new: &[Start]) -> Result<(), SourceError> {
        self.topics.forget();
        let again: Vec<TopicPartition> = new
            .iter()
            .map(|start| start.at)
            .filter(|at| self.held.holds(*at))
            .collect();
        let starting: Vec<Start> = new
            .iter()
            .copied()
            .filter(|start| self.noted.contains(&start.at) || self.held.holds(start.at))
            .collect();
        if starting.is_empty() {
            if !new.is_empty() {
                debug!(target: "kafka", "partitions were revoked before they were assigned");
            }
            return Ok(());
        }
        // Before the call that starts it, or its first records would come on the other queue.
        for start in &starting {
            self.forward(start.at)?;
        }
        if self.is_cooperative() {
            if !again.is_empty() {
                self.client.incremental_unassign(&self.list(&again))?;
            }
            self.client
                .incremental_assign(&self.list_with_offsets(&offsets(&starting)))?;
            self.settle(&starting)?;
        } else {
            // The eager protocol knows whole assignments only: the others go on where they are.
            let whole = self.going_on().chain(starting.iter().copied());
            let whole: BTreeMap<_, _> = whole.map(|start| (start.at, start)).collect();
            let whole: Vec<Start> = whole.into_values().collect();
            self.client
                .assign(Some(&self.list_with_offsets(&offsets(&whole))))?;
            for start in whole {
                self.held.start(start);
            }
        }
        for start in starting {
            self.noted.remove(&start.at);
            self.held.start(start);
        }
        self.starting = Some(Instant::now());
        Ok(())
    }

    /// Answers [`SourceEvent::Assigned`] while none of its partitions can be started yet, so that the group goes on;
    /// [`assign`](LaneConsumer::assign) may follow at any time.
    ///
    /// # Errors
    /// As for [`assign`](LaneConsumer::assign).
    pub fn assign_later(&mut self) -> Result<(), SourceError> {
        if self.is_cooperative() {
            self.client.incremental_assign(&TopicPartitionList::new())?;
            self.settle(&[])
        } else {
            let held: Vec<Start> = self.going_on().collect();
            self.client
                .assign(Some(&self.list_with_offsets(&offsets(&held))))
        }
    }

    /// Stops reading a partition that stays the lane's, and could not be read on; [`start`](LaneConsumer::start) may follow at any
    /// time.
    ///
    /// # Errors
    /// As for [`assign`](LaneConsumer::assign).
    pub fn set_apart(&mut self, at: TopicPartition) -> Result<(), SourceError> {
        if self.held.holds(at) {
            self.revoke(&[at])?;
            self.noted.insert(at);
        }
        Ok(())
    }

    /// Completes a [`SourceEvent::Revoked`] or [`SourceEvent::Lost`]: the partitions stop, and what
    /// the client still had of them is dropped. Records in a [`RecordBatch`] are the caller's.
    ///
    /// # Errors
    /// librdkafka refused; the group will time out and rebalance.
    pub fn revoke(&mut self, gone: &[TopicPartition]) -> Result<(), SourceError> {
        let stopping: Vec<TopicPartition> = gone
            .iter()
            .copied()
            .filter(|at| self.held.holds(*at))
            .collect();
        for at in gone {
            self.noted.remove(at);
            self.held.stop(*at);
            self.mirrored.remove(at);
        }
        if self.is_cooperative() {
            self.client.incremental_unassign(&self.list(&stopping))?;
            self.settle(&[])?;
        } else if self.held.is_empty() {
            self.client.assign(None)?;
        } else {
            let rest: Vec<Start> = self.going_on().collect();
            self.client
                .assign(Some(&self.list_with_offsets(&offsets(&rest))))?;
        }
        // Stopping takes the partitions' forwarding off too.
        Ok(())
    }

    pub(super) fn on_assign(&mut self, named: Vec<Named>, events: &mut Vec<SourceEvent>) {
        let list = self.resolve(named);
        self.remember_protocol();
        if list.is_empty() {
            // Nobody would answer, and the group waits for one.
            warn_if(self.assign_later());
            return;
        }
        self.noted.extend(&list);
        events.push(SourceEvent::Assigned(list));
    }

    pub(super) fn on_revoke(&mut self, named: Vec<Named>, events: &mut Vec<SourceEvent>) {
        let list = self.resolve(named);
        self.remember_protocol();
        if list.is_empty() {
            warn_if(self.revoke(&[]));
            return;
        }
        for at in &list {
            self.noted.remove(at);
        }
        events.push(if self.client.assignment_lost() {
            SourceEvent::Lost(list)
        } else {
            SourceEvent::Revoked(list)
        });
    }

    fn forward(&self, at: TopicPartition) -> Result<(), SourceError> {
        let name = self.topics.name(at.topic);
        if self.client.forward(name, at.partition, &self.lane) {
            return Ok(());
        }
        let why = format!("no queue for {}/{}", name.to_string_lossy(), at.partition);
        Err(SourceError::new(ErrorKind::Fatal, why))
    }

    /// Forwards partitions that have not delivered yet once more, and tells how long to wait at
    /// most before the next time.
    ///
    /// A partition that had been read by this client before may still be stopping when it is
    /// assigned again, and the end of that takes its forwarding off, unannounced (2.12,
    /// `rd_kafka_toppar_fetch_stop`); it would then fill its own queue, where nobody reads. The new
    /// start comes after that, so once it has delivered, the forwarding stays. What has gathered
    /// meanwhile moves along, in order.
    pub(super) fn forward_starting(&mut self) -> Duration {
        let Some(since) = self.starting else {
            return Duration::MAX;
        };
        let silent = self.held.silent();
        if silent.is_empty() {
            self.starting = None;
            return Duration::MAX;
        }
        for at in silent {
            warn_if(self.forward(at));
        }
        (since.elapsed() / 10).clamp(FORWARD_AGAIN_MIN, FORWARD_AGAIN_MAX)
    }

    /// Makes the partitions that stay go on exactly where they are. librdkafka pauses them all for
    /// every rebalance, and lets them go on at its own position once it is answered; that may be
    /// one too far ([`Progress::next_offset`]), or behind what it was just handing over.
    fn settle(&self, just_started: &[Start]) -> Result<(), SourceError> {
        let started = |at| just_started.iter().any(|start| start.at == at);
        let staying: Vec<Start> = self.going_on().filter(|start| !started(start.at)).collect();
        if staying.is_empty() {
            return Ok(());
        }
        self.client
            .seek(&self.list_with_offsets(&offsets(&staying)))
    }

    /// Where every partition that is being read goes on.
    fn going_on(&self) -> impl Iterator<Item = Start> {
        self.positions().map(|(at, next_offset)| Start {
            at,
            next_offset,
            last: self.held.expected(at),
        })
    }

    fn is_cooperative(&mut self) -> bool {
        self.remember_protocol();
        self.cooperative
    }

    fn remember_protocol(&mut self) {
        if let Some(cooperative) = self.client.is_cooperative() {
            self.cooperative = cooperative;
        }
    }
}

/// Where reading begins.
fn offsets(starts: &[Start]) -> Vec<(TopicPartition, i64)> {
    let from = |start: &Start| start.last.map_or(start.next_offset, |last| last.offset);
    starts.iter().map(|start| (start.at, from(start))).collect()
}

fn warn_if(answered: Result<(), SourceError>) {
    if let Err(error) = answered {
        warn!(target: "kafka", %error, "a rebalance could not be answered");
    }
}
