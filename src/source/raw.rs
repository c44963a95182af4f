//! The only unsafe code of the source (with its parts in `raw/`): librdkafka's client, queues, events and messages behind types
//! that keep them alive in the right order. Knows nothing of lanes, checkpoints or settings.
//!
//! Lifetimes, on which every block below relies: a [`Client`] owns the `rd_kafka_t`; every [`Queue`]
//! and every non-empty [`Messages`] holds an `Arc` of it, so the client is destroyed last, as
//! librdkafka demands (messages and queues first). librdkafka is thread-safe; what is not (two
//! threads reading one queue through [`Messages`]) is excluded by `&mut`.

use std::ffi::{CStr, c_char, c_int};
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr as RespErr};
use rdkafka_sys as sys;
use tracing::debug;

use super::error::{ErrorKind, SourceError};
use super::settings::is_secret;

mod describe;
mod events;
mod login;
mod messages;

pub(super) use events::{Event, Events};
pub(super) use login::Login;
pub(super) use messages::{MessageError, Messages};

/// Topic and partition as librdkafka names them.
pub(super) type Named = (String, i32);

/// How long dropping a client waits for its end.
const END_TIMEOUT: Duration = Duration::from_millis(500);

/// One librdkafka client (`rd_kafka_t`): its threads, connections and group membership.
pub(super) struct Client {
    rk: NonNull<sys::rd_kafka_t>,
    /// For OAUTHBEARER.
    token_file: Option<PathBuf>,
}

// SAFETY: librdkafka's API is thread-safe on one `rd_kafka_t` (its INTRODUCTION.md, "Threads and callbacks").
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// A consumer client. Rebalances, errors and logs come as events on its queue; nothing calls back.
    pub fn new(
        config: &ClientConfig,
        token_file: Option<PathBuf>,
    ) -> Result<Arc<Client>, SourceError> {
        let refused = |why: String| SourceError::new(ErrorKind::Configuration, why);
        let conf = config
            .create_native_config()
            .map_err(|error| refused(property_error(&error)))?;
        let events = sys::RD_KAFKA_EVENT_REBALANCE
            | sys::RD_KAFKA_EVENT_OFFSET_COMMIT
            | sys::RD_KAFKA_EVENT_ERROR
            | sys::RD_KAFKA_EVENT_LOG
            | sys::RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH;
        let mut text: [c_char; 512] = [0; 512];
        // SAFETY: `conf` is valid. `rd_kafka_new` takes it over on success only, so it is forgotten
        // then and freed by its own drop otherwise. `text` outlives the call and gets NUL-terminated.
        let rk = unsafe {
            sys::rd_kafka_conf_set_events(conf.ptr(), events);
            let conf = ManuallyDrop::new(conf);
            let rk = sys::rd_kafka_new(
                sys::rd_kafka_type_t::RD_KAFKA_CONSUMER,
                conf.ptr(),
                text.as_mut_ptr(),
                text.len(),
            );
            let Some(rk) = NonNull::new(rk) else {
                drop(ManuallyDrop::into_inner(conf));
                return Err(refused(owned(text.as_ptr())));
            };
            // With `log.queue`, logs wait for a queue: null is the client's main one.
            sys::rd_kafka_set_log_queue(rk.as_ptr(), ptr::null_mut());
            rk
        };
        let client = Client { rk, token_file };
        // Not only when it asks: nobody may be there to hear that.
        client.set_token();
        Ok(Arc::new(client))
    }

    fn rk(&self) -> *mut sys::rd_kafka_t {
        self.rk.as_ptr()
    }

    pub fn subscribe(&self, topics: &TopicPartitionList) -> Result<(), Code> {
        // SAFETY: both pointers are valid; librdkafka copies the list.
        code(unsafe { sys::rd_kafka_subscribe(self.rk(), topics.ptr()) })
    }

    /// Replaces the assignment; `None` ends it.
    pub fn assign(&self, list: Option<&TopicPartitionList>) -> Result<(), SourceError> {
        let list = list.map_or(ptr::null(), |list| list.ptr().cast_const());
        // SAFETY: the client is valid; the list is null or valid and is copied.
        match code(unsafe { sys::rd_kafka_assign(self.rk(), list) }) {
            Ok(()) => Ok(()),
            Err(code) => Err(SourceError::from_code(code, "assigning partitions")),
        }
    }

    pub fn incremental_assign(&self, list: &TopicPartitionList) -> Result<(), SourceError> {
        // SAFETY: valid pointers; the list is copied; the error is ours to destroy.
        unsafe { taken(sys::rd_kafka_incremental_assign(self.rk(), list.ptr())) }
    }

    pub fn incremental_unassign(&self, list: &TopicPartitionList) -> Result<(), SourceError> {
        // SAFETY: as in `incremental_assign`.
        unsafe { taken(sys::rd_kafka_incremental_unassign(self.rk(), list.ptr())) }
    }

    /// `Some(true)` cooperative, `Some(false)` eager, `None` while the group has not settled.
    pub fn is_cooperative(&self) -> Option<bool> {
        // SAFETY: returns null or a static string.
        let name = unsafe { sys::rd_kafka_rebalance_protocol(self.rk()) };
        if name.is_null() {
            return None;
        }
        // SAFETY: not null, static, NUL-terminated.
        match unsafe { CStr::from_ptr(name) }.to_bytes() {
            b"COOPERATIVE" => Some(true),
            b"EAGER" => Some(false),
            _ => None,
        }
    }

    /// Whether the group has taken this client in: it has given it a generation (KIP-848: a member epoch).
    pub fn is_member(&self) -> bool {
        // SAFETY: valid client; the metadata is null or ours to destroy, and read before that.
        unsafe {
            let metadata = sys::rd_kafka_consumer_group_metadata(self.rk());
            if metadata.is_null() {
                return false;
            }
            let generation = sys::rd_kafka_consumer_group_metadata_generation_id(metadata);
            sys::rd_kafka_consumer_group_metadata_destroy(metadata);
            generation > 0
        }
    }

    /// Whether a revocation under way is a loss: the group has given the partitions away already.
    pub fn assignment_lost(&self) -> bool {
        // SAFETY: valid client.
        unsafe { sys::rd_kafka_assignment_lost(self.rk()) != 0 }
    }

    /// Fills in, per partition, the offset after the last message taken (control records included).
    pub fn position(&self, list: &TopicPartitionList) -> Result<(), Code> {
        // SAFETY: valid pointers; librdkafka writes only offsets and errors of the list's elements.
        code(unsafe { sys::rd_kafka_position(self.rk(), list.ptr()) })
    }

    /// Goes on at the list's offsets, in partitions that are being read. Fetched records that were
    /// not taken are dropped; waits for that, not for the fetch. Partitions that are not being
    /// fetched (stopping, or failed) stay as they are.
    pub fn seek(&self, list: &TopicPartitionList) -> Result<(), SourceError> {
        let timeout = Duration::from_secs(2);
        // SAFETY: valid pointers; the error is ours to destroy.
        unsafe {
            taken(sys::rd_kafka_seek_partitions(
                self.rk(),
                list.ptr(),
                millis(timeout),
            ))
        }
    }

    pub fn pause(&self, list: &TopicPartitionList) -> Result<(), Code> {
        // SAFETY: as in `position`.
        code(unsafe { sys::rd_kafka_pause_partitions(self.rk(), list.ptr()) })
    }

    pub fn resume(&self, list: &TopicPartitionList) -> Result<(), Code> {
        // SAFETY: as in `position`.
        code(unsafe { sys::rd_kafka_resume_partitions(self.rk(), list.ptr()) })
    }

    /// Asks for a commit of group offsets; the answer comes to `answers` as [`Event::Committed`].
    pub fn commit(&self, list: &TopicPartitionList, answers: &Queue) -> Result<(), Code> {
        // SAFETY: valid pointers; the list is copied; the reply holds a reference to the queue of
        // its own, so it may come after the queue's handle is gone.
        code(unsafe {
            sys::rd_kafka_commit_queue(self.rk(), list.ptr(), answers.raw(), None, ptr::null_mut())
        })
    }

    /// Low and high watermark as of the last fetch answer; `None` before the first.
    pub fn watermarks(&self, topic: &CStr, partition: i32) -> Option<(i64, i64)> {
        let (mut low, mut high) = (-1, -1);
        // SAFETY: valid pointers, written before the call returns.
        let error = code(unsafe {
            sys::rd_kafka_get_watermark_offsets(
                self.rk(),
                topic.as_ptr(),
                partition,
                &raw mut low,
                &raw mut high,
            )
        });
        (error.is_ok() && high >= 0).then_some((low, high))
    }

    /// Looks up offsets by the timestamps (or `Offset::Beginning`, `Offset::End`) in the list, and
    /// replaces them. Blocks at most about `timeout`.
    pub fn offsets_for_times(
        &self,
        list: &TopicPartitionList,
        timeout: Duration,
    ) -> Result<(), Code> {
        // SAFETY: valid pointers; librdkafka writes only offsets and errors of the list's elements.
        code(unsafe { sys::rd_kafka_offsets_for_times(self.rk(), list.ptr(), millis(timeout)) })
    }

    /// Sends a partition's records to `to` from now on, with those that wait in its own queue.
    pub fn forward(&self, topic: &CStr, partition: i32, to: &Queue) -> bool {
        // SAFETY: valid pointers. The partition keeps its own reference to the target, so both
        // handles may go; the partition's handle is released here.
        unsafe {
            let queue = sys::rd_kafka_queue_get_partition(self.rk(), topic.as_ptr(), partition);
            if queue.is_null() {
                return false;
            }
            sys::rd_kafka_queue_forward(queue, to.raw());
            sys::rd_kafka_queue_destroy(queue);
        }
        true
    }

    /// Starts to leave the group; `events` has to be read until [`Client::has_left`].
    pub fn leave(&self, events: &Queue) -> Result<(), SourceError> {
        if self.has_no_partitions() {
            // Closing alone would tell the group nothing (2.12, `rd_kafka_cgrp_revoke_all_rejoin`): until the session timed out, every
            // rebalance would wait for a member that is gone.
            // SAFETY: valid client.
            let unsubscribed = code(unsafe { sys::rd_kafka_unsubscribe(self.rk()) });
            if let Err(code) = unsubscribed {
                debug!(target: "kafka", %code, "the subscription could not be ended");
            }
        }
        // SAFETY: valid pointers; the error is ours to destroy.
        unsafe { taken(sys::rd_kafka_consumer_close_queue(self.rk(), events.raw())) }
    }

    fn has_no_partitions(&self) -> bool {
        let mut list = ptr::null_mut();
        // SAFETY: valid client; the list is ours to destroy if there is one.
        unsafe {
            if code(sys::rd_kafka_assignment(self.rk(), &raw mut list)).is_err() {
                return false;
            }
            let none = (*list).cnt == 0;
            sys::rd_kafka_topic_partition_list_destroy(list);
            none
        }
    }

    pub fn has_left(&self) -> bool {
        // SAFETY: valid client.
        unsafe { sys::rd_kafka_consumer_closed(self.rk()) != 0 }
    }
}

impl Drop for Client {
    /// Ends the client. Does not wait for the group: whoever wants to leave it in good order does
    /// that before ([`Client::leave`]). Ending takes milliseconds, unless a broker does not answer:
    /// then librdkafka waits until its requests time out, and does so on a thread that nobody joins.
    fn drop(&mut self) {
        struct Ending(NonNull<sys::rd_kafka_t>);
        // SAFETY: librdkafka lets any thread of the application's end a client.
        unsafe impl Send for Ending {}
        impl Ending {
            fn end(self) {
                let flags = sys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE;
                // SAFETY: the last reference; no queue or message is left (they hold an `Arc`).
                unsafe { sys::rd_kafka_destroy_flags(self.0.as_ptr(), flags) }
            }
        }
        let ending = Ending(self.rk);
        let (ended, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("kafka-end".to_owned());
        let spawned = thread.spawn(move || {
            ending.end();
            drop(ended);
        });
        match spawned {
            // Either the channel closes, or the time is up.
            Ok(_) => drop(wait.recv_timeout(END_TIMEOUT)),
            // No thread to be had: the closure is gone, so end it here.
            Err(_) => Ending(self.rk).end(),
        }
    }
}

/// A queue of a client's.
pub(super) struct Queue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    client: Arc<Client>,
}

// SAFETY: queues are locked inside librdkafka.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    /// A queue of our own, for records or answers.
    pub fn new(client: &Arc<Client>) -> Option<Queue> {
        // SAFETY: valid client.
        let queue = NonNull::new(unsafe { sys::rd_kafka_queue_new(client.rk()) })?;
        Some(Queue {
            queue,
            client: client.clone(),
        })
    }

    /// The group member's queue: rebalances, errors, logs. `None` if the client has no group.
    pub fn of_consumer(client: &Arc<Client>) -> Option<Queue> {
        // SAFETY: valid client; the first call redirects the client's main queue to the consumer's.
        let queue = unsafe {
            sys::rd_kafka_poll_set_consumer(client.rk());
            sys::rd_kafka_queue_get_consumer(client.rk())
        };
        Some(Queue {
            queue: NonNull::new(queue)?,
            client: client.clone(),
        })
    }

    /// The main queue of a client without a group.
    pub fn of_main(client: &Arc<Client>) -> Option<Queue> {
        // SAFETY: valid client.
        let queue = NonNull::new(unsafe { sys::rd_kafka_queue_get_main(client.rk()) })?;
        Some(Queue {
            queue,
            client: client.clone(),
        })
    }

    fn raw(&self) -> *mut sys::rd_kafka_queue_t {
        self.queue.as_ptr()
    }

    /// Wakes whoever waits on this queue, or the next who would.
    pub fn wake(&self) {
        // SAFETY: valid queue; takes only the queue's own lock.
        unsafe { sys::rd_kafka_queue_yield(self.raw()) }
    }

    /// The next event, waiting at most `timeout` for it.
    pub fn event(&self, timeout: Duration) -> Option<Event> {
        // SAFETY: valid queue; the event is read and then destroyed, once.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.raw(), millis(timeout));
            if event.is_null() {
                return None;
            }
            let read = events::read(event);
            sys::rd_kafka_event_destroy(event);
            Some(read)
        }
    }

    /// Appends up to `count_max` messages to `out`: waits at most `timeout` for the first, then
    /// takes what is there. (The batch call alone would wait on until it has them all.)
    pub fn take(&self, timeout: Duration, count_max: usize, out: &mut Messages) {
        out.hold(&self.client);
        let mut count_max = count_max;
        if count_max == 0 {
            return;
        }
        if !timeout.is_zero() {
            // SAFETY: valid queue; the message is ours to destroy and goes to `out`.
            let first = unsafe { sys::rd_kafka_consume_queue(self.raw(), millis(timeout)) };
            let Some(first) = NonNull::new(first) else {
                return;
            };
            out.messages.push(first);
            count_max -= 1;
        }
        out.messages.reserve(count_max);
        let length = out.messages.len();
        // SAFETY: the spare capacity holds `count_max` pointers, `Option<NonNull>`-sized; librdkafka
        // writes as many valid, non-null ones as it returns, each ours to destroy.
        unsafe {
            let spare = out.messages.as_mut_ptr().add(length).cast();
            let taken = sys::rd_kafka_consume_batch_queue(self.raw(), 0, spare, count_max);
            out.messages
                .set_len(length + usize::try_from(taken).unwrap_or(0));
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the only handle; the client is still there.
        unsafe { sys::rd_kafka_queue_destroy(self.raw()) }
    }
}

/// # Safety
/// `list` is null or valid.
unsafe fn named(list: *const sys::rd_kafka_topic_partition_list_t) -> Vec<Named> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: `cnt` valid elements with NUL-terminated topic names.
    unsafe {
        let count = usize::try_from((*list).cnt).unwrap_or(0);
        let element = |index| &*(*list).elems.add(index);
        let copy = |tp: &sys::rd_kafka_topic_partition_t| (owned(tp.topic), tp.partition);
        (0..count).map(|index| copy(element(index))).collect()
    }
}

/// # Safety
/// `error` is null or ours to destroy.
unsafe fn taken(error: *mut sys::rd_kafka_error_t) -> Result<(), SourceError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: read, then destroyed once.
    unsafe {
        let text = owned(sys::rd_kafka_error_string(error));
        let fatal = sys::rd_kafka_error_is_fatal(error) != 0;
        let code: Code = sys::rd_kafka_error_code(error).into();
        sys::rd_kafka_error_destroy(error);
        Err(SourceError::new(super::error::kind_of(code, fatal), text))
    }
}

/// A copy of a C string that librdkafka owns; empty for null.
fn owned(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: every caller passes a NUL-terminated string of librdkafka's.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

fn code(error: RespErr) -> Result<(), Code> {
    match error {
        RespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        error => Err(error.into()),
    }
}

/// Whole milliseconds, rounded up so that a short wait is not a spin.
fn millis(timeout: Duration) -> c_int {
    c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX)
}

/// A property error without the property's value, which may be a secret.
fn property_error(error: &rdkafka::error::KafkaError) -> String {
    match error {
        rdkafka::error::KafkaError::ClientConfig(_, _, name, _) if is_secret(name) => {
            format!("the Kafka property `{name}` is not accepted")
        }
        rdkafka::error::KafkaError::ClientConfig(_, why, name, _) => {
            format!("the Kafka property `{name}` is not accepted: {why}")
        }
        _ => "the Kafka properties are not accepted".to_owned(),
    }
}
