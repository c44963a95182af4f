//! A generation's tables as its lanes use them: types in order, and every statement's text, made once.

use super::error::{Result, StoreError};
use super::load::ROWS_BY_PREFIX_MAX;
use super::quote::{generation_schema, identifier, identifiers, qualified};
use super::schema::{OWNER, SHARED, guard_table};
use crate::definition::projection::{Projection, Table};
use crate::expression::value::{Modifier, Scalar, Type};

use super::encode::INTEGER;

/// `"$owner"` of a row that holds a missing key's place until the end of its own transaction; nobody else ever sees it.
pub(crate) const PLACEHOLDER: i32 = -2;

/// The tables of a generation.
#[derive(Debug)]
pub struct Layout {
    pub(crate) generation: i64,
    /// By index of the projection's tables.
    pub tables: Vec<TableLayout>,
}

/// One table.
#[derive(Debug)]
pub struct TableLayout {
    pub(crate) name: String,
    pub(crate) key_len: usize,
    /// Rows are met from several partitions: the locked way.
    pub(crate) shared: bool,
    /// Some column is an array, which does not go through `unnest`.
    pub(crate) has_arrays: bool,
    /// The columns, without `"$owner"`.
    pub(crate) column_types: Vec<Type>,
    /// The columns, then `"$owner"`: what a written row has.
    pub(crate) row_types: Vec<Type>,
    /// The key columns, then `"$owner"`: what a deleted row has.
    pub(crate) delete_types: Vec<Type>,
    /// Of the table that keeps every state of this one's rows.
    pub(crate) states: Option<Box<TableLayout>>,
    pub(crate) sql: Statements,
}

/// Texts of statements; each is prepared once per session.
#[derive(Debug)]
pub(crate) struct Statements {
    /// Keys → position (from 1), `"$owner"`, columns; of the rows that are there.
    pub(crate) load: String,
    /// Keys → locks the rows that are there, claims those that are not by placeholders; counts the latter.
    pub(crate) lock: String,
    /// The same without the locks, for the test that shows what they are for.
    pub(crate) claim_missing: String,
    /// By number of first key columns that rules reach rows by: prefixes → as `load`.
    load_by_prefix: Vec<(usize, String)>,
    /// Of a table whose rules reach rows by prefix.
    pub(crate) guard: Option<GuardStatements>,
    pub(crate) insert: String,
    pub(crate) copy: String,
    pub(crate) update: String,
    pub(crate) delete: String,
    /// Keys → removes placeholders that were not filled.
    pub(crate) drop_placeholders: String,
    /// A temporary table of the row's shape, for rows that come by COPY and are merged.
    pub(crate) create_stage: String,
    pub(crate) copy_stage: String,
    pub(crate) update_from_stage: String,
    pub(crate) clear_stage: String,
}

/// What locks all rows with a prefix at once: a row of a table of their first key columns.
#[derive(Debug)]
pub(crate) struct GuardStatements {
    /// Prefixes → locks them; counts those that were added.
    pub(crate) lock: String,
    /// Prefixes → removes those that no row has.
    pub(crate) drop_idle: String,
}

impl Layout {
    /// `shared_tables` names those of the generation that went over to the locked way.
    ///
    /// # Errors
    /// `Refused`: a key column of array type.
    pub fn new(
        projection: &Projection,
        generation: i64,
        shared_tables: &[String],
    ) -> Result<Layout> {
        let shared = |table: &Table| !table.owned || shared_tables.contains(&table.name);
        Layout::with(projection, generation, shared)
    }

    /// For who has all partitions, and tables without keys: rows are written as if they were owned, though nobody owns those of
    /// shared tables.
    ///
    /// # Errors
    /// As for [`Layout::new`].
    pub fn for_load(projection: &Projection, generation: i64) -> Result<Layout> {
        Layout::with(projection, generation, |_| false)
    }

    fn with(
        projection: &Projection,
        generation: i64,
        shared: impl Fn(&Table) -> bool,
    ) -> Result<Layout> {
        let schema = generation_schema(generation);
        let tables = projection.tables.iter().enumerate();
        let tables =
            tables.map(|(index, table)| TableLayout::new(&schema, index, table, shared(table)));
        let tables = tables.collect::<Result<_>>()?;
        Ok(Layout { generation, tables })
    }

    /// Some table is shared.
    pub fn any_shared(&self) -> bool {
        self.tables.iter().any(|table| table.shared)
    }

    /// Shared tables before owned ones: see [`Transaction::load`](super::Transaction::load).
    pub fn loading_order(&self) -> impl Iterator<Item = usize> + use<> {
        let shared = self.shared();
        let mut order: Vec<usize> = (0..shared.len()).collect();
        order.sort_by_key(|table| !shared[*table]);
        order.into_iter()
    }

    /// Per table: rows are met from several partitions.
    pub fn shared(&self) -> Vec<bool> {
        self.tables.iter().map(|table| table.shared).collect()
    }
}

impl TableLayout {
    fn new(schema: &str, index: usize, table: &Table, shared: bool) -> Result<TableLayout> {
        let column_types: Vec<Type> = table
            .columns
            .iter()
            .map(|column| column.column_type)
            .collect();
        if column_types[..table.key_len].iter().any(|ty| ty.array) {
            return Err(StoreError::refused(
                format!("table {}", table.name),
                "a key column cannot be an array",
            ));
        }
        let with_owner =
            |types: &[Type]| types.iter().copied().chain([INTEGER]).collect::<Vec<_>>();
        Ok(TableLayout {
            name: table.name.clone(),
            key_len: table.key_len,
            shared,
            has_arrays: column_types.iter().any(|ty| ty.array),
            row_types: with_owner(&column_types),
            delete_types: with_owner(&column_types[..table.key_len]),
            column_types,
            states: match table.states() {
                Some(states) => Some(Box::new(TableLayout::new(schema, index, &states, false)?)),
                None => None,
            },
            sql: Statements::new(schema, index, table, shared),
        })
    }
}

impl Statements {
    fn new(schema: &str, index: usize, table: &Table, shared: bool) -> Statements {
        let place = qualified(schema, &table.name);
        let owner = identifier(OWNER);
        let names: Vec<&str> = table
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        let (key, rest) = names.split_at(table.key_len);
        let types: Vec<Type> = table
            .columns
            .iter()
            .map(|column| column.column_type)
            .collect();
        let columns = identifiers(names.iter().copied());
        let key_columns = identifiers(key.iter().copied());

        let from_keys = unnest(&types[..key.len()]);
        let same_key = join(
            key.iter()
                .map(|name| format!("t.{0} = u.{0}", identifier(name))),
            " and ",
        );
        // Only an owned table's writes are checked against the owner; in a shared one the row is locked.
        let mine = if shared {
            String::new()
        } else {
            format!(" and t.{owner} = u.{owner}")
        };
        let assign = assignments(rest, shared);
        let loaded = loaded_columns(&names);
        let claim = claim(&place, table, &from_keys);
        let (load_by_prefix, guard) = by_prefix(schema, table, key, &types);
        // Short, and distinct whatever the names: PostgreSQL cuts identifiers at 63 bytes.
        let stage = format!("pg_temp.{}", identifier(&format!("stage {schema} {index}")));

        Statements {
            load: format!(
                "select u.\"$n\"::integer, t.{owner}, {loaded} from {from_keys} with ordinality as u ({key_columns}, \"$n\") \
                 join {place} t on {same_key}"
            ),
            lock: format!("{claim} do update set {owner} = t.{owner} where false"),
            claim_missing: format!("{claim} do nothing"),
            load_by_prefix,
            guard,
            insert: format!(
                "insert into {place} ({columns}, {owner}) select * from {}",
                unnest_owned(&types),
            ),
            copy: format!("copy {place} ({columns}, {owner}) from stdin (format binary)"),
            update: format!(
                "update {place} t set {assign} from {} as u ({columns}, {owner}) where {same_key}{mine}",
                unnest_owned(&types)
            ),
            delete: format!(
                "delete from {place} t using {} as u ({key_columns}, {owner}) where {same_key}{mine}",
                unnest_owned(&types[..key.len()])
            ),
            drop_placeholders: format!(
                "delete from {place} t using {from_keys} as u ({key_columns}) where {same_key} and t.{owner} = {PLACEHOLDER}"
            ),
            create_stage: format!(
                "create temporary table if not exists {stage} on commit delete rows as \
                 select {columns}, {owner} from {place} with no data"
            ),
            copy_stage: format!("copy {stage} ({columns}, {owner}) from stdin (format binary)"),
            update_from_stage: format!(
                "update {place} t set {assign} from {stage} u where {same_key}{mine}"
            ),
            clear_stage: format!("delete from {stage}"),
        }
    }
}

impl Statements {
    /// Rows by this many first key columns.
    pub(crate) fn load_by_prefix(&self, columns: usize) -> &str {
        let statement = self.load_by_prefix.iter().find(|(len, _)| *len == columns);
        &statement.expect("a rule reaches rows by this prefix").1
    }
}

/// All columns of a row that is there.
fn loaded_columns(names: &[&str]) -> String {
    join(
        names.iter().map(|name| format!("t.{}", identifier(name))),
        ", ",
    )
}

/// What an update takes from the written row `u`.
fn assignments(columns: &[&str], shared: bool) -> String {
    let owner = identifier(OWNER);
    let owner = match shared {
        true => format!("{owner} = {SHARED}"),
        false => format!("{owner} = u.{owner}"),
    };
    let columns = columns
        .iter()
        .map(|name| format!("{0} = u.{0}", identifier(name)));
    join(columns.chain([owner]), ", ")
}

/// An insert of placeholders for the keys in `from_keys`, as far as the action on conflict, which is missing.
fn claim(place: &str, table: &Table, from_keys: &str) -> String {
    let (key, rest) = table.columns.split_at(table.key_len);
    let required = || rest.iter().filter(|column| column.not_null);
    let names = || key.iter().map(|column| column.name.as_str());
    let filled = required().map(|column| column.name.as_str());
    let columns = identifiers(names().chain(filled).chain([OWNER]));
    let values = join(
        names()
            .map(|name| format!("u.{}", identifier(name)))
            .chain(required().map(|column| zero(column.column_type)))
            .chain([PLACEHOLDER.to_string()]),
        ", ",
    );
    let key_columns = identifiers(names());
    format!(
        "insert into {place} as t ({columns}) select {values} from {from_keys} as u ({key_columns}) \
         on conflict ({key_columns})"
    )
}

/// How rows are loaded by their first key columns, and how those are locked.
fn by_prefix(
    schema: &str,
    table: &Table,
    key: &[&str],
    types: &[Type],
) -> (Vec<(usize, String)>, Option<GuardStatements>) {
    let (place, owner) = (qualified(schema, &table.name), identifier(OWNER));
    let names: Vec<&str> = table
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    let loaded = loaded_columns(&names);
    let prefix_lens = table.prefix_lens();
    let load_by_prefix = prefix_lens.iter().map(|len| {
        let (from, columns, same) = by_first_columns(key, types, *len);
        let sql = format!(
            "select u.\"$n\"::integer, t.{owner}, {loaded} from {from} with ordinality as u ({columns}, \"$n\") \
             join {place} t on {same} limit {}",
            ROWS_BY_PREFIX_MAX + 1
        );
        (*len, sql)
    });
    let guard = prefix_lens.first().map(|len| {
        let (from, columns, same) = by_first_columns(key, types, *len);
        let guards = qualified(schema, &guard_table(&table.name));
        let first = identifier(key[0]);
        GuardStatements {
            lock: format!(
                "insert into {guards} as t ({columns}) select * from {from} \
                 on conflict ({columns}) do update set {first} = t.{first} where false"
            ),
            drop_idle: format!(
                "delete from {guards} t using {from} as u ({columns}) where {same} \
                 and not exists (select from {place} t where {same})"
            ),
        }
    });
    (load_by_prefix.collect(), guard)
}

/// Parameters, column list, and condition on `t` and `u` for the first columns of a key.
fn by_first_columns(key: &[&str], types: &[Type], len: usize) -> (String, String, String) {
    let same = key[..len]
        .iter()
        .map(|name| format!("t.{0} = u.{0}", identifier(name)));
    (
        unnest(&types[..len]),
        identifiers(key[..len].iter().copied()),
        join(same, " and "),
    )
}

/// `unnest($1::text[], $2::bigint[], …)`: one parameter per column.
fn unnest(types: &[Type]) -> String {
    let parameters = types
        .iter()
        .enumerate()
        .map(|(index, ty)| format!("${}::{}[]", index + 1, scalar(*ty)));
    format!("unnest({})", join(parameters, ", "))
}

/// As [`unnest`], with `"$owner"` as the last parameter.
fn unnest_owned(types: &[Type]) -> String {
    let types: Vec<Type> = types.iter().copied().chain([INTEGER]).collect();
    unnest(&types)
}

/// The type's name without modifier and brackets.
fn scalar(ty: Type) -> Type {
    Type {
        scalar: ty.scalar,
        modifier: Modifier::None,
        array: false,
    }
}

/// A constant that a not-null column takes while its row is a placeholder.
fn zero(ty: Type) -> String {
    let text = match ty.scalar {
        _ if ty.array => "{}",
        Scalar::Boolean => "false",
        Scalar::SmallInt
        | Scalar::Integer
        | Scalar::BigInt
        | Scalar::Real
        | Scalar::Double
        | Scalar::Numeric
        | Scalar::Interval => "0",
        Scalar::Text | Scalar::Varchar | Scalar::Bytea => "",
        Scalar::Uuid => "00000000-0000-0000-0000-000000000000",
        Scalar::Date | Scalar::Timestamp | Scalar::TimestampTz => "2000-01-01",
        Scalar::Time => "00:00",
        Scalar::Jsonb => "null",
    };
    format!("'{text}'::{ty}")
}

fn join(parts: impl IntoIterator<Item = String>, separator: &str) -> String {
    parts.into_iter().collect::<Vec<_>>().join(separator)
}
