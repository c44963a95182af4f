//! The fields of a date-and-time text, found as PostgreSQL's `ParseDateTime` and `DecodeDateTime` find them: in any
//! order, by their shapes.

use super::calendar::{
    MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, days_from_civil,
    days_in_month,
};
use super::datetime_tokens::{Refusal, Token, month_named, tokens};
use super::error::EvalError;
use super::timezone::Zone;

/// Longest text that is looked at (PostgreSQL's `MAXDATELEN`).
const TEXT_BYTES_MAX: usize = 128;

/// Largest hour of a numeric offset.
const OFFSET_HOUR_MAX: i32 = 15;

pub enum Reading {
    Special(Special),
    Fields(Fields),
}

pub enum Special {
    Infinity,
    NegativeInfinity,
    Epoch,
}

/// What was found; checked for ranges by [`Fields::date`].
#[derive(Default)]
pub struct Fields {
    year: Option<i32>,
    month: Option<i32>,
    day: Option<i32>,
    two_digit_year: bool,
    before_christ: Option<bool>,
    text_month: bool,
    /// Microseconds since midnight.
    pub time: Option<i64>,
    hour: i32,
    afternoon: Option<bool>,
    iso_time_follows: bool,
    pub zone: Option<Zone>,
}

/// All fields of a text, or one of the special values.
pub fn read(text: &str, type_name: &str) -> Result<Reading, EvalError> {
    let attempt = || -> Result<Reading, Refusal> {
        if text.len() > TEXT_BYTES_MAX || !text.is_ascii() {
            return Err(Refusal::Undecided);
        }
        let tokens = tokens(text)?;
        match tokens.as_slice() {
            [Token::Word(word)] if word.eq_ignore_ascii_case("epoch") => {
                return Ok(Reading::Special(Special::Epoch));
            }
            [Token::Word(word)] if word.eq_ignore_ascii_case("infinity") => {
                return Ok(Reading::Special(Special::Infinity));
            }
            [Token::Signed("-", word)] if word.eq_ignore_ascii_case("infinity") => {
                return Ok(Reading::Special(Special::NegativeInfinity));
            }
            [] => return Err(Refusal::Form),
            _ => {}
        }
        let mut fields = Fields::default();
        for token in &tokens {
            fields.take(token)?;
        }
        fields.finish()?;
        Ok(Reading::Fields(fields))
    };
    attempt().map_err(|refusal| match refusal {
        Refusal::Form => EvalError::invalid_datetime(type_name, text),
        Refusal::Field => EvalError::datetime_field(text),
        Refusal::Undecided => {
            EvalError::unsupported(format!("cannot read \"{text}\" as {type_name}"))
        }
        Refusal::Error(error) => error,
    })
}

impl Fields {
    pub fn has_no_date(&self) -> bool {
        self.year.is_none() && self.month.is_none() && self.day.is_none()
    }

    /// Days since 2000-01-01, not yet checked against the range of a type.
    pub fn date(&self, text: &str, type_name: &str) -> Result<i64, EvalError> {
        let (Some(year), Some(month), Some(day)) = (self.year, self.month, self.day) else {
            return Err(EvalError::invalid_datetime(type_name, text));
        };
        let year = match self.before_christ {
            Some(true) if year > 0 => 1 - year,
            Some(true) => return Err(EvalError::datetime_field(text)),
            _ if self.two_digit_year && year < 70 => year + 2000,
            _ if self.two_digit_year && year < 100 => year + 1900,
            _ if year > 0 => year,
            _ => return Err(EvalError::datetime_field(text)),
        };
        if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return Err(EvalError::datetime_field(text));
        }
        Ok(days_from_civil(year, month, day))
    }

    fn take(&mut self, token: &Token<'_>) -> Result<(), Refusal> {
        let iso_time_follows = std::mem::take(&mut self.iso_time_follows);
        match token {
            Token::Number(digits) if iso_time_follows => self.take_plain_time(digits),
            Token::Time(time) => self.take_time(time),
            _ if iso_time_follows => Err(Refusal::Undecided),
            Token::Number(digits) if digits.len() > 4 => self.take_long_number(digits),
            Token::Number(digits) => self.take_number(digits),
            Token::Date(date) => self.take_date(date),
            Token::Word(word) => self.take_word(word),
            Token::Name(name) => self.take_zone_name(name),
            Token::Offset(offset) => {
                let zone = Zone::Fixed(read_offset(offset)?);
                self.set_zone(zone)
            }
            Token::Signed(..) => Err(Refusal::Form),
        }
    }

    fn finish(&mut self) -> Result<(), Refusal> {
        if self.iso_time_follows {
            return Err(Refusal::Undecided);
        }
        if let (Some(afternoon), Some(time)) = (self.afternoon, self.time) {
            if self.hour > 12 {
                return Err(Refusal::Field);
            }
            let shift = match (afternoon, self.hour) {
                (false, 12) => -12,
                (true, hour) if hour != 12 => 12,
                _ => 0,
            };
            self.time = Some(time + shift * MICROS_PER_HOUR);
        } else if self.afternoon.is_some() {
            return Err(Refusal::Undecided);
        }
        Ok(())
    }

    /// `YYYYMMDD` or `YYMMDD`, and after it `HHMMSS`.
    fn take_long_number(&mut self, digits: &str) -> Result<(), Refusal> {
        if !self.has_no_date() || self.time.is_some() {
            return Err(Refusal::Undecided);
        }
        if !matches!(digits.len(), 6 | 8) {
            return Err(Refusal::Undecided);
        }
        let (year, rest) = digits.split_at(digits.len() - 4);
        self.year = Some(number(year)?);
        self.two_digit_year = year.len() == 2;
        self.month = Some(number(&rest[..2])?);
        self.day = Some(number(&rest[2..])?);
        Ok(())
    }

    /// `HHMMSS` or `HHMM` behind a `T`.
    fn take_plain_time(&mut self, digits: &str) -> Result<(), Refusal> {
        let seconds = match digits.len() {
            4 => "0",
            6 => &digits[4..],
            _ => return Err(Refusal::Undecided),
        };
        let time = format!("{}:{}:{seconds}", &digits[..2], &digits[2..4]);
        self.take_time(&time)
    }

    /// A field of a date, by PostgreSQL's `DecodeNumber`.
    fn take_number(&mut self, digits: &str) -> Result<(), Refusal> {
        let value = number(digits)?;
        let wide = digits.len() >= 3;
        let slot = match (self.year, self.month, self.day) {
            (None, None, None) if wide => &mut self.year,
            (None, None, None) => &mut self.month,
            (None, Some(_), None) if self.text_month && wide => &mut self.year,
            (None, Some(_), None) => &mut self.day,
            // With three digits it is the day of the year.
            (Some(_), None, None) if wide => return Err(Refusal::Undecided),
            (Some(_), None, None) => &mut self.month,
            (Some(_), Some(_), None) if wide => return Err(Refusal::Undecided),
            (Some(_), Some(_), None) => &mut self.day,
            (None, Some(_), Some(_)) => {
                self.two_digit_year = digits.len() <= 2;
                &mut self.year
            }
            _ => return Err(Refusal::Undecided),
        };
        *slot = Some(value);
        Ok(())
    }

    fn take_date(&mut self, date: &str) -> Result<(), Refusal> {
        let parts: Vec<&str> = date.split(['-', '/', '.']).collect();
        let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let complete = parts.len() == 3 && parts.iter().all(|part| !part.is_empty());
        if !self.has_no_date() || self.time.is_some() || !complete {
            return Err(Refusal::Undecided);
        }
        for part in &parts {
            if !is_number(part) {
                let month = month_named(part).ok_or(Refusal::Undecided)?;
                if self.month.replace(month).is_some() {
                    return Err(Refusal::Form);
                }
                self.text_month = true;
            }
        }
        for part in parts.iter().filter(|part| is_number(part)) {
            self.take_number(part)?;
        }
        Ok(())
    }

    fn take_time(&mut self, time: &str) -> Result<(), Refusal> {
        if self.time.is_some() {
            return Err(Refusal::Form);
        }
        let (clock, fraction) = match time.split_once('.') {
            Some((clock, fraction)) => (clock, read_fraction(fraction)?),
            None => (time, 0),
        };
        let parts: Vec<i32> = clock.split(':').map(number).collect::<Result<_, _>>()?;
        let (hour, minute, second) = match parts.as_slice() {
            [minute, second] if time.contains('.') => (0, *minute, *second),
            [hour, minute] => (*hour, *minute, 0),
            [hour, minute, second] => (*hour, *minute, *second),
            _ => return Err(Refusal::Form),
        };
        let micros = i64::from(hour) * MICROS_PER_HOUR
            + i64::from(minute) * MICROS_PER_MINUTE
            + i64::from(second) * MICROS_PER_SECOND
            + fraction;
        if minute > 59 || second > 60 || hour > 24 || micros > MICROS_PER_DAY {
            return Err(Refusal::Field);
        }
        self.hour = hour;
        self.time = Some(micros);
        Ok(())
    }

    fn take_word(&mut self, word: &str) -> Result<(), Refusal> {
        match word.to_ascii_lowercase().as_str() {
            "t" => {
                if self.day.is_none() || self.time.is_some() {
                    return Err(Refusal::Undecided);
                }
                self.iso_time_follows = true;
                Ok(())
            }
            "am" | "pm" if self.afternoon.is_some() => Err(Refusal::Form),
            "am" | "pm" | "ad" | "bc" if self.day.is_none() && self.time.is_none() => {
                Err(Refusal::Undecided)
            }
            "am" => {
                self.afternoon = Some(false);
                Ok(())
            }
            "pm" => {
                self.afternoon = Some(true);
                Ok(())
            }
            "ad" | "bc" if self.before_christ.is_some() => Err(Refusal::Form),
            "ad" => {
                self.before_christ = Some(false);
                Ok(())
            }
            "bc" => {
                self.before_christ = Some(true);
                Ok(())
            }
            lower => match month_named(lower) {
                Some(month) => self.take_month(month),
                None => self.take_zone_name(word),
            },
        }
    }

    fn take_month(&mut self, month: i32) -> Result<(), Refusal> {
        // A lone number before the month's name was taken for a month; it is the day.
        if let (Some(day), None, false) = (self.month, self.day, self.text_month) {
            if !(1..=31).contains(&day) {
                return Err(Refusal::Undecided);
            }
            self.day = Some(day);
        } else if self.month.is_some() {
            return Err(Refusal::Undecided);
        }
        self.text_month = true;
        self.month = Some(month);
        Ok(())
    }

    fn take_zone_name(&mut self, name: &str) -> Result<(), Refusal> {
        const NOT_ZONES: [&str; 10] = [
            "dst",
            "now",
            "today",
            "tomorrow",
            "yesterday",
            "allballs",
            "epoch",
            "infinity",
            "on",
            "at",
        ];
        if NOT_ZONES.iter().any(|word| name.eq_ignore_ascii_case(word)) {
            return Err(Refusal::Undecided);
        }
        // The date comes first in what people write; elsewhere PostgreSQL reads names in other ways, too.
        if self.day.is_none() && self.time.is_none() {
            return Err(Refusal::Undecided);
        }
        match Zone::find(name) {
            Ok(zone) => self.set_zone(zone),
            Err(error) if error.sqlstate() == "0A000" => Err(Refusal::Error(error)),
            // Short words may be units or names of days, which PostgreSQL takes in some places.
            Err(_) if name.len() <= 3 => Err(Refusal::Undecided),
            Err(_) if name.bytes().all(|byte| byte.is_ascii_alphabetic()) => Err(Refusal::Form),
            Err(error) => Err(Refusal::Error(error)),
        }
    }

    fn set_zone(&mut self, zone: Zone) -> Result<(), Refusal> {
        match self.zone.replace(zone) {
            None => Ok(()),
            Some(_) => Err(Refusal::Undecided),
        }
    }
}

/// Digits only, of at most nine places.
fn number(digits: &str) -> Result<i32, Refusal> {
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::Undecided);
    }
    digits.parse().map_err(|_| Refusal::Field)
}

/// Microseconds of the digits behind a decimal point, rounded as PostgreSQL does: by way of a double.
fn read_fraction(digits: &str) -> Result<i64, Refusal> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::Undecided);
    }
    let fraction: f64 = format!("0.{digits}")
        .parse()
        .map_err(|_| Refusal::Undecided)?;
    Ok((fraction * 1_000_000.0).round_ties_even() as i64)
}

/// `±HH`, `±HHMM`, `±HH:MM`, `±HH:MM:SS` in seconds east of UTC.
fn read_offset(offset: &str) -> Result<i32, Refusal> {
    let (sign, digits) = offset.split_at(1);
    let parts: Vec<&str> = digits.split(':').collect();
    let (hour, minute, second) = match parts.as_slice() {
        [hour] if hour.len() > 2 => {
            let joined = number(hour)?;
            (joined / 100, joined % 100, 0)
        }
        [hour] => (number(hour)?, 0, 0),
        [hour, minute] => (number(hour)?, number(minute)?, 0),
        [hour, minute, second] => (number(hour)?, number(minute)?, number(second)?),
        _ => return Err(Refusal::Undecided),
    };
    if hour > OFFSET_HOUR_MAX || minute > 59 || second > 59 {
        return Err(Refusal::Error(EvalError::new(
            "22009",
            format!("time zone displacement out of range: \"{offset}\""),
        )));
    }
    let seconds = hour * 3600 + minute * 60 + second;
    Ok(if sign == "-" { -seconds } else { seconds })
}
