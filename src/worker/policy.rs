//! What the worker does about each kind of error of the store and of the source: exhaustive tables, kind → action → what the
//! operator is told. A new kind does not compile until it is answered here. Knows nothing of how an action is carried out.

use crate::source::ErrorKind as SourceErrorKind;
use crate::store::ErrorKind;
use std::time::Duration;

/// What a lane does next. Every one of them forgets what is not committed and goes on from the stored checkpoints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// The same batch again.
    StartAgain,
    /// The same, on a new connection.
    Reconnect,
    /// The table goes over to the locked way for good. Index into the projection's tables.
    GiveUpOwnership { table: usize },
    /// An event's own fault: find it, then the projection's policy.
    FindEvent,
    /// Nothing is wrong with any event: the projection stands still, says why, and tries again by itself.
    Wait,
}

/// The answer to one kind of error.
pub struct Answer {
    pub action: Action,
    pub hint: &'static str,
}

/// The table.
pub fn answer(kind: ErrorKind) -> Answer {
    let (action, hint) = match kind {
        ErrorKind::Contention => (
            Action::StartAgain,
            "others were in the way; tried again by itself",
        ),
        ErrorKind::Fenced => (
            Action::StartAgain,
            "another worker took partitions over; this one starts again from the stored checkpoints",
        ),
        ErrorKind::OwnershipConflict { table } => (
            Action::GiveUpOwnership { table },
            "one key was met in two partitions: the table's rows are locked one by one from now on, which is slower",
        ),
        ErrorKind::StatementGone | ErrorKind::Disconnected | ErrorKind::CommitUnknown => (
            Action::Reconnect,
            "connecting again; the checkpoints tell what was committed",
        ),
        ErrorKind::EventFault => (
            Action::FindEvent,
            "looking for the event whose values PostgreSQL refuses",
        ),
        ErrorKind::OutOfResources => (
            Action::Wait,
            "give the server room (disk, memory, connections); it goes on by itself",
        ),
        ErrorKind::ServerFault => (
            Action::Wait,
            "see the server's own log; it goes on by itself",
        ),
        ErrorKind::Permission => (
            Action::Wait,
            "give the worker's role its rights back; it goes on by itself",
        ),
        ErrorKind::SchemaDiffers => (
            Action::Wait,
            "somebody changed or dropped a table of ours: put it back, or rebuild the projection; it goes on by itself",
        ),
        ErrorKind::Authentication => (
            Action::Wait,
            "put the password or pg_hba.conf right; it goes on by itself",
        ),
        ErrorKind::NoDatabase => (
            Action::Wait,
            "the database is gone; it goes on by itself when it is back",
        ),
        ErrorKind::Refused => (
            Action::Wait,
            "put right what the message names; it goes on by itself",
        ),
        ErrorKind::Unexpected => (
            Action::Wait,
            "no event is blamed for this; it tries again by itself",
        ),
    };
    Answer { action, hint }
}

/// The answer to one kind of error of the source.
pub struct SourceAnswer {
    /// The same client may try again; otherwise the lane joins anew.
    pub again: bool,
    pub hint: &'static str,
}

/// The table for Kafka's side.
pub fn source_answer(kind: SourceErrorKind) -> SourceAnswer {
    let (again, hint) = match kind {
        SourceErrorKind::Timeout | SourceErrorKind::Transient => {
            (true, "tried again from the stored checkpoints")
        }
        SourceErrorKind::Unreachable => (
            true,
            "tried again; see that the brokers are up and that kafka.brokers names them",
        ),
        SourceErrorKind::UnknownTopic => (
            true,
            "tried again; see that the topic exists and that the user may describe it",
        ),
        SourceErrorKind::Authentication => (
            true,
            "put right what it logs in with (user, password, token, certificate) and what it trusts: ssl.ca.location, a host name as in \
             the broker's certificate, one that has not expired. With credentials in files it logs in again by itself, else restart it",
        ),
        SourceErrorKind::Authorization => (
            true,
            "let the user read the topic, and read the group (ACLs); it goes on by itself",
        ),
        SourceErrorKind::Configuration => (
            false,
            "put kafka.properties right and restart; the group's members may also disagree about their protocol",
        ),
        SourceErrorKind::PollTooSlow => (
            false,
            "the lane was away for longer than max.poll.interval.ms; it joins anew",
        ),
        SourceErrorKind::OutOfRange | SourceErrorKind::Corrupt | SourceErrorKind::Fatal => {
            (false, "it joins anew")
        }
    };
    SourceAnswer { again, hint }
}

/// How long to wait before try number `attempt` (from 0): from 50 ms doubling to 10 s, of which up to a half is taken off
/// by `jitter` (0 to 1), so that lanes that met do not meet again.
pub fn backoff(attempt: u32, jitter: f64) -> Duration {
    let full = Duration::from_millis(50)
        .saturating_mul(1 << attempt.min(8))
        .min(Duration::from_secs(10));
    full.mul_f64(1.0 - 0.5 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_jitter_takes_off_at_most_half() {
        assert_eq!(backoff(0, 0.0), Duration::from_millis(50));
        assert_eq!(backoff(3, 1.0), Duration::from_millis(200));
        assert_eq!(backoff(u32::MAX, 0.0), Duration::from_secs(10));
    }

    #[test]
    fn only_values_that_a_table_refuses_are_an_events_fault() {
        assert_eq!(answer(ErrorKind::EventFault).action, Action::FindEvent);
        for systemic in [
            ErrorKind::OutOfResources,
            ErrorKind::SchemaDiffers,
            ErrorKind::Unexpected,
        ] {
            assert_eq!(answer(systemic).action, Action::Wait);
        }
    }
}
