//! What is kept of the last applied record of a partition, so that a log that is no longer the same can be told from the one
//! that was applied. Knows nothing of where it is kept, or who compares.

use sha2::{Digest, Sha256};

/// A record that was applied, as far as it takes to know it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub offset: i64,
    /// Of the leader that took the record in; `None` if the broker does not tell. Never falls along a log (KIP-101).
    pub leader_epoch: Option<i32>,
    /// Over the timestamp, the key and the value.
    pub fingerprint: i64,
}

/// The same for equal records only: 64 bits of SHA-256. Null and empty differ.
pub fn fingerprint(timestamp_ms: Option<i64>, key: Option<&[u8]>, value: Option<&[u8]>) -> i64 {
    let mut hash = Sha256::new();
    hash.update(timestamp_ms.unwrap_or(-1).to_be_bytes());
    for part in [key, value] {
        let length = part.map_or(-1, |part| i64::try_from(part.len()).unwrap_or(i64::MAX));
        hash.update(length.to_be_bytes());
        hash.update(part.unwrap_or_default());
    }
    let digest = hash.finalize();
    let first: [u8; 8] = digest[..8].try_into().expect("a digest has 32 bytes");
    i64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::fingerprint;

    #[test]
    fn records_that_differ_in_anything_have_other_fingerprints() {
        let one = fingerprint(Some(7), Some(b"key"), Some(b"value"));
        assert_eq!(one, fingerprint(Some(7), Some(b"key"), Some(b"value")));
        for other in [
            fingerprint(Some(8), Some(b"key"), Some(b"value")),
            fingerprint(Some(7), Some(b"keyv"), Some(b"alue")),
            fingerprint(Some(7), None, Some(b"value")),
            fingerprint(Some(7), Some(b""), Some(b"value")),
            fingerprint(Some(7), Some(b"key"), None),
        ] {
            assert_ne!(one, other);
        }
    }
}
