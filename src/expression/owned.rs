//! Owned short texts and arrays behind [`super::cell::Cell`], and the only unsafe code of the value layer: two
//! invariants that nothing outside of this file can break, because the fields are private.

use std::sync::Arc;

use super::cell::Cell;
use super::value::Value;

/// Longest text, in bytes, that a cell holds without an allocation.
pub const SHORT_TEXT_BYTES_MAX: usize = 22;

/// A text inside the cell itself.
#[derive(Clone, Copy, Debug)]
pub struct ShortText {
    length: u8,
    bytes: [u8; SHORT_TEXT_BYTES_MAX],
}

impl ShortText {
    /// `None` if it is too long.
    #[inline]
    pub fn new(text: &str) -> Option<ShortText> {
        Some(ShortText {
            length: text.len() as u8,
            bytes: short_bytes(text.as_bytes())?,
        })
    }

    /// Takes another text in. What is left of the former one behind it is never read.
    ///
    /// # Panics
    /// If it is longer than [`SHORT_TEXT_BYTES_MAX`].
    #[inline(always)]
    pub fn set(&mut self, text: &str) {
        copy_short(text.as_bytes(), &mut self.bytes);
        self.length = text.len() as u8;
    }

    /// Whether it is this text. Compared in pieces, as [`copy_short`] copies.
    #[inline(always)]
    pub fn is(&self, text: &str) -> bool {
        let (own, other) = (self.as_str().as_bytes(), text.as_bytes());
        if own.len() != other.len() {
            return false;
        }
        match (own.first_chunk::<8>(), other.first_chunk::<8>()) {
            (Some(a), Some(b)) => {
                a == b
                    && own.last_chunk::<8>() == other.last_chunk::<8>()
                    && (own.len() <= 16 || own[8..16] == other[8..16])
            }
            _ => own.iter().zip(other).all(|(a, b)| a == b),
        }
    }

    #[inline]
    pub fn as_str(&self) -> &str {
        // SAFETY: `new` and `set` copied the first `length` bytes, at most SHORT_TEXT_BYTES_MAX, from a `str`.
        unsafe {
            std::str::from_utf8_unchecked(self.bytes.get_unchecked(..usize::from(self.length)))
        }
    }
}

/// Bytes with zeros behind them; `None` if there are too many.
#[inline]
pub fn short_bytes(from: &[u8]) -> Option<[u8; SHORT_TEXT_BYTES_MAX]> {
    let mut bytes = [0; SHORT_TEXT_BYTES_MAX];
    if from.len() > SHORT_TEXT_BYTES_MAX {
        return None;
    }
    copy_short(from, &mut bytes);
    Some(bytes)
}

/// Copies to the front of `bytes`, in pieces that overlap: a copy of a length that is not known beforehand is a call, and dearer than
/// the bytes.
///
/// # Panics
/// If there are more than fit.
#[inline(always)]
fn copy_short(from: &[u8], bytes: &mut [u8; SHORT_TEXT_BYTES_MAX]) {
    let len = from.len();
    assert!(len <= SHORT_TEXT_BYTES_MAX, "few bytes");
    if let (Some(first), Some(last)) = (from.first_chunk::<8>(), from.last_chunk::<8>()) {
        bytes[..8].copy_from_slice(first);
        if let Some(middle) = from.get(8..).and_then(<[u8]>::first_chunk::<8>) {
            bytes[8..16].copy_from_slice(middle);
        }
        bytes[len - 8..len].copy_from_slice(last);
    } else if let (Some(first), Some(last)) = (from.first_chunk::<4>(), from.last_chunk::<4>()) {
        bytes[..4].copy_from_slice(first);
        bytes[len - 4..len].copy_from_slice(last);
    } else {
        for (to, byte) in bytes.iter_mut().zip(from) {
            *to = *byte;
        }
    }
}

/// An array as values that point into cells which live as long.
#[derive(Debug)]
pub struct OwnedArray {
    values: Box<[Value<'static>]>,
    /// Shared ownership, because that keeps the cells at one address whatever happens to this struct.
    cells: Arc<[Cell]>,
}

impl OwnedArray {
    pub fn new(values: &[Value<'_>]) -> OwnedArray {
        let cells: Arc<[Cell]> = values
            .iter()
            .map(|value| Cell::from_value(*value))
            .collect();
        let values = cells
            .iter()
            .map(|cell| {
                // SAFETY: the values point into `cells`, which is never changed and is dropped with this struct;
                // `values()` hands them out for no longer than a borrow of it.
                unsafe { std::mem::transmute::<Value<'_>, Value<'static>>(cell.value()) }
            })
            .collect();
        OwnedArray { values, cells }
    }

    pub fn values(&self) -> &[Value<'_>] {
        &self.values
    }

    pub fn heap_bytes(&self) -> usize {
        let elements: usize = self.cells.iter().map(Cell::heap_bytes).sum();
        elements + size_of_val(&*self.cells) + size_of_val(&*self.values) + size_of::<OwnedArray>()
    }
}

impl Clone for OwnedArray {
    fn clone(&self) -> OwnedArray {
        OwnedArray::new(self.values())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_takes_in_another_and_tells_it_from_every_other() {
        let texts: Vec<String> = (0..=SHORT_TEXT_BYTES_MAX)
            .flat_map(|len| {
                let plain: String = ('a'..='z').take(len).collect();
                let wide = "é".repeat(len / 2);
                let changed = (0..len).map({
                    let plain = plain.clone();
                    move |at| {
                        let mut text = plain.clone();
                        text.replace_range(at..=at, "X");
                        text
                    }
                });
                changed.chain([plain.clone(), wide]).collect::<Vec<_>>()
            })
            .collect();
        for before in &texts {
            for text in &texts {
                let mut short = ShortText::new(before).unwrap();
                assert_eq!(short.is(text), before == text, "{before} and {text}");
                short.set(text);
                assert_eq!(short.as_str(), text, "after {before}");
                assert!(short.is(text), "{text}");
            }
        }
        let long = "x".repeat(SHORT_TEXT_BYTES_MAX + 1);
        assert!(ShortText::new(&long).is_none());
        assert!(!ShortText::new(&long[1..]).unwrap().is(&long));
    }
}
