//! Asks the processor to fetch memory ahead of its use. The only unsafe code of the fold.

/// Bytes that come together.
const LINE_BYTES: usize = 64;

/// Fetches all that the slice spans. Changes nothing that can be seen.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn lines_of<T>(slice: &[T]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    let start: *const i8 = slice.as_ptr().cast();
    for offset in (0..size_of_val(slice)).step_by(LINE_BYTES) {
        // SAFETY: a hint, which reads nothing; the address lies within the slice.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(offset)) };
    }
}

/// Other processors find out by themselves.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn lines_of<T>(_slice: &[T]) {}
