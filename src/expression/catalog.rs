//! PostgreSQL's operators, functions, implicit casts and type categories, as its catalogs hold them, so that a name
//! resolves here as it resolves there. Types are PostgreSQL's short names (`int4`, `_text`); types that the language
//! lacks are in it too, because they take part in the choice. Knows nothing of how anything is computed.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::value::{Modifier, Scalar, Type};

pub(super) type Name = &'static str;

/// One operator or function.
#[derive(Debug)]
pub(super) struct Entry {
    pub arguments: Vec<Name>,
    pub result: Name,
    /// PostgreSQL's own name of the code behind it; several names may share one.
    pub code: Name,
    /// Null in gives null out.
    pub strict: bool,
    /// Only these are computed at load when all arguments are constant.
    pub immutable: bool,
    /// The last argument repeats.
    pub variadic: bool,
    /// How many arguments at the end have defaults.
    pub defaults: usize,
}

pub(super) struct Catalog {
    operators: HashMap<Name, Vec<Entry>>,
    functions: HashMap<Name, Vec<Entry>>,
}

pub(super) fn catalog() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    CATALOG.get_or_init(|| Catalog {
        operators: read(include_str!("catalog/operators.txt"), operator_entry),
        functions: read(include_str!("catalog/functions.txt"), function_entry),
    })
}

impl Catalog {
    /// Operators of that name with that many operands.
    pub fn operators(&self, name: &str, operands: usize) -> impl Iterator<Item = &Entry> {
        let entries = self.operators.get(name).map_or(&[][..], Vec::as_slice);
        entries
            .iter()
            .filter(move |e| e.arguments.len() == operands)
    }

    pub fn has_operator(&self, name: &str) -> bool {
        self.operators.contains_key(name)
    }

    pub fn functions(&self, name: &str) -> &[Entry] {
        self.functions.get(name).map_or(&[][..], Vec::as_slice)
    }

    /// Operators or functions with their names, in order.
    pub fn entries(&self, operators: bool) -> Vec<(Name, &Entry)> {
        let map = if operators {
            &self.operators
        } else {
            &self.functions
        };
        let mut names: Vec<Name> = map.keys().copied().collect();
        names.sort_unstable();
        let of = |name: Name| map[name].iter().map(move |entry| (name, entry));
        names.into_iter().flat_map(of).collect()
    }

    pub fn function_names(&self) -> impl Iterator<Item = Name> {
        self.functions.keys().copied()
    }
}

fn read(text: Name, entry: fn(&[Name]) -> Option<Entry>) -> HashMap<Name, Vec<Entry>> {
    let mut entries: HashMap<Name, Vec<Entry>> = HashMap::new();
    // Two lines of comment; `#` is an operator too.
    for line in text.lines().skip(2) {
        let fields: Vec<Name> = line.split(' ').collect();
        if let Some(entry) = entry(&fields) {
            entries.entry(fields[0]).or_default().push(entry);
        }
    }
    entries
}

fn operator_entry(fields: &[Name]) -> Option<Entry> {
    let [_, left, right, result, code, strict, volatility] = fields else {
        return None;
    };
    Some(Entry {
        arguments: [*left, *right].into_iter().filter(|t| *t != "-").collect(),
        result,
        code,
        strict: *strict == "t",
        immutable: *volatility == "i",
        variadic: false,
        defaults: 0,
    })
}

fn function_entry(fields: &[Name]) -> Option<Entry> {
    let [_, arguments, repeats, result, code, strict, volatility] = fields else {
        return None;
    };
    Some(Entry {
        arguments: arguments.split(',').filter(|t| *t != "-").collect(),
        result,
        code,
        strict: *strict == "t",
        immutable: *volatility == "i",
        variadic: repeats.starts_with('v'),
        defaults: repeats[1..].parse().unwrap_or(0),
    })
}

const SCALARS: &[(Scalar, Name, Name)] = &[
    (Scalar::Boolean, "bool", "_bool"),
    (Scalar::SmallInt, "int2", "_int2"),
    (Scalar::Integer, "int4", "_int4"),
    (Scalar::BigInt, "int8", "_int8"),
    (Scalar::Real, "float4", "_float4"),
    (Scalar::Double, "float8", "_float8"),
    (Scalar::Numeric, "numeric", "_numeric"),
    (Scalar::Text, "text", "_text"),
    (Scalar::Varchar, "varchar", "_varchar"),
    (Scalar::Uuid, "uuid", "_uuid"),
    (Scalar::Date, "date", "_date"),
    (Scalar::Time, "time", "_time"),
    (Scalar::Timestamp, "timestamp", "_timestamp"),
    (Scalar::TimestampTz, "timestamptz", "_timestamptz"),
    (Scalar::Interval, "interval", "_interval"),
    (Scalar::Jsonb, "jsonb", "_jsonb"),
    (Scalar::Bytea, "bytea", "_bytea"),
];

/// The catalog's name of a type.
pub(super) fn name_of(ty: Type) -> Name {
    let found = SCALARS.iter().find(|(scalar, _, _)| *scalar == ty.scalar);
    let (_, plain, array) = found.expect("every scalar is listed");
    if ty.array { array } else { plain }
}

/// The type of a catalog name, without a modifier; `None` for those that the language lacks.
pub(super) fn type_of(name: &str) -> Option<Type> {
    let (scalar, _, array) = SCALARS
        .iter()
        .find(|(_, plain, array)| *plain == name || *array == name)?;
    Some(Type {
        scalar: *scalar,
        modifier: Modifier::None,
        array: *array == name,
    })
}

/// The element of an array type.
pub(super) fn element_of(array: &str) -> Option<Name> {
    SCALARS
        .iter()
        .find(|(_, _, name)| *name == array)
        .map(|(_, element, _)| *element)
}

pub(super) fn array_of(element: &str) -> Option<Name> {
    SCALARS
        .iter()
        .find(|(_, name, _)| *name == element)
        .map(|(_, _, array)| *array)
}

/// `pg_type.typcategory` and `typispreferred`.
pub(super) fn category(name: &str) -> (char, bool) {
    let category = match name {
        "bool" => 'B',
        "date" | "time" | "timestamp" | "timestamptz" | "timetz" => 'D',
        "box" | "circle" | "line" | "lseg" | "path" | "point" | "polygon" => 'G',
        "cidr" | "inet" => 'I',
        "float4" | "float8" | "int2" | "int4" | "int8" | "money" | "numeric" | "oid" => 'N',
        "bpchar" | "name" | "text" | "varchar" => 'S',
        "interval" => 'T',
        "bit" | "varbit" => 'V',
        "char" => 'Z',
        "unknown" => 'X',
        "int2vector" | "oidvector" => 'A',
        _ if name.starts_with('_') => 'A',
        _ if name.starts_with("reg") => 'N',
        _ if name.starts_with("any") || matches!(name, "record" | "cstring") => 'P',
        _ if name.ends_with("range") => 'R',
        _ => 'U',
    };
    let preferred = matches!(
        name,
        "bool" | "timestamptz" | "inet" | "float8" | "oid" | "text" | "interval" | "varbit"
    );
    (category, preferred)
}

/// Whether PostgreSQL casts by itself wherever the target type is wanted (`pg_cast.castcontext = 'i'`).
pub(super) fn casts_implicitly(from: &str, to: &str) -> bool {
    if let (Some(from), Some(to)) = (element_of(from), element_of(to)) {
        return from == to || casts_implicitly(from, to);
    }
    let oids = || to == "oid" || to.starts_with("reg");
    match from {
        "int2" => matches!(to, "int4" | "int8" | "float4" | "float8" | "numeric") || oids(),
        "int4" => matches!(to, "int8" | "float4" | "float8" | "numeric") || oids(),
        "int8" => matches!(to, "float4" | "float8" | "numeric") || oids(),
        "numeric" => matches!(to, "float4" | "float8"),
        "float4" => to == "float8",
        "text" => matches!(to, "varchar" | "bpchar" | "name" | "regclass"),
        "varchar" => matches!(to, "text" | "bpchar" | "name" | "regclass"),
        "date" => matches!(to, "timestamp" | "timestamptz"),
        "timestamp" => to == "timestamptz",
        "time" => matches!(to, "interval" | "timetz"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_read() {
        let catalog = catalog();
        assert_eq!(catalog.operators.values().map(Vec::len).sum::<usize>(), 682);
        assert_eq!(catalog.operators("+", 1).count(), 6);
        assert!(catalog.functions.values().map(Vec::len).sum::<usize>() > 200);
        assert!(catalog.functions("jsonb_set")[0].defaults == 1);
        assert!(catalog.has_operator("#>>"));
    }
}
