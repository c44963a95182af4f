//! `power` of numeric, with the working digits and the result scale of PostgreSQL 15.

use bumpalo::Bump;

use super::decimal::Decimal;
use super::error::EvalError;
use super::numeric::{Numeric, overflow};
use super::numeric_series::{
    Computed, DISPLAY_SCALE_MAX, LOG10_E, RESULT_SCALE_MAX, SIGNIFICANT_DIGITS_MIN, exp, ln,
    ln_weight, product, settled, short, to_double, weight, whole,
};

/// Digits of the longest result, lest one expression take seconds.
const RESULT_DIGITS_MAX: f64 = 10_000.0;

/// `power(x, y)`, `x ^ y`.
pub fn power<'a>(
    base: Numeric<'a>,
    exponent: Numeric<'a>,
    arena: &'a Bump,
) -> Result<Numeric<'a>, EvalError> {
    let is_one = |value: Numeric<'_>| value.compare(one()).is_eq();
    let is_integral = |value: Numeric<'_>| {
        !value.is_finite()
            || value
                .to_decimal()
                .is_some_and(|decimal| as_whole(&decimal).is_some())
    };
    match (base, exponent) {
        (Numeric::NaN, other) if other.is_zero() => return Ok(one()),
        (other, Numeric::NaN) if is_one(other) => return Ok(one()),
        (Numeric::NaN, _) | (_, Numeric::NaN) => return Ok(Numeric::NaN),
        _ => {}
    }
    let refused = |message: &str| Err(EvalError::new("2201F", message));
    if base.is_zero() && exponent.signum() < 0 {
        return refused("zero raised to a negative power is undefined");
    }
    if base.signum() < 0 && !is_integral(exponent) {
        return refused("a negative number raised to a non-integer power yields a complex result");
    }
    match (short(base)?, short(exponent)?) {
        (Some(base), Some(exponent)) => Numeric::from_decimal(finite(&base, &exponent)?, arena),
        (_, decimal) => Ok(infinite(base, exponent, decimal, arena)),
    }
}

fn one() -> Numeric<'static> {
    Numeric::Small {
        mantissa: 1,
        scale: 0,
    }
}

/// As POSIX has it for `pow`; at least one of the two is infinite, none is NaN.
fn infinite<'a>(
    base: Numeric<'a>,
    exponent: Numeric<'a>,
    finite_exponent: Option<Decimal>,
    arena: &'a Bump,
) -> Numeric<'a> {
    let rises = exponent.signum() > 0;
    if base.compare(one()).is_eq() || exponent.is_zero() {
        return one();
    }
    if base.is_zero() {
        return Numeric::ZERO;
    }
    let Some(exponent) = finite_exponent else {
        if base.compare(one().negate(arena)).is_eq() {
            return one();
        }
        let grows = base.abs(arena).compare(one()).is_gt();
        return if grows == rises {
            Numeric::Infinity
        } else {
            Numeric::ZERO
        };
    };
    let odd = as_whole(&exponent).is_some_and(|whole| is_odd(&whole));
    match (rises, base) {
        (false, _) => Numeric::ZERO,
        (true, Numeric::NegativeInfinity) if odd => Numeric::NegativeInfinity,
        (true, _) => Numeric::Infinity,
    }
}

/// The number without a fraction; `None` if it has one.
fn as_whole(value: &Decimal) -> Option<Decimal> {
    let whole = value.rescale(0, false);
    whole.compare(value).is_eq().then_some(whole)
}

fn is_odd(whole: &Decimal) -> bool {
    whole.limbs.first().is_some_and(|limb| limb % 2 == 1)
}

fn finite(base: &Decimal, exponent: &Decimal) -> Computed {
    let integer = as_whole(exponent);
    let small = integer.as_ref().and_then(Decimal::small_mantissa);
    if let Some(exponent) = small.and_then(|whole| i32::try_from(whole).ok()) {
        let scale = SIGNIFICANT_DIGITS_MIN
            .max(i64::from(base.scale))
            .min(DISPLAY_SCALE_MAX);
        return of_integer(base, exponent, scale);
    }
    if base.is_zero() {
        return Ok(zero(SIGNIFICANT_DIGITS_MIN));
    }
    let negative = base.negative && integer.as_ref().is_some_and(is_odd);
    let base = &Decimal {
        negative: false,
        ..base.clone()
    };
    let ln_digits = ln_weight(base);
    // First roughly, to learn how many digits the result has.
    let working = (8 - ln_digits).max(0);
    let rough = to_double(&product(&ln(base, working)?, exponent, working));
    if rough.abs() > RESULT_SCALE_MAX * 3.01 {
        if rough > 0.0 {
            return Err(overflow());
        }
        return Ok(zero(DISPLAY_SCALE_MAX));
    }
    let digits_before = (rough * LOG10_E) as i64;
    let scale = (SIGNIFICANT_DIGITS_MIN - digits_before)
        .max(i64::from(base.scale))
        .max(i64::from(exponent.scale))
        .clamp(0, DISPLAY_SCALE_MAX);
    let digits = (scale + digits_before).max(0);
    let working = (digits - ln_digits + 8).max(0);
    let result = exp(&product(&ln(base, working)?, exponent, working), scale)?;
    Ok(if negative { result.negate() } else { result })
}

fn zero(scale: i64) -> Decimal {
    Decimal {
        scale: scale as u32,
        ..Decimal::default()
    }
}

/// PostgreSQL's `power_var_int`: squares and products.
fn of_integer(base: &Decimal, exponent: i32, scale: i64) -> Computed {
    match exponent {
        0 => return Ok(whole(1).rescale(scale as i32, false)),
        1 => return Ok(base.rescale(scale as i32, true)),
        -1 => return Ok(whole(1).divide(base, scale as u32, true)),
        2 => return Ok(product(base, base, scale)),
        _ if base.is_zero() => return Ok(zero(scale)),
        _ => {}
    }
    let before = f64::from(exponent) * log10(base);
    if before > 3.0 * 32_767.0 * 4.0 {
        return Err(overflow());
    }
    if before + 1.0 < -(scale as f64) || before + 1.0 < -(DISPLAY_SCALE_MAX as f64) {
        return Ok(zero(scale));
    }
    if before > RESULT_DIGITS_MAX {
        let message = format!("power: the result has more than {RESULT_DIGITS_MAX} digits");
        return Err(EvalError::unsupported(message));
    }
    let digits = 1 + scale + before as i64 + f64::from(exponent).abs().ln() as i64 + 8;
    let (result, exact) = by_squares(base, exponent.unsigned_abs(), digits);
    if exponent < 0 {
        let quotient = whole(1).divide(&result, (scale + 16) as u32, false);
        return if exact {
            Ok(whole(1).divide(&result, scale as u32, true))
        } else {
            settled(&quotient, scale)
        };
    }
    if exact {
        return Ok(result.rescale(scale as i32, true));
    }
    settled(&result, scale)
}

/// The power, and whether no digit of it was rounded off.
fn by_squares(base: &Decimal, mut exponent: u32, digits: i64) -> (Decimal, bool) {
    let mut exact = true;
    let mut multiply = |left: &Decimal, right: &Decimal, weights: i64| {
        let all = i64::from(left.scale + right.scale);
        let scale = (digits - weights * 4).min(all).max(0);
        let full = left.multiply(right);
        let kept = full.rescale(scale as i32, true);
        exact &= kept.compare(&full).is_eq();
        kept
    };
    let mut square = base.clone();
    let mut result = if exponent & 1 == 1 {
        base.clone()
    } else {
        whole(1)
    };
    exponent >>= 1;
    while exponent > 0 {
        square = multiply(&square, &square, 2 * weight(&square));
        if exponent & 1 == 1 {
            result = multiply(&square, &result, weight(&square) + weight(&result));
        }
        exponent >>= 1;
    }
    (result, exact)
}

/// From the first sixteen digits or so.
fn log10(value: &Decimal) -> f64 {
    let digits = value.digits();
    let taken = digits.len().min(17);
    let head: f64 = digits[..taken].parse().unwrap_or(f64::NAN);
    head.log10() + (digits.len() - taken) as f64 - f64::from(value.scale)
}
