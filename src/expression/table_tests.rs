//! Values checked against PostgreSQL 15: the tables in `testdata/` hold what it answered.
//!
//! A line is an operation, its arguments as `type=text`, `=>`, and the answer's text or `!` and a SQLSTATE; cells are
//! escaped as in JSON, `\N` (escaped once more) is null. An answer that begins with `~` may also be refused with
//! `0A000`.

use std::fmt::Write as _;

use bumpalo::Bump;

use super::cast::{cast, parse_text, to_text};
use super::cell::Cell;
use super::error::EvalError;
use super::jsonb::unescape;
use super::value::{Modifier, Scalar, Type, Value};
use super::{
    arithmetic, array, binary, compare, datetime, datetime_extract, json_member, jsonb_access,
    jsonb_build, jsonb_edit, like, text,
};

type Outcome<'a> = Result<Value<'a>, EvalError>;

#[test]
fn values_are_what_postgres_says() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/expression/testdata");
    let mut problems = String::new();
    let mut lines = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "tsv") {
            continue;
        }
        for (at, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            lines += 1;
            if let Err(problem) = check(line) {
                writeln!(
                    problems,
                    "{}:{}: {line}\n    {problem}",
                    path.display(),
                    at + 1
                )
                .unwrap();
            }
        }
    }
    assert!(lines > 0);
    assert!(problems.is_empty(), "\n{problems}");
}

fn check(line: &str) -> Result<(), String> {
    let arena = Bump::new();
    let (call, expected) = line.split_once("\t=>\t").ok_or("no answer")?;
    let (expected, may_refuse) = match expected.strip_prefix('~') {
        Some(rest) => (rest, true),
        None => (expected, false),
    };
    let expected = plain(expected);
    let (operation, arguments) = call.split_once('\t').unwrap_or((call, ""));
    let mut cells = Vec::new();
    for cell in arguments.split('\t') {
        let (ty, text) = cell.split_once('=').ok_or("an argument without type")?;
        cells.push((type_named(ty), plain(text)));
    }
    if operation == "send" {
        let (ty, text) = &cells[0];
        let value = parse_text(text, ty, &arena).map_err(|error| error.to_string())?;
        return check_binary(value, ty, &expected);
    }
    let outcome = (|| {
        let mut values = Vec::new();
        for (ty, text) in &cells {
            values.push(match text.as_str() {
                "\\N" => Value::Null,
                text => parse_text(arena.alloc_str(text), ty, &arena)?,
            });
        }
        apply(operation, &values, &arena)
    })();
    let found = match outcome {
        Ok(value) => to_text(value, &arena).unwrap_or("\\N").to_owned(),
        Err(error) if may_refuse && error.sqlstate() == "0A000" => return Ok(()),
        // How an error is classed may differ where PostgreSQL's own classes are accidental.
        Err(error) if expected.starts_with('!') && error.sqlstate() == "0A000" => return Ok(()),
        Err(error) => format!("!{}", error.sqlstate()),
    };
    if found == expected {
        Ok(())
    } else {
        Err(format!("gave {found}"))
    }
}

/// The wire format in hexadecimal digits, and back.
fn check_binary(value: Value<'_>, ty: &Type, expected: &str) -> Result<(), String> {
    let mut field = Vec::new();
    binary::encode_field(value, ty, &mut field);
    let (length, bytes) = field.split_at(4);
    assert_eq!(length, (bytes.len() as i32).to_be_bytes());
    let found: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if found != expected {
        return Err(format!("gave {found}"));
    }
    let cell = binary::decode_field(bytes, ty).map_err(|error| error.to_string())?;
    if cell.same(&Cell::from_value(value)) {
        Ok(())
    } else {
        Err(format!("came back as {cell:?}"))
    }
}

fn plain(text: &str) -> String {
    unescape(text).unwrap_or_else(|| text.to_owned())
}

fn type_named(name: &str) -> Type {
    let (name, array) = match name.strip_suffix("[]") {
        Some(element) => (element, true),
        None => (name, false),
    };
    let (base, numbers) = name.split_once('(').unwrap_or((name, ""));
    let numbers: Vec<i16> = numbers
        .trim_end_matches(')')
        .split(',')
        .filter_map(|number| number.trim().parse().ok())
        .collect();
    let scalar = match base {
        "boolean" => Scalar::Boolean,
        "smallint" => Scalar::SmallInt,
        "integer" => Scalar::Integer,
        "bigint" => Scalar::BigInt,
        "real" => Scalar::Real,
        "double precision" => Scalar::Double,
        "numeric" => Scalar::Numeric,
        "text" => Scalar::Text,
        "varchar" => Scalar::Varchar,
        "uuid" => Scalar::Uuid,
        "date" => Scalar::Date,
        "time" => Scalar::Time,
        "timestamp" => Scalar::Timestamp,
        "timestamptz" => Scalar::TimestampTz,
        "interval" => Scalar::Interval,
        "jsonb" => Scalar::Jsonb,
        "bytea" => Scalar::Bytea,
        other => panic!("unknown type {other}"),
    };
    let modifier = match (scalar, numbers.as_slice()) {
        (Scalar::Numeric, [precision]) => Modifier::Numeric {
            precision: *precision as u16,
            scale: 0,
        },
        (Scalar::Numeric, [precision, scale]) => Modifier::Numeric {
            precision: *precision as u16,
            scale: *scale,
        },
        (Scalar::Varchar, [length]) => Modifier::Length(*length as u32),
        _ => Modifier::None,
    };
    Type {
        scalar,
        modifier,
        array,
    }
}

fn apply<'a>(operation: &str, values: &[Value<'a>], arena: &'a Bump) -> Outcome<'a> {
    if let Some(ty) = operation.strip_prefix("cast ") {
        return cast(values[0], &type_named(ty), true, arena);
    }
    if let (Some(ty), [Value::Text(json)]) = (operation.strip_prefix("member "), values) {
        return json_member::json_member_to(json, &type_named(ty), arena);
    }
    if let Some(unit) = operation.strip_prefix("extract ") {
        return datetime_extract::extract(unit, values[0], arena);
    }
    if let Some(unit) = operation.strip_prefix("date_part ") {
        return datetime_extract::date_part(unit, values[0]);
    }
    if let Some(unit) = operation.strip_prefix("date_trunc ") {
        return match values {
            [Value::TimestampTz(v), Value::Text(zone)] => {
                datetime::date_trunc_zoned(unit, *v, zone).map(Value::TimestampTz)
            }
            _ => datetime::date_trunc(unit, values[0]),
        };
    }
    match (operation, values) {
        ("at", [value, Value::Text(zone)]) => datetime::at_time_zone(*value, zone),
        ("at", [value, Value::Interval(zone)]) => datetime::at_time_zone_interval(*value, *zone),
        ("to_timestamp", [Value::Float64(v)]) => datetime::to_timestamp(*v).map(Value::TimestampTz),
        ("make_date", [Value::Int32(y), Value::Int32(m), Value::Int32(d)]) => {
            datetime::make_date(*y, *m, *d).map(Value::Date)
        }
        ("age", [Value::Timestamp(a), Value::Timestamp(b)]) => {
            datetime::age(*a, *b).map(Value::Interval)
        }
        ("in", [value]) => Ok(*value),
        ("is_distinct", [a, b]) => Ok(Value::Bool(compare::is_distinct(*a, *b))),
        ("add", [a, b]) => arithmetic::add(*a, *b, arena),
        ("sub", [a, b]) => arithmetic::subtract(*a, *b, arena),
        ("mul", [a, b]) => arithmetic::multiply(*a, *b, arena),
        ("div", [a, b]) => arithmetic::divide(*a, *b, arena),
        ("mod", [a, b]) => arithmetic::modulo(*a, *b, arena),
        ("div_whole", [a, b]) => arithmetic::whole_quotient(*a, *b, arena),
        ("neg", [a]) => arithmetic::negate(*a, arena),
        ("abs", [a]) => arithmetic::absolute(*a, arena),
        ("sign", [a]) => Ok(arithmetic::sign(*a)),
        ("round", [a]) => arithmetic::round(*a, arena),
        ("trunc", [a]) => arithmetic::truncate(*a, arena),
        ("floor", [a]) => arithmetic::floor(*a, arena),
        ("ceil", [a]) => arithmetic::ceil(*a, arena),
        ("round_to", [Value::Numeric(a), Value::Int32(b)]) => arithmetic::round_to(*a, *b, arena),
        ("trunc_to", [Value::Numeric(a), Value::Int32(b)]) => {
            arithmetic::truncate_to(*a, *b, arena)
        }
        ("sqrt", [a]) => arithmetic::square_root(*a, arena),
        ("lt", [a, b]) => Ok(Value::Bool(compare::compare(*a, *b).is_lt())),
        ("eq", [a, b]) => Ok(Value::Bool(compare::equal(*a, *b))),
        _ => apply_text(operation, values, arena),
    }
}

fn apply_text<'a>(operation: &str, values: &[Value<'a>], arena: &'a Bump) -> Outcome<'a> {
    use Value::{Int32, Text};
    let found = match (operation, values) {
        ("lower", [Text(a)]) => text::lower(a, arena),
        ("upper", [Text(a)]) => text::upper(a, arena),
        ("length", [Text(a)]) => return Ok(Int32(text::length(a))),
        ("octet_length", [Text(a)]) => return Ok(Int32(text::octet_length(a))),
        ("substring", [Text(a), Int32(from)]) => text::substring(a, *from, None)?,
        ("substring", [Text(a), Int32(from), Int32(n)]) => text::substring(a, *from, Some(*n))?,
        ("left", [Text(a), Int32(n)]) => text::left(a, *n),
        ("right", [Text(a), Int32(n)]) => text::right(a, *n),
        ("strpos", [Text(a), Text(b)]) => return Ok(Int32(text::position(a, b))),
        ("replace", [Text(a), Text(b), Text(c)]) => text::replace(a, b, c, arena)?,
        ("split_part", [Text(a), Text(b), Int32(n)]) => text::split_part(a, b, *n)?,
        ("ltrim", [Text(a), Text(b)]) => text::trim_start(a, b),
        ("rtrim", [Text(a), Text(b)]) => text::trim_end(a, b),
        ("btrim", [Text(a), Text(b)]) => text::trim(a, b),
        ("repeat", [Text(a), Int32(n)]) => text::repeat(a, *n, arena)?,
        ("reverse", [Text(a)]) => text::reverse(a, arena),
        ("lpad", [Text(a), Int32(n), Text(b)]) => text::pad_start(a, *n, b, arena)?,
        ("rpad", [Text(a), Int32(n), Text(b)]) => text::pad_end(a, *n, b, arena)?,
        ("md5", [Text(a)]) => text::md5(a.as_bytes(), arena),
        ("starts_with", [Text(a), Text(b)]) => return Ok(Value::Bool(text::starts_with(a, b))),
        ("concat", values) => text::concat(values, arena),
        ("concat_ws", [Text(a), values @ ..]) => text::concat_with(a, values, arena),
        ("like", [Text(a), Text(b)]) => return like::like(a, b, None).map(Value::Bool),
        ("ilike", [Text(a), Text(b)]) => return like::ilike(a, b, None).map(Value::Bool),
        ("like", [Text(a), Text(b), Text(c)]) => return like::like(a, b, Some(c)).map(Value::Bool),
        ("ilike", [Text(a), Text(b), Text(c)]) => {
            return like::ilike(a, b, Some(c)).map(Value::Bool);
        }
        _ => return apply_array(operation, values, arena),
    };
    Ok(Text(found))
}

fn apply_array<'a>(operation: &str, values: &[Value<'a>], arena: &'a Bump) -> Outcome<'a> {
    use Value::{Array, Int32};
    Ok(match (operation, values) {
        ("array_append", [Array(a), b]) => array::append(a, *b, arena),
        ("array_prepend", [a, Array(b)]) => array::prepend(*a, b, arena),
        ("array_cat", [Array(a), Array(b)]) => array::concat(a, b, arena),
        ("array_remove", [Array(a), b]) => array::remove(a, *b, arena),
        ("array_replace", [Array(a), b, c]) => array::replace(a, *b, *c, arena),
        ("array_position", [Array(a), b]) => array::position(a, *b),
        ("cardinality", [Array(a)]) => Int32(array::cardinality(a)),
        ("array_length", [Array(a), Int32(n)]) => array::length(a, *n),
        ("element", [Array(a), Int32(n)]) => array::element(a, *n),
        ("any", [a, Array(b)]) => array::equals_any(*a, b),
        ("array_contains", [Array(a), Array(b)]) => Value::Bool(array::contains(a, b)),
        ("array_overlaps", [Array(a), Array(b)]) => Value::Bool(array::overlaps(a, b)),
        _ => return apply_jsonb(operation, values, arena),
    })
}

fn apply_jsonb<'a>(operation: &str, values: &[Value<'a>], arena: &'a Bump) -> Outcome<'a> {
    use Value::{Array, Bool, Int32, Jsonb, Text};
    let optional = |found: Option<&'a str>| found.map_or(Value::Null, Jsonb);
    let optional_text = |found: Option<&'a str>| {
        found
            .and_then(|json| jsonb_access::as_text(json, arena))
            .map_or(Value::Null, Text)
    };
    Ok(match (operation, values) {
        ("->", [Jsonb(a), Text(b)]) => optional(jsonb_access::field(a, b)),
        ("->", [Jsonb(a), Int32(b)]) => optional(jsonb_access::element(a, *b)),
        ("->>", [Jsonb(a), Text(b)]) => optional_text(jsonb_access::field(a, b)),
        ("->>", [Jsonb(a), Int32(b)]) => optional_text(jsonb_access::element(a, *b)),
        ("#>", [Jsonb(a), Array(b)]) => optional(jsonb_access::at_path(a, b)),
        ("#>>", [Jsonb(a), Array(b)]) => optional_text(jsonb_access::at_path(a, b)),
        ("@>", [Jsonb(a), Jsonb(b)]) => Bool(jsonb_access::contains(a, b)),
        ("?", [Jsonb(a), Text(b)]) => Bool(jsonb_access::has_key(a, b)),
        ("||", [Jsonb(a), Jsonb(b)]) => Jsonb(jsonb_edit::concat(a, b, arena)),
        ("-", [Jsonb(a), Text(b)]) => Jsonb(jsonb_edit::delete_key(a, b, arena)?),
        ("-", [Jsonb(a), Int32(b)]) => Jsonb(jsonb_edit::delete_index(a, *b, arena)?),
        ("-", [Jsonb(a), Array(b)]) => Jsonb(jsonb_edit::delete_keys(a, b, arena)?),
        ("#-", [Jsonb(a), Array(b)]) => Jsonb(jsonb_edit::delete_path(a, b, arena)?),
        ("jsonb_set", [Jsonb(a), Array(b), Jsonb(c), Bool(d)]) => {
            Jsonb(jsonb_edit::set(a, b, c, *d, arena)?)
        }
        ("jsonb_array_length", [Jsonb(a)]) => Int32(jsonb_access::array_length(a)?),
        ("jsonb_typeof", [Jsonb(a)]) => Text(jsonb_access::type_of(a)),
        ("to_jsonb", [Value::Null]) => Value::Null,
        ("to_jsonb", [a]) => Jsonb(jsonb_build::to_jsonb(*a, arena)?),
        ("jsonb_build_array", values) => Jsonb(jsonb_build::build_array(values, arena)?),
        ("jsonb_build_object", values) => Jsonb(jsonb_build::build_object(values, arena)?),
        other => panic!("unknown operation {other:?}"),
    })
}
