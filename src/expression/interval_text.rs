//! Texts of intervals: input in PostgreSQL's and ISO 8601's forms, output in the `postgres` style.

use std::fmt::Write as _;

use super::calendar::{MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND};
use super::datetime_text::{push_two, write_fraction};
use super::error::EvalError;
use super::interval_units::{Unit, lower_unit, unit_named};
use super::numeric_convert::is_space;
use super::value::Interval;

pub fn write_interval(interval: Interval, out: &mut String) {
    let start = out.len();
    let mut after_negative = false;
    let fields = [
        (interval.months / 12, "year"),
        (interval.months % 12, "mon"),
        (interval.days, "day"),
    ];
    for (value, unit) in fields {
        if value == 0 {
            continue;
        }
        let space = if out.len() > start { " " } else { "" };
        let plus = if after_negative && value > 0 { "+" } else { "" };
        let plural = if value == 1 { "" } else { "s" };
        // Writing to a String cannot fail.
        let _ = write!(out, "{space}{plus}{value} {unit}{plural}");
        after_negative = value < 0;
    }
    if out.len() > start && interval.micros == 0 {
        return;
    }
    if out.len() > start {
        out.push(' ');
    }
    if interval.micros < 0 {
        out.push('-');
    } else if after_negative {
        out.push('+');
    }
    let micros = interval.micros.unsigned_abs();
    let _ = write!(out, "{:02}:", micros / MICROS_PER_HOUR.unsigned_abs());
    let below_hour = (micros % MICROS_PER_HOUR.unsigned_abs()) as i64;
    push_two(below_hour / MICROS_PER_MINUTE, out);
    out.push(':');
    push_two(below_hour % MICROS_PER_MINUTE / MICROS_PER_SECOND, out);
    write_fraction(below_hour % MICROS_PER_SECOND, out);
}

/// PostgreSQL copies what it reads into 256 bytes; how much of a text that takes depends on its form.
const TEXT_BYTES_MAX: usize = 200;

pub fn parse_interval(text: &str) -> Result<Interval, EvalError> {
    let mut sum = Sum::default();
    let outcome = match text.strip_prefix('P') {
        _ if text.len() > TEXT_BYTES_MAX => Err(Refusal::Undecided),
        Some(body) => sum.add_iso(body),
        None => sum.add_verbose(text),
    };
    match outcome {
        Ok(()) => sum
            .interval()
            .ok_or_else(|| EvalError::new("22008", "interval out of range")),
        Err(Refusal::Form) => Err(EvalError::invalid_datetime("interval", text)),
        Err(Refusal::Field) => Err(EvalError::new(
            "22015",
            format!("interval field value out of range: \"{text}\""),
        )),
        Err(Refusal::Undecided) => Err(EvalError::unsupported(format!(
            "cannot read \"{text}\" as interval"
        ))),
    }
}

enum Refusal {
    Form,
    Field,
    Undecided,
}

/// PostgreSQL's `pg_itm_in`: years apart from months until the end.
#[derive(Default)]
struct Sum {
    years: i64,
    months: i64,
    days: i64,
    micros: i64,
    /// One bit per unit that was given.
    given: u32,
}

enum Token<'t> {
    Time(&'t str),
    Number(&'t str),
    Word(&'t str),
}

impl Sum {
    fn interval(&self) -> Option<Interval> {
        let months = self.years * 12 + self.months;
        Some(Interval {
            months: months.try_into().ok()?,
            days: self.days.try_into().ok()?,
            micros: self.micros,
        })
    }

    /// `1 year -2 mons +03:04:05.6`, read from the right as PostgreSQL does: a unit stands behind its number.
    fn add_verbose(&mut self, text: &str) -> Result<(), Refusal> {
        let mut unit = None;
        let mut ago = false;
        for token in tokens(text)?.iter().rev() {
            match token {
                Token::Time(time) => {
                    self.add_time(time)?;
                    unit = Some(Unit::Day);
                }
                Token::Number(_) if ago && unit.is_none() => return Err(Refusal::Undecided),
                Token::Number(number) => {
                    let current = unit.unwrap_or(Unit::Second);
                    let (whole, fraction, months) = read_number(number)?;
                    let current = if months { Unit::Month } else { current };
                    self.mark(current, fraction != 0.0)?;
                    self.add(current, whole, fraction)?;
                    unit = Some(if current == Unit::Hour {
                        Unit::Day
                    } else {
                        current
                    });
                }
                Token::Word("ago") if unit.is_none() && !ago => ago = true,
                Token::Word("ago") => return Err(Refusal::Undecided),
                Token::Word(word) => unit = Some(unit_named(word).ok_or(Refusal::Form)?),
            }
        }
        if self.given == 0 {
            return Err(Refusal::Form);
        }
        if ago {
            self.years = -self.years;
            self.months = -self.months;
            self.days = -self.days;
            self.micros = self.micros.checked_neg().ok_or(Refusal::Field)?;
        }
        Ok(())
    }

    /// `P1Y2M3DT4H5M6.7S`, behind the `P`.
    fn add_iso(&mut self, body: &str) -> Result<(), Refusal> {
        let mut rest = body;
        let mut date_part = true;
        if body.is_empty() {
            return Err(Refusal::Form);
        }
        while !rest.is_empty() {
            if let Some(tail) = rest.strip_prefix('T') {
                date_part = false;
                rest = tail;
                continue;
            }
            let length = rest
                .find(|c: char| !c.is_ascii_digit() && !matches!(c, '-' | '.'))
                .ok_or(Refusal::Undecided)?;
            let value: f64 = rest[..length].parse().map_err(|_| Refusal::Undecided)?;
            if !(-1.0e15..=1.0e15).contains(&value) {
                return Err(Refusal::Field);
            }
            let unit = match (rest.as_bytes()[length], date_part) {
                (b'Y', true) => Unit::Year,
                (b'M', true) => Unit::Month,
                (b'W', true) => Unit::Week,
                (b'D', true) => Unit::Day,
                (b'H', false) => Unit::Hour,
                (b'M', false) => Unit::Minute,
                (b'S', false) => Unit::Second,
                _ => return Err(Refusal::Undecided),
            };
            self.given = 1;
            self.add(unit, value.trunc() as i64, value - value.trunc())?;
            rest = &rest[length + 1..];
        }
        if self.given == 0 {
            return Err(Refusal::Undecided);
        }
        Ok(())
    }

    /// A unit may be given once; fractional seconds take the units below with them.
    fn mark(&mut self, unit: Unit, fraction: bool) -> Result<(), Refusal> {
        let mut bits = 1 << unit as u32;
        if unit == Unit::Second && fraction {
            bits |= 1 << Unit::Millisecond as u32 | 1 << Unit::Microsecond as u32;
        }
        self.mark_bits(bits)
    }

    fn mark_bits(&mut self, bits: u32) -> Result<(), Refusal> {
        if self.given & bits != 0 {
            return Err(Refusal::Form);
        }
        self.given |= bits;
        Ok(())
    }

    fn add(&mut self, unit: Unit, whole: i64, fraction: f64) -> Result<(), Refusal> {
        match unit {
            Unit::Microsecond => self.add_micros(whole, fraction, 1),
            Unit::Millisecond => self.add_micros(whole, fraction, 1000),
            Unit::Second => self.add_micros(whole, fraction, MICROS_PER_SECOND),
            Unit::Minute => self.add_micros(whole, fraction, MICROS_PER_MINUTE),
            Unit::Hour => self.add_micros(whole, fraction, MICROS_PER_HOUR),
            Unit::Day => {
                self.days = small(self.days, whole, 1)?;
                self.add_micro_fraction(fraction, MICROS_PER_DAY)
            }
            Unit::Week => {
                self.days = small(self.days, whole, 7)?;
                self.add_day_fraction(fraction, 7.0)
            }
            Unit::Month => {
                self.months = small(self.months, whole, 1)?;
                self.add_day_fraction(fraction, 30.0)
            }
            Unit::Year => self.add_years(whole, fraction, 1),
            Unit::Decade => self.add_years(whole, fraction, 10),
            Unit::Century => self.add_years(whole, fraction, 100),
            Unit::Millennium => self.add_years(whole, fraction, 1000),
        }
    }

    fn add_years(&mut self, whole: i64, fraction: f64, scale: i64) -> Result<(), Refusal> {
        self.years = small(self.years, whole, scale)?;
        let months = (fraction * scale as f64 * 12.0).round_ties_even() as i64;
        self.months = small(self.months, months, 1)?;
        Ok(())
    }

    fn add_day_fraction(&mut self, fraction: f64, scale: f64) -> Result<(), Refusal> {
        let days = fraction * scale;
        self.days = small(self.days, days.trunc() as i64, 1)?;
        self.add_micro_fraction(days - days.trunc(), MICROS_PER_DAY)
    }

    fn add_micros(&mut self, whole: i64, fraction: f64, scale: i64) -> Result<(), Refusal> {
        self.micros = whole
            .checked_mul(scale)
            .and_then(|micros| micros.checked_add(self.micros))
            .ok_or(Refusal::Field)?;
        self.add_micro_fraction(fraction, scale)
    }

    fn add_micro_fraction(&mut self, fraction: f64, scale: i64) -> Result<(), Refusal> {
        let scaled = fraction * scale as f64;
        let mut micros = scaled.trunc() as i64;
        let rest = scaled - scaled.trunc();
        if rest > 0.5 {
            micros += 1;
        } else if rest < -0.5 {
            micros -= 1;
        }
        self.micros = self.micros.checked_add(micros).ok_or(Refusal::Field)?;
        Ok(())
    }

    /// `[±]HH:MM[:SS[.f]]`, or `MM:SS.f`.
    fn add_time(&mut self, text: &str) -> Result<(), Refusal> {
        let (negative, clock) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (clock, fraction) = match clock.split_once('.') {
            Some((clock, digits)) => (clock, Some(digits)),
            None => (clock, None),
        };
        let parts: Vec<i64> = clock.split(':').map(digits).collect::<Result<_, _>>()?;
        let (hour, minute, second) = match parts.as_slice() {
            [minute, second] if fraction.is_some() => (0, *minute, *second),
            [hour, minute] => (*hour, *minute, 0),
            [hour, minute, second] => (*hour, *minute, *second),
            _ => return Err(Refusal::Form),
        };
        if minute > 59 || second > 60 {
            return Err(Refusal::Field);
        }
        let below_second = match fraction {
            Some(digits) => (read_fraction(digits)? * 1_000_000.0).round_ties_even() as i64,
            None => 0,
        };
        let micros = hour
            .checked_mul(MICROS_PER_HOUR)
            .and_then(|hours| {
                hours.checked_add(
                    minute * MICROS_PER_MINUTE + second * MICROS_PER_SECOND + below_second,
                )
            })
            .ok_or(Refusal::Field)?;
        self.mark_bits(
            1 << Unit::Hour as u32 | 1 << Unit::Minute as u32 | 1 << Unit::Second as u32,
        )?;
        let signed = if negative { -micros } else { micros };
        self.micros = self.micros.checked_add(signed).ok_or(Refusal::Field)?;
        Ok(())
    }
}

/// `sum + value · scale` within 32 bits, as PostgreSQL checks it.
fn small(sum: i64, value: i64, scale: i64) -> Result<i64, Refusal> {
    let product = i32::try_from(value)
        .ok()
        .and_then(|value| value.checked_mul(scale as i32))
        .ok_or(Refusal::Field)?;
    let total = sum + i64::from(product);
    i32::try_from(total)
        .map(i64::from)
        .map_err(|_| Refusal::Field)
}

/// Whole part, fraction, and whether it was SQL's `years-months`.
fn read_number(text: &str) -> Result<(i64, f64, bool), Refusal> {
    let (negative, unsigned) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let sign = if negative { -1 } else { 1 };
    if let Some((years, months)) = unsigned.split_once('-') {
        let (years, months) = (digits(years)?, digits(months)?);
        if months >= 12 {
            return Err(Refusal::Field);
        }
        let total = years
            .checked_mul(12)
            .and_then(|total| total.checked_add(months));
        return Ok((sign * total.ok_or(Refusal::Field)?, 0.0, true));
    }
    let (whole, fraction) = match unsigned.split_once('.') {
        None => (unsigned, 0.0),
        Some((whole, fraction)) => (whole, read_fraction(fraction)?),
    };
    if whole.is_empty() && unsigned.len() < text.len() {
        return Err(Refusal::Form);
    }
    // The range reaches one further below zero.
    let magnitude = if whole.is_empty() {
        0
    } else {
        wide_digits(whole)?
    };
    let value =
        i64::try_from(i128::from(magnitude) * i128::from(sign)).map_err(|_| Refusal::Field)?;
    Ok((value, sign as f64 * fraction, false))
}

fn digits(text: &str) -> Result<i64, Refusal> {
    wide_digits(text)?.try_into().map_err(|_| Refusal::Field)
}

fn wide_digits(text: &str) -> Result<u64, Refusal> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::Undecided);
    }
    text.parse().map_err(|_| Refusal::Field)
}

fn read_fraction(text: &str) -> Result<f64, Refusal> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::Undecided);
    }
    format!("0.{text}").parse().map_err(|_| Refusal::Undecided)
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, Refusal> {
    let bytes = text.as_bytes();
    let run = |from: usize, wanted: &dyn Fn(u8) -> bool| -> usize {
        from + bytes[from..]
            .iter()
            .take_while(|byte| wanted(**byte))
            .count()
    };
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            byte if is_space(byte as char) || byte == b'@' || byte == b',' => at += 1,
            byte if byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.') => {
                at = run(at + 1, &|byte| {
                    byte.is_ascii_digit() || matches!(byte, b':' | b'.' | b'-')
                });
                let number = &text[start..at];
                if !number.bytes().any(|byte| byte.is_ascii_digit()) {
                    return Err(Refusal::Undecided);
                }
                found.push(if number.contains(':') {
                    Token::Time(number)
                } else {
                    Token::Number(number)
                });
            }
            byte if byte.is_ascii_alphabetic() => {
                at = run(at, &|byte| byte.is_ascii_alphabetic());
                let word = &text[start..at];
                // Only these may have the next number stuck to them.
                let short = matches!(
                    word,
                    "d" | "h" | "m" | "s" | "y" | "D" | "H" | "M" | "S" | "Y"
                );
                match bytes.get(at) {
                    Some(next) if next.is_ascii_digit() && short => {}
                    None => {}
                    Some(next) if is_space(*next as char) || *next == b',' => {}
                    Some(_) => return Err(Refusal::Undecided),
                }
                found.push(Token::Word(lower_unit(word).ok_or(Refusal::Form)?));
            }
            _ => return Err(Refusal::Undecided),
        }
    }
    Ok(found)
}
