//! Which operator or function a name means for given argument types: PostgreSQL's rules (manual, chapter 10;
//! `parse_func.c`, `parse_oper.c`, `parse_coerce.c`), step for step. Knows nothing of syntax and values.

use std::borrow::Cow;

use super::catalog::{Entry, Name, array_of, casts_implicitly, catalog, category, element_of};

pub(super) const UNKNOWN: Name = "unknown";

/// The choice: concrete argument types (casts to them may be needed) and result.
#[derive(Debug)]
pub(super) struct Resolved {
    pub entry: &'static Entry,
    pub arguments: Vec<Name>,
    pub result: Name,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unresolved {
    /// Nothing takes these types.
    Missing,
    /// Several would do.
    Ambiguous,
    /// Polymorphic, and no argument tells the type.
    Undetermined,
}

/// A candidate with its arguments spread to the number given.
struct Candidate {
    entry: &'static Entry,
    arguments: Cow<'static, [Name]>,
}

impl Candidate {
    /// With the arguments as they are declared.
    fn declared(entry: &'static Entry) -> Candidate {
        let arguments = Cow::Borrowed(entry.arguments.as_slice());
        Candidate { entry, arguments }
    }
}

/// A binary or prefix operator; `types` holds `unknown` for string literals.
pub(super) fn operator(name: &str, types: &[Name]) -> Result<Resolved, Unresolved> {
    let entries = || catalog().operators(name, types.len());
    let mut exact = types.to_vec();
    if let [left, right] = exact.as_mut_slice() {
        if *left == UNKNOWN {
            *left = *right;
        } else if *right == UNKNOWN {
            *right = *left;
        }
    }
    match entries().find(|entry| entry.arguments == exact) {
        Some(found) => finish(&Candidate::declared(found), types),
        None => choose(entries().map(Candidate::declared), types),
    }
}

pub(super) fn function(name: &str, types: &[Name]) -> Result<Resolved, Unresolved> {
    let mut candidates: Vec<Candidate> = Vec::new();
    for entry in catalog().functions(name) {
        if let Some(candidate) = spread(entry, types.len()) {
            candidates.push(candidate);
        }
    }
    if let Some(found) = candidates.iter().find(|c| *c.arguments == *types) {
        return finish(found, types);
    }
    choose(candidates, types)
}

/// The types that stand at each place among all candidates that take as many arguments.
pub(super) fn parameter_types(name: &str, count: usize, place: usize) -> Vec<Name> {
    let spread = catalog()
        .functions(name)
        .iter()
        .filter_map(|entry| spread(entry, count));
    let mut types: Vec<Name> = spread.map(|candidate| candidate.arguments[place]).collect();
    types.sort_unstable();
    types.dedup();
    types
}

fn spread(entry: &'static Entry, count: usize) -> Option<Candidate> {
    let declared = entry.arguments.len();
    if !entry.variadic && count == declared {
        return Some(Candidate::declared(entry));
    }
    let mut arguments = entry.arguments.clone();
    if entry.variadic {
        if count < declared {
            return None;
        }
        let last = arguments.pop()?;
        let repeated = if last == "any" {
            "any"
        } else {
            element_of(last)?
        };
        arguments.resize(count, repeated);
    } else {
        if count > declared || count + entry.defaults < declared {
            return None;
        }
        arguments.truncate(count);
    }
    let arguments = arguments.into();
    Some(Candidate { entry, arguments })
}

fn choose(
    candidates: impl IntoIterator<Item = Candidate>,
    types: &[Name],
) -> Result<Resolved, Unresolved> {
    let accepted = candidates
        .into_iter()
        .filter(|c| accepts(&c.arguments, types));
    let mut possible: Vec<Candidate> = accepted.collect();
    match possible.len() {
        0 => Err(Unresolved::Missing),
        1 => finish(&possible[0], types),
        _ => match select(&mut possible, types) {
            Some(at) => finish(&possible[at], types),
            None => Err(Unresolved::Ambiguous),
        },
    }
}

/// `can_coerce_type`.
fn accepts(declared: &[Name], actual: &[Name]) -> bool {
    let mut generic = false;
    for (declared, actual) in declared.iter().zip(actual) {
        if declared == actual || *declared == "any" {
            continue;
        }
        if declared.starts_with("any") {
            generic = true;
            continue;
        }
        if *actual != UNKNOWN && !casts_implicitly(actual, declared) {
            return false;
        }
    }
    !generic || generics_agree(declared, actual)
}

/// `check_generic_type_consistency`.
fn generics_agree(declared: &[Name], actual: &[Name]) -> bool {
    let mut element = None;
    let mut array = None;
    let mut compatible = Vec::new();
    let mut not_array = false;
    let agrees = |slot: &mut Option<Name>, actual: Name| *slot.get_or_insert(actual) == actual;
    for (declared, actual) in declared.iter().zip(actual) {
        if *actual == UNKNOWN {
            continue;
        }
        let fine = match *declared {
            "anyelement" => agrees(&mut element, actual),
            "anynonarray" => {
                not_array = true;
                agrees(&mut element, actual)
            }
            "anyarray" => agrees(&mut array, actual),
            "anycompatible" | "anycompatiblenonarray" => {
                compatible.push(*actual);
                *declared == "anycompatible" || category(actual).0 != 'A'
            }
            "anycompatiblearray" => match element_of(actual) {
                Some(element) => {
                    compatible.push(element);
                    true
                }
                None => false,
            },
            "any" => true,
            other => !other.starts_with("any"),
        };
        if !fine {
            return false;
        }
    }
    if let Some(array) = array {
        match element_of(array) {
            Some(of) if agrees(&mut element, of) => {}
            _ => return false,
        }
    }
    if not_array && element.is_some_and(|e| category(e).0 == 'A') {
        return false;
    }
    compatible.is_empty() || common_type(&compatible).is_some()
}

/// `func_select_candidate`: the index of the best, if one is best.
fn select(possible: &mut Vec<Candidate>, types: &[Name]) -> Option<usize> {
    let known = |place: usize| types[place] != UNKNOWN;
    let places = || 0..types.len();
    keep_best(possible, |c| {
        places()
            .filter(|i| known(*i) && c.arguments[*i] == types[*i])
            .count()
    });
    if possible.len() == 1 {
        return Some(0);
    }
    keep_best(possible, |c| {
        places()
            .filter(|i| {
                let (declared, actual) = (c.arguments[*i], types[*i]);
                let preferred = category(declared) == (category(actual).0, true);
                known(*i) && (declared == actual || preferred)
            })
            .count()
    });
    if possible.len() == 1 {
        return Some(0);
    }
    let unknowns = places().filter(|i| !known(*i)).count();
    if unknowns == 0 {
        return None;
    }
    if let Some(wanted) = unknown_categories(possible, types) {
        let fits = |c: &Candidate| {
            places().filter(|i| !known(*i)).all(|i| {
                let (category, preferred) = category(c.arguments[i]);
                let (wanted, wants_preferred) = wanted[i];
                category == wanted && (preferred || !wants_preferred)
            })
        };
        if possible.iter().any(fits) {
            possible.retain(fits);
        }
        if possible.len() == 1 {
            return Some(0);
        }
    }
    assume_same(possible, types)
}

fn keep_best(possible: &mut Vec<Candidate>, score: impl Fn(&Candidate) -> usize) {
    let best = possible.iter().map(&score).max().unwrap_or(0);
    possible.retain(|c| score(c) == best);
}

/// For each unknown argument the category that all candidates share, or string where any takes one.
fn unknown_categories(possible: &[Candidate], types: &[Name]) -> Option<Vec<(char, bool)>> {
    let mut wanted = vec![('?', false); types.len()];
    for (place, _) in types.iter().enumerate().filter(|(_, t)| **t == UNKNOWN) {
        let mut conflict = false;
        for candidate in possible {
            let (category, preferred) = category(candidate.arguments[place]);
            let slot = &mut wanted[place];
            if slot.0 == '?' {
                *slot = (category, preferred);
            } else if slot.0 == category {
                slot.1 |= preferred;
            } else if category == 'S' {
                *slot = (category, preferred);
            } else {
                conflict = true;
            }
        }
        if conflict && wanted[place].0 != 'S' {
            return None;
        }
    }
    Some(wanted)
}

/// The last rule: unknown arguments may be of the one type that all known ones have.
fn assume_same(possible: &[Candidate], types: &[Name]) -> Option<usize> {
    let mut known = types.iter().filter(|t| **t != UNKNOWN);
    let first = known.next()?;
    if known.any(|t| t != first) {
        return None;
    }
    let same = vec![*first; types.len()];
    let mut fitting = (0..possible.len()).filter(|i| accepts(&possible[*i].arguments, &same));
    match (fitting.next(), fitting.next()) {
        (Some(at), None) => Some(at),
        _ => None,
    }
}

/// `enforce_generic_type_consistency`: puts concrete types for polymorphic ones.
fn finish(candidate: &Candidate, types: &[Name]) -> Result<Resolved, Unresolved> {
    let mut element = None;
    let mut compatible = Vec::new();
    for (declared, actual) in candidate
        .arguments
        .iter()
        .zip(types)
        .filter(|(_, a)| **a != UNKNOWN)
    {
        match *declared {
            "anyelement" | "anynonarray" => element = Some(*actual),
            "anyarray" => element = element_of(actual),
            "anycompatible" | "anycompatiblenonarray" => compatible.push(*actual),
            "anycompatiblearray" => compatible.extend(element_of(actual)),
            _ => {}
        }
    }
    let common = if compatible.is_empty() {
        Some("text")
    } else {
        common_type(&compatible)
    };
    let concrete = |declared: Name| match declared {
        "anyelement" | "anynonarray" => element,
        "anyarray" => element.and_then(array_of),
        "anycompatible" | "anycompatiblenonarray" => common,
        "anycompatiblearray" => common.and_then(array_of),
        other => Some(other),
    };
    let arguments: Option<Vec<Name>> = candidate
        .arguments
        .iter()
        .map(|declared| concrete(declared))
        .collect();
    match (arguments, concrete(candidate.entry.result)) {
        (Some(arguments), Some(result)) => Ok(Resolved {
            entry: candidate.entry,
            arguments,
            result,
        }),
        _ => Err(Unresolved::Undetermined),
    }
}

/// `select_common_type`: `None` if there is none; unknown ones do not count, all unknown is text.
pub(super) fn common_type(types: &[Name]) -> Option<Name> {
    let mut common = types.first().copied()?;
    for next in &types[1..] {
        if *next == UNKNOWN || *next == common {
            continue;
        }
        if common == UNKNOWN {
            common = next;
            continue;
        }
        let (ours, preferred) = category(common);
        if category(next).0 != ours {
            return None;
        }
        if !preferred && casts_implicitly(common, next) && !casts_implicitly(next, common) {
            common = next;
        }
    }
    if common == UNKNOWN {
        return Some("text");
    }
    let fits = |t: &Name| *t == UNKNOWN || *t == common || casts_implicitly(t, common);
    types.iter().all(fits).then_some(common)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_resolve_as_in_postgresql() {
        let cases: &[(&str, &[Name], Result<&str, Unresolved>)] = &[
            ("+", &["int4", "int4"], Ok("int4pl")),
            ("+", &["int4", "int8"], Ok("int48pl")),
            ("+", &["int4", "numeric"], Ok("numeric_add")),
            ("+", &["float8", "numeric"], Ok("float8pl")),
            ("+", &["date", "int4"], Ok("date_pli")),
            ("+", &["date", UNKNOWN], Err(Unresolved::Ambiguous)),
            ("+", &[UNKNOWN, UNKNOWN], Err(Unresolved::Ambiguous)),
            ("-", &["timestamptz", UNKNOWN], Ok("timestamp_mi")),
            (
                "+",
                &["timestamptz", UNKNOWN],
                Ok("timestamptz_pl_interval"),
            ),
            ("=", &["date", "timestamptz"], Ok("date_eq_timestamptz")),
            ("=", &[UNKNOWN, UNKNOWN], Ok("texteq")),
            ("=", &["varchar", "text"], Ok("texteq")),
            ("=", &["text", "int4"], Err(Unresolved::Missing)),
            (
                "||",
                &["text", "int4"],
                Ok("textanycat/sql/text_anynonarray"),
            ),
            ("||", &[UNKNOWN, UNKNOWN], Ok("textcat")),
            ("||", &["_text", "text"], Ok("array_append")),
            ("||", &["_text", UNKNOWN], Ok("array_cat")),
            ("||", &["jsonb", "jsonb"], Ok("jsonb_concat")),
            ("->", &["jsonb", UNKNOWN], Ok("jsonb_object_field")),
            ("->", &["jsonb", "int4"], Ok("jsonb_array_element")),
            ("=", &["_int4", "_int4"], Ok("array_eq")),
            ("=", &["_int4", "_int8"], Err(Unresolved::Missing)),
            ("-", &["int4"], Ok("int4um")),
            ("-", &[UNKNOWN], Err(Unresolved::Ambiguous)),
            ("*", &["int2", "interval"], Ok("mul_d_interval")),
            ("~~", &["varchar", UNKNOWN], Ok("textlike")),
        ];
        for (name, types, expected) in cases {
            let got = operator(name, types).map(|r| r.entry.code);
            assert_eq!(&got, expected, "{name} {types:?}");
        }
    }

    #[test]
    fn functions_resolve_as_in_postgresql() {
        let cases: &[(&str, &[Name], Result<&str, Unresolved>)] = &[
            ("abs", &["int4"], Ok("int4abs")),
            ("round", &["int4"], Ok("dround")),
            ("round", &["numeric"], Ok("round/sql/numeric")),
            ("round", &["int4", "int4"], Ok("numeric_round")),
            ("mod", &["int4", "int8"], Ok("int8mod")),
            ("length", &[UNKNOWN], Ok("textlen")),
            ("date_trunc", &[UNKNOWN, "date"], Ok("timestamptz_trunc")),
            ("extract", &[UNKNOWN, "date"], Ok("extract_date")),
            ("jsonb_set", &["jsonb", UNKNOWN, UNKNOWN], Ok("jsonb_set")),
            ("array_append", &["_int4", "int8"], Ok("array_append")),
            ("concat", &["int4", UNKNOWN, "date"], Ok("text_concat")),
            ("lower", &["int4"], Err(Unresolved::Missing)),
            (
                "timezone",
                &[UNKNOWN, "timestamptz"],
                Ok("timestamptz_zone"),
            ),
        ];
        for (name, types, expected) in cases {
            let got = function(name, types).map(|r| r.entry.code);
            assert_eq!(
                got.as_ref().ok(),
                expected.as_ref().ok(),
                "{name} {types:?} {got:?}"
            );
        }
    }
}
