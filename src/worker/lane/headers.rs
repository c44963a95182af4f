//! Headers of a record as a letter keeps them, and back. Knows nothing of what they say.

use bumpalo::Bump;
use std::fmt::Write as _;

/// Headers as they are stored.
pub(super) fn json_of(headers: &[(&str, Option<&[u8]>)]) -> String {
    let one = |(name, value): &(&str, Option<&[u8]>)| match (value, text(*value)) {
        (None, _) => serde_json::json!({ "name": name }),
        (Some(_), Some(text)) => serde_json::json!({ "name": name, "text": text }),
        (Some(bytes), None) => {
            let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            serde_json::json!({ "name": name, "hex": hex })
        }
    };
    serde_json::Value::Array(headers.iter().map(one).collect()).to_string()
}

/// The other way round.
pub(super) fn headers_of<'b>(
    json: Option<&str>,
    arena: &'b Bump,
) -> &'b [(&'b str, Option<&'b [u8]>)] {
    let parsed: Option<Vec<StoredHeader>> = json.and_then(|json| serde_json::from_str(json).ok());
    let one = |header: StoredHeader| -> (&'b str, Option<&'b [u8]>) {
        let bytes = match (header.text, header.hex) {
            (Some(text), _) => Some(text.into_bytes()),
            (None, Some(hex)) => Some(bytes_of(&hex)),
            (None, None) => None,
        };
        let value = bytes.map(|bytes| &*arena.alloc_slice_copy(&bytes));
        (arena.alloc_str(&header.name), value)
    };
    let headers: Vec<_> = parsed.unwrap_or_default().into_iter().map(one).collect();
    arena.alloc_slice_copy(&headers)
}

#[derive(serde::Deserialize)]
struct StoredHeader {
    name: String,
    text: Option<String>,
    hex: Option<String>,
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks_exact(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.filter_map(byte).collect()
}

/// The bytes as PostgreSQL's text.
pub(super) fn text(bytes: Option<&[u8]>) -> Option<&str> {
    let text = std::str::from_utf8(bytes?).ok()?;
    (!text.contains('\0')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_as_they_were() {
        let headers: [(&str, Option<&[u8]>); 4] = [
            ("id", Some(b"e1")),
            ("id", Some(&[0, 255, 16])),
            ("none", None),
            ("empty", Some(b"")),
        ];
        let arena = Bump::new();
        assert_eq!(headers_of(Some(&json_of(&headers)), &arena), headers);
        assert!(headers_of(None, &arena).is_empty());
    }
}
