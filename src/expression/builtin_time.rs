//! Codes of date and time functions. See [`super::builtin`].

use super::builtin::{code, double, integer, text};
use super::calendar::{is_date_infinite, is_timestamp_infinite};
use super::cast;
use super::datetime;
use super::datetime_extract;
use super::datetime_make;
use super::interval;
use super::typed::{Native, scalar};
use super::value::{Scalar, Value};

macro_rules! justified {
    ($justify:ident) => {
        code!(|a, arena| match a[0] {
            Value::Interval(span) => Ok(Value::Interval(span.$justify()?)),
            _ => Ok(Value::Null),
        })
    };
}

pub(super) fn native(code: &str) -> Option<Native> {
    match code {
        "extract_date"
        | "extract_interval"
        | "extract_time"
        | "extract_timestamp"
        | "extract_timestamptz" => {
            code!(|a, arena| datetime_extract::extract(text(a[0]), a[1], arena))
        }
        "date_part/sql/text_date"
        | "interval_part"
        | "time_part"
        | "timestamp_part"
        | "timestamptz_part" => {
            code!(|a, arena| datetime_extract::date_part(text(a[0]), a[1]))
        }
        "interval_trunc" | "timestamp_trunc" | "timestamptz_trunc" => {
            code!(|a, arena| datetime::date_trunc(text(a[0]), a[1]))
        }
        "timestamptz_trunc_zone" => code!(|a, arena| {
            let instant = micros(a[1]);
            Ok(Value::TimestampTz(datetime::date_trunc_zoned(
                text(a[0]),
                instant,
                text(a[2]),
            )?))
        }),
        "timestamp_zone" | "timestamptz_zone" => {
            code!(|a, arena| datetime::at_time_zone(a[1], text(a[0])))
        }
        "timestamp_izone" | "timestamptz_izone" => code!(|a, arena| match a[0] {
            Value::Interval(zone) => datetime::at_time_zone_interval(a[1], zone),
            _ => Ok(Value::Null),
        }),
        "float8_timestamptz" => {
            code!(|a, arena| Ok(Value::TimestampTz(datetime::to_timestamp(double(a[0]))?)))
        }
        "make_date" => code!(|a, arena| Ok(Value::Date(datetime::make_date(
            integer(a[0]),
            integer(a[1]),
            integer(a[2])
        )?))),
        _ => making(code).or_else(|| parts(code)),
    }
}

fn making(code: &str) -> Option<Native> {
    match code {
        "make_time" => code!(|a, arena| Ok(Value::Time(datetime_make::make_time(
            integer(a[0]),
            integer(a[1]),
            double(a[2])
        )?))),
        "make_timestamp" => {
            code!(
                |a, arena| Ok(Value::Timestamp(datetime_make::make_timestamp(
                    [0, 1, 2, 3, 4].map(|at| integer(a[at])),
                    double(a[5])
                )?))
            )
        }
        // The session's zone is UTC.
        "make_timestamptz" => {
            code!(
                |a, arena| Ok(Value::TimestampTz(datetime_make::make_timestamp(
                    [0, 1, 2, 3, 4].map(|at| integer(a[at])),
                    double(a[5])
                )?))
            )
        }
        "make_interval" => code!(|a, arena| {
            let whole = |at: usize| a.get(at).map_or(0, |value| integer(*value));
            let seconds = a.get(6).map_or(0.0, |value| double(*value));
            let fields = [0, 1, 2, 3, 4, 5].map(whole);
            Ok(Value::Interval(interval::make_interval(fields, seconds)?))
        }),
        "interval_justify_days" => justified!(justify_days),
        "interval_justify_hours" => justified!(justify_hours),
        "interval_justify_interval" => justified!(justify),
        "timestamp_bin" => code!(|a, arena| match a[0] {
            Value::Interval(stride) => Ok(Value::Timestamp(datetime_make::date_bin(
                stride,
                micros(a[1]),
                micros(a[2])
            )?)),
            _ => Ok(Value::Null),
        }),
        "timestamptz_bin" => code!(|a, arena| match a[0] {
            Value::Interval(stride) => Ok(Value::TimestampTz(datetime_make::date_bin(
                stride,
                micros(a[1]),
                micros(a[2])
            )?)),
            _ => Ok(Value::Null),
        }),
        _ => None,
    }
}

fn parts(code: &str) -> Option<Native> {
    match code {
        "timestamp_age" | "timestamptz_age" => {
            code!(|a, arena| Ok(Value::Interval(datetime::age(micros(a[0]), micros(a[1]))?)))
        }
        "timestamp_date" | "timestamptz_date" => {
            code!(|a, arena| cast::cast(a[0], &scalar(Scalar::Date), true, arena))
        }
        "date_finite" => code!(|a, arena| Ok(Value::Bool(
            !matches!(a[0], Value::Date(date) if is_date_infinite(date))
        ))),
        "timestamp_finite" => {
            code!(|a, arena| Ok(Value::Bool(!is_timestamp_infinite(micros(a[0])))))
        }
        "interval_finite" => code!(|a, arena| Ok(Value::Bool(true))),
        _ => None,
    }
}

fn micros(value: Value<'_>) -> i64 {
    match value {
        Value::Timestamp(micros) | Value::TimestampTz(micros) => micros,
        _ => 0,
    }
}
