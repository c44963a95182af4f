//! Dates and times as text: datestyle ISO, UTC.

use super::calendar::{
    Civil, DATE_INFINITY, DATE_NEGATIVE_INFINITY, MICROS_PER_HOUR, MICROS_PER_MINUTE,
    MICROS_PER_SECOND, TIMESTAMP_INFINITY, TIMESTAMP_NEGATIVE_INFINITY, civil_from_days, split,
};

pub fn write_date(date: i32, out: &mut String) {
    match date {
        DATE_INFINITY => out.push_str("infinity"),
        DATE_NEGATIVE_INFINITY => out.push_str("-infinity"),
        days => {
            let (year, month, day) = civil_from_days(i64::from(days));
            write_day(year, month, day, out);
            write_era(year, out);
        }
    }
}

pub fn write_time(micros: i64, out: &mut String) {
    push_two(micros / MICROS_PER_HOUR, out);
    out.push(':');
    push_two(micros / MICROS_PER_MINUTE % 60, out);
    out.push(':');
    push_two(micros / MICROS_PER_SECOND % 60, out);
    write_fraction(micros % MICROS_PER_SECOND, out);
}

pub fn write_timestamp(timestamp: i64, out: &mut String) {
    write_moment(timestamp, ' ', "", out);
}

pub fn write_timestamptz(timestamp: i64, out: &mut String) {
    write_moment(timestamp, ' ', "+00", out);
}

/// As `to_jsonb` writes it: ISO 8601 with a `T`.
pub fn write_timestamp_json(timestamp: i64, out: &mut String) {
    write_moment(timestamp, 'T', "", out);
}

/// As `to_jsonb` writes it: ISO 8601 with a `T` and `+00:00`.
pub fn write_timestamptz_json(timestamp: i64, out: &mut String) {
    write_moment(timestamp, 'T', "+00:00", out);
}

fn write_moment(timestamp: i64, separator: char, zone: &str, out: &mut String) {
    match timestamp {
        TIMESTAMP_INFINITY => out.push_str("infinity"),
        TIMESTAMP_NEGATIVE_INFINITY => out.push_str("-infinity"),
        micros => {
            let Civil {
                year,
                month,
                day,
                micros,
            } = split(micros);
            write_day(year, month, day, out);
            out.push(separator);
            write_time(micros, out);
            out.push_str(zone);
            write_era(year, out);
        }
    }
}

fn write_day(year: i32, month: i32, day: i32, out: &mut String) {
    let year = if year > 0 { year } else { 1 - year };
    if year >= 10_000 {
        out.push_str(&year.to_string());
    } else {
        push_two(i64::from(year / 100), out);
        push_two(i64::from(year % 100), out);
    }
    out.push('-');
    push_two(i64::from(month), out);
    out.push('-');
    push_two(i64::from(day), out);
}

fn write_era(year: i32, out: &mut String) {
    if year <= 0 {
        out.push_str(" BC");
    }
}

/// Two digits; the number is below 100.
pub fn push_two(number: i64, out: &mut String) {
    out.push((b'0' + (number / 10) as u8) as char);
    out.push((b'0' + (number % 10) as u8) as char);
}

/// `.5` for half a million microseconds; nothing for none.
pub fn write_fraction(micros: i64, out: &mut String) {
    if micros == 0 {
        return;
    }
    out.push('.');
    let mut rest = micros;
    let mut unit = MICROS_PER_SECOND / 10;
    while rest > 0 {
        out.push((b'0' + (rest / unit) as u8) as char);
        rest %= unit;
        unit /= 10;
    }
}
