//! Messages as librdkafka hands them over: read in place, freed once. Part of the audited unsafe code.

use std::ffi::{CStr, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr as RespErr};
use rdkafka_sys as sys;

use super::{Client, code};

/// Messages of one client, freed when cleared or dropped.
#[derive(Default)]
pub(in crate::source) struct Messages {
    pub(super) messages: Vec<NonNull<sys::rd_kafka_message_t>>,
    /// Whose they are; it must outlive them.
    client: Option<Arc<Client>>,
}

// SAFETY: messages are plain memory with atomic reference counts; any thread may read or free them.
unsafe impl Send for Messages {}

/// The error that stands in a message's place.
pub(in crate::source) struct MessageError {
    pub code: Code,
    pub text: String,
    pub offset: i64,
}

impl Messages {
    pub(super) fn hold(&mut self, client: &Arc<Client>) {
        match &self.client {
            Some(held) => assert!(Arc::ptr_eq(held, client), "a batch is filled by one lane"),
            None => self.client = Some(client.clone()),
        }
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    fn message(&self, index: usize) -> &sys::rd_kafka_message_t {
        // SAFETY: every pointer is valid until `truncate` or `remove` frees it, which needs `&mut`.
        unsafe { self.messages[index].as_ref() }
    }

    /// Identifies the topic object: equal for equal topics while any message of theirs is held.
    pub fn topic_identity(&self, index: usize) -> usize {
        self.message(index).rkt.addr()
    }

    pub fn topic_name(&self, index: usize) -> Option<&CStr> {
        let rkt = self.message(index).rkt;
        // SAFETY: a message keeps its topic object, whose name is NUL-terminated.
        (!rkt.is_null()).then(|| unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(rkt)) })
    }

    pub fn partition(&self, index: usize) -> i32 {
        self.message(index).partition
    }

    pub fn offset(&self, index: usize) -> i64 {
        self.message(index).offset
    }

    /// Milliseconds since 1970.
    pub fn timestamp_ms(&self, index: usize) -> Option<i64> {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: valid message; `kind` is written before the call returns.
        let at = unsafe { sys::rd_kafka_message_timestamp(self.message(index), &raw mut kind) };
        let known = kind != sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        (known && at >= 0).then_some(at)
    }

    pub fn leader_epoch(&self, index: usize) -> Option<i32> {
        // SAFETY: valid message.
        let epoch = unsafe { sys::rd_kafka_message_leader_epoch(self.message(index)) };
        (epoch >= 0).then_some(epoch)
    }

    pub fn key(&self, index: usize) -> Option<&[u8]> {
        let message = self.message(index);
        // SAFETY: null, or `key_len` bytes that live as long as the message.
        unsafe { bytes(message.key, message.key_len) }
    }

    pub fn value(&self, index: usize) -> Option<&[u8]> {
        let message = self.message(index);
        // SAFETY: null, or `len` bytes that live as long as the message.
        unsafe { bytes(message.payload, message.len) }
    }

    /// Calls `each` with every header in the record's order. librdkafka parses them on first use.
    pub fn headers<'m>(&'m self, index: usize, mut each: impl FnMut(&'m CStr, Option<&'m [u8]>)) {
        let mut headers = ptr::null_mut();
        // SAFETY: valid message. The parsed headers belong to it and live as long as it does: names
        // NUL-terminated, values null or of the size given. Parsing caches in the message, which is
        // not synchronised, but `Messages` is not `Sync`.
        unsafe {
            let found = sys::rd_kafka_message_headers(self.message(index), &raw mut headers);
            if code(found).is_err() {
                return;
            }
            for at in 0.. {
                let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
                let (n, v, s) = (&raw mut name, &raw mut value, &raw mut size);
                if code(sys::rd_kafka_header_get_all(headers, at, n, v, s)).is_err() {
                    return;
                }
                each(CStr::from_ptr(name), bytes(value, size));
            }
        }
    }

    /// `Some` if an error stands in the message's place.
    pub fn error(&self, index: usize) -> Option<MessageError> {
        let message = self.message(index);
        // Read as a number: a broker may know errors that these bindings do not.
        // SAFETY: an `i32` in C, and `repr(i32)` here.
        let number = unsafe { (&raw const message.err).cast::<i32>().read() };
        if number == 0 {
            return None;
        }
        let known = RespErr::try_from(number).map_or(Code::Unknown, Code::from);
        Some(MessageError {
            code: known,
            text: self
                .value(index)
                .map_or_else(|| known.to_string(), |text| lossy(text).to_owned()),
            offset: message.offset,
        })
    }

    /// Frees the messages at these indexes (rising); later ones move up.
    pub fn discard(&mut self, indexes: &[usize]) {
        let mut gone = indexes.iter().copied().peekable();
        let mut index = 0;
        self.messages.retain(|message| {
            let discard = gone.next_if_eq(&index).is_some();
            index += 1;
            if discard {
                // SAFETY: leaves the list with this, so freed once.
                unsafe { sys::rd_kafka_message_destroy(message.as_ptr()) }
            }
            !discard
        });
    }

    pub fn clear(&mut self) {
        for gone in self.messages.drain(..) {
            // SAFETY: out of the list, so freed once; the client is still held.
            unsafe { sys::rd_kafka_message_destroy(gone.as_ptr()) }
        }
        self.client = None;
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.clear();
    }
}

/// # Safety
/// `at` is null or points to `length` bytes that live for `'a`.
unsafe fn bytes<'a>(at: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at.cast(), length) })
}

fn lossy(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or("(unreadable)")
}
