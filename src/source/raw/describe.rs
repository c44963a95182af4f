//! What the cluster says about topics (KIP-516 ids among it). Part of the audited unsafe code.

use std::ffi::{CString, c_char};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;

use super::super::error::{ErrorKind, SourceError};
use super::{Client, Queue, code, millis, owned};

impl Client {
    /// Topic descriptions by name: `(name, topic id, partitions)` or the error of that topic.
    pub fn describe_topics(
        self: &Arc<Self>,
        names: &[CString],
        timeout: Duration,
    ) -> Result<Vec<Description>, SourceError> {
        let unable = || SourceError::new(ErrorKind::Transient, "describing topics: out of queues");
        let answers = Queue::new(self).ok_or_else(unable)?;
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let mut text: [c_char; 256] = [0; 256];
        // SAFETY: all pointers outlive the calls; librdkafka copies names and options. The result
        // and what hangs on it live until the event is destroyed, after all was copied out.
        unsafe {
            let wanted =
                sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            let options = sys::rd_kafka_AdminOptions_new(
                self.rk(),
                sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            );
            sys::rd_kafka_AdminOptions_set_request_timeout(
                options,
                millis(timeout).max(1),
                text.as_mut_ptr(),
                text.len(),
            );
            // Any broker can tell, but librdkafka waits for the controller.
            if let Some(broker) = self.stand_in_for_controller(timeout) {
                let (text, size) = (text.as_mut_ptr(), text.len());
                sys::rd_kafka_AdminOptions_set_broker(options, broker, text, size);
            }
            sys::rd_kafka_DescribeTopics(self.rk(), wanted, options, answers.raw());
            sys::rd_kafka_AdminOptions_destroy(options);
            sys::rd_kafka_TopicCollection_destroy(wanted);
            // The request has its own timeout; the second keeps a lost answer from hanging us.
            let waited = timeout + Duration::from_secs(1);
            let event = sys::rd_kafka_queue_poll(answers.raw(), millis(waited));
            if event.is_null() {
                return Err(SourceError::new(ErrorKind::Timeout, "describing topics"));
            }
            let described = descriptions(event);
            sys::rd_kafka_event_destroy(event);
            described
        }
    }

    /// The id of a broker to ask where the cluster names no controller that it has (librdkafka's mock cluster does not).
    fn stand_in_for_controller(&self, timeout: Duration) -> Option<i32> {
        let mut metadata: *const sys::rd_kafka_metadata = std::ptr::null();
        // SAFETY: the answer is read within its count before it is destroyed, and only if there is one.
        unsafe {
            let (topic, wait) = (std::ptr::null_mut(), millis(timeout));
            let error = sys::rd_kafka_metadata(self.rk(), 0, topic, &raw mut metadata, wait);
            if code(error).is_err() || metadata.is_null() {
                return None;
            }
            let count = usize::try_from((*metadata).broker_cnt).unwrap_or(0);
            let brokers: Vec<i32> = (0..count)
                .map(|index| (*(*metadata).brokers.add(index)).id)
                .collect();
            sys::rd_kafka_metadata_destroy(metadata);
            // Known from the same answer.
            let controller = sys::rd_kafka_controllerid(self.rk(), 0);
            match brokers.contains(&controller) {
                true => None,
                false => brokers.first().copied(),
            }
        }
    }
}

/// What [`Client::describe_topics`] tells of one topic.
pub(in crate::source) struct Description {
    pub name: String,
    pub found: Result<(String, usize), (Code, String)>,
}

/// # Safety
/// `event` is a valid event.
unsafe fn descriptions(event: *mut sys::rd_kafka_event_t) -> Result<Vec<Description>, SourceError> {
    // SAFETY: pointers come from the event, are checked for null where null is allowed, and are
    // read within their counts before the caller destroys the event.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        if let Err(code) = code(sys::rd_kafka_event_error(event)) {
            let text = owned(sys::rd_kafka_event_error_string(event));
            let mut error = SourceError::from_code(code, "describing topics");
            error.message = format!("describing topics: {text}");
            return Err(error);
        }
        if result.is_null() {
            return Err(SourceError::new(
                ErrorKind::Transient,
                "describing topics: no answer",
            ));
        }
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let describe = |index: usize| {
            let topic = *topics.add(index);
            let error = sys::rd_kafka_TopicDescription_error(topic);
            let failed = if error.is_null() {
                Ok(())
            } else {
                code(sys::rd_kafka_error_code(error))
            };
            let found = match failed {
                Err(code) => Err((code, owned(sys::rd_kafka_error_string(error)))),
                Ok(()) => {
                    let id = sys::rd_kafka_TopicDescription_topic_id(topic);
                    let mut partitions = 0;
                    sys::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
                    Ok((owned(sys::rd_kafka_Uuid_base64str(id)), partitions))
                }
            };
            Description {
                name: owned(sys::rd_kafka_TopicDescription_name(topic)),
                found,
            }
        };
        Ok((0..count).map(describe).collect())
    }
}
