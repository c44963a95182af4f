//! Time zones: fixed offsets, PostgreSQL's default abbreviations, and the IANA database bundled with the program (never
//! the machine's, so that every worker folds alike).

use std::cmp::Ordering;
use std::sync::LazyLock;

use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use super::calendar::{
    Civil, MICROS_PER_SECOND, UNIX_EPOCH_MICROS, is_timestamp_infinite, split, timestamp_in_range,
};
use super::error::EvalError;

/// PostgreSQL 15's `timezonesets/Default`: name and seconds east of UTC; `-` where the offset depends on the date.
const ABBREVIATIONS: &str = include_str!("timezone_abbreviations.txt");

/// Zones whose years before 1970 the bundled database has given up for those of a neighbour, which PostgreSQL's has not.
const MERGED: &str = include_str!("timezones_merged.txt");

static FIXED: LazyLock<Vec<(&str, Option<i32>)>> = LazyLock::new(|| {
    ABBREVIATIONS
        .split([',', '\n'])
        .filter_map(|entry| entry.trim().split_once(' '))
        .map(|(name, seconds)| (name, seconds.parse().ok()))
        .collect()
});

/// In lower case, sorted.
static MERGED_ZONES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut names: Vec<String> = MERGED
        .split_ascii_whitespace()
        .map(str::to_ascii_lowercase)
        .collect();
    names.sort();
    names
});

static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Years that the database's rules are evaluated for.
const YEAR_MAX: i32 = 9998;

/// Where a wall clock hangs.
#[derive(Clone, Debug)]
pub enum Zone {
    /// Seconds east of UTC.
    Fixed(i32),
    Named {
        zone: TimeZone,
        /// Microseconds since 2000 from which on its rules are known.
        from: i64,
    },
}

impl Zone {
    /// An abbreviation or a name of the IANA database, whatever its case.
    pub fn find(name: &str) -> Result<Zone, EvalError> {
        match Zone::abbreviation(name) {
            Some(found) => return found,
            None if name.eq_ignore_ascii_case("utc") => return Ok(Zone::Fixed(0)),
            None => {}
        }
        match DATABASE.get(name) {
            Ok(zone) => {
                let merged = MERGED_ZONES
                    .binary_search(&name.to_ascii_lowercase())
                    .is_ok();
                let from = if merged { -UNIX_EPOCH_MICROS } else { i64::MIN };
                Ok(Zone::Named { zone, from })
            }
            // PostgreSQL also takes POSIX rules such as `FOO+3`.
            Err(_)
                if name
                    .bytes()
                    .any(|byte| byte.is_ascii_digit() || byte == b'<') =>
            {
                Err(EvalError::unsupported(format!(
                    "cannot read \"{name}\" as a time zone: name it, or give an interval such as interval '2 hours'"
                )))
            }
            Err(_) => Err(EvalError::new(
                "22023",
                format!("time zone \"{name}\" not recognized"),
            )),
        }
    }

    fn abbreviation(name: &str) -> Option<Result<Zone, EvalError>> {
        let compare = |entry: &(&str, Option<i32>)| -> Ordering {
            let own = entry.0.bytes();
            own.cmp(name.bytes().map(|byte| byte.to_ascii_uppercase()))
        };
        let at = FIXED.binary_search_by(compare).ok()?;
        Some(match FIXED[at].1 {
            Some(seconds) => Ok(Zone::Fixed(seconds)),
            None => Err(EvalError::unsupported(format!(
                "the offset of time zone abbreviation \"{name}\" depends on the date; name the zone instead"
            ))),
        })
    }

    /// `timestamp at time zone`: the instant at which the wall clock shows this. A time that a change to summer skips
    /// is read by the clock before it; one that comes twice is the later one.
    pub fn to_utc(&self, local: i64) -> Result<i64, EvalError> {
        if is_timestamp_infinite(local) {
            return Ok(local);
        }
        let seconds = match self {
            Zone::Fixed(seconds) => *seconds,
            Zone::Named { from, .. } if local < *from => return Err(unknown_history()),
            Zone::Named { zone, .. } => {
                match zone.to_ambiguous_timestamp(wall_clock(local)?).offset() {
                    AmbiguousOffset::Unambiguous { offset } => offset.seconds(),
                    AmbiguousOffset::Gap { before, .. } => before.seconds(),
                    AmbiguousOffset::Fold { after, .. } => after.seconds(),
                }
            }
        };
        shifted(local, -seconds)
    }

    /// `timestamptz at time zone`: what the wall clock shows at this instant.
    pub fn to_local(&self, instant: i64) -> Result<i64, EvalError> {
        if is_timestamp_infinite(instant) {
            return Ok(instant);
        }
        shifted(instant, self.seconds_at(instant)?)
    }

    /// How far the wall clock is ahead of UTC at an instant that is not infinite.
    pub fn seconds_at(&self, instant: i64) -> Result<i32, EvalError> {
        Ok(match self {
            Zone::Fixed(seconds) => *seconds,
            Zone::Named { from, .. } if instant < *from => return Err(unknown_history()),
            Zone::Named { zone, .. } => {
                let unix = instant
                    .checked_add(UNIX_EPOCH_MICROS)
                    .and_then(|unix| jiff::Timestamp::from_microsecond(unix).ok())
                    .ok_or_else(too_far)?;
                zone.to_offset(unix).seconds()
            }
        })
    }
}

fn shifted(timestamp: i64, seconds: i32) -> Result<i64, EvalError> {
    timestamp_in_range(i128::from(timestamp) + i128::from(seconds) * i128::from(MICROS_PER_SECOND))
        .ok_or_else(|| EvalError::new("22008", "timestamp out of range"))
}

fn wall_clock(local: i64) -> Result<jiff::civil::DateTime, EvalError> {
    let Civil {
        year,
        month,
        day,
        micros,
    } = split(local);
    if year.abs() > YEAR_MAX {
        return Err(too_far());
    }
    let date =
        jiff::civil::Date::new(year as i16, month as i8, day as i8).map_err(|_| too_far())?;
    let seconds = micros / MICROS_PER_SECOND;
    let time = jiff::civil::Time::new(
        (seconds / 3600) as i8,
        (seconds / 60 % 60) as i8,
        (seconds % 60) as i8,
        (micros % MICROS_PER_SECOND * 1000) as i32,
    )
    .map_err(|_| too_far())?;
    Ok(date.to_datetime(time))
}

#[cold]
fn unknown_history() -> EvalError {
    EvalError::unsupported("what this time zone's clocks showed before 1970 is not known here")
}

#[cold]
fn too_far() -> EvalError {
    EvalError::unsupported("a named time zone is known only for the years -9998 to 9998")
}
