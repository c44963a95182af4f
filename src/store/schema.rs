//! The tables of one generation, as statements: its schema, tables with their hidden column, indexes, comments, views.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use super::error::{Context, ErrorKind, Result, StoreError};
use super::history;
use super::quote::{generation_schema, identifier, identifiers, literal, qualified};
use super::seen;
use crate::definition::projection::{GHOST, Index, Projection, Table, View};

/// The checkpoint slot of the partition that owns the row; [`SHARED`] in a table of the locked way. `$` cannot stand in a
/// user's names, and no view shows it.
pub(crate) const OWNER: &str = "$owner";
/// `"$owner"` of a row that no single partition owns.
pub const SHARED: i32 = -1;

/// Room for a new version of a row on its page, so that updates touch no index (HOT).
const FILLFACTOR: u8 = 85;

/// Creates all that a generation has in its own schema, in the caller's transaction.
pub(super) async fn create(
    connection: &mut PgConnection,
    generation: i64,
    projection: &Projection,
) -> Result<()> {
    let schema = generation_schema(generation);
    let name = &projection.name;
    execute(connection, format!("create schema {}", identifier(&schema)))
        .await
        .map_err(|error| error.refused_by_definition(format!("projection {name}")))?;
    for table in &projection.tables {
        for sql in table_statements(&schema, table) {
            execute(connection, sql).await.map_err(|error| {
                error.refused_by_definition(format!("projection {name}, table {}", table.name))
            })?;
        }
    }
    if projection.deduplicate.is_some() {
        for sql in seen::create_statements(&schema) {
            execute(connection, sql).await?;
        }
    }
    for view in &projection.views {
        create_view(connection, &schema, projection, view)
            .await
            .map_err(|error| {
                error.refused_by_definition(format!("projection {name}, view {}", view.name))
            })?;
    }
    Ok(())
}

/// Takes keys and indexes away from the tables of a generation that holds nothing yet; not from those of prefixes, which no load
/// writes.
pub(super) async fn drop_keys(connection: &mut PgConnection, generation: i64) -> Result<()> {
    let statements: Vec<String> = sqlx::query_scalar(
        "select format('alter table %s drop constraint %I', c.conrelid::regclass, c.conname) \
         from pg_catalog.pg_constraint c join pg_catalog.pg_class t on t.oid = c.conrelid \
         where c.connamespace = to_regnamespace($1) and c.contype = 'p' and t.relname not like '%$prefix' \
         union all \
         select format('drop index %s', i.indexrelid::regclass) \
         from pg_catalog.pg_index i join pg_catalog.pg_class t on t.oid = i.indrelid \
         where t.relnamespace = to_regnamespace($1) and not i.indisprimary and t.relname not like '%$prefix'",
    )
    .bind(identifier(&generation_schema(generation)))
    .fetch_all(&mut *connection)
    .await
    .doing("looking for keys and indexes")?;
    for sql in statements {
        execute(connection, sql).await?;
    }
    Ok(())
}

/// Gives a loaded table its key and indexes, if it has none yet, in the caller's transaction.
///
/// # Errors
/// 23505: a key is there twice.
pub(super) async fn build_keys(
    connection: &mut PgConnection,
    generation: i64,
    table: &Table,
) -> Result<()> {
    let schema = generation_schema(generation);
    if let Some((place, sql)) = history::key_statement(&schema, table)
        && !has_key(connection, &place).await?
    {
        execute(connection, sql).await?;
    }
    let place = qualified(&schema, &table.name);
    if has_key(connection, &place).await? {
        return Ok(());
    }
    let key = table.columns[..table.key_len]
        .iter()
        .map(|column| column.name.as_str());
    let sql = format!("alter table {place} add primary key ({})", identifiers(key));
    execute(connection, sql).await?;
    for sql in index_statements(&place, table) {
        execute(connection, sql).await?;
    }
    Ok(())
}

async fn has_key(connection: &mut PgConnection, place: &str) -> Result<bool> {
    sqlx::query_scalar(
        "select exists (select from pg_catalog.pg_index where indrelid = to_regclass($1) and indisprimary)",
    )
    .bind(place)
    .fetch_one(connection)
    .await
    .doing("looking for keys and indexes")
}

/// Tells the planner how large a table is and what is in it, unless it was analyzed and has grown by less than a twentieth since. Only
/// its size is looked at: the server counts changed rows late, those of a load even after the analysis that followed it.
pub(super) async fn analyze(
    connection: &mut PgConnection,
    generation: i64,
    table: &str,
) -> Result<()> {
    let place = qualified(&generation_schema(generation), table);
    let is_known = sqlx::query_scalar(
        "select pg_stat_get_last_analyze_time(oid) is not null and reltuples > 0 \
             and pg_relation_size(oid) <= relpages * current_setting('block_size')::bigint / 20 * 21 \
         from pg_catalog.pg_class where oid = to_regclass($1)",
    )
    .bind(&place)
    .fetch_one(&mut *connection)
    .await
    .doing("looking for statistics")?;
    if is_known {
        return Ok(());
    }
    execute(connection, format!("analyze {place}")).await
}

fn table_statements(schema: &str, table: &Table) -> Vec<String> {
    let place = qualified(schema, &table.name);
    let mut statements = vec![create_table(&place, table)];
    statements.extend(create_guards(schema, table));
    statements.extend(index_statements(&place, table));
    statements.extend(history::create_statements(schema, table));
    if let Some(comment) = &table.comment {
        statements.push(format!("comment on table {place} is {}", literal(comment)));
    }
    for column in &table.columns {
        if let Some(comment) = &column.comment {
            let column = identifier(&column.name);
            statements.push(format!(
                "comment on column {place}.{column} is {}",
                literal(comment)
            ));
        }
    }
    statements
}

pub(super) fn index_statements(place: &str, table: &Table) -> Vec<String> {
    let statement = |index: &Index| {
        let condition = match &index.where_sql {
            Some(sql) => format!(" where (\n{sql}\n)"),
            None => String::new(),
        };
        let columns = identifiers(index.columns.iter().map(String::as_str));
        format!("create index on {place} ({columns}){condition}")
    };
    table.indexes.iter().map(statement).collect()
}

fn create_table(place: &str, table: &Table) -> String {
    let mut lines = Vec::with_capacity(table.columns.len() + 2);
    for (index, column) in table.columns.iter().enumerate() {
        let mut line = format!("{} {}", identifier(&column.name), column.column_type);
        if column.not_null || index < table.key_len {
            line.push_str(" not null");
        }
        if let Some(default) = &column.default_sql {
            line.push_str(" default ");
            line.push_str(default);
        }
        lines.push(line);
    }
    lines.push(format!("{} integer not null", identifier(OWNER)));
    let key = table.columns[..table.key_len]
        .iter()
        .map(|column| column.name.as_str());
    lines.push(format!("primary key ({})", identifiers(key)));
    format!(
        "create table {place} (\n  {}\n) with (fillfactor = {FILLFACTOR})",
        lines.join(",\n  ")
    )
}

/// Where rules reach all rows with a prefix and partitions share the table, whoever is at those rows holds the lock of a row
/// here: rows that are not there cannot be locked themselves.
fn create_guards(schema: &str, table: &Table) -> Option<String> {
    let len = *table.prefix_lens().first()?;
    let columns = &table.columns[..len];
    let lines = columns.iter().map(|column| {
        let name = identifier(&column.name);
        format!("{name} {} not null,\n  ", column.column_type)
    });
    Some(format!(
        "create table {} (\n  {}primary key ({})\n)",
        qualified(schema, &guard_table(&table.name)),
        lines.collect::<String>(),
        identifiers(columns.iter().map(|column| column.name.as_str()))
    ))
}

/// `$` cannot stand in a user's names.
pub(crate) fn guard_table(table: &str) -> String {
    format!("{table}$prefix")
}

/// A view of the definition sees the tables without their hidden columns, whatever it does with them (`select *`, natural
/// joins, whole rows): each table it may mean is a common table expression of the same name. Grouping by a primary key is
/// the one thing that this takes away, so it is tried on the tables themselves if PostgreSQL refuses the grouping.
pub(super) async fn create_view(
    connection: &mut PgConnection,
    schema: &str,
    projection: &Projection,
    view: &View,
) -> Result<()> {
    let place = qualified(schema, &view.name);
    execute(
        connection,
        format!("set local search_path = {}", identifier(schema)),
    )
    .await?;
    let shadowed = view_sql(schema, projection, view, true);
    let mut attempt = connection.begin().await.doing("creating a view")?;
    match execute(&mut attempt, shadowed).await {
        Ok(()) => attempt.commit().await.doing("creating a view")?,
        // Where deleted rows are kept for their versions, a view must not see the tables themselves.
        Err(error)
            if error.sqlstate.as_deref() == Some("42803")
                && projection.tables.iter().all(|table| table.ghost.is_none()) =>
        {
            attempt.rollback().await.doing("creating a view")?;
            execute(connection, view_sql(schema, projection, view, false)).await?;
        }
        Err(error) => return Err(error),
    }
    execute(
        connection,
        "set local search_path = pg_catalog, pg_temp".to_owned(),
    )
    .await?;
    let hidden: bool = sqlx::query_scalar(
        "select exists (select from pg_catalog.pg_attribute where attrelid = to_regclass($1) and attname like '$%')",
    )
    .bind(&place)
    .fetch_one(&mut *connection)
    .await
    .doing("reading the columns of a view")?;
    if hidden {
        return Err(StoreError::refused(
            String::new(),
            "`*` beside a grouping by primary key would show hidden columns: name the columns",
        ));
    }
    refuse_reach(connection, schema, &place).await?;
    if let Some(comment) = &view.comment {
        execute(
            connection,
            format!("comment on view {place} is {}", literal(comment)),
        )
        .await?;
    }
    Ok(())
}

/// Readers run a view's functions with their own rights, and see its tables with ours. So it calls nothing that could change
/// something, read files or wait, and reads this projection's relations only. PostgreSQL's own parse of the view tells both;
/// nothing of it has run by then.
async fn refuse_reach(connection: &mut PgConnection, schema: &str, place: &str) -> Result<()> {
    let found: Option<String> = sqlx::query_scalar(
        r"with tree as (
              select ev_action::text as text from pg_catalog.pg_rewrite where ev_class = to_regclass($1)
          )
          select 'calls ' || oid::regprocedure || ', which is volatile' as reason
          from pg_catalog.pg_proc
          where provolatile = 'v' and oid in (
              select called[1]::oid from tree, regexp_matches(text, ':(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)', 'g') as called
          )
          union all
          select 'reads ' || oid::regclass || ', which is not of this projection'
          from pg_catalog.pg_class
          where relnamespace not in (to_regnamespace($2), 'pg_catalog'::regnamespace, 'information_schema'::regnamespace)
          and oid in (select named[1]::oid from tree, regexp_matches(text, ':relid (\d+)', 'g') as named)
          order by reason limit 1",
    )
    .bind(place)
    .bind(identifier(schema))
    .fetch_optional(connection)
    .await
    .doing("reading what a view calls")?;
    match found {
        None => Ok(()),
        Some(reason) => Err(StoreError::refused(String::new(), format!("it {reason}"))
            .hint("A view is a query over its projection's tables that changes nothing")),
    }
}

fn view_sql(schema: &str, projection: &Projection, view: &View, shadow: bool) -> String {
    let place = qualified(schema, &view.name);
    // What stands in parentheses cannot end the statement, and a prepared statement is only one.
    let body = view.sql.trim().trim_end_matches(';');
    if !shadow {
        return format!(
            "create or replace view {place} as select * from (\n{body}\n) as {}",
            identifier(&view.name)
        );
    }
    let text = body.to_lowercase();
    let shadows: Vec<String> = projection
        .tables
        .iter()
        .filter(|table| text.contains(table.name.as_str()))
        .map(|table| {
            let shown = table.columns.iter().map(|column| column.name.as_str());
            let columns = identifiers(shown.filter(|name| !name.starts_with('$')));
            let condition = match table.ghost {
                Some(_) => format!(" where not {}", identifier(GHOST)),
                None => String::new(),
            };
            format!(
                "{} as not materialized (select {columns} from {}{condition})",
                identifier(&table.name),
                qualified(schema, &table.name)
            )
        })
        .collect();
    let with = if shadows.is_empty() {
        String::new()
    } else {
        format!("with {} ", shadows.join(", "))
    };
    format!(
        "create or replace view {place} as {with}select * from (\n{body}\n) as {}",
        identifier(&view.name)
    )
}

pub(super) async fn execute(connection: &mut PgConnection, sql: String) -> Result<()> {
    sqlx::query(AssertSqlSafe(sql))
        .persistent(false)
        .execute(connection)
        .await
        .doing("creating a generation's tables")?;
    Ok(())
}

impl StoreError {
    /// While creating what a definition asks for, what PostgreSQL refuses is the definition's doing.
    fn refused_by_definition(mut self, context: String) -> StoreError {
        if matches!(
            self.kind,
            ErrorKind::Unexpected | ErrorKind::EventFault | ErrorKind::SchemaDiffers
        ) {
            self.kind = ErrorKind::Refused;
        }
        self.context = context;
        self
    }
}
