//! PostgreSQL's codes (`pg_proc.prosrc`) to the functions that compute them. A code without one is refused at load.
//! Knows nothing of types and names: the checker has chosen the code and cast the arguments.

use bumpalo::Bump;
use md5::{Digest as _, Md5};

use super::arithmetic;
use super::cast;
use super::compare::{compare, equal};
use super::error::EvalError;
use super::typed::Native;
use super::value::Value;

type Outcome<'a> = Result<Value<'a>, EvalError>;

/// The code behind an operator or function.
pub(super) fn native(code: &str) -> Option<Native> {
    operator(code).or_else(|| text_function(code))
}

/// Makes a [`Native`] of an expression over the arguments `a` and the arena.
macro_rules! native {
    (|$a:ident, $arena:ident| $body:expr) => {{
        fn function<'a>($a: &[Value<'a>], $arena: &'a Bump) -> Outcome<'a> {
            let _ = $arena;
            $body
        }
        Some(function as Native)
    }};
}

macro_rules! comparison {
    ($test:ident) => {
        native!(|a, arena| Ok(Value::Bool(compare(a[0], a[1]).$test())))
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

fn operator(code: &str) -> Option<Native> {
    if let Some(native) = comparison(code) {
        return Some(native);
    }
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
        | "datetime_pl"
        | "integer_pl_date/sql/int4_date"
        | "interval_pl_date/sql/interval_date"
        | "interval_pl_time/sql/interval_time"
        | "interval_pl_timestamp/sql/interval_timestamp"
        | "interval_pl_timestamptz/sql/interval_timestamptz"
        | "timedate_pl/sql/time_date" => {
            native!(|a, arena| arithmetic::add(a[0], a[1], arena))
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
        | "time_mi_interval" => native!(|a, arena| arithmetic::subtract(a[0], a[1], arena)),
        "int2mul" | "int4mul" | "int8mul" | "int24mul" | "int28mul" | "int42mul" | "int48mul"
        | "int82mul" | "int84mul" | "float4mul" | "float8mul" | "float48mul" | "float84mul"
        | "numeric_mul" | "interval_mul" | "mul_d_interval" => {
            native!(|a, arena| arithmetic::multiply(a[0], a[1], arena))
        }
        "int2div" | "int4div" | "int8div" | "int24div" | "int28div" | "int42div" | "int48div"
        | "int82div" | "int84div" | "float4div" | "float8div" | "float48div" | "float84div"
        | "numeric_div" | "interval_div" => {
            native!(|a, arena| arithmetic::divide(a[0], a[1], arena))
        }
        "int2mod" | "int4mod" | "int8mod" | "numeric_mod" => {
            native!(|a, arena| arithmetic::modulo(a[0], a[1], arena))
        }
        "int2um" | "int4um" | "int8um" | "float4um" | "float8um" | "numeric_uminus"
        | "interval_um" => native!(|a, arena| arithmetic::negate(a[0], arena)),
        "int2up" | "int4up" | "int8up" | "float4up" | "float8up" | "numeric_uplus" => {
            native!(|a, arena| Ok(a[0]))
        }
        "int2abs" | "int4abs" | "int8abs" | "float4abs" | "float8abs" | "numeric_abs" => {
            native!(|a, arena| arithmetic::absolute(a[0], arena))
        }
        "textcat" => native!(|a, arena| concat(a, arena)),
        "textanycat/sql/text_anynonarray" | "anytextcat/sql/anynonarray_text" => {
            native!(|a, arena| concat(a, arena))
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
        "eq" => native!(|a, arena| Ok(Value::Bool(equal(a[0], a[1])))),
        "ne" => native!(|a, arena| Ok(Value::Bool(!equal(a[0], a[1])))),
        "lt" => comparison!(is_lt),
        "le" => comparison!(is_le),
        "gt" => comparison!(is_gt),
        "ge" => comparison!(is_ge),
        _ => None,
    }
}

fn concat<'a>(values: &[Value<'a>], arena: &'a Bump) -> Outcome<'a> {
    let mut out = bumpalo::collections::String::new_in(arena);
    for value in values {
        match cast::to_text(*value, arena) {
            Some(text) => out.push_str(text),
            None => return Ok(Value::Null),
        }
    }
    Ok(Value::Text(out.into_bump_str()))
}

fn text_function(code: &str) -> Option<Native> {
    match code {
        "md5_text" => native!(|a, arena| Ok(md5(a[0], arena))),
        _ => None,
    }
}

fn md5<'a>(value: Value<'a>, arena: &'a Bump) -> Value<'a> {
    let bytes = match value {
        Value::Text(text) => text.as_bytes(),
        Value::Bytea(bytes) => bytes,
        _ => return Value::Null,
    };
    let mut out = bumpalo::collections::String::with_capacity_in(32, arena);
    for byte in Md5::digest(bytes) {
        for digit in [byte >> 4, byte & 15] {
            out.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    Value::Text(out.into_bump_str())
}
