//! A record kept beyond the client's buffers.

use bumpalo::Bump;

use crate::event::Record;

#[derive(Debug)]
pub(super) struct Found {
    pub(super) topic: usize,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) timestamp_ms: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Found {
    pub(super) fn of(record: &Record<'_>) -> Found {
        Found {
            topic: record.topic,
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }

    pub(super) fn record<'a>(&'a self, arena: &'a Bump) -> Record<'a> {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()));
        Record {
            topic: self.topic,
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: arena.alloc_slice_fill_iter(headers.collect::<Vec<_>>()),
        }
    }

    /// About what it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let of = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + of(value) + 48);
        size_of::<Found>() + of(&self.key) + of(&self.value) + headers.sum::<usize>()
    }
}
