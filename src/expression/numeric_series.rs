//! `exp`, `ln` and `log` of numeric: the series, the working digits and the result scales of PostgreSQL 15.
//!
//! PostgreSQL rounds a value with some eight digits in reserve, and its own last digit of those may be off. So a value
//! that lies so close to the middle between two results that this could matter is refused: the chance is one in a
//! million.

use bumpalo::Bump;

use super::decimal::Decimal;
use super::error::EvalError;
use super::numeric::{Numeric, overflow};

pub(super) type Computed = Result<Decimal, EvalError>;

/// Significant digits that a result has at least.
pub(super) const SIGNIFICANT_DIGITS_MIN: i64 = 16;
/// Digits after the point that a result does not exceed by itself.
pub(super) const DISPLAY_SCALE_MAX: i64 = 1000;
/// PostgreSQL's `NUMERIC_MAX_RESULT_SCALE`.
pub(super) const RESULT_SCALE_MAX: f64 = 2000.0;
/// log10(e), as PostgreSQL has it.
#[allow(
    clippy::approx_constant,
    reason = "the same digits give the same scale"
)]
pub(super) const LOG10_E: f64 = 0.434294481903252;
/// ln(10), as PostgreSQL has it.
#[allow(
    clippy::approx_constant,
    reason = "the same digits give the same scale"
)]
const LN_10: f64 = 2.302585092994046;
/// log10(2), as PostgreSQL has it.
#[allow(
    clippy::approx_constant,
    reason = "the same digits give the same scale"
)]
const LOG10_2: f64 = 0.301029995663981;
/// Digits of the longest number that these functions take, lest one expression take seconds.
const DIGITS_MAX: usize = 1000;
/// Reserve digits that decide whether a value is too close to the middle, and how close that is.
const RESERVE_DIGITS: i64 = 8;
const RESERVE_MARGIN: i64 = 20;

/// `exp(x)`.
pub fn exponential<'a>(value: Numeric<'a>, arena: &'a Bump) -> Result<Numeric<'a>, EvalError> {
    let decimal = match value {
        Numeric::NegativeInfinity => return Ok(Numeric::ZERO),
        other => match short(other)? {
            Some(decimal) => decimal,
            None => return Ok(other),
        },
    };
    let weight = (to_double(&decimal) * LOG10_E).clamp(-RESULT_SCALE_MAX, RESULT_SCALE_MAX);
    let scale = (SIGNIFICANT_DIGITS_MIN - weight as i64)
        .max(i64::from(decimal.scale))
        .clamp(0, DISPLAY_SCALE_MAX);
    Numeric::from_decimal(exp(&decimal, scale)?, arena)
}

/// `ln(x)`.
pub fn natural_logarithm<'a>(
    value: Numeric<'a>,
    arena: &'a Bump,
) -> Result<Numeric<'a>, EvalError> {
    if matches!(value, Numeric::NegativeInfinity) {
        return Err(logarithm_of("a negative number"));
    }
    let Some(decimal) = short(value)? else {
        return Ok(value);
    };
    let scale = (SIGNIFICANT_DIGITS_MIN - ln_weight(&decimal))
        .max(i64::from(decimal.scale))
        .clamp(0, DISPLAY_SCALE_MAX);
    Numeric::from_decimal(ln(&decimal, scale)?, arena)
}

/// `log(base, x)`.
pub fn logarithm<'a>(
    base: Numeric<'a>,
    value: Numeric<'a>,
    arena: &'a Bump,
) -> Result<Numeric<'a>, EvalError> {
    if matches!(base, Numeric::NaN) || matches!(value, Numeric::NaN) {
        return Ok(Numeric::NaN);
    }
    match base.signum().min(value.signum()) {
        ..0 => return Err(logarithm_of("a negative number")),
        0 => return Err(logarithm_of("zero")),
        _ => {}
    }
    match (short(base)?, short(value)?) {
        (Some(base), Some(value)) => Numeric::from_decimal(log(&base, &value)?, arena),
        (None, None) => Ok(Numeric::NaN),
        (None, _) => Ok(Numeric::ZERO),
        (_, None) => Ok(Numeric::Infinity),
    }
}

fn log(base: &Decimal, value: &Decimal) -> Computed {
    let (base_weight, value_weight) = (ln_weight(base), ln_weight(value));
    let weight = value_weight - base_weight;
    let scale = (SIGNIFICANT_DIGITS_MIN - weight)
        .max(i64::from(base.scale))
        .max(i64::from(value.scale))
        .clamp(0, DISPLAY_SCALE_MAX);
    let working = |own: i64| (scale + weight - own + 8).max(0);
    let (base, value) = (
        ln(base, working(base_weight))?,
        ln(value, working(value_weight))?,
    );
    if base.is_zero() {
        return Err(EvalError::division_by_zero());
    }
    let quotient = value.divide(&base, (scale + 2 * RESERVE_DIGITS) as u32, false);
    settled(&quotient, scale)
}

fn logarithm_of(what: &str) -> EvalError {
    EvalError::new("2201E", format!("cannot take logarithm of {what}"))
}

/// A finite number that is not too long; `None` for NaN and the infinities.
pub(super) fn short(value: Numeric<'_>) -> Result<Option<Decimal>, EvalError> {
    let decimal = value.to_decimal();
    let long = |d: &Decimal| d.digit_count() > DIGITS_MAX || d.scale > DIGITS_MAX as u32;
    if decimal.as_ref().is_some_and(long) {
        let message = format!("number too long: this takes at most {DIGITS_MAX} digits");
        return Err(EvalError::unsupported(message));
    }
    Ok(decimal)
}

/// Rounded to its scale, unless it is too close to the middle between two results.
pub(super) fn settled(value: &Decimal, scale: i64) -> Computed {
    let reserve = scale + RESERVE_DIGITS;
    if i64::from(value.scale) > reserve {
        let digits = value.rescale(reserve as i32, false).digits();
        let tail = &digits[digits.len().saturating_sub(RESERVE_DIGITS as usize)..];
        let tail = tail.parse::<i64>().unwrap_or(0);
        if (tail - 10_i64.pow(RESERVE_DIGITS as u32) / 2).abs() <= RESERVE_MARGIN {
            let message = "the last digit of this result cannot be told as PostgreSQL tells it";
            return Err(EvalError::unsupported(message));
        }
    }
    Ok(value.rescale(scale as i32, true))
}

/// The product with as many digits after the point.
pub(super) fn product(left: &Decimal, right: &Decimal, scale: i64) -> Decimal {
    left.multiply(right).rescale(scale as i32, true)
}

pub(super) fn whole(value: i64) -> Decimal {
    Decimal::from_i128(i128::from(value), 0)
}

pub(super) fn to_double(value: &Decimal) -> f64 {
    let sign = if value.negative { "-" } else { "" };
    let text = format!("{sign}0{}e-{}", value.digits(), value.scale);
    // Digits and an exponent are a number.
    text.parse().unwrap_or(f64::NAN)
}

/// The exponent of the first base-10000 digit.
pub(super) fn weight(value: &Decimal) -> i64 {
    match value.digit_count() as i64 {
        0 => 0,
        digits => (digits - i64::from(value.scale) - 1).div_euclid(4),
    }
}

/// The first base-10000 digits, and the exponent of the last of them.
fn head(value: &Decimal, count: usize) -> (i64, i64) {
    let digits = value.digits();
    let top = (digits.len() as i64 - i64::from(value.scale) - 1).rem_euclid(4) as usize + 1;
    let wanted = top + (count - 1) * 4;
    let taken = digits.bytes().chain(std::iter::repeat(b'0')).take(wanted);
    let head = taken.fold(0, |head, digit| head * 10 + i64::from(digit - b'0'));
    (head, weight(value) * 4 - (count as i64 - 1) * 4)
}

/// PostgreSQL's `estimate_ln_dweight`: about how many digits `ln(value)` has before the point.
pub(super) fn ln_weight(value: &Decimal) -> i64 {
    if value.negative || value.is_zero() {
        return 0;
    }
    let tenths = |count: i128| Decimal::from_i128(count, 1);
    if value.compare(&tenths(9)).is_ge() && value.compare(&tenths(11)).is_le() {
        let rest = value.add(&whole(-1));
        if rest.is_zero() {
            return 0;
        }
        let (first, exponent) = head(&rest, 1);
        return exponent + (first as f64).log10() as i64;
    }
    // Of one base-10000 digit only that is looked at, of more the first two.
    let stripped = value.digits();
    let significant = stripped.trim_end_matches('0').len() as i64;
    let top = (stripped.len() as i64 - i64::from(value.scale) - 1).rem_euclid(4) + 1;
    let (digits, exponent) = head(value, if significant > top { 2 } else { 1 });
    let estimate = (digits as f64).ln() + exponent as f64 * LN_10;
    estimate.abs().log10() as i64
}

/// PostgreSQL's `ln_var`: the argument is brought near to 1 by square roots, then a series.
pub(super) fn ln(value: &Decimal, scale: i64) -> Computed {
    if value.is_zero() {
        return Err(logarithm_of("zero"));
    }
    if value.negative {
        return Err(logarithm_of("a negative number"));
    }
    let (one, low, high) = (
        whole(1),
        Decimal::from_i128(9, 1),
        Decimal::from_i128(11, 1),
    );
    let mut x = value.clone();
    let mut factor = whole(2);
    let mut roots = 0_i64;
    while x.compare(&low).is_le() || x.compare(&high).is_ge() {
        let working = scale - weight(&x) * 4 / 2 + 8;
        x = x.root_rounded(working as i32);
        factor = factor.multiply(&whole(2));
        roots += 1;
    }
    let working = scale + ((roots + 1) as f64 * LOG10_2) as i64 + 8;
    let divide = |left: &Decimal, right: &Decimal| left.divide(right, working as u32, true);
    let z = divide(&x.add(&one.clone().negate()), &x.add(&one));
    let square = product(&z, &z, working);
    let (mut sum, mut power) = (z.clone(), z);
    for odd in (3..).step_by(2) {
        power = product(&power, &square, working);
        let term = divide(&power, &whole(odd));
        if term.is_zero() {
            break;
        }
        sum = sum.add(&term);
        if weight(&term) < weight(&sum) - working * 2 / 4 {
            break;
        }
    }
    settled(&sum.multiply(&factor), scale)
}

/// PostgreSQL's `exp_var`: the argument is halved until it is small, a series, then as many squares.
pub(super) fn exp(value: &Decimal, scale: i64) -> Computed {
    let mut estimate = to_double(value);
    if estimate.abs() >= RESULT_SCALE_MAX * 3.0 {
        if estimate > 0.0 {
            return Err(overflow());
        }
        return Ok(Decimal {
            scale: scale as u32,
            ..Decimal::default()
        });
    }
    let digits_before = (estimate * LOG10_E) as i64;
    let mut halvings = 0_u32;
    while estimate.abs() > 0.01 {
        halvings += 1;
        estimate /= 2.0;
    }
    let mut x = value.clone();
    if halvings > 0 {
        x = x.divide(&whole(1 << halvings), x.scale + halvings, true);
    }
    let digits = 1 + digits_before + scale + (f64::from(halvings) * LOG10_2) as i64;
    let digits = digits.max(0) + 8;
    let working = digits - 1;
    let mut sum = whole(1).add(&x);
    let mut term = product(&x, &x, working).divide(&whole(2), working as u32, true);
    let mut number = 2;
    while !term.is_zero() {
        sum = sum.add(&term);
        number += 1;
        term = product(&term, &x, working).divide(&whole(number), working as u32, true);
    }
    for _ in 0..halvings {
        let working = (digits - weight(&sum) * 2 * 4).max(0);
        sum = product(&sum, &sum, working);
    }
    settled(&sum, scale)
}
