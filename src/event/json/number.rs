//! The grammar of JSON numbers and the range of PostgreSQL's `numeric`, in which jsonb keeps them.

use super::Fault;

/// Most digits behind the point that `numeric` can show.
const MAX_SCALE: i64 = 16_383;
/// Highest power of ten that the first digit may stand for.
const MAX_WEIGHT: i64 = 131_071;
/// An exponent at or beyond this is refused even for zero (`INT_MAX / 2` in `set_var_from_str`).
const MAX_EXPONENT: i64 = 1_073_741_823;

/// The end of the number that starts at `start`.
#[inline]
pub(super) fn end_of_number(bytes: &[u8], start: usize) -> Result<usize, Fault> {
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let whole = start + usize::from(byte(start) == b'-');
    let mut at = end_of_digits(bytes, whole);
    if at == whole || (at > whole + 1 && byte(whole) == b'0') {
        return Err(Fault::Number);
    }
    if byte(at) == b'.' {
        let from = at + 1;
        at = end_of_digits(bytes, from);
        if at == from {
            return Err(Fault::Number);
        }
    }
    if byte(at) | 0x20 == b'e' || at - start > MAX_SCALE as usize {
        return end_of_unusual_number(bytes, start, at);
    }
    Ok(at)
}

/// A number with an exponent, which begins at `at`, or a very long one.
#[cold]
fn end_of_unusual_number(bytes: &[u8], start: usize, mut at: usize) -> Result<usize, Fault> {
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    if byte(at) | 0x20 == b'e' {
        at += 1;
        if matches!(byte(at), b'+' | b'-') {
            at += 1;
        }
        let from = at;
        at = end_of_digits(bytes, from);
        if at == from {
            return Err(Fault::Number);
        }
    }
    if in_range(&bytes[start..at]) {
        Ok(at)
    } else {
        Err(Fault::NumberRange)
    }
}

#[inline]
fn end_of_digits(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b'0'..=b'9') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Whether `numeric_in` takes a well-formed number.
fn in_range(number: &[u8]) -> bool {
    let split = number.iter().position(|b| b | 0x20 == b'e');
    let (mantissa, exponent) = match split {
        Some(at) => (&number[..at], &number[at + 1..]),
        None => (number, &b"0"[..]),
    };
    let Some(exponent) = std::str::from_utf8(exponent)
        .ok()
        .and_then(|digits| digits.parse::<i64>().ok())
        .filter(|exponent| exponent.abs() < MAX_EXPONENT)
    else {
        return false;
    };
    let point = mantissa.iter().position(|&b| b == b'.');
    let behind = point.map_or(0, |at| mantissa.len() - at - 1) as i64;
    if behind - exponent > MAX_SCALE {
        return false;
    }
    let digits = || mantissa.iter().filter(|b| b.is_ascii_digit());
    match digits().position(|&b| b != b'0') {
        Some(zeros) => {
            let before = digits().count() as i64 - behind;
            before - 1 - zeros as i64 + exponent <= MAX_WEIGHT
        }
        None => true,
    }
}
