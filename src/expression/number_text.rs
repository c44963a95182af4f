//! Texts of integers and floats, read and written as PostgreSQL does.

use std::fmt::Write as _;

use super::error::EvalError;
use super::numeric_convert::is_space;

/// As `text::smallint`, `integer`, `bigint`: space, sign, decimal digits, space.
pub fn parse_integer(text: &str, type_name: &str) -> Result<i64, EvalError> {
    let trimmed = text.trim_matches(is_space).as_bytes();
    let (negative, digits) = match trimmed {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(EvalError::invalid_text(type_name, text));
    }
    let mut value = 0_i64;
    for digit in digits {
        let next = value
            .checked_mul(10)
            .and_then(|value| value.checked_sub(i64::from(digit - b'0')));
        // Summed up below zero, because the range reaches one further there.
        value = next.ok_or_else(|| EvalError::text_out_of_range(type_name, text))?;
    }
    if negative {
        return Ok(value);
    }
    value
        .checked_neg()
        .ok_or_else(|| EvalError::text_out_of_range(type_name, text))
}

pub fn parse_i16(text: &str) -> Result<i16, EvalError> {
    i16::try_from(parse_integer(text, "smallint")?)
        .map_err(|_| EvalError::text_out_of_range("smallint", text))
}

pub fn parse_i32(text: &str) -> Result<i32, EvalError> {
    i32::try_from(parse_integer(text, "integer")?)
        .map_err(|_| EvalError::text_out_of_range("integer", text))
}

pub fn parse_i64(text: &str) -> Result<i64, EvalError> {
    parse_integer(text, "bigint")
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
    let mut scientific = format!("{value:e}");
    if on_boundary_f64(value, &scientific) {
        scientific = strictly_inside(&scientific, 17, |digits| {
            let text = format!("{value:.digits$e}");
            (text.parse() == Ok(value) && !on_boundary_f64(value, &text)).then_some(text)
        });
    }
    write_scientific(&scientific, 15, out);
}

/// Shortest text that reads back as the same value.
pub fn write_f32(value: f32, out: &mut String) {
    if write_special(f64::from(value), out) {
        return;
    }
    let mut scientific = format!("{value:e}");
    if on_boundary_f32(value, &scientific) {
        scientific = strictly_inside(&scientific, 9, |digits| {
            let text = format!("{value:.digits$e}");
            (text.parse() == Ok(value) && !on_boundary_f32(value, &text)).then_some(text)
        });
    }
    write_scientific(&scientific, 6, out);
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

/// The first precision at which `attempt` gives a text; at the largest, every float has one.
fn strictly_inside(
    shortest: &str,
    digits_max: usize,
    attempt: impl Fn(usize) -> Option<String>,
) -> String {
    (0..digits_max)
        .find_map(attempt)
        .unwrap_or_else(|| shortest.to_owned())
}

/// PostgreSQL's shortest text lies strictly between the midpoints to the neighbours; Rust's may lie on one.
/// Whether it does, in exact integers: a midpoint has few digits only while the powers of five stay small.
fn on_boundary_f64(value: f64, scientific: &str) -> bool {
    let bits = value.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    let exponent = (bits >> 52 & 0x7ff) as i32;
    let mantissa = if exponent == 0 {
        fraction
    } else {
        fraction | 1 << 52
    };
    on_boundary(mantissa, exponent.max(1) - 1075, fraction == 0, scientific)
}

fn on_boundary_f32(value: f32, scientific: &str) -> bool {
    let bits = value.to_bits();
    let fraction = u64::from(bits & ((1 << 23) - 1));
    let exponent = (bits >> 23 & 0xff) as i32;
    let mantissa = if exponent == 0 {
        fraction
    } else {
        fraction | 1 << 23
    };
    on_boundary(mantissa, exponent.max(1) - 150, fraction == 0, scientific)
}

/// Value is `mantissa · 2^power`; above it the midpoint is half a unit away, below a power of two a quarter.
fn on_boundary(mantissa: u64, power: i32, power_of_two: bool, scientific: &str) -> bool {
    let Some((digits, exponent)) = scientific.trim_start_matches('-').split_once('e') else {
        return false;
    };
    let decimals = digits
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len() as i32);
    let number: u128 = digits
        .bytes()
        .filter(u8::is_ascii_digit)
        .fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    let ten = exponent.parse::<i32>().unwrap_or(0) - decimals;
    let quarter = u128::from(mantissa) * 4;
    let mut midpoints = vec![quarter + 2, quarter.saturating_sub(2)];
    if power_of_two {
        midpoints.push(quarter.saturating_sub(1));
    }
    midpoints
        .into_iter()
        .any(|midpoint| equal_powers(number, ten, midpoint, power - 2))
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
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
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
