//! The tables of one generation, as statements: its schema, tables with their hidden column, indexes, comments, views.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use super::error::{Context, ErrorKind, Result, StoreError};
use super::quote::{generation_schema, identifier, identifiers, literal, qualified};
use crate::definition::projection::{Projection, Table, View};

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
    for view in &projection.views {
        create_view(connection, &schema, projection, view)
            .await
            .map_err(|error| {
                error.refused_by_definition(format!("projection {name}, view {}", view.name))
            })?;
    }
    Ok(())
}

/// Columns of a relation in their order, hidden ones left out.
pub(super) async fn visible_columns(
    connection: &mut PgConnection,
    schema: &str,
    relation: &str,
) -> Result<Vec<String>> {
    sqlx::query_scalar(
        "select a.attname::text from pg_catalog.pg_attribute a \
         where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped and a.attname not like '$%' \
         order by a.attnum",
    )
    .bind(qualified(schema, relation))
    .fetch_all(connection)
    .await
    .context(|| format!("reading the columns of {relation}"))
}

fn table_statements(schema: &str, table: &Table) -> Vec<String> {
    let place = qualified(schema, &table.name);
    let mut statements = vec![create_table(&place, table)];
    statements.extend(create_guards(schema, table));
    for index in &table.indexes {
        let condition = match &index.where_sql {
            Some(sql) => format!(" where (\n{sql}\n)"),
            None => String::new(),
        };
        let columns = identifiers(index.columns.iter().map(String::as_str));
        statements.push(format!("create index on {place} ({columns}){condition}"));
    }
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
async fn create_view(
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
        Err(error) if error.sqlstate.as_deref() == Some("42803") => {
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
    if let Some(comment) = &view.comment {
        execute(
            connection,
            format!("comment on view {place} is {}", literal(comment)),
        )
        .await?;
    }
    Ok(())
}

fn view_sql(schema: &str, projection: &Projection, view: &View, shadow: bool) -> String {
    let place = qualified(schema, &view.name);
    // What stands in parentheses cannot end the statement, and a prepared statement is only one.
    let body = view.sql.trim().trim_end_matches(';');
    if !shadow {
        return format!(
            "create view {place} as select * from (\n{body}\n) as {}",
            identifier(&view.name)
        );
    }
    let text = body.to_lowercase();
    let shadows: Vec<String> = projection
        .tables
        .iter()
        .filter(|table| text.contains(table.name.as_str()))
        .map(|table| {
            let columns = identifiers(table.columns.iter().map(|column| column.name.as_str()));
            format!(
                "{} as not materialized (select {columns} from {})",
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
        "create view {place} as {with}select * from (\n{body}\n) as {}",
        identifier(&view.name)
    )
}

async fn execute(connection: &mut PgConnection, sql: String) -> Result<()> {
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
