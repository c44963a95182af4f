//! PostgreSQL's numeric: a value of at most 18 digits in two words, anything else by reference. Arithmetic and order.
//! Texts, floats and the wire format are in [`super::numeric_convert`].

use std::cmp::Ordering;

use bumpalo::Bump;

use super::decimal::Decimal;
use super::error::EvalError;
use super::numeric_rules::{
    add_special, divide_special, multiply_special, quotient_scale, round_digits,
};

/// Digits that a numeric may have before the point (its weight is a 16-bit count of base-10000 digits).
const DIGITS_BEFORE_POINT_MAX: i64 = 131_072;
/// Digits that a numeric may have after the point.
pub const SCALE_MAX: u32 = 16_383;

/// Largest scale and number of digits of [`Numeric::Small`].
pub const SMALL_DIGITS: u32 = 18;

/// Powers of ten that fit an `i64`.
pub const POWERS: [i64; 19] = {
    let mut powers = [1; 19];
    let mut at = 1;
    while at < 19 {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// An exact decimal with its display scale (`1.10` has scale 2).
#[derive(Clone, Copy, Debug)]
pub enum Numeric<'a> {
    /// `mantissa · 10^-scale`; at most 18 digits and scale at most 18. Every value that fits is held so.
    Small {
        mantissa: i64,
        scale: u8,
    },
    Big(&'a BigNumeric<'a>),
    NaN,
    Infinity,
    NegativeInfinity,
}

/// A number that [`Numeric::Small`] cannot hold.
#[derive(Clone, Debug)]
pub struct BigNumeric<'a> {
    pub(super) negative: bool,
    pub(super) scale: u16,
    pub(super) limbs: Limbs<'a>,
}

/// Base-10^9, little-endian; borrowed in an arena, owned in a row.
#[derive(Clone, Debug)]
pub(super) enum Limbs<'a> {
    Borrowed(&'a [u32]),
    Owned(Box<[u32]>),
}

impl BigNumeric<'_> {
    pub(super) fn limbs(&self) -> &[u32] {
        match &self.limbs {
            Limbs::Borrowed(limbs) => limbs,
            Limbs::Owned(limbs) => limbs,
        }
    }

    pub(super) fn to_owned(&self) -> BigNumeric<'static> {
        BigNumeric {
            negative: self.negative,
            scale: self.scale,
            limbs: Limbs::Owned(self.limbs().into()),
        }
    }
}

impl<'a> Numeric<'a> {
    pub const ZERO: Numeric<'static> = Numeric::Small {
        mantissa: 0,
        scale: 0,
    };

    pub fn from_i64(value: i64) -> Option<Numeric<'static>> {
        (value.unsigned_abs() < 10_u64.pow(SMALL_DIGITS)).then_some(Numeric::Small {
            mantissa: value,
            scale: 0,
        })
    }

    /// Any integer of 64 bits; those of 19 digits need the arena.
    pub fn from_integer(value: i64, arena: &'a Bump) -> Numeric<'a> {
        match Numeric::from_i64(value) {
            Some(small) => small,
            None => big_from_i128(i128::from(value), 0, arena),
        }
    }

    /// `mantissa · 10^-scale`, where the scale is at most 18.
    fn from_mantissa(mantissa: i64, scale: u8, arena: &'a Bump) -> Numeric<'a> {
        if mantissa.unsigned_abs() < 10_u64.pow(SMALL_DIGITS) {
            Numeric::Small { mantissa, scale }
        } else {
            big_from_i128(i128::from(mantissa), u32::from(scale), arena)
        }
    }

    /// `value · 10^-scale`, where `scale` is within the limits and the value has at most 38 digits.
    pub fn from_i128(value: i128, scale: u32, arena: &'a Bump) -> Numeric<'a> {
        if scale <= SMALL_DIGITS && value.unsigned_abs() < 10_u128.pow(SMALL_DIGITS) {
            return Numeric::Small {
                mantissa: value as i64,
                scale: scale as u8,
            };
        }
        big_from_i128(value, scale, arena)
    }

    /// The error of a result that PostgreSQL's format cannot hold is `22003`.
    pub(super) fn from_decimal(value: Decimal, arena: &'a Bump) -> Result<Numeric<'a>, EvalError> {
        if value.scale <= SMALL_DIGITS
            && let Some(mantissa) = value.small_mantissa()
        {
            return Ok(Numeric::Small {
                mantissa,
                scale: value.scale as u8,
            });
        }
        let before_point = value.digit_count() as i64 - i64::from(value.scale);
        if before_point > DIGITS_BEFORE_POINT_MAX || value.scale > SCALE_MAX {
            return Err(overflow());
        }
        Ok(Numeric::Big(arena.alloc(BigNumeric {
            negative: value.negative,
            scale: value.scale as u16,
            limbs: Limbs::Borrowed(arena.alloc_slice_copy(&value.limbs)),
        })))
    }

    /// `None` for NaN and the infinities.
    pub(super) fn to_decimal(self) -> Option<Decimal> {
        match self {
            Numeric::Small { mantissa, scale } => {
                Some(Decimal::from_i128(i128::from(mantissa), u32::from(scale)))
            }
            Numeric::Big(big) => Some(Decimal {
                negative: big.negative,
                scale: u32::from(big.scale),
                limbs: big.limbs().to_vec(),
            }),
            Numeric::NaN | Numeric::Infinity | Numeric::NegativeInfinity => None,
        }
    }

    /// Digits after the point; `None` for NaN and the infinities.
    pub fn scale(self) -> Option<u32> {
        match self {
            Numeric::Small { scale, .. } => Some(u32::from(scale)),
            Numeric::Big(big) => Some(u32::from(big.scale)),
            Numeric::NaN | Numeric::Infinity | Numeric::NegativeInfinity => None,
        }
    }

    pub fn is_zero(self) -> bool {
        match self {
            Numeric::Small { mantissa, .. } => mantissa == 0,
            Numeric::Big(big) => big.limbs().is_empty(),
            Numeric::NaN | Numeric::Infinity | Numeric::NegativeInfinity => false,
        }
    }

    pub fn is_finite(self) -> bool {
        matches!(self, Numeric::Small { .. } | Numeric::Big(_))
    }

    /// -1, 0 or 1; 1 for NaN.
    pub fn signum(self) -> i64 {
        match self {
            Numeric::Small { mantissa, .. } => mantissa.signum(),
            Numeric::Big(big) if big.limbs().is_empty() => 0,
            Numeric::Big(big) => 1 - 2 * i64::from(big.negative),
            Numeric::NaN | Numeric::Infinity => 1,
            Numeric::NegativeInfinity => -1,
        }
    }

    pub fn add(self, other: Numeric<'a>, arena: &'a Bump) -> Result<Numeric<'a>, EvalError> {
        if let (
            Numeric::Small { mantissa: a, scale },
            Numeric::Small {
                mantissa: b,
                scale: other_scale,
            },
        ) = (self, other)
        {
            if scale == other_scale {
                // Each is below 10^18, so the sum fits an i64.
                return Ok(Numeric::from_mantissa(a + b, scale, arena));
            }
            let common = scale.max(other_scale);
            if let Some(a) = a.checked_mul(POWERS[usize::from(common - scale)])
                && let Some(b) = b.checked_mul(POWERS[usize::from(common - other_scale)])
                && let Some(sum) = a.checked_add(b)
            {
                return Ok(Numeric::from_mantissa(sum, common, arena));
            }
            let sum = i128::from(a) * i128::from(POWERS[usize::from(common - scale)])
                + i128::from(b) * i128::from(POWERS[usize::from(common - other_scale)]);
            return Ok(Numeric::from_i128(sum, u32::from(common), arena));
        }
        match (self.to_decimal(), other.to_decimal()) {
            (Some(left), Some(right)) => Numeric::from_decimal(left.add(&right), arena),
            _ => Ok(add_special(self, other)),
        }
    }

    pub fn subtract(self, other: Numeric<'a>, arena: &'a Bump) -> Result<Numeric<'a>, EvalError> {
        self.add(other.negate(arena), arena)
    }

    pub fn multiply(self, other: Numeric<'a>, arena: &'a Bump) -> Result<Numeric<'a>, EvalError> {
        if let (
            Numeric::Small { mantissa: a, scale },
            Numeric::Small {
                mantissa: b,
                scale: other_scale,
            },
        ) = (self, other)
        {
            if let Some(product) = a.checked_mul(b)
                && u32::from(scale) + u32::from(other_scale) <= SMALL_DIGITS
            {
                return Ok(Numeric::from_mantissa(product, scale + other_scale, arena));
            }
            let product = i128::from(a) * i128::from(b);
            return Ok(Numeric::from_i128(
                product,
                u32::from(scale) + u32::from(other_scale),
                arena,
            ));
        }
        match (self.to_decimal(), other.to_decimal()) {
            (Some(left), Some(right)) => {
                let mut product = left.multiply(&right);
                if product.scale > SCALE_MAX {
                    product = product.rescale(SCALE_MAX as i32, true);
                }
                Numeric::from_decimal(product, arena)
            }
            _ => Ok(multiply_special(self, other)),
        }
    }

    /// With PostgreSQL's choice of result scale (`select_div_scale`): at least 16 significant digits.
    pub fn divide(self, other: Numeric<'a>, arena: &'a Bump) -> Result<Numeric<'a>, EvalError> {
        if !self.is_finite() || !other.is_finite() {
            return divide_special(self, other);
        }
        if other.is_zero() {
            return Err(EvalError::division_by_zero());
        }
        let scale = quotient_scale(self, other);
        self.divide_to(other, scale, true, arena)
    }

    /// Finite operands, divisor not zero.
    fn divide_to(
        self,
        other: Numeric<'a>,
        result_scale: u32,
        round: bool,
        arena: &'a Bump,
    ) -> Result<Numeric<'a>, EvalError> {
        if let (
            Numeric::Small { mantissa: a, scale },
            Numeric::Small {
                mantissa: b,
                scale: other_scale,
            },
        ) = (self, other)
        {
            let shift = i64::from(result_scale) + i64::from(other_scale) - i64::from(scale);
            if (0..=20).contains(&shift) {
                let numerator = i128::from(a) * 10_i128.pow(shift as u32);
                let mut quotient = numerator / i128::from(b);
                let remainder = numerator % i128::from(b);
                if round && remainder.unsigned_abs() * 2 >= u128::from(b.unsigned_abs()) {
                    quotient += if (a < 0) == (b < 0) { 1 } else { -1 };
                }
                return Ok(Numeric::from_i128(quotient, result_scale, arena));
            }
        }
        match (self.to_decimal(), other.to_decimal()) {
            (Some(left), Some(right)) => {
                Numeric::from_decimal(left.divide(&right, result_scale, round), arena)
            }
            _ => Ok(Numeric::NaN),
        }
    }

    /// The remainder of truncated division: it has the sign of the dividend.
    pub fn modulo(self, other: Numeric<'a>, arena: &'a Bump) -> Result<Numeric<'a>, EvalError> {
        match (self, other) {
            (Numeric::NaN, _) | (_, Numeric::NaN) => return Ok(Numeric::NaN),
            (_, divisor) if divisor.is_zero() => return Err(EvalError::division_by_zero()),
            (Numeric::Infinity | Numeric::NegativeInfinity, _) => return Ok(Numeric::NaN),
            (_, Numeric::Infinity | Numeric::NegativeInfinity) => return Ok(self),
            _ => {}
        }
        if let (
            Numeric::Small { mantissa: a, scale },
            Numeric::Small {
                mantissa: b,
                scale: other_scale,
            },
        ) = (self, other)
        {
            let common = scale.max(other_scale);
            let left = i128::from(a) * i128::from(POWERS[usize::from(common - scale)]);
            let right = i128::from(b) * i128::from(POWERS[usize::from(common - other_scale)]);
            return Ok(Numeric::from_i128(left % right, u32::from(common), arena));
        }
        match (self.to_decimal(), other.to_decimal()) {
            (Some(left), Some(right)) => {
                let whole = left.divide(&right, 0, false);
                let remainder = left.add(&whole.multiply(&right).negate());
                Numeric::from_decimal(remainder, arena)
            }
            _ => Ok(Numeric::NaN),
        }
    }

    /// `div(x, y)`: the quotient cut to a whole number.
    pub fn divide_whole(
        self,
        other: Numeric<'a>,
        arena: &'a Bump,
    ) -> Result<Numeric<'a>, EvalError> {
        if !self.is_finite() || !other.is_finite() {
            return divide_special(self, other);
        }
        if other.is_zero() {
            return Err(EvalError::division_by_zero());
        }
        self.divide_to(other, 0, false, arena)
    }

    pub fn negate(self, arena: &'a Bump) -> Numeric<'a> {
        match self {
            Numeric::Small { mantissa, scale } => Numeric::Small {
                mantissa: -mantissa,
                scale,
            },
            Numeric::Big(big) => Numeric::Big(arena.alloc(BigNumeric {
                negative: !big.negative && !big.limbs().is_empty(),
                scale: big.scale,
                limbs: Limbs::Borrowed(big.limbs()),
            })),
            Numeric::NaN => Numeric::NaN,
            Numeric::Infinity => Numeric::NegativeInfinity,
            Numeric::NegativeInfinity => Numeric::Infinity,
        }
    }

    pub fn abs(self, arena: &'a Bump) -> Numeric<'a> {
        if self.signum() < 0 {
            self.negate(arena)
        } else {
            self
        }
    }

    pub fn sign(self) -> Numeric<'a> {
        match self {
            Numeric::NaN => Numeric::NaN,
            other => Numeric::Small {
                mantissa: other.signum(),
                scale: 0,
            },
        }
    }

    /// `round(x, digits)`: half away from zero; `digits` may be negative.
    pub fn round(self, digits: i32, arena: &'a Bump) -> Result<Numeric<'a>, EvalError> {
        self.rescale(digits, true, arena)
    }

    /// `trunc(x, digits)`.
    pub fn truncate(self, digits: i32, arena: &'a Bump) -> Result<Numeric<'a>, EvalError> {
        self.rescale(digits, false, arena)
    }

    pub fn floor(self, arena: &'a Bump) -> Result<Numeric<'a>, EvalError> {
        self.toward(-1, arena)
    }

    pub fn ceil(self, arena: &'a Bump) -> Result<Numeric<'a>, EvalError> {
        self.toward(1, arena)
    }

    fn toward(self, direction: i64, arena: &'a Bump) -> Result<Numeric<'a>, EvalError> {
        let whole = self.truncate(0, arena)?;
        if self.signum() == direction && self.compare(whole) != Ordering::Equal {
            let step = Numeric::Small {
                mantissa: direction,
                scale: 0,
            };
            return whole.add(step, arena);
        }
        Ok(whole)
    }

    fn rescale(self, digits: i32, round: bool, arena: &'a Bump) -> Result<Numeric<'a>, EvalError> {
        if !self.is_finite() {
            return Ok(self);
        }
        let digits = round_digits(self, digits)?;
        if let Numeric::Small { mantissa, scale } = self
            && (0..=SMALL_DIGITS as i32).contains(&digits)
        {
            let drop = i32::from(scale) - digits;
            if drop == 0 {
                return Ok(self);
            }
            if drop > 0 {
                let power = POWERS[drop as usize];
                let mut kept = mantissa / power;
                if round && (mantissa % power).unsigned_abs() * 2 >= power.unsigned_abs() {
                    kept += mantissa.signum();
                }
                return Ok(Numeric::from_i128(i128::from(kept), digits as u32, arena));
            }
            let raised = i128::from(mantissa) * i128::from(POWERS[-drop as usize]);
            return Ok(Numeric::from_i128(raised, digits as u32, arena));
        }
        match self.to_decimal() {
            Some(decimal) => Numeric::from_decimal(decimal.rescale(digits, round), arena),
            None => Ok(self),
        }
    }

    /// PostgreSQL's order: NaN equals itself and is above everything else. The display scale does not count.
    pub fn compare(self, other: Numeric<'_>) -> Ordering {
        if let (
            Numeric::Small { mantissa: a, scale },
            Numeric::Small {
                mantissa: b,
                scale: other_scale,
            },
        ) = (self, other)
        {
            if scale == other_scale {
                return a.cmp(&b);
            }
            let common = scale.max(other_scale);
            if let Some(a) = a.checked_mul(POWERS[usize::from(common - scale)])
                && let Some(b) = b.checked_mul(POWERS[usize::from(common - other_scale)])
            {
                return a.cmp(&b);
            }
            return (i128::from(a) * i128::from(POWERS[usize::from(common - scale)]))
                .cmp(&(i128::from(b) * i128::from(POWERS[usize::from(common - other_scale)])));
        }
        match (self.to_decimal(), other.to_decimal()) {
            (Some(left), Some(right)) => left.compare(&right),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(self) -> u8 {
        match self {
            Numeric::NegativeInfinity => 0,
            Numeric::Small { .. } | Numeric::Big(_) => 1,
            Numeric::Infinity => 2,
            Numeric::NaN => 3,
        }
    }

    /// Identical, display scale included.
    #[inline]
    pub fn same(self, other: Numeric<'_>) -> bool {
        if let (
            Numeric::Small { mantissa: a, scale },
            Numeric::Small {
                mantissa: b,
                scale: other_scale,
            },
        ) = (self, other)
        {
            return a == b && scale == other_scale;
        }
        self.scale() == other.scale() && self.compare(other) == Ordering::Equal
    }
}

#[cold]
pub(super) fn overflow() -> EvalError {
    EvalError::new("22003", "value overflows numeric format")
}

#[cold]
fn big_from_i128(value: i128, scale: u32, arena: &Bump) -> Numeric<'_> {
    let decimal = Decimal::from_i128(value, scale);
    Numeric::Big(arena.alloc(BigNumeric {
        negative: decimal.negative,
        scale: scale as u16,
        limbs: Limbs::Borrowed(arena.alloc_slice_copy(&decimal.limbs)),
    }))
}
