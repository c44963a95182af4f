//! Rules of numeric arithmetic beside the digits: NaN and the infinities, and how many digits a quotient gets.

use bumpalo::Bump;

use super::decimal::{Decimal, digits_of};
use super::error::EvalError;
use super::numeric::Numeric;

/// Scale that division does not exceed by itself.
const DISPLAY_SCALE_MAX: i64 = 1000;
/// Significant digits that division gives at least.
const SIGNIFICANT_DIGITS_MIN: i64 = 16;
/// Digits of the longest number whose root is taken, lest one expression take seconds.
const ROOT_DIGITS_MAX: usize = 1000;

/// Digits that `round` and `trunc` go to, on either side of the point.
const ROUND_DIGITS_MAX: i32 = 2000;

/// How many digits a finite value is rounded to. Beyond the limit the minor versions of PostgreSQL 15 do not agree,
/// if the value is so long that it matters.
pub fn round_digits(value: Numeric<'_>, digits: i32) -> Result<i32, EvalError> {
    let is_long = || {
        value.to_decimal().is_some_and(|decimal| {
            decimal.digit_count() as i64 - i64::from(decimal.scale) >= i64::from(ROUND_DIGITS_MAX)
        })
    };
    if digits > ROUND_DIGITS_MAX || (digits < -ROUND_DIGITS_MAX && is_long()) {
        let message = format!("cannot round to {digits} digits: at most {ROUND_DIGITS_MAX}");
        return Err(EvalError::unsupported(message));
    }
    Ok(digits.max(-ROUND_DIGITS_MAX))
}

/// At least one of the two is not finite; so for the following ones.
pub fn add_special<'a>(left: Numeric<'a>, right: Numeric<'a>) -> Numeric<'a> {
    match (left, right) {
        (Numeric::NaN, _)
        | (_, Numeric::NaN)
        | (Numeric::Infinity, Numeric::NegativeInfinity)
        | (Numeric::NegativeInfinity, Numeric::Infinity) => Numeric::NaN,
        (finite, special) if finite.is_finite() => special,
        (special, _) => special,
    }
}

pub fn multiply_special<'a>(left: Numeric<'a>, right: Numeric<'a>) -> Numeric<'a> {
    if matches!(left, Numeric::NaN) || matches!(right, Numeric::NaN) {
        return Numeric::NaN;
    }
    match left.signum() * right.signum() {
        0 => Numeric::NaN,
        1 => Numeric::Infinity,
        _ => Numeric::NegativeInfinity,
    }
}

pub fn divide_special<'a>(left: Numeric<'a>, right: Numeric<'a>) -> Result<Numeric<'a>, EvalError> {
    match (left, right) {
        (Numeric::NaN, _) | (_, Numeric::NaN) => Ok(Numeric::NaN),
        (finite, _) if finite.is_finite() => Ok(Numeric::ZERO),
        (_, divisor) if !divisor.is_finite() => Ok(Numeric::NaN),
        (_, divisor) if divisor.is_zero() => Err(EvalError::division_by_zero()),
        _ => Ok(multiply_special(left, right)),
    }
}

/// PostgreSQL's `select_div_scale`: it counts in base-10000 digits.
pub fn quotient_scale(left: Numeric<'_>, right: Numeric<'_>) -> u32 {
    let (left_weight, left_first) = leading(left);
    let (right_weight, right_first) = leading(right);
    let mut weight = left_weight - right_weight;
    if left_first <= right_first {
        weight -= 1;
    }
    let scales = left.scale().unwrap_or(0).max(right.scale().unwrap_or(0));
    (SIGNIFICANT_DIGITS_MIN - weight * 4)
        .max(i64::from(scales))
        .clamp(0, DISPLAY_SCALE_MAX) as u32
}

/// `sqrt(numeric)`, with PostgreSQL's choice of scale.
pub fn square_root<'a>(value: Numeric<'a>, arena: &'a Bump) -> Result<Numeric<'a>, EvalError> {
    if value.signum() < 0 {
        return Err(EvalError::new(
            "2201F",
            "cannot take square root of a negative number",
        ));
    }
    let Some(decimal) = value.to_decimal() else {
        return Ok(value);
    };
    if decimal.digit_count() > ROOT_DIGITS_MAX || decimal.scale > ROOT_DIGITS_MAX as u32 {
        return Err(EvalError::unsupported("number too long for a square root"));
    }
    let weight = leading(value).0;
    let scale = (SIGNIFICANT_DIGITS_MIN - (weight * 2 + 1))
        .max(i64::from(decimal.scale))
        .clamp(0, DISPLAY_SCALE_MAX);
    Numeric::from_decimal(decimal.square_root(scale as u32), arena)
}

/// Digits after the point without the zeros at the end; `None` for NaN and the infinities.
pub fn least_scale(value: Numeric<'_>) -> Option<u32> {
    let decimal = value.to_decimal()?;
    let digits = decimal.digits();
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    Some(if decimal.is_zero() {
        0
    } else {
        decimal.scale.saturating_sub(zeros as u32)
    })
}

/// `gcd(x, y)`.
pub fn greatest_divisor<'a>(
    left: Numeric<'a>,
    right: Numeric<'a>,
    arena: &'a Bump,
) -> Result<Numeric<'a>, EvalError> {
    let (Some(left), Some(right)) = (left.to_decimal(), right.to_decimal()) else {
        return Ok(Numeric::NaN);
    };
    Numeric::from_decimal(common_divisor(left, right)?, arena)
}

/// `lcm(x, y)`.
pub fn least_multiple<'a>(
    left: Numeric<'a>,
    right: Numeric<'a>,
    arena: &'a Bump,
) -> Result<Numeric<'a>, EvalError> {
    let (Some(left), Some(right)) = (left.to_decimal(), right.to_decimal()) else {
        return Ok(Numeric::NaN);
    };
    let scale = left.scale.max(right.scale);
    if left.is_zero() || right.is_zero() {
        return Numeric::from_decimal(
            Decimal {
                scale,
                ..Decimal::default()
            },
            arena,
        );
    }
    let divisor = common_divisor(left.clone(), right.clone())?;
    let mut multiple = left.divide(&divisor, 0, false).multiply(&right);
    multiple.negative = false;
    Numeric::from_decimal(multiple.rescale(scale as i32, true), arena)
}

/// Euclid's algorithm on whole multiples of the smaller unit.
fn common_divisor(left: Decimal, right: Decimal) -> Result<Decimal, EvalError> {
    if left.digit_count().max(right.digit_count()) > ROOT_DIGITS_MAX {
        return Err(EvalError::unsupported(
            "number too long for a common divisor",
        ));
    }
    let scale = left.scale.max(right.scale);
    let (mut left, mut right) = (left, right);
    while !right.is_zero() {
        let whole = left.divide(&right, 0, false);
        let rest = left.add(&whole.multiply(&right).negate());
        (left, right) = (right, rest);
    }
    left.negative = false;
    Ok(left.rescale(scale as i32, false))
}

/// Weight and value of the first base-10000 digit.
fn leading(value: Numeric<'_>) -> (i64, i64) {
    let (digits, scale, head) = match value {
        Numeric::Small { mantissa: 0, .. } => return (0, 0),
        Numeric::Small { mantissa, scale } => {
            let magnitude = mantissa.unsigned_abs();
            let digits = magnitude.ilog10() + 1;
            let head = if digits > 4 {
                magnitude / 10_u64.pow(digits - 4)
            } else {
                magnitude * 10_u64.pow(4 - digits)
            };
            (i64::from(digits), i64::from(scale), head)
        }
        Numeric::Big(big) => {
            let text = digits_of(big.limbs());
            if text.is_empty() {
                return (0, 0);
            }
            let head = text
                .bytes()
                .chain(std::iter::repeat(b'0'))
                .take(4)
                .fold(0, |head, digit| head * 10 + u64::from(digit - b'0'));
            (text.len() as i64, i64::from(big.scale), head)
        }
        Numeric::NaN | Numeric::Infinity | Numeric::NegativeInfinity => return (0, 0),
    };
    // `head` has four digits; the first base-10000 digit has as many of them as stand before its boundary.
    let top = digits - scale - 1;
    let first = head / 10_u64.pow(3 - top.rem_euclid(4) as u32);
    (top.div_euclid(4), first as i64)
}
