//! Arithmetic of intervals, dates and timestamps. Sessions are in UTC, so timestamptz moves as timestamp does.

use super::calendar::{
    MICROS_PER_DAY, MICROS_PER_SECOND, civil_from_days, date_in_range, date_to_timestamp,
    days_from_civil, days_in_month, is_date_infinite, is_timestamp_infinite, timestamp_from_parts,
    timestamp_in_range,
};
use super::error::EvalError;
use super::value::Interval;

const SECONDS_PER_DAY: f64 = 86_400.0;
const DAYS_PER_MONTH: f64 = 30.0;

#[cold]
fn interval_out_of_range() -> EvalError {
    EvalError::new("22008", "interval out of range")
}

#[cold]
fn timestamp_out_of_range() -> EvalError {
    EvalError::new("22008", "timestamp out of range")
}

#[cold]
fn date_out_of_range() -> EvalError {
    EvalError::new("22008", "date out of range")
}

impl Interval {
    /// What the order of intervals looks at: a month is 30 days, a day 24 hours.
    pub fn span(self) -> i128 {
        i128::from(self.micros)
            + (i128::from(self.days) + i128::from(self.months) * 30) * i128::from(MICROS_PER_DAY)
    }

    pub fn plus(self, other: Interval) -> Result<Interval, EvalError> {
        let sum = || {
            Some(Interval {
                months: self.months.checked_add(other.months)?,
                days: self.days.checked_add(other.days)?,
                micros: self.micros.checked_add(other.micros)?,
            })
        };
        sum().ok_or_else(interval_out_of_range)
    }

    pub fn minus(self, other: Interval) -> Result<Interval, EvalError> {
        let difference = || {
            Some(Interval {
                months: self.months.checked_sub(other.months)?,
                days: self.days.checked_sub(other.days)?,
                micros: self.micros.checked_sub(other.micros)?,
            })
        };
        difference().ok_or_else(interval_out_of_range)
    }

    pub fn negate(self) -> Result<Interval, EvalError> {
        let negated = || {
            Some(Interval {
                months: self.months.checked_neg()?,
                days: self.days.checked_neg()?,
                micros: self.micros.checked_neg()?,
            })
        };
        negated().ok_or_else(interval_out_of_range)
    }

    /// `justify_hours`: 24 hours are a day.
    pub fn justify_hours(self) -> Result<Interval, EvalError> {
        Ok(self.hours_to_days()?.same_sign_of_days())
    }

    /// `justify_days`: 30 days are a month.
    pub fn justify_days(self) -> Result<Interval, EvalError> {
        let mut span = self.days_to_months()?;
        if span.months > 0 && span.days < 0 {
            span.days += DAYS_PER_MONTH as i32;
            span.months -= 1;
        } else if span.months < 0 && span.days > 0 {
            span.days -= DAYS_PER_MONTH as i32;
            span.months += 1;
        }
        Ok(span)
    }

    /// `justify_interval`: both, and all fields of one sign.
    pub fn justify(self) -> Result<Interval, EvalError> {
        let same_sign = (self.days > 0 && self.micros > 0) || (self.days < 0 && self.micros < 0);
        // Before the hours, so that the days cannot overflow.
        let span = if same_sign {
            self.days_to_months()?
        } else {
            self
        };
        let mut span = span.hours_to_days()?.days_to_months()?;
        let (days, micros) = (span.days, span.micros);
        if span.months > 0 && (days < 0 || (days == 0 && micros < 0)) {
            span.days += DAYS_PER_MONTH as i32;
            span.months -= 1;
        } else if span.months < 0 && (days > 0 || (days == 0 && micros > 0)) {
            span.days -= DAYS_PER_MONTH as i32;
            span.months += 1;
        }
        Ok(span.same_sign_of_days())
    }

    fn hours_to_days(self) -> Result<Interval, EvalError> {
        let whole = (self.micros / MICROS_PER_DAY) as i32;
        let days = self.days.checked_add(whole);
        Ok(Interval {
            days: days.ok_or_else(interval_out_of_range)?,
            micros: self.micros % MICROS_PER_DAY,
            ..self
        })
    }

    fn days_to_months(self) -> Result<Interval, EvalError> {
        let whole = self.days / DAYS_PER_MONTH as i32;
        let months = self.months.checked_add(whole);
        Ok(Interval {
            months: months.ok_or_else(interval_out_of_range)?,
            days: self.days % DAYS_PER_MONTH as i32,
            ..self
        })
    }

    fn same_sign_of_days(mut self) -> Interval {
        if self.days > 0 && self.micros < 0 {
            self.micros += MICROS_PER_DAY;
            self.days -= 1;
        } else if self.days < 0 && self.micros > 0 {
            self.micros -= MICROS_PER_DAY;
            self.days += 1;
        }
        self
    }

    pub fn multiply(self, factor: f64) -> Result<Interval, EvalError> {
        self.scaled(&|value| value * factor)
    }

    pub fn divide(self, divisor: f64) -> Result<Interval, EvalError> {
        if divisor == 0.0 {
            return Err(EvalError::division_by_zero());
        }
        self.scaled(&|value| value / divisor)
    }

    /// PostgreSQL's `interval_mul` and `interval_div`: fractions of months become days, those of days become time.
    fn scaled(self, scale: &dyn Fn(f64) -> f64) -> Result<Interval, EvalError> {
        let (scaled_months, scaled_days) =
            (scale(f64::from(self.months)), scale(f64::from(self.days)));
        let months = to_i32(scaled_months)?;
        let mut days = to_i32(scaled_days)?;
        let month_rest = round_micros((scaled_months - f64::from(months)) * DAYS_PER_MONTH);
        let whole_month_rest = month_rest.trunc();
        let mut seconds = round_micros(
            (scaled_days - f64::from(days) + month_rest - whole_month_rest) * SECONDS_PER_DAY,
        );
        if seconds.abs() >= SECONDS_PER_DAY {
            let whole = (seconds / SECONDS_PER_DAY).trunc();
            days = days
                .checked_add(whole as i32)
                .ok_or_else(interval_out_of_range)?;
            seconds -= whole * SECONDS_PER_DAY;
        }
        days = days
            .checked_add(whole_month_rest as i32)
            .ok_or_else(interval_out_of_range)?;
        let micros =
            (scale(self.micros as f64) + seconds * MICROS_PER_SECOND as f64).round_ties_even();
        if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&micros) {
            return Err(interval_out_of_range());
        }
        Ok(Interval {
            months,
            days,
            micros: micros as i64,
        })
    }
}

fn to_i32(value: f64) -> Result<i32, EvalError> {
    if (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&value) {
        Ok(value as i32)
    } else {
        Err(interval_out_of_range())
    }
}

/// PostgreSQL's `TSROUND`.
fn round_micros(value: f64) -> f64 {
    (value * 1_000_000.0).round_ties_even() / 1_000_000.0
}

/// `timestamp + interval`: months first (the day is cut to the month's length), then days, then time.
pub fn timestamp_add(timestamp: i64, span: Interval) -> Result<i64, EvalError> {
    if is_timestamp_infinite(timestamp) {
        return Ok(timestamp);
    }
    let mut moved = timestamp;
    if span.months != 0 {
        let (year, month, day) = civil_from_days(moved.div_euclid(MICROS_PER_DAY));
        let months = i64::from(year) * 12 + i64::from(month) - 1 + i64::from(span.months);
        let (year, month) = (
            months.div_euclid(12) as i32,
            months.rem_euclid(12) as i32 + 1,
        );
        let days = days_from_civil(year, month, day.min(days_in_month(year, month)));
        moved = timestamp_from_parts(days, moved.rem_euclid(MICROS_PER_DAY))
            .ok_or_else(timestamp_out_of_range)?;
    }
    if span.days != 0 {
        let days = moved.div_euclid(MICROS_PER_DAY) + i64::from(span.days);
        moved = timestamp_from_parts(days, moved.rem_euclid(MICROS_PER_DAY))
            .ok_or_else(timestamp_out_of_range)?;
    }
    timestamp_in_range(i128::from(moved) + i128::from(span.micros))
        .ok_or_else(timestamp_out_of_range)
}

/// `timestamp - interval`.
pub fn timestamp_subtract(timestamp: i64, span: Interval) -> Result<i64, EvalError> {
    if is_timestamp_infinite(timestamp) {
        return Ok(timestamp);
    }
    timestamp_add(timestamp, span.negate()?)
}

/// `timestamp - timestamp`: days and time.
pub fn timestamp_difference(left: i64, right: i64) -> Result<Interval, EvalError> {
    if is_timestamp_infinite(left) || is_timestamp_infinite(right) {
        return Err(EvalError::new(
            "22008",
            "cannot subtract infinite timestamps",
        ));
    }
    // Here PostgreSQL 15's own difference overflows unseen, and gives nonsense.
    let micros = left
        .checked_sub(right)
        .ok_or_else(|| EvalError::unsupported("interval out of range"))?;
    Ok(Interval {
        months: 0,
        days: (micros / MICROS_PER_DAY) as i32,
        micros: micros % MICROS_PER_DAY,
    })
}

/// `date + integer`.
pub fn date_add(date: i32, days: i32) -> Result<i32, EvalError> {
    if is_date_infinite(date) {
        return Ok(date);
    }
    date_in_range(i64::from(date) + i64::from(days)).ok_or_else(date_out_of_range)
}

/// `date - integer`.
pub fn date_subtract(date: i32, days: i32) -> Result<i32, EvalError> {
    if is_date_infinite(date) {
        return Ok(date);
    }
    date_in_range(i64::from(date) - i64::from(days)).ok_or_else(date_out_of_range)
}

/// `date - date`, in days.
pub fn date_difference(left: i32, right: i32) -> Result<i32, EvalError> {
    if is_date_infinite(left) || is_date_infinite(right) {
        return Err(EvalError::new("22008", "cannot subtract infinite dates"));
    }
    left.checked_sub(right).ok_or_else(date_out_of_range)
}

/// `date + interval`, a timestamp.
pub fn date_add_interval(date: i32, span: Interval) -> Result<i64, EvalError> {
    timestamp_add(date_to_timestamp(date)?, span)
}

/// `date - interval`, a timestamp.
pub fn date_subtract_interval(date: i32, span: Interval) -> Result<i64, EvalError> {
    timestamp_subtract(date_to_timestamp(date)?, span)
}

/// `date + time`, a timestamp.
pub fn date_add_time(date: i32, time: i64) -> Result<i64, EvalError> {
    let midnight = date_to_timestamp(date)?;
    if is_timestamp_infinite(midnight) {
        return Ok(midnight);
    }
    timestamp_in_range(i128::from(midnight) + i128::from(time)).ok_or_else(timestamp_out_of_range)
}

/// `time + interval`: around the clock; only the interval's time counts. PostgreSQL lets the sum wrap.
pub fn time_add(time: i64, span: Interval) -> i64 {
    time.wrapping_add(span.micros).rem_euclid(MICROS_PER_DAY)
}

/// `time - interval`.
pub fn time_subtract(time: i64, span: Interval) -> i64 {
    time.wrapping_sub(span.micros).rem_euclid(MICROS_PER_DAY)
}

/// `interval::time`.
pub fn interval_to_time(span: Interval) -> Result<i64, EvalError> {
    // Nearer to the end of the range PostgreSQL's sum overflows.
    if span.micros < i64::MIN + MICROS_PER_DAY {
        return Err(interval_out_of_range());
    }
    Ok(span.micros.rem_euclid(MICROS_PER_DAY))
}

/// `make_interval(years, months, weeks, days, hours, mins, secs)`.
pub fn make_interval(fields: [i32; 6], seconds: f64) -> Result<Interval, EvalError> {
    let [years, months, weeks, days, hours, minutes] = fields;
    if !seconds.is_finite() {
        return Err(interval_out_of_range());
    }
    let whole = || {
        Some((
            years.checked_mul(12)?.checked_add(months)?,
            weeks.checked_mul(7)?.checked_add(days)?,
        ))
    };
    // PostgreSQL 15 does not look whether the sums fit.
    let wraps = || EvalError::unsupported("interval out of range");
    let (months, days) = whole().ok_or_else(wraps)?;
    let micros = (seconds * MICROS_PER_SECOND as f64).round_ties_even();
    if !(-9.0e18..9.0e18).contains(&micros) {
        return Err(wraps());
    }
    let clock = (i64::from(hours) * 60 + i64::from(minutes)) * 60 * MICROS_PER_SECOND;
    let micros = clock.checked_add(micros as i64).ok_or_else(wraps)?;
    Ok(Interval {
        months,
        days,
        micros,
    })
}
