//! Codes of jsonb operators and functions. See [`super::builtin`].

use super::builtin::{Outcome, code, integer, text};
use super::builtin_array::elements;
use super::error::EvalError;
use super::jsonb::DEPTH_MAX;
use super::jsonb_access as access;
use super::jsonb_build as build;
use super::jsonb_edit as edit;
use super::jsonb_shape as shape;
use super::jsonb_walk::is_deeper_than;
use super::typed::Native;
use super::value::Value;

pub(super) fn native(code: &str) -> Option<Native> {
    match code {
        "jsonb_object_field" => code!(|a, arena| Ok(json(access::field(text(a[0]), text(a[1]))))),
        "jsonb_object_field_text" => {
            code!(|a, arena| Ok(shown(access::field(text(a[0]), text(a[1])), arena)))
        }
        "jsonb_array_element" => {
            code!(|a, arena| Ok(json(access::element(text(a[0]), integer(a[1])))))
        }
        "jsonb_array_element_text" => {
            code!(|a, arena| Ok(shown(access::element(text(a[0]), integer(a[1])), arena)))
        }
        "jsonb_extract_path" => {
            code!(|a, arena| Ok(json(access::at_path(text(a[0]), elements(a[1])))))
        }
        "jsonb_extract_path_text" => {
            code!(|a, arena| Ok(shown(access::at_path(text(a[0]), elements(a[1])), arena)))
        }
        "jsonb_contains" => {
            code!(|a, arena| Ok(Value::Bool(access::contains(text(a[0]), text(a[1])))))
        }
        "jsonb_contained" => {
            code!(|a, arena| Ok(Value::Bool(access::contains(text(a[1]), text(a[0])))))
        }
        "jsonb_exists" => {
            code!(|a, arena| Ok(Value::Bool(access::has_key(text(a[0]), text(a[1])))))
        }
        "jsonb_exists_any" => code!(|a, arena| Ok(Value::Bool(
            keys(a).any(|key| access::has_key(text(a[0]), key))
        ))),
        "jsonb_exists_all" => code!(|a, arena| Ok(Value::Bool(
            keys(a).all(|key| access::has_key(text(a[0]), key))
        ))),
        "jsonb_typeof" => code!(|a, arena| Ok(Value::Text(access::type_of(text(a[0]))))),
        "jsonb_array_length" => {
            code!(|a, arena| Ok(Value::Int32(access::array_length(text(a[0]))?)))
        }
        _ => changing(code),
    }
}

/// Codes that give another document.
fn changing(code: &str) -> Option<Native> {
    match code {
        "to_jsonb" => code!(|a, arena| bounded(build::to_jsonb(a[0], arena)?)),
        "jsonb_build_object" | "jsonb_build_object_noargs" => {
            code!(|a, arena| bounded(build::build_object(a, arena)?))
        }
        "jsonb_build_array" | "jsonb_build_array_noargs" => {
            code!(|a, arena| bounded(build::build_array(a, arena)?))
        }
        "jsonb_concat" => {
            code!(|a, arena| bounded(edit::concat(text(a[0]), text(a[1]), arena)))
        }
        "jsonb_delete" => code!(|a, arena| Ok(Value::Jsonb(edit::delete_key(
            text(a[0]),
            text(a[1]),
            arena
        )?))),
        "jsonb_delete_array" => code!(|a, arena| Ok(Value::Jsonb(edit::delete_keys(
            text(a[0]),
            elements(a[1]),
            arena
        )?))),
        "jsonb_delete_idx" => code!(|a, arena| Ok(Value::Jsonb(edit::delete_index(
            text(a[0]),
            integer(a[1]),
            arena
        )?))),
        "jsonb_delete_path" => code!(|a, arena| Ok(Value::Jsonb(edit::delete_path(
            text(a[0]),
            elements(a[1]),
            arena
        )?))),
        "jsonb_insert" => code!(|a, arena| {
            let after = matches!(a.get(3), Some(Value::Bool(true)));
            bounded(edit::insert(
                text(a[0]),
                elements(a[1]),
                text(a[2]),
                after,
                arena,
            )?)
        }),
        "jsonb_strip_nulls" => {
            code!(|a, arena| Ok(Value::Jsonb(shape::strip_nulls(text(a[0]), arena))))
        }
        "jsonb_pretty" => code!(|a, arena| Ok(Value::Text(shape::pretty(text(a[0]), arena)))),
        "jsonb_object" => {
            code!(|a, arena| Ok(Value::Jsonb(shape::object(elements(a[0]), arena)?)))
        }
        "jsonb_object_two_arg" => code!(|a, arena| Ok(Value::Jsonb(shape::object_of_two(
            elements(a[0]),
            elements(a[1]),
            arena
        )?))),
        "jsonb_set" => code!(|a, arena| {
            let create = a
                .get(3)
                .is_none_or(|create| matches!(create, Value::Bool(true)));
            bounded(edit::set(
                text(a[0]),
                elements(a[1]),
                text(a[2]),
                create,
                arena,
            )?)
        }),
        _ => None,
    }
}

/// What a document is put into may make it deeper, event by event; what walks it has to end.
fn bounded(json: &str) -> Outcome<'_> {
    if is_deeper_than(json, DEPTH_MAX) {
        let message = format!("jsonb nested deeper than {DEPTH_MAX} levels");
        return Err(EvalError::unsupported(message));
    }
    Ok(Value::Jsonb(json))
}

fn json(found: Option<&str>) -> Value<'_> {
    found.map_or(Value::Null, Value::Jsonb)
}

fn shown<'a>(found: Option<&'a str>, arena: &'a bumpalo::Bump) -> Value<'a> {
    found
        .and_then(|json| access::as_text(json, arena))
        .map_or(Value::Null, Value::Text)
}

fn keys<'s, 'a: 's>(a: &'s [Value<'a>]) -> impl Iterator<Item = &'a str> + 's {
    elements(a[1])
        .iter()
        .filter(|key| !matches!(key, Value::Null))
        .map(|key| text(*key))
}
