//! Many bytes at a time. The only unsafe code of the scanner.

/// The bytes as text, if all are ASCII, which most records are: that is found out faster than that they are UTF-8.
#[inline]
pub(super) fn ascii(bytes: &[u8]) -> Option<&str> {
    // SAFETY: ASCII is UTF-8.
    let text = |bytes| unsafe { std::str::from_utf8_unchecked(bytes) };
    bytes.is_ascii().then(|| text(bytes))
}

/// The same, if there is no NUL either. For short texts: a word at a time.
#[inline(always)]
pub(in crate::event) fn plain_ascii(bytes: &[u8]) -> Option<&str> {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const LOW: u64 = 0x0101_0101_0101_0101;
    // Of a byte from 1 to 127 the high bit is off, and stays so when one is taken away.
    let plain = |word: u64| (word | word.wrapping_sub(LOW)) & HIGH == 0;
    let is_plain = match bytes.last_chunk::<8>() {
        Some(last) => {
            let (words, _) = bytes.as_chunks::<8>();
            let words = words.iter().chain([last]);
            words.map(|word| u64::from_le_bytes(*word)).all(plain)
        }
        None => bytes.iter().all(|byte| (1..128).contains(byte)),
    };
    // SAFETY: ASCII is UTF-8.
    is_plain.then(|| unsafe { std::str::from_utf8_unchecked(bytes) })
}

/// One bit per byte of `chunk`: whether it ends or interrupts a run of plain string bytes, being a quote, a backslash or a
/// control character.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn interruptions(chunk: &[u8; 16]) -> u32 {
    use std::arch::x86_64::_mm_movemask_epi8;
    // SAFETY: every x86-64 processor has SSE2.
    unsafe { _mm_movemask_epi8(marked(chunk)) as u32 }
}

/// Whether no byte of `chunk` ends or interrupts a run of plain string bytes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn is_uninterrupted(chunk: &[u8; 64]) -> bool {
    use std::arch::x86_64::{_mm_movemask_epi8, _mm_or_si128};
    let (quarters, _) = chunk.as_chunks::<16>();
    let [a, b, c, d] = [0, 1, 2, 3].map(|at| marked(&quarters[at]));
    // SAFETY: every x86-64 processor has SSE2.
    unsafe { _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d))) == 0 }
}

/// All bits of the bytes that `interruptions` tells of.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn marked(chunk: &[u8; 16]) -> std::arch::x86_64::__m128i {
    use std::arch::x86_64::*;
    // SAFETY: every x86-64 processor has SSE2, and the sixteen bytes read are those of `chunk`.
    unsafe {
        let bytes = _mm_loadu_si128(chunk.as_ptr().cast());
        let last_control = _mm_set1_epi8(0x1f);
        let control = _mm_cmpeq_epi8(_mm_max_epu8(bytes, last_control), last_control);
        let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
        _mm_or_si128(_mm_or_si128(quote, backslash), control)
    }
}

/// The same, left to the compiler to make fast.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn interruptions(chunk: &[u8; 16]) -> u32 {
    let mut marks = 0;
    for (at, &byte) in chunk.iter().enumerate() {
        marks |= u32::from(byte == b'"' || byte == b'\\' || byte < 0x20) << at;
    }
    marks
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn is_uninterrupted(chunk: &[u8; 64]) -> bool {
    let (quarters, _) = chunk.as_chunks::<16>();
    quarters.iter().all(|quarter| interruptions(quarter) == 0)
}
