//! What the source has told a lane and the lane has not yet acted on, oldest first. Bounded: trouble that repeats is kept
//! once. Acts on nothing itself.

use crate::source::{SourceEvent, TopicPartition};
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(super) struct Noted {
    events: VecDeque<SourceEvent>,
}

impl Noted {
    /// Appends; of trouble that the client repeats while it tries again, the latest words replace the earlier ones.
    pub(super) fn add(&mut self, events: Vec<SourceEvent>) {
        for event in events {
            match self.events.iter_mut().find(|noted| repeats(noted, &event)) {
                Some(noted) => *noted = event,
                None => self.events.push_back(event),
            }
        }
    }

    /// The oldest, to be acted on. It stays until that is [`done`](Noted::done).
    pub(super) fn next(&self) -> Option<SourceEvent> {
        self.events.front().cloned()
    }

    /// The event, if it is still the oldest, has been acted on.
    pub(super) fn done(&mut self, event: &SourceEvent) {
        if self.events.front() == Some(event) {
            self.events.pop_front();
        }
    }

    /// The partitions that the group has taken back, which may be given back ahead of what else is noted once nothing that
    /// was folded is left. What was given before, and taken back by this, is forgotten.
    pub(super) fn take_revoked(&mut self) -> Vec<TopicPartition> {
        let mut revoked = Vec::new();
        let mut kept = VecDeque::new();
        for event in std::mem::take(&mut self.events) {
            match event {
                SourceEvent::Revoked(gone) | SourceEvent::Lost(gone) => {
                    for earlier in &mut kept {
                        if let SourceEvent::Assigned(given) = earlier {
                            given.retain(|at| !gone.contains(at));
                        }
                    }
                    revoked.extend(gone);
                }
                other => kept.push_back(other),
            }
        }
        self.events = kept;
        revoked
    }

    /// Forgets what tells of places in a log: after a step back it is no longer true, or will be told again.
    pub(super) fn drop_places(&mut self) {
        self.events.retain(|event| match event {
            SourceEvent::EndOfPartition { .. }
            | SourceEvent::OutOfRange { .. }
            | SourceEvent::OtherLog { .. }
            | SourceEvent::Damaged { .. } => false,
            SourceEvent::Assigned(_)
            | SourceEvent::Revoked(_)
            | SourceEvent::Lost(_)
            | SourceEvent::PartitionError { .. }
            | SourceEvent::Error { .. } => true,
        });
    }
}

/// The same trouble at the same place.
fn repeats(noted: &SourceEvent, event: &SourceEvent) -> bool {
    match (noted, event) {
        (
            SourceEvent::PartitionError { at, kind, .. },
            SourceEvent::PartitionError {
                at: same_at,
                kind: same_kind,
                ..
            },
        ) => (at, kind) == (same_at, same_kind),
        (
            SourceEvent::Error { kind, fatal, .. },
            SourceEvent::Error {
                kind: same_kind,
                fatal: same_fatal,
                ..
            },
        ) => (kind, fatal) == (same_kind, same_fatal),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::ErrorKind;

    fn at(partition: i32) -> TopicPartition {
        TopicPartition {
            topic: 0,
            partition,
        }
    }

    fn unreachable(message: &str) -> SourceEvent {
        SourceEvent::Error {
            kind: ErrorKind::Unreachable,
            message: message.to_owned(),
            fatal: false,
        }
    }

    fn all(noted: &mut Noted) -> Vec<SourceEvent> {
        let mut events = Vec::new();
        while let Some(event) = noted.next() {
            noted.done(&event);
            events.push(event);
        }
        events
    }

    #[test]
    fn trouble_that_repeats_is_kept_once_in_its_latest_words() {
        let mut noted = Noted::default();
        for number in 0..1000 {
            noted.add(vec![
                unreachable(&format!("broker {number}")),
                SourceEvent::PartitionError {
                    at: at(number % 2),
                    kind: ErrorKind::Transient,
                    message: number.to_string(),
                },
            ]);
        }
        let events = all(&mut noted);
        assert_eq!(events.len(), 3, "{events:?}");
        assert_eq!(events[0], unreachable("broker 999"));
    }

    #[test]
    fn a_revocation_takes_back_what_was_given_before_it_and_not_what_is_given_after() {
        let mut noted = Noted::default();
        noted.add(vec![
            SourceEvent::Assigned(vec![at(1), at(2)]),
            SourceEvent::Revoked(vec![at(1), at(3)]),
            SourceEvent::Assigned(vec![at(3)]),
        ]);
        assert_eq!(noted.take_revoked(), [at(1), at(3)]);
        let left = [
            SourceEvent::Assigned(vec![at(2)]),
            SourceEvent::Assigned(vec![at(3)]),
        ];
        assert_eq!(all(&mut noted), left);
    }

    #[test]
    fn a_step_back_forgets_places_and_keeps_rebalances() {
        let mut noted = Noted::default();
        noted.add(vec![
            SourceEvent::EndOfPartition {
                at: at(0),
                next_offset: 9,
            },
            SourceEvent::OutOfRange {
                at: at(0),
                offset: Some(4),
                message: String::new(),
            },
            SourceEvent::Damaged {
                at: at(0),
                offset: 4,
                message: String::new(),
            },
            SourceEvent::Revoked(vec![at(0)]),
        ]);
        noted.drop_places();
        assert_eq!(all(&mut noted), [SourceEvent::Revoked(vec![at(0)])]);
    }
}
