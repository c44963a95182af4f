//! Many bytes at a time. The only unsafe code of the scanner.

/// The bytes as text, if all are ASCII, which most records are: that is found out faster than that they are UTF-8.
#[inline]
pub(in crate::event) fn ascii(bytes: &[u8]) -> Option<&str> {
    // SAFETY: ASCII is UTF-8.
    let text = |bytes| unsafe { std::str::from_utf8_unchecked(bytes) };
    bytes.is_ascii().then(|| text(bytes))
}

/// One bit per byte of `chunk`: whether it ends or interrupts a run of plain string bytes, being a quote, a backslash or a
/// control character.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn interruptions(chunk: &[u8; 16]) -> u32 {
    use std::arch::x86_64::*;
    // SAFETY: every x86-64 processor has SSE2, and the sixteen bytes read are those of `chunk`.
    unsafe {
        let bytes = _mm_loadu_si128(chunk.as_ptr().cast());
        let last_control = _mm_set1_epi8(0x1f);
        let control = _mm_cmpeq_epi8(_mm_max_epu8(bytes, last_control), last_control);
        let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control)) as u32
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
