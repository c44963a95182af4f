//! Texts to dates and times: PostgreSQL's rules for datestyle ISO, MDY. Forms that cannot be decided here exactly are
//! refused with `0A000`, never guessed; so are the words that need a clock.

use super::calendar::{
    DATE_INFINITY, DATE_NEGATIVE_INFINITY, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE,
    MICROS_PER_SECOND, TIMESTAMP_INFINITY, TIMESTAMP_NEGATIVE_INFINITY, UNIX_EPOCH_MICROS,
    date_in_range, days_from_civil, days_in_month, timestamp_from_parts,
};
use super::datetime_fields::{Reading, Special, read};
use super::error::EvalError;
use super::numeric_convert::is_space;
use super::timezone::Zone;

pub fn parse_date(text: &str) -> Result<i32, EvalError> {
    if let Some(days) = iso_date(text.as_bytes()) {
        return Ok(days);
    }
    match read(text, "date")? {
        Reading::Special(Special::Infinity) => Ok(DATE_INFINITY),
        Reading::Special(Special::NegativeInfinity) => Ok(DATE_NEGATIVE_INFINITY),
        Reading::Special(Special::Epoch) => Ok((-UNIX_EPOCH_MICROS / MICROS_PER_DAY) as i32),
        Reading::Fields(fields) => {
            let days = fields
                .date(text, "date")
                .map_err(|error| lone_month(text, error))?;
            date_in_range(days)
                .ok_or_else(|| EvalError::new("22008", format!("date out of range: \"{text}\"")))
        }
    }
}

pub fn parse_timestamp(text: &str) -> Result<i64, EvalError> {
    if let Some((timestamp, _)) = iso_timestamp(text.as_bytes()) {
        return Ok(timestamp);
    }
    parse_moment(text, "timestamp", false)
}

pub fn parse_timestamptz(text: &str) -> Result<i64, EvalError> {
    if let Some((timestamp, offset)) = iso_timestamp(text.as_bytes()) {
        return Ok(timestamp - offset);
    }
    parse_moment(text, "timestamp with time zone", true)
}

/// A lone number of one or two digits is a month without a day; PostgreSQL looks at its range first.
fn lone_month(text: &str, error: EvalError) -> EvalError {
    let digits = text.trim_matches(is_space);
    let lone = matches!(digits.len(), 1 | 2) && digits.bytes().all(|b| b.is_ascii_digit());
    match digits.parse::<u8>() {
        Ok(month) if lone && !(1..=12).contains(&month) && error.sqlstate() == "22007" => {
            EvalError::datetime_field(text)
        }
        _ => error,
    }
}

fn parse_moment(text: &str, type_name: &str, zoned: bool) -> Result<i64, EvalError> {
    let fields = match read(text, type_name)? {
        Reading::Special(Special::Infinity) => return Ok(TIMESTAMP_INFINITY),
        Reading::Special(Special::NegativeInfinity) => return Ok(TIMESTAMP_NEGATIVE_INFINITY),
        Reading::Special(Special::Epoch) => return Ok(-UNIX_EPOCH_MICROS),
        Reading::Fields(fields) => fields,
    };
    let out_of_range = || EvalError::new("22008", format!("timestamp out of range: \"{text}\""));
    let days = fields
        .date(text, type_name)
        .map_err(|error| lone_month(text, error))?;
    let local = timestamp_from_parts(days, fields.time.unwrap_or(0)).ok_or_else(out_of_range)?;
    match &fields.zone {
        Some(zone) if zoned => zone.to_utc(local),
        _ => Ok(local),
    }
}

/// A time of day; a numeric offset behind it does not count.
pub fn parse_time(text: &str) -> Result<i64, EvalError> {
    // A whole timestamp is a time, too, though not with a T.
    if let Some((timestamp, _)) = iso_timestamp(text.as_bytes())
        && text.as_bytes()[10] == b' '
    {
        return Ok(timestamp.rem_euclid(MICROS_PER_DAY));
    }
    match read(text, "time")? {
        Reading::Fields(fields) if fields.has_no_date() => {
            if matches!(fields.zone, Some(Zone::Named { .. })) {
                return Err(EvalError::unsupported(format!(
                    "cannot read \"{text}\" as time: the zone's offset depends on the date"
                )));
            }
            match fields.time {
                Some(micros) if micros > MICROS_PER_DAY => Err(EvalError::datetime_field(text)),
                Some(micros) => Ok(micros),
                None => Err(EvalError::invalid_datetime("time", text)),
            }
        }
        Reading::Fields(_) => Err(EvalError::unsupported(format!(
            "cannot read \"{text}\" as time"
        ))),
        Reading::Special(_) => Err(EvalError::invalid_datetime("time", text)),
    }
}

/// `YYYY-MM-DD` and nothing else, the form to be fast at; `None` is no verdict.
fn iso_date(text: &[u8]) -> Option<i32> {
    if text.len() != 10 || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let year = two(text, 0)? * 100 + two(text, 2)?;
    let (month, day) = (two(text, 5)?, two(text, 8)?);
    let valid = year >= 1
        && (1..=12).contains(&month)
        && day >= 1
        && (day <= 28 || day <= days_in_month(year, month));
    valid.then(|| days_from_civil(year, month, day) as i32)
}

/// `YYYY-MM-DD[T ]HH:MM:SS[.f{1,6}][Z|±HH[[:]MM]]` and nothing else: the wall clock and its offset in microseconds.
fn iso_timestamp(text: &[u8]) -> Option<(i64, i64)> {
    let days = iso_date(text.get(..10)?)?;
    let clock = text.get(10..19)?;
    if !matches!(clock[0], b'T' | b' ') || clock[3] != b':' || clock[6] != b':' {
        return None;
    }
    let (hour, minute, second) = (two(clock, 1)?, two(clock, 4)?, two(clock, 7)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut at = 19;
    let mut fraction = 0;
    if text.get(at) == Some(&b'.') {
        at += 1;
        let mut unit = MICROS_PER_SECOND / 10;
        while let Some(digit) = text.get(at).filter(|byte| byte.is_ascii_digit()) {
            if unit == 0 {
                return None;
            }
            fraction += i64::from(digit - b'0') * unit;
            unit /= 10;
            at += 1;
        }
        if text[at - 1] == b'.' {
            return None;
        }
    }
    let offset = iso_offset(text.get(at..)?)?;
    let micros = i64::from(hour) * MICROS_PER_HOUR
        + i64::from(minute) * MICROS_PER_MINUTE
        + i64::from(second) * MICROS_PER_SECOND
        + fraction;
    Some((i64::from(days) * MICROS_PER_DAY + micros, offset))
}

fn iso_offset(text: &[u8]) -> Option<i64> {
    let (sign, hour, minute) = match text {
        [] | [b'Z'] => return Some(0),
        [sign, _, _] => (sign, two(text, 1)?, 0),
        [sign, _, _, b':', _, _] => (sign, two(text, 1)?, two(text, 4)?),
        [sign, _, _, _, _] => (sign, two(text, 1)?, two(text, 3)?),
        _ => return None,
    };
    if hour > 15 || minute > 59 {
        return None;
    }
    let micros = i64::from(hour) * MICROS_PER_HOUR + i64::from(minute) * MICROS_PER_MINUTE;
    match sign {
        b'+' => Some(micros),
        b'-' => Some(-micros),
        _ => None,
    }
}

fn two(text: &[u8], at: usize) -> Option<i32> {
    let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i32::from(tens) * 10 + i32::from(ones))
}
