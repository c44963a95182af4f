//! The proleptic Gregorian calendar and PostgreSQL's ranges of dates and timestamps. Knows nothing of texts.

use super::error::EvalError;

pub const MICROS_PER_SECOND: i64 = 1_000_000;
pub const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SECOND;
pub const MICROS_PER_HOUR: i64 = 60 * MICROS_PER_MINUTE;
pub const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

/// 4714-11-24 BC, the first day of dates and of timestamps, in days since 2000-01-01.
const DATE_MIN: i64 = -2_451_545;
/// The day after 5874897-12-31.
const DATE_END: i64 = 2_147_483_494 - 2_451_545;
const TIMESTAMP_MIN: i64 = -211_813_488_000_000_000;
const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;

pub const DATE_INFINITY: i32 = i32::MAX;
pub const DATE_NEGATIVE_INFINITY: i32 = i32::MIN;
pub const TIMESTAMP_INFINITY: i64 = i64::MAX;
pub const TIMESTAMP_NEGATIVE_INFINITY: i64 = i64::MIN;

/// Microseconds from 1970-01-01 to 2000-01-01.
pub const UNIX_EPOCH_MICROS: i64 = 946_684_800 * MICROS_PER_SECOND;

/// A date and time of day; year 0 is 1 BC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Civil {
    pub year: i32,
    pub month: i32,
    pub day: i32,
    /// Since midnight.
    pub micros: i64,
}

pub fn is_date_infinite(date: i32) -> bool {
    date == DATE_INFINITY || date == DATE_NEGATIVE_INFINITY
}

pub fn is_timestamp_infinite(timestamp: i64) -> bool {
    timestamp == TIMESTAMP_INFINITY || timestamp == TIMESTAMP_NEGATIVE_INFINITY
}

/// Days since 2000-01-01 of a day of the calendar; month and day are within their ranges.
pub fn days_from_civil(year: i32, month: i32, day: i32) -> i64 {
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 730_425
}

/// Year, month and day of a number of days since 2000-01-01.
pub fn civil_from_days(days: i64) -> (i32, i32, i32) {
    let days = days + 730_425;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year as i32, month as i32, day as i32)
}

pub fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub fn days_in_month(year: i32, month: i32) -> i32 {
    match month {
        2 => 28 + i32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A finite timestamp taken apart.
pub fn split(timestamp: i64) -> Civil {
    let (year, month, day) = civil_from_days(timestamp.div_euclid(MICROS_PER_DAY));
    Civil {
        year,
        month,
        day,
        micros: timestamp.rem_euclid(MICROS_PER_DAY),
    }
}

/// `None` outside of PostgreSQL's range of dates.
pub fn date_in_range(days: i64) -> Option<i32> {
    (DATE_MIN..DATE_END).contains(&days).then_some(days as i32)
}

/// `None` outside of PostgreSQL's range of timestamps.
pub fn timestamp_in_range(micros: i128) -> Option<i64> {
    (i128::from(TIMESTAMP_MIN)..i128::from(TIMESTAMP_END))
        .contains(&micros)
        .then_some(micros as i64)
}

/// Days and time of day to a timestamp, if it is in range.
pub fn timestamp_from_parts(days: i64, micros: i64) -> Option<i64> {
    timestamp_in_range(i128::from(days) * i128::from(MICROS_PER_DAY) + i128::from(micros))
}

/// `date::timestamp`.
pub fn date_to_timestamp(date: i32) -> Result<i64, EvalError> {
    match date {
        DATE_INFINITY => Ok(TIMESTAMP_INFINITY),
        DATE_NEGATIVE_INFINITY => Ok(TIMESTAMP_NEGATIVE_INFINITY),
        days => timestamp_from_parts(i64::from(days), 0)
            .ok_or_else(|| EvalError::new("22008", "date out of range for timestamp")),
    }
}

/// `timestamp::date`.
pub fn timestamp_to_date(timestamp: i64) -> i32 {
    match timestamp {
        TIMESTAMP_INFINITY => DATE_INFINITY,
        TIMESTAMP_NEGATIVE_INFINITY => DATE_NEGATIVE_INFINITY,
        micros => micros.div_euclid(MICROS_PER_DAY) as i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_civil_dates_are_inverse() {
        assert_eq!(days_from_civil(2000, 1, 1), 0);
        assert_eq!(civil_from_days(DATE_MIN), (-4713, 11, 24));
        assert_eq!(civil_from_days(DATE_END - 1).0, 5_874_897);
        for days in (-2_451_545..3_000_000).step_by(97) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }
}
