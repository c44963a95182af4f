//! Times of events: Kafka's milliseconds, and the usual form of an ISO 8601 timestamp without the detour through the full
//! parser of PostgreSQL's many date formats.

/// 2000-01-01 in milliseconds since 1970.
const EPOCH_MS: i64 = 946_684_800_000;
/// PostgreSQL's range of timestamps: from 4714-11-24 BC to before 294277-01-01, in microseconds since 2000.
const MICROS_MIN: i64 = -211_813_488_000_000_000;
const MICROS_END: i64 = 9_223_371_331_200_000_000;
/// Powers of ten, for what a fraction lacks to microseconds.
const POWERS: [i64; 6] = [1, 10, 100, 1_000, 10_000, 100_000];

/// Where the digits of `2022-02-01T09:00:00` stand.
const DIGITS: [usize; 14] = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18];

/// Milliseconds since 1970 as a timestamptz; `None` outside of PostgreSQL's range.
pub fn from_kafka(timestamp_ms: i64) -> Option<i64> {
    let micros = timestamp_ms.checked_sub(EPOCH_MS)?.checked_mul(1_000)?;
    (MICROS_MIN..MICROS_END).contains(&micros).then_some(micros)
}

/// `2022-02-01T09:00:00[.123456][Z|+hh[:mm]]`, with a blank in place of the T if need be; without a zone it is UTC. `None`: some
/// other form, or not a time at all. In microseconds since 2000-01-01 UTC.
pub fn from_iso(text: &str) -> Option<i64> {
    let (fixed, rest) = text.as_bytes().split_first_chunk::<19>()?;
    let separators = (fixed[4], fixed[7], fixed[13], fixed[16]);
    if separators != (b'-', b'-', b':', b':') || !matches!(fixed[10], b'T' | b' ') {
        return None;
    }
    let digit = |at: usize| fixed[at].wrapping_sub(b'0');
    // Looked at together: that is faster than to stop at the first that is no digit.
    let highest = DIGITS.iter().fold(0, |high, at| digit(*at).max(high));
    if highest > 9 {
        return None;
    }
    let two = |at: usize| i64::from(digit(at) * 10 + digit(at + 1));
    let year = two(0) * 100 + two(2);
    let (month, day) = (two(5), two(8));
    let (hour, minute, second) = (two(11), two(14), two(17));
    let valid_date = year >= 1 && (1..=12).contains(&month) && day >= 1;
    if !valid_date || day > days_in_month(year, month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = fraction(rest)?;
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some((seconds - offset_seconds(zone)?) * 1_000_000 + fraction)
}

#[inline]
fn two_digits(bytes: &[u8], at: usize) -> Option<i64> {
    let digit = |at: usize| Some(bytes[at].wrapping_sub(b'0')).filter(|&digit| digit <= 9);
    Some(i64::from(digit(at)? * 10 + digit(at + 1)?))
}

/// One to six digits behind a point, in microseconds, and what follows.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', digits)) = rest.split_first() else {
        return Some((0, rest));
    };
    let len = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    if len == 0 || len > 6 {
        return None;
    }
    let (fraction, rest) = digits.split_at(len);
    let number = fraction
        .iter()
        .fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    Some((number * POWERS[6 - len], rest))
}

fn offset_seconds(zone: &[u8]) -> Option<i64> {
    let (sign, digits) = match zone {
        [] | [b'Z'] => return Some(0),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.len() {
        2 => (two_digits(digits, 0)?, 0),
        5 if digits[2] == b':' => (two_digits(digits, 0)?, two_digits(digits, 3)?),
        _ => return None,
    };
    (hours <= 14 && minutes <= 59).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 2000-01-01 in the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years are counted from March, so that the leap day is the last.
    let shifted = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let leap_days = shifted / 4 - shifted / 100 + shifted / 400;
    shifted * 365 + leap_days + day_of_year - 730_425
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_times_are_microseconds_since_2000() {
        let cases = [
            ("2000-01-01T00:00:00Z", Some(0)),
            ("2000-01-01 00:00:00", Some(0)),
            ("2000-03-01T00:00:00Z", Some(60 * 86_400_000_000)),
            ("2022-02-01T00:00:00Z", Some(696_988_800_000_000)),
            ("1999-12-31T23:59:59.5+00", Some(-500_000)),
            ("2000-01-01T02:00:00.000001+02:00", Some(1)),
            ("1999-12-31T22:30:00-01:30", Some(0)),
            ("0001-01-01T00:00:00Z", Some(-63_082_281_600_000_000)),
            ("2022-02-29T00:00:00Z", None),
            ("2022-02-01T24:00:00Z", None),
            ("2022-02-01T00:00:60Z", None),
            ("2022-02-01T00:00:00.1234567Z", None),
            ("2022-02-01T00:00:00z", None),
            ("2022-02-01", None),
            ("2022-02-01T00:00:00.Z", None),
            ("2022-0a-01T00:00:00Z", None),
            ("2022-02-01T00:00:0/Z", None),
            ("2022-02-01T00:00:0:Z", None),
            ("\u{ff12}022-02-01T00:00Z", None),
        ];
        for (text, expected) in cases {
            assert_eq!(from_iso(text), expected, "{text}");
        }
    }

    #[test]
    fn kafka_timestamps_outside_of_postgresqls_range_are_refused() {
        assert_eq!(from_kafka(EPOCH_MS + 1), Some(1_000));
        assert_eq!(from_kafka(-1), Some(-946_684_800_001_000));
        assert_eq!(from_kafka(i64::MAX), None);
        assert_eq!(from_kafka(MICROS_END / 1_000 + EPOCH_MS), None);
        assert_eq!(from_kafka(MICROS_MIN / 1_000 + EPOCH_MS), Some(MICROS_MIN));
    }
}
