//! `extract` and `date_part`: fields of dates, times, timestamps and intervals.

use bumpalo::Bump;

use super::calendar::{
    Civil, DATE_INFINITY, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND,
    TIMESTAMP_INFINITY, UNIX_EPOCH_MICROS, civil_from_days, date_to_timestamp, days_from_civil,
    is_date_infinite, is_timestamp_infinite, split,
};
use super::error::EvalError;
use super::interval_units::{Unit, unit_named};
use super::numeric::Numeric;
use super::value::{Interval, Value};

/// Julian day of 2000-01-01.
const JULIAN_2000: i64 = 2_451_545;

/// What can be taken out of a date or time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    Unit(Unit),
    Quarter,
    Julian,
    IsoYear,
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
    Epoch,
    Timezone,
}

impl Field {
    /// By name, whatever its case: `year`, `epoch`, `dow`.
    pub fn named(name: &str) -> Option<Field> {
        let lower = name.to_ascii_lowercase();
        Some(match lower.as_str() {
            "quarter" | "qtr" => Field::Quarter,
            "julian" | "jd" | "j" => Field::Julian,
            "isoyear" => Field::IsoYear,
            "dow" => Field::DayOfWeek,
            "isodow" => Field::IsoDayOfWeek,
            "doy" => Field::DayOfYear,
            "epoch" => Field::Epoch,
            "timezone" | "timezone_h" | "timezone_hour" | "timezone_m" | "timezone_minute" => {
                Field::Timezone
            }
            other => Field::Unit(unit_named(other)?),
        })
    }

    /// Whether the field grows for ever; the others come round again.
    fn is_monotonic(self) -> bool {
        matches!(
            self,
            Field::Unit(Unit::Year | Unit::Decade | Unit::Century | Unit::Millennium)
                | Field::Julian
                | Field::IsoYear
                | Field::Epoch
        )
    }
}

/// A field's exact value, before `extract` or `date_part` gives it a type.
enum Part {
    Whole(i64),
    /// Units of 10^-scale.
    Scaled(i128, u32),
    /// Julian day and microseconds of the day.
    Julian(i64, i64),
    Infinity,
    NegativeInfinity,
    /// Of an infinite value, what has no limit.
    Null,
}

/// `extract(field from value)`: numeric, with PostgreSQL 15's scales.
pub fn extract<'a>(field: &str, value: Value<'a>, arena: &'a Bump) -> Result<Value<'a>, EvalError> {
    let Some(part) = part(field, value)? else {
        return Ok(Value::Null);
    };
    Ok(Value::Numeric(match part {
        Part::Whole(v) => Numeric::from_integer(v, arena),
        // Beyond 64 bits PostgreSQL divides, which keeps fewer digits.
        Part::Scaled(v, 6) if v > i128::from(i64::MAX) && !matches!(value, Value::Interval(_)) => {
            Numeric::from_i128(v, 0, arena)
                .divide(Numeric::from_integer(MICROS_PER_SECOND, arena), arena)?
                .round(6, arena)?
        }
        Part::Scaled(v, scale) => Numeric::from_i128(v, scale, arena),
        Part::Julian(day, micros) => {
            let fraction = Numeric::from_integer(micros, arena)
                .divide(Numeric::from_integer(MICROS_PER_DAY, arena), arena)?;
            Numeric::from_integer(day, arena).add(fraction, arena)?
        }
        Part::Infinity => Numeric::Infinity,
        Part::NegativeInfinity => Numeric::NegativeInfinity,
        Part::Null => return Ok(Value::Null),
    }))
}

/// `date_part(field, value)`: double precision.
pub fn date_part<'a>(field: &str, value: Value<'a>) -> Result<Value<'a>, EvalError> {
    // There is no date_part of a date: it is made a timestamp.
    let value = match value {
        Value::Date(date) => Value::Timestamp(date_to_timestamp(date)?),
        other => other,
    };
    let Some(part) = part(field, value)? else {
        return Ok(Value::Null);
    };
    Ok(Value::Float64(match part {
        Part::Whole(v) => v as f64,
        Part::Scaled(v, 3) => {
            // Seconds and microseconds apart, as PostgreSQL adds them up.
            let (seconds, micros) = (v / 1_000_000, v % 1_000_000);
            seconds as f64 * 1000.0 + micros as f64 / 1000.0
        }
        Part::Scaled(v, _) => return Ok(Value::Float64(seconds_part(v, field, value))),
        Part::Julian(day, micros) => {
            let seconds = micros / MICROS_PER_SECOND;
            let fraction = (micros % MICROS_PER_SECOND) as f64 / 1_000_000.0;
            day as f64 + (seconds as f64 + fraction) / 86_400.0
        }
        Part::Infinity => f64::INFINITY,
        Part::NegativeInfinity => f64::NEG_INFINITY,
        Part::Null => return Ok(Value::Null),
    }))
}

/// Microseconds as seconds in the order of operations that PostgreSQL has for doubles.
fn seconds_part(micros: i128, field: &str, value: Value<'_>) -> f64 {
    match (value, Field::named(field)) {
        (Value::Interval(span), Some(Field::Epoch)) => {
            let mut seconds = span.micros as f64 / 1_000_000.0;
            seconds += 365.25 * 86_400.0 * f64::from(span.months / 12);
            seconds += 30.0 * 86_400.0 * f64::from(span.months % 12);
            seconds + 86_400.0 * f64::from(span.days)
        }
        (_, Some(Field::Epoch)) => micros as f64 / 1_000_000.0,
        _ => (micros / 1_000_000) as f64 + (micros % 1_000_000) as f64 / 1_000_000.0,
    }
}

/// `None` for null.
fn part(field: &str, value: Value<'_>) -> Result<Option<Part>, EvalError> {
    let type_name = match value {
        Value::Null => return Ok(None),
        Value::Date(_) => "date",
        Value::Time(_) => "time without time zone",
        Value::Timestamp(_) => "timestamp without time zone",
        Value::TimestampTz(_) => "timestamp with time zone",
        Value::Interval(_) => "interval",
        _ => return Err(EvalError::no_operator("extract")),
    };
    let Some(found) = Field::named(field) else {
        return Err(EvalError::new(
            "22023",
            format!("unit \"{field}\" not recognized for type {type_name}"),
        ));
    };
    let part = match value {
        Value::Date(date) if is_date_infinite(date) && !of_day_only(found) => None,
        Value::Date(date) if is_date_infinite(date) => Some(infinite(found, date == DATE_INFINITY)),
        Value::Date(date) => date_field(found, i64::from(date)),
        Value::Timestamp(v) | Value::TimestampTz(v) if is_timestamp_infinite(v) => {
            Some(infinite(found, v == TIMESTAMP_INFINITY))
        }
        Value::TimestampTz(_) if found == Field::Timezone => Some(Part::Whole(0)),
        Value::Timestamp(v) | Value::TimestampTz(v) => timestamp_field(found, v),
        Value::Time(v) => time_field(found, v),
        Value::Interval(v) => interval_field(found, v),
        _ => None,
    };
    part.map(Some).ok_or_else(|| {
        EvalError::new(
            "0A000",
            format!("unit \"{field}\" not supported for type {type_name}"),
        )
    })
}

fn infinite(field: Field, positive: bool) -> Part {
    match (field.is_monotonic(), positive) {
        (true, true) => Part::Infinity,
        (true, false) => Part::NegativeInfinity,
        (false, _) => Part::Null,
    }
}

/// Fields that a date has.
fn of_day_only(field: Field) -> bool {
    !matches!(
        field,
        Field::Timezone
            | Field::Unit(
                Unit::Microsecond | Unit::Millisecond | Unit::Second | Unit::Minute | Unit::Hour
            )
    )
}

fn date_field(field: Field, days: i64) -> Option<Part> {
    match field {
        Field::Julian => Some(Part::Whole(days + JULIAN_2000)),
        Field::Epoch => Some(Part::Whole(
            (days + UNIX_EPOCH_MICROS / MICROS_PER_DAY) * 86_400,
        )),
        field => of_day(field, days).map(Part::Whole),
    }
}

fn timestamp_field(field: Field, timestamp: i64) -> Option<Part> {
    let Civil { micros, .. } = split(timestamp);
    let days = timestamp.div_euclid(MICROS_PER_DAY);
    match field {
        Field::Julian => Some(Part::Julian(days + JULIAN_2000, micros)),
        Field::Epoch => Some(Part::Scaled(
            i128::from(timestamp) + i128::from(UNIX_EPOCH_MICROS),
            6,
        )),
        field => of_clock(field, micros).or_else(|| of_day(field, days).map(Part::Whole)),
    }
}

fn time_field(field: Field, time: i64) -> Option<Part> {
    match field {
        Field::Epoch => Some(Part::Scaled(i128::from(time), 6)),
        field => of_clock(field, time),
    }
}

fn interval_field(field: Field, span: Interval) -> Option<Part> {
    let (years, months) = (i64::from(span.months / 12), i64::from(span.months % 12));
    Some(match field {
        Field::Epoch => {
            let quarter_days = 1461 * years + 120 * months + 4 * i64::from(span.days);
            let seconds = i128::from(quarter_days) * (86_400 / 4);
            Part::Scaled(
                seconds * i128::from(MICROS_PER_SECOND) + i128::from(span.micros),
                6,
            )
        }
        Field::Unit(Unit::Day) => Part::Whole(i64::from(span.days)),
        Field::Unit(Unit::Month) => Part::Whole(months),
        Field::Quarter => Part::Whole(months / 3 + 1),
        Field::Unit(Unit::Year) => Part::Whole(years),
        Field::Unit(Unit::Decade) => Part::Whole(years / 10),
        Field::Unit(Unit::Century) => Part::Whole(years / 100),
        Field::Unit(Unit::Millennium) => Part::Whole(years / 1000),
        field => return of_clock(field, span.micros),
    })
}

/// Fields of a time of day, or of an interval's time, which may be longer and negative.
fn of_clock(field: Field, micros: i64) -> Option<Part> {
    let below_minute = micros % MICROS_PER_MINUTE;
    Some(match field {
        Field::Unit(Unit::Microsecond) => Part::Whole(below_minute),
        Field::Unit(Unit::Millisecond) => Part::Scaled(i128::from(below_minute), 3),
        Field::Unit(Unit::Second) => Part::Scaled(i128::from(below_minute), 6),
        Field::Unit(Unit::Minute) => Part::Whole(micros % MICROS_PER_HOUR / MICROS_PER_MINUTE),
        Field::Unit(Unit::Hour) => Part::Whole(micros / MICROS_PER_HOUR),
        _ => return None,
    })
}

fn of_day(field: Field, days: i64) -> Option<i64> {
    let (year, month, day) = civil_from_days(days);
    let year = i64::from(year);
    // Years before 1 AD are counted from 0 down here, and without a 0 in what is shown.
    let grouped = |size: i64| {
        if year > 0 {
            (year + size - 1) / size
        } else {
            -((size - 1 - (year - 1)) / size)
        }
    };
    Some(match field {
        Field::Unit(Unit::Day) => i64::from(day),
        Field::Unit(Unit::Month) => i64::from(month),
        Field::Quarter => i64::from((month - 1) / 3 + 1),
        Field::Unit(Unit::Week) => iso_week(days).1,
        Field::Unit(Unit::Year) => year - i64::from(year <= 0),
        Field::Unit(Unit::Decade) => year.div_euclid(10),
        Field::Unit(Unit::Century) => grouped(100),
        Field::Unit(Unit::Millennium) => grouped(1000),
        Field::IsoYear => {
            let iso = iso_week(days).0;
            iso - i64::from(iso <= 0)
        }
        Field::DayOfWeek => day_of_week(days),
        Field::IsoDayOfWeek => (day_of_week(days) + 6) % 7 + 1,
        Field::DayOfYear => days - days_from_civil(year as i32, 1, 1) + 1,
        _ => return None,
    })
}

/// Sunday is 0; 2000-01-01 was a Saturday.
fn day_of_week(days: i64) -> i64 {
    (days + 6).rem_euclid(7)
}

/// Days since 2000-01-01 of the Monday on or before.
pub fn monday(days: i64) -> i64 {
    days - (day_of_week(days) + 6) % 7
}

/// ISO 8601 year and week.
fn iso_week(days: i64) -> (i64, i64) {
    let thursday = monday(days) + 3;
    let (year, _, _) = civil_from_days(thursday);
    let week = (thursday - days_from_civil(year, 1, 1)) / 7 + 1;
    (i64::from(year), week)
}
