//! Whether the files that a client logged in with hold something else by now. Nothing watches them: they are looked at while a
//! broker is in trouble. Knows no client.

use std::time::{Duration, Instant};

use super::KafkaSettings;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Of one client.
pub(super) struct Credentials {
    kafka: KafkaSettings,
    /// What the files held when the client was made.
    mark: u64,
    /// Since a broker was in trouble: when they were looked at last.
    looked_at: Option<Instant>,
}

impl Credentials {
    /// To be made before the client reads the files.
    pub fn of(kafka: &KafkaSettings) -> Credentials {
        Credentials {
            kafka: kafka.clone(),
            mark: kafka.login_mark(),
            looked_at: None,
        }
    }

    /// A broker is in trouble, and may have refused them.
    pub fn doubt(&mut self) {
        self.looked_at.get_or_insert_with(Instant::now);
    }

    /// The client has to be made anew.
    pub fn have_changed(&mut self) -> bool {
        match self.looked_at {
            Some(looked_at) if looked_at.elapsed() >= LOOK_EVERY => {
                self.looked_at = Some(Instant::now());
                self.kafka.login_mark() != self.mark
            }
            _ => false,
        }
    }
}
