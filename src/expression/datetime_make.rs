//! Dates and times of their parts: `make_time`, `make_timestamp`; and `date_bin`, which cuts time into equal pieces.

use super::calendar::{
    MICROS_PER_DAY, MICROS_PER_MINUTE, MICROS_PER_SECOND, is_timestamp_infinite,
    timestamp_from_parts, timestamp_in_range,
};
use super::datetime::make_date;
use super::error::EvalError;
use super::value::Interval;

/// `make_time(hour, minute, second)`: up to 24:00:00.
pub fn make_time(hour: i32, minute: i32, second: f64) -> Result<i64, EvalError> {
    let micros = (second * MICROS_PER_SECOND as f64).round_ties_even();
    if (0..=24).contains(&hour)
        && (0..60).contains(&minute)
        && (0.0..=MICROS_PER_MINUTE as f64).contains(&micros)
    {
        let time = i64::from(hour * 60 + minute) * MICROS_PER_MINUTE + micros as i64;
        if time <= MICROS_PER_DAY {
            return Ok(time);
        }
    }
    Err(EvalError::new(
        "22008",
        format!("time field value out of range: {hour}:{minute:02}:{second}"),
    ))
}

/// `make_timestamp(year, month, day, hour, minute, second)`; a negative year is before Christ.
pub fn make_timestamp(fields: [i32; 5], second: f64) -> Result<i64, EvalError> {
    let [year, month, day, hour, minute] = fields;
    let date = make_date(year, month, day)?;
    let time = make_time(hour, minute, second)?;
    timestamp_from_parts(i64::from(date), time)
        .ok_or_else(|| EvalError::new("22008", "timestamp out of range"))
}

/// `date_bin(stride, timestamp, origin)`: the start of the piece that the timestamp is in.
pub fn date_bin(stride: Interval, timestamp: i64, origin: i64) -> Result<i64, EvalError> {
    let out_of_range = |what: &str| EvalError::new("22008", format!("{what} out of range"));
    if is_timestamp_infinite(timestamp) {
        return Ok(timestamp);
    }
    if is_timestamp_infinite(origin) {
        return Err(out_of_range("origin"));
    }
    if stride.months != 0 {
        return Err(EvalError::unsupported(
            "timestamps cannot be binned into intervals containing months or years",
        ));
    }
    let size = i128::from(stride.days) * i128::from(MICROS_PER_DAY) + i128::from(stride.micros);
    if size <= 0 {
        return Err(EvalError::new("22008", "stride must be greater than zero"));
    }
    if size > i128::from(i64::MAX) {
        return Err(out_of_range("interval"));
    }
    let since = i128::from(timestamp) - i128::from(origin);
    if i64::try_from(since).is_err() {
        return Err(out_of_range("interval"));
    }
    let start = i128::from(origin) + since.div_euclid(size) * size;
    timestamp_in_range(start).ok_or_else(|| out_of_range("timestamp"))
}
