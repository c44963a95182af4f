//! What a [`Numeric`] becomes and is made of: text, integers, floats, a declared precision, the wire format.

use std::fmt;

use bumpalo::Bump;

use super::decimal::{Decimal, digits_of};
use super::error::EvalError;
use super::numeric::{Numeric, POWERS, SMALL_DIGITS};

/// Exponents are cut to this: it is out of range by far already.
const EXPONENT_MAX: i64 = (i32::MAX / 2) as i64;

impl<'a> Numeric<'a> {
    /// As `text::numeric`: surrounding space, sign, digits, point, exponent, NaN, Infinity.
    pub fn parse(text: &str, arena: &'a Bump) -> Result<Numeric<'a>, EvalError> {
        let invalid = || EvalError::invalid_text("numeric", text);
        let trimmed = text.trim_matches(is_space).as_bytes();
        let (negative, body) = match trimmed {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if body.first().is_some_and(u8::is_ascii_alphabetic) {
            return match body.to_ascii_lowercase().as_slice() {
                b"nan" if body.len() == trimmed.len() => Ok(Numeric::NaN),
                b"inf" | b"infinity" if negative => Ok(Numeric::NegativeInfinity),
                b"inf" | b"infinity" => Ok(Numeric::Infinity),
                _ => Err(invalid()),
            };
        }
        Scanned::new(negative, body)
            .ok_or_else(invalid)?
            .numeric(arena)
    }

    /// A valid JSON number, as jsonb and `numeric` print it.
    pub fn from_json(text: &str, arena: &'a Bump) -> Result<Numeric<'a>, EvalError> {
        if let Some(small) = Numeric::small_plain(text.as_bytes()) {
            return Ok(small);
        }
        Numeric::parse(text, arena)
    }

    /// `-?digits(.digits)?` of at most 18 digits, the usual JSON number.
    #[inline(always)]
    pub(super) fn small_plain(text: &[u8]) -> Option<Numeric<'static>> {
        let (negative, body) = match text {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        if body.is_empty() || body.len() > SMALL_DIGITS as usize {
            return None;
        }
        let mut magnitude = 0_i64;
        let mut point = None;
        for (at, byte) in body.iter().enumerate() {
            match byte {
                b'0'..=b'9' => magnitude = magnitude * 10 + i64::from(byte - b'0'),
                b'.' if point.is_none() => point = Some(at),
                _ => return None,
            }
        }
        Some(Numeric::Small {
            mantissa: if negative { -magnitude } else { magnitude },
            scale: point.map_or(0, |at| body.len() - at - 1) as u8,
        })
    }

    /// Through 15 significant digits, as PostgreSQL does.
    pub fn from_f64(value: f64, arena: &'a Bump) -> Result<Numeric<'a>, EvalError> {
        if value.is_finite() {
            return Numeric::parse(strip_zeros(&format!("{value:.14e}")).as_str(), arena);
        }
        Ok(special_from(value))
    }

    /// Through 6 significant digits, as PostgreSQL does.
    pub fn from_f32(value: f32, arena: &'a Bump) -> Result<Numeric<'a>, EvalError> {
        if value.is_finite() {
            return Numeric::parse(strip_zeros(&format!("{value:.5e}")).as_str(), arena);
        }
        Ok(special_from(f64::from(value)))
    }

    pub fn to_f64(self) -> Result<f64, EvalError> {
        match self {
            Numeric::Small { mantissa, scale }
                if mantissa.unsigned_abs() < 1 << 53 && scale <= SMALL_DIGITS as u8 =>
            {
                // Both are exact doubles, so the one rounding of the division is the right one.
                Ok(mantissa as f64 / POWERS[usize::from(scale)] as f64)
            }
            Numeric::NaN => Ok(f64::NAN),
            Numeric::Infinity => Ok(f64::INFINITY),
            Numeric::NegativeInfinity => Ok(f64::NEG_INFINITY),
            _ => super::number_text::parse_f64(&self.to_string()),
        }
    }

    pub fn to_f32(self) -> Result<f32, EvalError> {
        match self {
            Numeric::NaN => Ok(f32::NAN),
            Numeric::Infinity => Ok(f32::INFINITY),
            Numeric::NegativeInfinity => Ok(f32::NEG_INFINITY),
            _ => super::number_text::parse_f32(&self.to_string()),
        }
    }

    /// Rounded half away from zero; `type_name` is for the message.
    pub fn to_i64(self, type_name: &str) -> Result<i64, EvalError> {
        match self {
            Numeric::Small { mantissa, scale: 0 } => Ok(mantissa),
            Numeric::Small { mantissa, scale } => {
                let power = POWERS[usize::from(scale)];
                let rounds = (mantissa % power).unsigned_abs() * 2 >= power.unsigned_abs();
                Ok(mantissa / power + if rounds { mantissa.signum() } else { 0 })
            }
            Numeric::Big(_) => {
                let whole = self.to_decimal().map(|decimal| decimal.rescale(0, true));
                let text = whole
                    .filter(|whole| whole.digit_count() <= 19)
                    .map(|whole| {
                        let sign = if whole.negative { "-" } else { "" };
                        format!("{sign}0{}", whole.digits())
                    });
                text.and_then(|text| text.parse().ok())
                    .ok_or_else(|| EvalError::out_of_range(type_name))
            }
            Numeric::NaN => Err(EvalError::unsupported(format!(
                "cannot convert NaN to {type_name}"
            ))),
            Numeric::Infinity | Numeric::NegativeInfinity => Err(EvalError::unsupported(format!(
                "cannot convert infinity to {type_name}"
            ))),
        }
    }

    /// What a column of `numeric(precision, scale)` keeps.
    pub fn fit(
        self,
        precision: u16,
        scale: i16,
        arena: &'a Bump,
    ) -> Result<Numeric<'a>, EvalError> {
        // What has the scale already fits if it has no more digits.
        if let Numeric::Small {
            mantissa,
            scale: shown,
        } = self
            && i16::from(shown) == scale
            && mantissa.abs() < POWERS[usize::from(precision).min(SMALL_DIGITS as usize)]
        {
            return Ok(self);
        }
        let overflow = || EvalError::new("22003", "numeric field overflow");
        let rounded = match self {
            Numeric::NaN => return Ok(self),
            Numeric::Infinity | Numeric::NegativeInfinity => return Err(overflow()),
            finite => finite.round(i32::from(scale), arena)?,
        };
        let top = match rounded {
            Numeric::Small { mantissa: 0, .. } => return Ok(rounded),
            Numeric::Small { mantissa, scale } => {
                i64::from(mantissa.unsigned_abs().ilog10()) + 1 - i64::from(scale)
            }
            other => match other.to_decimal() {
                Some(decimal) if !decimal.is_zero() => {
                    decimal.digit_count() as i64 - i64::from(decimal.scale)
                }
                _ => return Ok(rounded),
            },
        };
        if top > i64::from(precision) - i64::from(scale) {
            return Err(overflow());
        }
        Ok(rounded)
    }

    /// PostgreSQL's binary form: digit count, weight, sign, scale, base-10000 digits.
    pub fn encode(self, out: &mut Vec<u8>) {
        let header = |out: &mut Vec<u8>, count: u16, weight: i16, sign: u16, scale: u16| {
            out.extend_from_slice(&count.to_be_bytes());
            out.extend_from_slice(&weight.to_be_bytes());
            out.extend_from_slice(&sign.to_be_bytes());
            out.extend_from_slice(&scale.to_be_bytes());
        };
        match self {
            Numeric::NaN => header(out, 0, 0, 0xC000, 0),
            // The scale means nothing here, but this is what PostgreSQL itself sends.
            Numeric::Infinity => header(out, 0, 0, 0xD000, 0x20),
            Numeric::NegativeInfinity => header(out, 0, 0, 0xF000, 0x20),
            Numeric::Small { mantissa, scale } => {
                let after = u32::from(scale).div_ceil(4);
                let mut rest =
                    u128::from(mantissa.unsigned_abs()) * 10_u128.pow(after * 4 - u32::from(scale));
                let mut groups = [0_u16; 8];
                let mut count = 0;
                while rest != 0 {
                    groups[count] = (rest % 10_000) as u16;
                    rest /= 10_000;
                    count += 1;
                }
                let zeros = groups[..count]
                    .iter()
                    .take_while(|group| **group == 0)
                    .count();
                let weight = if count == 0 {
                    0
                } else {
                    count as i16 - after as i16 - 1
                };
                let sign = if mantissa < 0 { 0x4000 } else { 0 };
                header(out, (count - zeros) as u16, weight, sign, u16::from(scale));
                for group in groups[zeros..count].iter().rev() {
                    out.extend_from_slice(&group.to_be_bytes());
                }
            }
            Numeric::Big(big) => {
                let (groups, weight) = wire_groups(&digits_of(big.limbs()), usize::from(big.scale));
                let sign = if big.negative { 0x4000 } else { 0 };
                header(out, groups.len() as u16, weight, sign, big.scale);
                for group in groups {
                    out.extend_from_slice(&group.to_be_bytes());
                }
            }
        }
    }

    /// `None` if the bytes are no numeric.
    pub fn decode(bytes: &[u8], arena: &'a Bump) -> Option<Numeric<'a>> {
        let word = |at: usize| -> Option<u16> {
            Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
        };
        let (count, weight, sign, scale) = (word(0)?, word(2)? as i16, word(4)?, word(6)?);
        match sign {
            0xC000 => return Some(Numeric::NaN),
            0xD000 => return Some(Numeric::Infinity),
            0xF000 => return Some(Numeric::NegativeInfinity),
            _ => {}
        }
        if bytes.len() != 8 + usize::from(count) * 2 {
            return None;
        }
        let negative = sign == 0x4000;
        // The digits' own scale: four decimals for each group after the first `weight + 1`.
        let own_scale = (i32::from(count) - i32::from(weight) - 1) * 4;
        let small_scale = i32::from(scale);
        if count <= 6 && small_scale <= SMALL_DIGITS as i32 && (-20..=24).contains(&own_scale) {
            let mut mantissa = 0_i128;
            for at in 0..usize::from(count) {
                mantissa = mantissa * 10_000 + i128::from(word(8 + at * 2)?);
            }
            let shift = small_scale - own_scale;
            if shift < 0 {
                mantissa /= 10_i128.pow(shift.unsigned_abs());
            } else if let Some(raised) = mantissa.checked_mul(10_i128.checked_pow(shift as u32)?) {
                mantissa = raised;
            } else {
                return decode_big(bytes, negative, own_scale, scale, arena);
            }
            let signed = if negative { -mantissa } else { mantissa };
            return Some(Numeric::from_i128(signed, u32::from(scale), arena));
        }
        decode_big(bytes, negative, own_scale, scale, arena)
    }
}

fn decode_big<'a>(
    bytes: &[u8],
    negative: bool,
    own_scale: i32,
    scale: u16,
    arena: &'a Bump,
) -> Option<Numeric<'a>> {
    let mut digits = String::with_capacity(bytes.len() * 2);
    for group in bytes[8..].chunks_exact(2) {
        use fmt::Write as _;
        write!(digits, "{:04}", u16::from_be_bytes([group[0], group[1]])).ok()?;
    }
    for _ in own_scale..0 {
        digits.push('0');
    }
    let decimal = Decimal::from_digits(negative, digits.as_bytes(), own_scale.max(0) as u32);
    Numeric::from_decimal(decimal.rescale(i32::from(scale), false), arena).ok()
}

/// Base-10000 digits without zeros at either end, and the weight of the first.
fn wire_groups(digits: &str, scale: usize) -> (Vec<u16>, i16) {
    let after = scale.div_ceil(4);
    let mut padded = digits.to_owned();
    padded.extend(std::iter::repeat_n('0', after * 4 - scale));
    let mut groups: Vec<u16> = padded
        .as_bytes()
        .rchunks(4)
        .rev()
        .map(|group| {
            group
                .iter()
                .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))
        })
        .collect();
    let mut weight = groups.len() as i64 - after as i64 - 1;
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight -= leading as i64;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    (groups, weight as i16)
}

/// A number cut into its parts, not yet a value.
struct Scanned<'t> {
    negative: bool,
    whole: &'t [u8],
    fraction: &'t [u8],
    exponent: i64,
}

impl<'t> Scanned<'t> {
    /// `body` is what stands behind the sign; `None` is a syntax error.
    fn new(negative: bool, body: &'t [u8]) -> Option<Scanned<'t>> {
        let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (whole, rest) = body.split_at(digits(body));
        let (fraction, rest) = match rest {
            [b'.', after @ ..] => after.split_at(digits(after)),
            other => (&[][..], other),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', power @ ..] => {
                let unsigned = power.strip_prefix(b"-").or(power.strip_prefix(b"+"));
                let unsigned = unsigned.unwrap_or(power);
                if unsigned.is_empty() || digits(unsigned) != unsigned.len() {
                    return None;
                }
                // Digits too many for an i64 say the same as the limit.
                let text = std::str::from_utf8(unsigned).ok()?;
                let size = text
                    .parse::<i64>()
                    .unwrap_or(EXPONENT_MAX)
                    .min(EXPONENT_MAX);
                if power[0] == b'-' { -size } else { size }
            }
            _ => return None,
        };
        Some(Scanned {
            negative,
            whole,
            fraction,
            exponent,
        })
    }

    fn numeric<'a>(&self, arena: &'a Bump) -> Result<Numeric<'a>, EvalError> {
        let scale = self.fraction.len() as i64 - self.exponent;
        if self.whole.len() + self.fraction.len() <= SMALL_DIGITS as usize
            && (0..=i64::from(SMALL_DIGITS)).contains(&scale)
        {
            let magnitude = self
                .whole
                .iter()
                .chain(self.fraction)
                .fold(0, |sum: i64, digit| sum * 10 + i64::from(digit - b'0'));
            return Ok(Numeric::Small {
                mantissa: if self.negative { -magnitude } else { magnitude },
                scale: scale as u8,
            });
        }
        let mut digits = [self.whole, self.fraction].concat();
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..zeros);
        if digits.is_empty() {
            let decimal = Decimal::from_digits(false, &[], u32::try_from(scale).unwrap_or(0));
            return Numeric::from_decimal(decimal, arena);
        }
        // Refused here already, so that a short text cannot ask for a huge number.
        if digits.len() as i64 - scale > 131_072 || scale > i64::from(super::numeric::SCALE_MAX) {
            return Err(super::numeric::overflow());
        }
        digits.extend(std::iter::repeat_n(b'0', (-scale).max(0) as usize));
        Numeric::from_decimal(
            Decimal::from_digits(self.negative, &digits, scale.max(0) as u32),
            arena,
        )
    }
}

fn special_from(value: f64) -> Numeric<'static> {
    if value.is_nan() {
        Numeric::NaN
    } else if value > 0.0 {
        Numeric::Infinity
    } else {
        Numeric::NegativeInfinity
    }
}

/// `1.500e3` as C's `%g` would: `1.5e3`.
fn strip_zeros(scientific: &str) -> String {
    match scientific.split_once('e') {
        Some((mantissa, exponent)) => {
            let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
            format!("{mantissa}e{exponent}")
        }
        None => scientific.to_owned(),
    }
}

/// C's `isspace` in the C locale.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

impl fmt::Display for Numeric<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Numeric::NaN => f.write_str("NaN"),
            Numeric::Infinity => f.write_str("Infinity"),
            Numeric::NegativeInfinity => f.write_str("-Infinity"),
            Numeric::Small { mantissa, scale: 0 } => write!(f, "{mantissa}"),
            Numeric::Small { mantissa, scale } => {
                let power = POWERS[usize::from(scale)].unsigned_abs();
                let magnitude = mantissa.unsigned_abs();
                let sign = if mantissa < 0 { "-" } else { "" };
                write!(
                    f,
                    "{sign}{}.{:0width$}",
                    magnitude / power,
                    magnitude % power,
                    width = usize::from(scale)
                )
            }
            Numeric::Big(big) => {
                let digits = digits_of(big.limbs());
                let scale = usize::from(big.scale);
                if big.negative {
                    f.write_str("-")?;
                }
                let (whole, fraction) = digits.split_at(digits.len().saturating_sub(scale));
                f.write_str(if whole.is_empty() { "0" } else { whole })?;
                if scale == 0 {
                    return Ok(());
                }
                f.write_str(".")?;
                for _ in fraction.len()..scale {
                    f.write_str("0")?;
                }
                f.write_str(fraction)
            }
        }
    }
}
