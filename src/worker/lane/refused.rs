//! That Kafka refuses the lane (who it is, or what it may read), told where `status` and readers look for as long as it lasts.
//! The client goes on trying by itself: nothing is decided here.

use super::Lane;
use crate::source::{ErrorKind, TopicPartition};
use crate::worker::policy::source_answer;
use std::time::{Duration, Instant};

/// A row that is not repeated counts for nothing after 30 s.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Where a topic has nothing new, nothing shows that it may be read again.
const OVER_AFTER: Duration = Duration::from_secs(300);

/// What Kafka said last.
pub(super) struct Refused {
    reason: String,
    hint: &'static str,
    since: Instant,
    told_at: Option<Instant>,
}

impl Lane {
    /// The client is in trouble, and goes on trying.
    pub(super) fn kafka_trouble(
        &mut self,
        at: Option<TopicPartition>,
        kind: ErrorKind,
        message: &str,
    ) {
        self.report.kafka_trouble(at, kind, message);
        if matches!(kind, ErrorKind::Authentication | ErrorKind::Authorization) {
            let told_at = self.refused.take().and_then(|refused| refused.told_at);
            self.refused = Some(Refused {
                reason: format!("Kafka: {message}"),
                hint: source_answer(kind).hint,
                since: Instant::now(),
                told_at,
            });
        }
    }

    pub(super) fn tell_refused(&mut self) {
        let Some(mut refused) = self.refused.take() else {
            return;
        };
        if refused.since.elapsed() > OVER_AFTER {
            return;
        }
        if refused
            .told_at
            .is_none_or(|told_at| told_at.elapsed() > TELL_EVERY)
        {
            self.tell_waiting(&refused.reason, refused.hint);
            refused.told_at = Some(Instant::now());
        }
        self.refused = Some(refused);
    }
}
