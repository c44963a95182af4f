//! Functions of dates and times: `date_trunc`, `at time zone`, `to_timestamp`, `make_date`.

use super::calendar::{
    Civil, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND,
    TIMESTAMP_INFINITY, TIMESTAMP_NEGATIVE_INFINITY, UNIX_EPOCH_MICROS, civil_from_days,
    date_in_range, days_from_civil, days_in_month, is_timestamp_infinite, split,
    timestamp_in_range,
};
use super::datetime_extract::{Field, monday};
use super::error::EvalError;
use super::interval_units::Unit;
use super::timezone::Zone;
use super::value::{Interval, Value};

/// Seconds from 1970 of the first and of the first impossible timestamp.
const TO_TIMESTAMP_MIN: f64 = 86_400.0 * -2_440_588.0;
const TO_TIMESTAMP_END: f64 = 86_400.0 * (109_203_528.0 - 2_440_588.0);

/// `date_trunc(unit, value)` of timestamp, timestamptz (in UTC) and interval.
pub fn date_trunc<'a>(unit: &str, value: Value<'a>) -> Result<Value<'a>, EvalError> {
    Ok(match value {
        Value::Null => Value::Null,
        Value::Timestamp(v) => Value::Timestamp(truncate(unit, v, "timestamp without time zone")?),
        Value::TimestampTz(v) => Value::TimestampTz(truncate(unit, v, "timestamp with time zone")?),
        Value::Interval(v) => Value::Interval(truncate_interval(unit, v)?),
        _ => return Err(EvalError::no_operator("date_trunc")),
    })
}

/// `date_trunc(unit, timestamptz, zone)`: cut by the zone's wall clock.
pub fn date_trunc_zoned(unit: &str, instant: i64, zone: &str) -> Result<i64, EvalError> {
    if is_timestamp_infinite(instant) {
        return Ok(instant);
    }
    let zone = Zone::find(zone)?;
    // What the wall clock shows may lie outside of what a timestamp holds; only the result counts.
    let ahead = i64::from(zone.seconds_at(instant)?) * MICROS_PER_SECOND;
    let cut = cut(unit, instant + ahead, "timestamp with time zone")?;
    match Field::named(unit) {
        // Below a day the offset stays what it was at the instant.
        Some(Field::Unit(
            Unit::Microsecond | Unit::Millisecond | Unit::Second | Unit::Minute | Unit::Hour,
        )) => timestamp_in_range(i128::from(cut) - i128::from(ahead))
            .ok_or_else(|| EvalError::new("22008", "timestamp out of range")),
        _ => zone.to_utc(cut),
    }
}

fn unsupported_unit(unit: &str, type_name: &str) -> EvalError {
    match Field::named(unit) {
        Some(_) => EvalError::new(
            "0A000",
            format!("unit \"{unit}\" not supported for type {type_name}"),
        ),
        None => EvalError::new(
            "22023",
            format!("unit \"{unit}\" not recognized for type {type_name}"),
        ),
    }
}

fn truncate(unit: &str, timestamp: i64, type_name: &str) -> Result<i64, EvalError> {
    if is_timestamp_infinite(timestamp) {
        return Ok(timestamp);
    }
    let cut = cut(unit, timestamp, type_name)?;
    timestamp_in_range(cut.into()).ok_or_else(|| EvalError::new("22008", "timestamp out of range"))
}

/// The same, not yet seen to be in range. A timestamp may be beyond it by some days.
fn cut(unit: &str, timestamp: i64, type_name: &str) -> Result<i64, EvalError> {
    let unsupported = || unsupported_unit(unit, type_name);
    let field = Field::named(unit).ok_or_else(unsupported)?;
    let days = timestamp.div_euclid(MICROS_PER_DAY);
    let start_of_year = |year: i32| days_from_civil(year, 1, 1);
    let Civil {
        year,
        month,
        micros,
        ..
    } = split(timestamp);
    // Years before 1 AD are 0 and below; a century or millennium begins with its year 1.
    let group = |size: i32| {
        if year > 0 {
            (year + size - 1) / size * size - (size - 1)
        } else {
            -((size - 1 - (year - 1)) / size) * size + 1
        }
    };
    let (days, micros) = match field {
        Field::Unit(Unit::Microsecond) => (days, micros),
        Field::Unit(Unit::Millisecond) => (days, micros - micros % 1000),
        Field::Unit(Unit::Second) => (days, micros - micros % MICROS_PER_SECOND),
        Field::Unit(Unit::Minute) => (days, micros - micros % MICROS_PER_MINUTE),
        Field::Unit(Unit::Hour) => (days, micros - micros % MICROS_PER_HOUR),
        Field::Unit(Unit::Day) => (days, 0),
        Field::Unit(Unit::Week) => (monday(days), 0),
        Field::Unit(Unit::Month) => (days_from_civil(year, month, 1), 0),
        Field::Quarter => (days_from_civil(year, (month - 1) / 3 * 3 + 1, 1), 0),
        Field::Unit(Unit::Year) => (start_of_year(year), 0),
        Field::Unit(Unit::Decade) => (start_of_year(year.div_euclid(10) * 10), 0),
        Field::Unit(Unit::Century) => (start_of_year(group(100)), 0),
        Field::Unit(Unit::Millennium) => (start_of_year(group(1000)), 0),
        _ => return Err(unsupported()),
    };
    Ok(days * MICROS_PER_DAY + micros)
}

fn truncate_interval(unit: &str, span: Interval) -> Result<Interval, EvalError> {
    let unsupported = || unsupported_unit(unit, "interval");
    let field = Field::named(unit).ok_or_else(unsupported)?;
    let months = |size: i32| Interval {
        months: span.months - span.months % size,
        days: 0,
        micros: 0,
    };
    let clock = |size: i64| Interval {
        micros: span.micros - span.micros % size,
        ..span
    };
    Ok(match field {
        Field::Unit(Unit::Microsecond) => span,
        Field::Unit(Unit::Millisecond) => clock(1000),
        Field::Unit(Unit::Second) => clock(MICROS_PER_SECOND),
        Field::Unit(Unit::Minute) => clock(MICROS_PER_MINUTE),
        Field::Unit(Unit::Hour) => clock(MICROS_PER_HOUR),
        Field::Unit(Unit::Day) => Interval { micros: 0, ..span },
        Field::Unit(Unit::Month) => months(1),
        Field::Quarter => months(3),
        Field::Unit(Unit::Year) => months(12),
        Field::Unit(Unit::Decade) => months(120),
        Field::Unit(Unit::Century) => months(1200),
        Field::Unit(Unit::Millennium) => months(12_000),
        _ => return Err(unsupported()),
    })
}

/// `value at time zone zone`: timestamp to timestamptz and back.
pub fn at_time_zone<'a>(value: Value<'a>, zone: &str) -> Result<Value<'a>, EvalError> {
    match value {
        Value::Timestamp(v) if is_timestamp_infinite(v) => Ok(Value::TimestampTz(v)),
        Value::TimestampTz(v) if is_timestamp_infinite(v) => Ok(Value::Timestamp(v)),
        Value::Null => Ok(Value::Null),
        value => at_zone(value, &Zone::find(zone)?),
    }
}

/// `value at time zone interval`.
pub fn at_time_zone_interval<'a>(value: Value<'a>, zone: Interval) -> Result<Value<'a>, EvalError> {
    match value {
        Value::Timestamp(v) if is_timestamp_infinite(v) => return Ok(Value::TimestampTz(v)),
        Value::TimestampTz(v) if is_timestamp_infinite(v) => return Ok(Value::Timestamp(v)),
        _ => {}
    }
    if zone.months != 0 || zone.days != 0 {
        let mut text = String::new();
        super::interval_text::write_interval(zone, &mut text);
        return Err(EvalError::new(
            "22023",
            format!("interval time zone \"{text}\" must not include months or days"),
        ));
    }
    let seconds = i32::try_from(zone.micros / MICROS_PER_SECOND)
        .map_err(|_| EvalError::unsupported("interval time zone out of range"))?;
    at_zone(value, &Zone::Fixed(seconds))
}

fn at_zone<'a>(value: Value<'a>, zone: &Zone) -> Result<Value<'a>, EvalError> {
    match value {
        Value::Null => Ok(Value::Null),
        Value::Timestamp(v) => Ok(Value::TimestampTz(zone.to_utc(v)?)),
        Value::TimestampTz(v) => Ok(Value::Timestamp(zone.to_local(v)?)),
        _ => Err(EvalError::no_operator("at time zone")),
    }
}

/// `to_timestamp(seconds since 1970)`.
pub fn to_timestamp(seconds: f64) -> Result<i64, EvalError> {
    if seconds.is_nan() {
        return Err(EvalError::new("22008", "timestamp cannot be NaN"));
    }
    if seconds.is_infinite() {
        return Ok(if seconds > 0.0 {
            TIMESTAMP_INFINITY
        } else {
            TIMESTAMP_NEGATIVE_INFINITY
        });
    }
    let out_of_range = || EvalError::new("22008", format!("timestamp out of range: \"{seconds}\""));
    if !(TO_TIMESTAMP_MIN..TO_TIMESTAMP_END).contains(&seconds) {
        return Err(out_of_range());
    }
    let since_2000 = seconds - (UNIX_EPOCH_MICROS / MICROS_PER_SECOND) as f64;
    let micros = (since_2000 * MICROS_PER_SECOND as f64).round_ties_even();
    timestamp_in_range(micros as i128).ok_or_else(out_of_range)
}

/// `make_date(year, month, day)`; a negative year is before Christ.
pub fn make_date(year: i32, month: i32, day: i32) -> Result<i32, EvalError> {
    let out_of_range = || {
        EvalError::new(
            "22008",
            format!("date field value out of range: {year}-{month:02}-{day:02}"),
        )
    };
    let astronomical = if year < 0 {
        year.saturating_add(1)
    } else {
        year
    };
    if year == 0
        || year.unsigned_abs() > 6_000_000
        || !(1..=12).contains(&month)
        || day < 1
        || day > days_in_month(astronomical, month)
    {
        return Err(out_of_range());
    }
    date_in_range(days_from_civil(astronomical, month, day)).ok_or_else(|| {
        EvalError::new(
            "22008",
            format!("date out of range: {year}-{month:02}-{day:02}"),
        )
    })
}

/// `age(timestamp, timestamp)`: years and months first, then days and time, as by a calendar.
pub fn age(left: i64, right: i64) -> Result<Interval, EvalError> {
    if is_timestamp_infinite(left) || is_timestamp_infinite(right) {
        // PostgreSQL 15 computes with the numbers that stand for them.
        return Err(EvalError::unsupported("age of infinite timestamps"));
    }
    let (later, earlier) = (left.max(right), left.min(right));
    let (year, month, day) = civil_from_days(later.div_euclid(MICROS_PER_DAY));
    let (start_year, start_month, start_day) = civil_from_days(earlier.div_euclid(MICROS_PER_DAY));
    let mut span = Interval {
        months: (year - start_year) * 12 + month - start_month,
        days: day - start_day,
        micros: later.rem_euclid(MICROS_PER_DAY) - earlier.rem_euclid(MICROS_PER_DAY),
    };
    if span.micros < 0 {
        span.micros += MICROS_PER_DAY;
        span.days -= 1;
    }
    while span.days < 0 {
        // Days are borrowed from the month of the earlier one.
        span.days += days_in_month(start_year, start_month);
        span.months -= 1;
    }
    if left < right {
        span.negate()
    } else {
        Ok(span)
    }
}
