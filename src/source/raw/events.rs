//! What a client has to say besides records. Part of the audited unsafe code.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr as RespErr};
use rdkafka_sys as sys;

use super::{Named, Queue, code, named, owned};

/// The events of a client, wired so that one that arrives wakes whoever waits on `lane`.
pub(in crate::source) struct Events {
    events: Queue,
    /// Outlives the wiring, see `drop`.
    _lane: Arc<Queue>,
}

impl Events {
    pub fn waking(events: Queue, lane: Arc<Queue>) -> Events {
        // SAFETY: `lane` is kept until the callback is taken off in `drop`. The callback runs under
        // the events queue's lock and takes the lane queue's; nothing takes them the other way round.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(events.raw(), Some(wake), lane.raw().cast());
        }
        Events {
            events,
            _lane: lane,
        }
    }

    pub fn queue(&self) -> &Queue {
        &self.events
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // SAFETY: valid queue. The call takes the lock under which the callback runs, so none is
        // running afterwards.
        unsafe { sys::rd_kafka_queue_cb_event_enable(self.events.raw(), None, ptr::null_mut()) }
    }
}

/// # Safety
/// `lane` is the queue handle given to `rd_kafka_queue_cb_event_enable`, still valid.
unsafe extern "C" fn wake(_: *mut sys::rd_kafka_t, lane: *mut c_void) {
    // SAFETY: see above.
    unsafe { sys::rd_kafka_queue_yield(lane.cast()) }
}

/// What a client has to say, besides records.
pub(in crate::source) enum Event {
    Assign(Vec<Named>),
    Revoke(Vec<Named>),
    Committed(Result<(), Code>),
    Error {
        code: Code,
        text: String,
        fatal: bool,
        partition: Option<Named>,
    },
    /// The client's token ends soon: [`Client::set_token`](super::Client::set_token).
    TokenWanted,
    /// syslog level, facility, text.
    Log(i32, String, String),
    /// Records where none may be.
    Records(usize),
    Other,
}

/// # Safety
/// `event` is a valid event.
pub(super) unsafe fn read(event: *mut sys::rd_kafka_event_t) -> Event {
    // SAFETY: accessors of a valid event; what they return is copied before the event goes.
    unsafe {
        match sys::rd_kafka_event_type(event) {
            sys::RD_KAFKA_EVENT_REBALANCE => {
                let list = named(sys::rd_kafka_event_topic_partition_list(event));
                match sys::rd_kafka_event_error(event) {
                    RespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Event::Assign(list),
                    _ => Event::Revoke(list),
                }
            }
            sys::RD_KAFKA_EVENT_OFFSET_COMMIT => {
                Event::Committed(code(sys::rd_kafka_event_error(event)))
            }
            sys::RD_KAFKA_EVENT_ERROR => {
                let partition = sys::rd_kafka_event_topic_partition(event);
                let named = (!partition.is_null()).then(|| {
                    let named = (owned((*partition).topic), (*partition).partition);
                    sys::rd_kafka_topic_partition_destroy(partition);
                    named
                });
                Event::Error {
                    code: sys::rd_kafka_event_error(event).into(),
                    text: owned(sys::rd_kafka_event_error_string(event)),
                    fatal: sys::rd_kafka_event_error_is_fatal(event) != 0,
                    partition: named,
                }
            }
            sys::RD_KAFKA_EVENT_LOG => {
                let (mut facility, mut text, mut level) = (ptr::null(), ptr::null(), 7);
                let (f, t, l) = (&raw mut facility, &raw mut text, &raw mut level);
                sys::rd_kafka_event_log(event, f, t, l);
                Event::Log(level, owned(facility), owned(text))
            }
            sys::RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH => Event::TokenWanted,
            sys::RD_KAFKA_EVENT_FETCH => Event::Records(sys::rd_kafka_event_message_count(event)),
            _ => Event::Other,
        }
    }
}
