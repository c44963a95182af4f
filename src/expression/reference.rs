//! Every operator and function that an expression may use, with its types: what the documentation lists and what the
//! tests compare with PostgreSQL. Knows nothing of how anything is computed.

use super::builtin;
use super::catalog::{Entry, Name, catalog, type_of};

/// One operator or function with one list of argument types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builtin {
    pub name: &'static str,
    /// Written between or before its operands.
    pub is_operator: bool,
    /// Type names; `anyelement`, `anyarray`, `anycompatible`, `anycompatiblearray`, `anynonarray` and `any` as in
    /// PostgreSQL's manual.
    pub arguments: Vec<String>,
    pub result: String,
    /// The last argument repeats; it then is the type of one.
    pub variadic: bool,
    /// How many arguments at the end may be left out.
    pub defaults: usize,
}

/// By name, operators first.
pub fn builtins() -> Vec<Builtin> {
    let mut found = Vec::new();
    for is_operator in [true, false] {
        let entries = catalog().entries(is_operator);
        let usable = entries.into_iter().filter(|(_, entry)| is_usable(entry));
        found.extend(usable.map(|(name, entry)| shown(name, entry, is_operator)));
    }
    found
}

fn is_usable(entry: &Entry) -> bool {
    let known = |name: &Name| type_of(name).is_some() || name.starts_with("any");
    builtin::native(entry.code).is_some()
        && entry.arguments.iter().all(known)
        && known(&entry.result)
}

fn shown(name: Name, entry: &Entry, is_operator: bool) -> Builtin {
    let shown_type = |name: &Name| type_of(name).map_or((*name).to_owned(), |ty| ty.to_string());
    let mut arguments: Vec<String> = entry.arguments.iter().map(shown_type).collect();
    if let (true, Some(last)) = (entry.variadic, arguments.last_mut()) {
        *last = last.trim_end_matches("[]").to_owned();
    }
    Builtin {
        name,
        is_operator,
        arguments,
        result: shown_type(&entry.result),
        variadic: entry.variadic,
        defaults: entry.defaults,
    }
}
