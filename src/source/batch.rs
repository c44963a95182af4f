//! A batch of records, read in place from librdkafka's buffers. Knows nothing of groups or offsets
//! that are kept.

use std::ffi::CStr;

use bumpalo::Bump;

use super::TopicPartition;
use super::raw::Messages;
use crate::event::{Mark, Record, fingerprint};

/// Records of one lane, in offset order per partition. Owns the client's buffers that they lie in:
/// frees them on [`clear`](RecordBatch::clear) and drop, and keeps the client alive until then.
pub struct RecordBatch {
    messages: Messages,
    /// Per message, the index of its topic.
    topics: Vec<u32>,
    bytes: usize,
    bytes_max: usize,
    headers_wanted: bool,
    /// Holds the slices of headers that `records` hands out.
    headers: Bump,
}

impl Default for RecordBatch {
    fn default() -> Self {
        RecordBatch::with_headers(false)
    }
}

impl RecordBatch {
    /// An empty batch; `wanted`: whether its records shall carry their headers. Parsing them costs
    /// time, so only if a rule reads one.
    pub fn with_headers(wanted: bool) -> RecordBatch {
        RecordBatch {
            messages: Messages::default(),
            topics: Vec::new(),
            bytes: 0,
            bytes_max: usize::MAX,
            headers_wanted: wanted,
            headers: Bump::new(),
        }
    }

    /// Polling stops soon after the batch holds that many bytes of keys and values (it takes a few
    /// thousand records at a time, and looks in between).
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// As many records, or bytes, as was asked for: the source has more.
    pub fn is_full(&self, records_max: usize) -> bool {
        self.len() >= records_max || self.bytes >= self.bytes_max
    }

    /// The records, in the order in which they came.
    #[inline(always)]
    pub fn records(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        (0..self.len()).map(|index| self.record(index))
    }

    /// One record. With headers wanted, each call builds the list anew, and the memory is given back
    /// on `clear`: ask once per record.
    ///
    /// # Panics
    /// If `index` is not below `len`.
    #[inline(always)]
    pub fn record(&self, index: usize) -> Record<'_> {
        Record {
            topic: self.topics[index] as usize,
            partition: self.messages.partition(index),
            offset: self.messages.offset(index),
            timestamp_ms: self.messages.timestamp_ms(index),
            key: self.messages.key(index),
            value: self.messages.value(index),
            headers: if self.headers_wanted {
                self.headers_of(index)
            } else {
                &[]
            },
        }
    }

    /// The headers of one record, also where none are wanted of all; memory as in [`record`](RecordBatch::record).
    ///
    /// # Panics
    /// If `index` is not below `len`.
    pub fn headers(&self, index: usize) -> &[(&str, Option<&[u8]>)] {
        self.headers_of(index)
    }

    /// The last record of every partition, to know it again.
    pub fn last_marks(&self) -> Vec<(TopicPartition, Mark)> {
        let mut marks: Vec<(TopicPartition, Mark)> = Vec::new();
        let mut met = None;
        for index in (0..self.len()).rev() {
            let at = TopicPartition {
                topic: self.topics[index] as usize,
                partition: self.messages.partition(index),
            };
            // Records come in runs of one partition.
            if met == Some(at) {
                continue;
            }
            met = Some(at);
            if !marks.iter().any(|(marked, _)| *marked == at) {
                marks.push((at, self.mark(index)));
            }
        }
        marks
    }

    fn mark(&self, index: usize) -> Mark {
        let (key, value) = (self.messages.key(index), self.messages.value(index));
        Mark {
            offset: self.messages.offset(index),
            leader_epoch: self.messages.leader_epoch(index),
            fingerprint: fingerprint(self.messages.timestamp_ms(index), key, value),
        }
    }

    /// Frees the records; the batch can be filled again, by any lane.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.topics.clear();
        self.bytes = 0;
        self.headers.reset();
    }

    /// The messages, of which those from `len` on wait to be admitted.
    pub(super) fn messages(&mut self) -> &mut Messages {
        &mut self.messages
    }

    /// The messages that were taken and wait for [`admit`](RecordBatch::admit).
    pub(super) fn unadmitted(&self) -> (&Messages, std::ops::Range<usize>) {
        (&self.messages, self.topics.len()..self.messages.len())
    }

    /// Takes them in: per message the index of its topic, or `None` to drop it.
    pub(super) fn admit(&mut self, topics: impl IntoIterator<Item = Option<u32>>) {
        let mut dropped = Vec::new();
        for (index, topic) in (self.topics.len()..).zip(topics) {
            if let Some(topic) = topic {
                self.topics.push(topic);
                self.bytes += self.messages.key(index).map_or(0, <[u8]>::len)
                    + self.messages.value(index).map_or(0, <[u8]>::len);
            } else {
                dropped.push(index);
            }
        }
        if !dropped.is_empty() {
            self.messages.discard(&dropped);
        }
    }

    fn headers_of(&self, index: usize) -> &[(&str, Option<&[u8]>)] {
        let mut list: Vec<(&str, Option<&[u8]>)> = Vec::new();
        self.messages.headers(index, |name, value| {
            // A name that is not UTF-8 can be asked for by no definition.
            if let Ok(name) = name.to_str() {
                list.push((name, value));
            }
        });
        self.headers.alloc_slice_copy(&list)
    }
}

/// From the client's topic objects to indexes into the subscribed topics, without comparing names
/// for every record.
pub(super) struct TopicIndex {
    names: Vec<std::ffi::CString>,
    /// `(identity, index)`, the last one used first.
    known: Vec<(usize, u32)>,
}

impl TopicIndex {
    pub fn new(names: Vec<std::ffi::CString>) -> TopicIndex {
        TopicIndex {
            names,
            known: Vec::new(),
        }
    }

    pub fn names(&self) -> &[std::ffi::CString] {
        &self.names
    }

    pub fn name(&self, topic: usize) -> &CStr {
        &self.names[topic]
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.names
            .iter()
            .position(|known| known.to_bytes() == name.as_bytes())
    }

    /// To be called when partitions are assigned: an object of a topic that was not assigned may
    /// have been freed, and its address used again.
    pub fn forget(&mut self) {
        self.known.clear();
    }

    pub fn resolve(&mut self, messages: &Messages, index: usize) -> Option<u32> {
        let identity = messages.topic_identity(index);
        if let Some((first, topic)) = self.known.first()
            && *first == identity
        {
            return Some(*topic);
        }
        if let Some(at) = self.known.iter().position(|(known, _)| *known == identity) {
            self.known.swap(0, at);
            return Some(self.known[0].1);
        }
        let name = messages.topic_name(index)?;
        let topic = self.find(name.to_str().ok()?)?;
        let topic = u32::try_from(topic).ok()?;
        self.known.insert(0, (identity, topic));
        Some(topic)
    }
}
