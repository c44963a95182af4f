//! PostgreSQL's codes (`pg_proc.prosrc`) to the functions that compute them. A code without one is refused at load.
//! Knows nothing of types and names: the checker has chosen the code and cast the arguments.

use super::arithmetic;
use super::builtin_array;
use super::builtin_bytes;
use super::builtin_jsonb;
use super::builtin_number;
use super::builtin_text;
use super::builtin_time;
use super::compare::{compare, equal};
use super::error::EvalError;
use super::numeric::Numeric;
use super::typed::Native;
use super::value::Value;

pub(super) type Outcome<'a> = Result<Value<'a>, EvalError>;

/// The code behind an operator or function.
pub(super) fn native(code: &str) -> Option<Native> {
    comparison(code)
        .or_else(|| arithmetic_code(code))
        .or_else(|| builtin_number::native(code))
        .or_else(|| builtin_bytes::native(code))
        .or_else(|| builtin_text::native(code))
        .or_else(|| builtin_time::native(code))
        .or_else(|| builtin_jsonb::native(code))
        .or_else(|| builtin_array::native(code))
}

/// Makes a [`Native`] of an expression over the arguments `a` and the arena.
macro_rules! code {
    (|$a:ident, $arena:ident| $body:expr) => {{
        fn function<'a>(
            $a: &[$crate::expression::value::Value<'a>],
            $arena: &'a bumpalo::Bump,
        ) -> $crate::expression::builtin::Outcome<'a> {
            let _ = ($a, $arena);
            $body
        }
        Some(function as $crate::expression::typed::Native)
    }};
}

pub(super) use code;

// The checker has cast every argument to the type that the code takes, and strict codes see no null.

pub(super) fn text<'a>(value: Value<'a>) -> &'a str {
    match value {
        Value::Text(text) | Value::Jsonb(text) => text,
        _ => "",
    }
}

pub(super) fn integer(value: Value<'_>) -> i32 {
    match value {
        Value::Int32(value) => value,
        _ => 0,
    }
}

pub(super) fn double(value: Value<'_>) -> f64 {
    match value {
        Value::Float64(value) => value,
        _ => f64::NAN,
    }
}

pub(super) fn numeric<'a>(value: Value<'a>) -> Numeric<'a> {
    match value {
        Value::Numeric(value) => value,
        _ => Numeric::NaN,
    }
}

macro_rules! comparison {
    ($test:ident) => {
        code!(|a, arena| Ok(Value::Bool(compare(a[0], a[1]).$test())))
    };
}

/// Types whose codes are named `<type><suffix>` and that one function over values serves.
const COMPARED: &[&str] = &[
    "int2",
    "int4",
    "int8",
    "int24",
    "int28",
    "int42",
    "int48",
    "int82",
    "int84",
    "float4",
    "float8",
    "float48",
    "float84",
    "numeric_",
    "text",
    "text_",
    "bool",
    "uuid_",
    "date_",
    "time_",
    "timestamp_",
    "interval_",
    "jsonb_",
    "bytea",
    "array_",
];

fn arithmetic_code(code: &str) -> Option<Native> {
    match code {
        "int2pl"
        | "int4pl"
        | "int8pl"
        | "int24pl"
        | "int28pl"
        | "int42pl"
        | "int48pl"
        | "int82pl"
        | "int84pl"
        | "float4pl"
        | "float8pl"
        | "float48pl"
        | "float84pl"
        | "numeric_add"
        | "interval_pl"
        | "date_pli"
        | "date_pl_interval"
        | "timestamp_pl_interval"
        | "timestamptz_pl_interval"
        | "time_pl_interval"
        | "datetime_timestamp"
        | "integer_pl_date/sql/int4_date"
        | "interval_pl_date/sql/interval_date"
        | "interval_pl_time/sql/interval_time"
        | "interval_pl_timestamp/sql/interval_timestamp"
        | "interval_pl_timestamptz/sql/interval_timestamptz"
        | "timedate_pl/sql/time_date" => {
            code!(|a, arena| arithmetic::add(a[0], a[1], arena))
        }
        "int2mi"
        | "int4mi"
        | "int8mi"
        | "int24mi"
        | "int28mi"
        | "int42mi"
        | "int48mi"
        | "int82mi"
        | "int84mi"
        | "float4mi"
        | "float8mi"
        | "float48mi"
        | "float84mi"
        | "numeric_sub"
        | "interval_mi"
        | "date_mi"
        | "date_mii"
        | "date_mi_interval"
        | "timestamp_mi"
        | "timestamp_mi_interval"
        | "timestamptz_mi_interval"
        | "time_mi_time"
        | "time_mi_interval" => code!(|a, arena| arithmetic::subtract(a[0], a[1], arena)),
        _ => product_code(code),
    }
}

fn product_code(code: &str) -> Option<Native> {
    match code {
        "int2mul" | "int4mul" | "int8mul" | "int24mul" | "int28mul" | "int42mul" | "int48mul"
        | "int82mul" | "int84mul" | "float4mul" | "float8mul" | "float48mul" | "float84mul"
        | "numeric_mul" | "interval_mul" | "mul_d_interval" => {
            code!(|a, arena| arithmetic::multiply(a[0], a[1], arena))
        }
        "int2div" | "int4div" | "int8div" | "int24div" | "int28div" | "int42div" | "int48div"
        | "int82div" | "int84div" | "float4div" | "float8div" | "float48div" | "float84div"
        | "numeric_div" | "interval_div" => code!(|a, arena| arithmetic::divide(a[0], a[1], arena)),
        "int2mod" | "int4mod" | "int8mod" | "numeric_mod" => {
            code!(|a, arena| arithmetic::modulo(a[0], a[1], arena))
        }
        "int2um" | "int4um" | "int8um" | "float4um" | "float8um" | "numeric_uminus"
        | "interval_um" => code!(|a, arena| arithmetic::negate(a[0], arena)),
        "int2up" | "int4up" | "int8up" | "float4up" | "float8up" | "numeric_uplus" => {
            code!(|a, arena| Ok(a[0]))
        }
        "int2abs" | "int4abs" | "int8abs" | "float4abs" | "float8abs" | "numeric_abs" => {
            code!(|a, arena| arithmetic::absolute(a[0], arena))
        }
        _ => None,
    }
}

fn comparison(code: &str) -> Option<Native> {
    // `date_lt_timestamp`, `timestamptz_eq_date`, …
    if let Some((left, rest)) = code.split_once('_')
        && let Some((test, right)) = rest.split_once('_')
        && [left, right]
            .iter()
            .all(|side| matches!(*side, "date" | "timestamp" | "timestamptz"))
    {
        return test_of(test);
    }
    let (prefix, test) = COMPARED
        .iter()
        .filter_map(|prefix| Some((*prefix, code.strip_prefix(prefix)?)))
        .max_by_key(|(prefix, _)| prefix.len())?;
    let fits = match prefix {
        "text" => matches!(test, "eq" | "ne"),
        "text_" => !matches!(test, "eq" | "ne"),
        _ => true,
    };
    fits.then(|| test_of(test)).flatten()
}

fn test_of(test: &str) -> Option<Native> {
    match test {
        "eq" => code!(|a, arena| Ok(Value::Bool(equal(a[0], a[1])))),
        "ne" => code!(|a, arena| Ok(Value::Bool(!equal(a[0], a[1])))),
        "lt" => comparison!(is_lt),
        "le" => comparison!(is_le),
        "gt" => comparison!(is_gt),
        "ge" => comparison!(is_ge),
        _ => None,
    }
}
