//! Codes of functions of numbers, and of bits of integers. See [`super::builtin`].

use super::arithmetic;
use super::builtin::{Outcome, code, integer, numeric};
use super::error::EvalError;
use super::numeric::Numeric;
use super::numeric_power::power;
use super::numeric_rules::{greatest_divisor, least_multiple, least_scale};
use super::numeric_series::{exponential, logarithm, natural_logarithm};
use super::typed::Native;
use super::value::Value;

pub(super) fn native(code: &str) -> Option<Native> {
    match code {
        "dround" | "round/sql/numeric" => code!(|a, arena| arithmetic::round(a[0], arena)),
        "dtrunc" | "trunc/sql/numeric" => code!(|a, arena| arithmetic::truncate(a[0], arena)),
        "dfloor" | "numeric_floor" => code!(|a, arena| arithmetic::floor(a[0], arena)),
        "dceil" | "numeric_ceil" => code!(|a, arena| arithmetic::ceil(a[0], arena)),
        "dsign" | "numeric_sign" => code!(|a, arena| Ok(arithmetic::sign(a[0]))),
        "dsqrt" | "numeric_sqrt" => code!(|a, arena| arithmetic::square_root(a[0], arena)),
        "numeric_round" => {
            code!(|a, arena| arithmetic::round_to(numeric(a[0]), integer(a[1]), arena))
        }
        "numeric_trunc" => {
            code!(|a, arena| arithmetic::truncate_to(numeric(a[0]), integer(a[1]), arena))
        }
        "numeric_div_trunc" => code!(|a, arena| arithmetic::whole_quotient(a[0], a[1], arena)),
        "numeric_scale" => code!(|a, arena| Ok(numeric(a[0])
            .scale()
            .map_or(Value::Null, |scale| Value::Int32(scale as i32)))),
        "numeric_min_scale" => code!(|a, arena| Ok(
            least_scale(numeric(a[0])).map_or(Value::Null, |scale| Value::Int32(scale as i32))
        )),
        "numeric_trim_scale" => code!(|a, arena| {
            let number = numeric(a[0]);
            Ok(Value::Numeric(match least_scale(number) {
                Some(scale) => number.truncate(scale as i32, arena)?,
                None => number,
            }))
        }),
        "pg_num_nulls" => code!(|a, arena| Ok(Value::Int32(nulls(a)))),
        "pg_num_nonnulls" => code!(|a, arena| Ok(Value::Int32(a.len() as i32 - nulls(a)))),
        _ => series(code)
            .or_else(|| divisors(code))
            .or_else(|| bits(code)),
    }
}

/// Of numeric only: those of double precision are as exact as the machine's library, which is not everywhere the same.
fn series(code: &str) -> Option<Native> {
    match code {
        "numeric_power" => {
            code!(|a, arena| Ok(Value::Numeric(power(numeric(a[0]), numeric(a[1]), arena)?)))
        }
        "numeric_exp" => {
            code!(|a, arena| Ok(Value::Numeric(exponential(numeric(a[0]), arena)?)))
        }
        "numeric_ln" => {
            code!(|a, arena| Ok(Value::Numeric(natural_logarithm(numeric(a[0]), arena)?)))
        }
        "numeric_log" => {
            code!(|a, arena| Ok(Value::Numeric(logarithm(
                numeric(a[0]),
                numeric(a[1]),
                arena
            )?)))
        }
        "log/sql/numeric" | "log10/sql/numeric" => code!(|a, arena| {
            let ten = Numeric::Small {
                mantissa: 10,
                scale: 0,
            };
            Ok(Value::Numeric(logarithm(ten, numeric(a[0]), arena)?))
        }),
        _ => None,
    }
}

fn nulls(values: &[Value<'_>]) -> i32 {
    values.iter().filter(|v| matches!(v, Value::Null)).count() as i32
}

fn bits(code: &str) -> Option<Native> {
    macro_rules! bits {
        ($operator:tt) => {
            code!(|a, arena| Ok(match (a[0], a[1]) {
                (Value::Int16(a), Value::Int16(b)) => Value::Int16(a $operator b),
                (Value::Int32(a), Value::Int32(b)) => Value::Int32(a $operator b),
                (Value::Int64(a), Value::Int64(b)) => Value::Int64(a $operator b),
                _ => Value::Null,
            }))
        };
    }
    match code {
        "int2and" | "int4and" | "int8and" => bits!(&),
        "int2or" | "int4or" | "int8or" => bits!(|),
        "int2xor" | "int4xor" | "int8xor" => bits!(^),
        "int2not" | "int4not" | "int8not" => code!(|a, arena| Ok(match a[0] {
            Value::Int16(v) => Value::Int16(!v),
            Value::Int32(v) => Value::Int32(!v),
            Value::Int64(v) => Value::Int64(!v),
            _ => Value::Null,
        })),
        _ => shifts(code),
    }
}

/// As a processor shifts: the count counts modulo the width, which for smallint is that of integer.
fn shifts(code: &str) -> Option<Native> {
    macro_rules! shift {
        ($shift:ident) => {
            code!(|a, arena| {
                let count = integer(a[1]) as u32;
                Ok(match a[0] {
                    Value::Int16(v) => Value::Int16(i32::from(v).$shift(count) as i16),
                    Value::Int32(v) => Value::Int32(v.$shift(count)),
                    Value::Int64(v) => Value::Int64(v.$shift(count)),
                    _ => Value::Null,
                })
            })
        };
    }
    match code {
        "int2shl" | "int4shl" | "int8shl" => shift!(wrapping_shl),
        "int2shr" | "int4shr" | "int8shr" => shift!(wrapping_shr),
        _ => None,
    }
}

fn divisors(code: &str) -> Option<Native> {
    match code {
        "int4gcd" => code!(|a, arena| narrow(common_divisor(wide(a[0]), wide(a[1])))),
        "int4lcm" => code!(|a, arena| narrow(common_multiple(wide(a[0]), wide(a[1])))),
        "int8gcd" => code!(|a, arena| big(common_divisor(wide(a[0]), wide(a[1])))),
        "int8lcm" => code!(|a, arena| big(common_multiple(wide(a[0]), wide(a[1])))),
        "numeric_gcd" => code!(|a, arena| Ok(Value::Numeric(greatest_divisor(
            numeric(a[0]),
            numeric(a[1]),
            arena
        )?))),
        "numeric_lcm" => code!(|a, arena| Ok(Value::Numeric(least_multiple(
            numeric(a[0]),
            numeric(a[1]),
            arena
        )?))),
        _ => None,
    }
}

fn wide(value: Value<'_>) -> i128 {
    match value {
        Value::Int32(value) => i128::from(value),
        Value::Int64(value) => i128::from(value),
        _ => 0,
    }
}

fn common_divisor(mut left: i128, mut right: i128) -> i128 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left.abs()
}

fn common_multiple(left: i128, right: i128) -> i128 {
    match common_divisor(left, right) {
        0 => 0,
        divisor => (left / divisor * right).abs(),
    }
}

fn narrow(value: i128) -> Outcome<'static> {
    let value = value.try_into().map(Value::Int32);
    value.map_err(|_| EvalError::out_of_range("integer"))
}

fn big(value: i128) -> Outcome<'static> {
    let value = value.try_into().map(Value::Int64);
    value.map_err(|_| EvalError::out_of_range("bigint"))
}
