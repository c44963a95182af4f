//! Texts of integers and floats, read and written as PostgreSQL does.

use std::fmt::Write as _;

use super::error::EvalError;
use super::numeric_convert::is_space;

/// As `text::smallint`, `integer`, `bigint`: space, sign, decimal digits, space. `min` is the least of the type.
fn parse_integer(text: &str, min: i64, type_name: &str) -> Result<i64, EvalError> {
    let trimmed = text.trim_matches(is_space).as_bytes();
    let (negative, digits) = match trimmed {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return Err(EvalError::invalid_text(type_name, text));
    }
    let mut value = 0_i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(EvalError::invalid_text(type_name, text));
        }
        let next = value
            .checked_mul(10)
            .and_then(|value| value.checked_sub(i64::from(digit - b'0')));
        // Summed up below zero, because the range reaches one further there.
        value = next
            .filter(|value| *value >= min)
            .ok_or_else(|| EvalError::text_out_of_range(type_name, text))?;
    }
    match negative {
        true => Ok(value),
        false if value > min => Ok(-value),
        false => Err(EvalError::text_out_of_range(type_name, text)),
    }
}

pub fn parse_i16(text: &str) -> Result<i16, EvalError> {
    parse_integer(text, i64::from(i16::MIN), "smallint").map(|value| value as i16)
}

pub fn parse_i32(text: &str) -> Result<i32, EvalError> {
    parse_integer(text, i64::from(i32::MIN), "integer").map(|value| value as i32)
}

pub fn parse_i64(text: &str) -> Result<i64, EvalError> {
    parse_integer(text, i64::MIN, "bigint")
}

pub fn parse_f64(text: &str) -> Result<f64, EvalError> {
    let trimmed = float_body(text, "double precision")?;
    let value: f64 = trimmed
        .parse()
        .map_err(|_| EvalError::invalid_text("double precision", text))?;
    if lost(value.is_infinite(), value == 0.0, trimmed) {
        return Err(float_range(text, "double precision"));
    }
    Ok(value)
}

pub fn parse_f32(text: &str) -> Result<f32, EvalError> {
    let trimmed = float_body(text, "real")?;
    let value: f32 = trimmed
        .parse()
        .map_err(|_| EvalError::invalid_text("real", text))?;
    if lost(value.is_infinite(), value == 0.0, trimmed) {
        return Err(float_range(text, "real"));
    }
    Ok(value)
}

/// The C library also reads hexadecimal floats and `nan(…)`, which this program leaves alone.
fn float_body<'t>(text: &'t str, type_name: &str) -> Result<&'t str, EvalError> {
    let trimmed = text.trim_matches(is_space);
    if trimmed
        .bytes()
        .any(|byte| matches!(byte, b'x' | b'X' | b'('))
    {
        return Err(EvalError::unsupported(format!(
            "cannot read \"{text}\" as {type_name}"
        )));
    }
    Ok(trimmed)
}

/// Whether the range of the type changed a number into infinity or zero.
fn lost(infinite: bool, zero: bool, text: &str) -> bool {
    if infinite {
        return text.bytes().any(|byte| byte.is_ascii_digit());
    }
    let mantissa = text.split(['e', 'E']).next().unwrap_or("");
    zero && mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9'))
}

#[cold]
fn float_range(text: &str, type_name: &str) -> EvalError {
    EvalError::new(
        "22003",
        format!("\"{text}\" is out of range for type {type_name}"),
    )
}

/// Shortest text that reads back as the same value.
pub fn write_f64(value: f64, out: &mut String) {
    if write_special(value, out) {
        return;
    }
    let bits = value.to_bits();
    let exact = Exact::new(bits & ((1 << 52) - 1), (bits >> 52 & 0x7ff) as i32, 52);
    let reads_back = |text: &str| text.parse() == Ok(value);
    let text = strict(format!("{value:e}"), &exact, &reads_back, &|digits| {
        format!("{value:.digits$e}")
    });
    write_scientific(&text, 15, out);
}

/// Shortest text that reads back as the same value.
pub fn write_f32(value: f32, out: &mut String) {
    if write_special(f64::from(value), out) {
        return;
    }
    let bits = value.to_bits();
    let exact = Exact::new(
        u64::from(bits & ((1 << 23) - 1)),
        (bits >> 23 & 0xff) as i32,
        23,
    );
    let reads_back = |text: &str| text.parse() == Ok(value);
    let text = strict(format!("{value:e}"), &exact, &reads_back, &|digits| {
        format!("{value:.digits$e}")
    });
    write_scientific(&text, 6, out);
}

/// Most digits that a float needs.
const FLOAT_DIGITS_MAX: usize = 17;

/// Rust's shortest text, changed in the two cases in which PostgreSQL's differs: it may not lie on the midpoint to a
/// neighbour, and halfway between two candidates the even one is taken.
fn strict(
    shortest: String,
    exact: &Exact,
    reads_back: &dyn Fn(&str) -> bool,
    rounded: &dyn Fn(usize) -> String,
) -> String {
    if exact.on_boundary(&shortest) {
        return (0..FLOAT_DIGITS_MAX)
            .map(rounded)
            .find(|text| reads_back(text) && !exact.on_boundary(text))
            .unwrap_or(shortest);
    }
    match exact.even_below(&shortest) {
        Some(even) if reads_back(&even) && !exact.on_boundary(&even) => even,
        _ => shortest,
    }
}

fn write_special(value: f64, out: &mut String) -> bool {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    } else {
        return false;
    }
    true
}

/// A float as the integers it is made of: `mantissa · 2^power`.
struct Exact {
    mantissa: u64,
    power: i32,
    /// The neighbour below is only half as far away as the one above.
    power_of_two: bool,
}

impl Exact {
    fn new(fraction: u64, exponent: i32, fraction_bits: i32) -> Exact {
        let bias = (if fraction_bits == 52 { 1023 } else { 127 }) + fraction_bits;
        Exact {
            mantissa: if exponent == 0 {
                fraction
            } else {
                fraction | 1 << fraction_bits
            },
            power: exponent.max(1) - bias,
            power_of_two: fraction == 0,
        }
    }

    /// Whether the text is the midpoint to a neighbour. A midpoint has few digits only while powers of five are small,
    /// so this can be decided in 128 bits.
    fn on_boundary(&self, scientific: &str) -> bool {
        let Some((number, ten)) = integer_and_power(scientific) else {
            return false;
        };
        let quarter = u128::from(self.mantissa) * 4;
        let below = quarter.saturating_sub(if self.power_of_two { 1 } else { 2 });
        equal_powers(number, ten, quarter + 2, self.power - 2)
            || equal_powers(number, ten, below, self.power - 2)
    }

    /// The text with its last digit one lower, if the value is exactly between the two and the digit is odd.
    fn even_below(&self, scientific: &str) -> Option<String> {
        let (number, ten) = integer_and_power(scientific)?;
        let doubled = u128::from(self.mantissa);
        let halfway = number % 2 == 1 && equal_powers(number * 2 - 1, ten, doubled, self.power + 1);
        let sign = if scientific.starts_with('-') { "-" } else { "" };
        halfway.then(|| format!("{sign}{}e{ten}", number - 1))
    }
}

/// `-1.25e-7` as 125 and -9.
fn integer_and_power(scientific: &str) -> Option<(u128, i32)> {
    let (digits, exponent) = scientific.trim_start_matches('-').split_once('e')?;
    let decimals = digits
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len() as i32);
    let number = digits
        .bytes()
        .filter(u8::is_ascii_digit)
        .fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    Some((number, exponent.parse::<i32>().ok()? - decimals))
}

/// `number · 10^ten == other · 2^two`, both positive.
fn equal_powers(number: u128, ten: i32, other: u128, two: i32) -> bool {
    if number == 0 || other == 0 {
        return number == other;
    }
    let odd = |n: u128| (n >> n.trailing_zeros(), n.trailing_zeros() as i32);
    let (mut left, left_twos) = odd(number);
    let (mut right, right_twos) = odd(other);
    if left_twos + ten != right_twos + two || ten.abs() > 30 {
        return false;
    }
    let five = 5_u128.pow(ten.unsigned_abs());
    let grown = if ten >= 0 { &mut left } else { &mut right };
    match grown.checked_mul(five) {
        Some(product) => *grown = product,
        None => return false,
    }
    left == right
}

/// Rust's `-1.25e-7` in the form of C's `%g`, plain between 10^-4 and 10^`plain_below`.
fn write_scientific(scientific: &str, plain_below: i32, out: &mut String) {
    let (sign, unsigned) = match scientific.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", scientific),
    };
    let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let whole_digits = mantissa.split('.').next().unwrap_or("").len() as i32;
    let exponent = exponent.parse::<i32>().unwrap_or(0) + whole_digits - 1;
    let digits = match digits.trim_end_matches('0') {
        "" => "0",
        trimmed => trimmed,
    };
    out.push_str(sign);
    if !(-4..plain_below).contains(&exponent) {
        out.push_str(&digits[..1]);
        if digits.len() > 1 {
            out.push('.');
            out.push_str(&digits[1..]);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        // Writing to a String cannot fail.
        let _ = write!(out, "e{sign}{:02}", exponent.abs());
        return;
    }
    if exponent < 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', (-exponent - 1) as usize));
        out.push_str(digits);
        return;
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        out.push_str(digits);
        out.extend(std::iter::repeat_n('0', whole - digits.len()));
    } else {
        out.push_str(&digits[..whole]);
        out.push('.');
        out.push_str(&digits[whole..]);
    }
}
