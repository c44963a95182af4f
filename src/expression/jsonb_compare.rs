//! The order of jsonb values, and containment.

use std::cmp::Ordering;

use bumpalo::Bump;

use super::jsonb_walk::{Kind, elements, kind, members, string_text};
use super::numeric::Numeric;

/// PostgreSQL's `compareJsonbContainers`: the number of elements or pairs decides before their values do.
pub fn compare_jsonb(left: &str, right: &str) -> Ordering {
    if left == right {
        return Ordering::Equal;
    }
    let (left_kind, right_kind) = (kind(left), kind(right));
    // At the top a scalar is stored as an array of one element; only against an array does that show.
    if left_kind == Kind::Array && right_kind < Kind::Array {
        return elements(left).count().cmp(&1).then(Ordering::Greater);
    }
    if right_kind == Kind::Array && left_kind < Kind::Array {
        return 1.cmp(&elements(right).count()).then(Ordering::Less);
    }
    compare_nested(left, right)
}

fn compare_nested(left: &str, right: &str) -> Ordering {
    let (left_kind, right_kind) = (kind(left), kind(right));
    if left_kind != right_kind {
        return left_kind.cmp(&right_kind);
    }
    match left_kind {
        Kind::Null => Ordering::Equal,
        Kind::String => string_text(left)
            .as_bytes()
            .cmp(string_text(right).as_bytes()),
        Kind::Boolean => (left == "true").cmp(&(right == "true")),
        Kind::Number => compare_numbers(left, right),
        Kind::Array => elements(left)
            .count()
            .cmp(&elements(right).count())
            .then_with(|| {
                elements(left)
                    .zip(elements(right))
                    .map(|(a, b)| compare_nested(a, b))
                    .find(|order| order.is_ne())
                    .unwrap_or(Ordering::Equal)
            }),
        Kind::Object => members(left)
            .count()
            .cmp(&members(right).count())
            .then_with(|| {
                members(left)
                    .zip(members(right))
                    .map(|((left_key, a), (right_key, b))| {
                        compare_keys(left_key, right_key).then_with(|| compare_nested(a, b))
                    })
                    .find(|order| order.is_ne())
                    .unwrap_or(Ordering::Equal)
            }),
    }
}

/// Keys come without their quotes, still escaped.
fn compare_keys(left: &str, right: &str) -> Ordering {
    let text = |raw: &str| super::jsonb::unescape(raw).unwrap_or_else(|| raw.to_owned());
    if left == right {
        return Ordering::Equal;
    }
    text(left).as_bytes().cmp(text(right).as_bytes())
}

fn compare_numbers(left: &str, right: &str) -> Ordering {
    let arena = Bump::new();
    match (
        Numeric::from_json(left, &arena),
        Numeric::from_json(right, &arena),
    ) {
        (Ok(a), Ok(b)) => a.compare(b),
        // Both are jsonb already, so both are numbers.
        _ => left.cmp(right),
    }
}
