//! What analysts see: the gated views of the read schema, and the grants of `postgres.readers`.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::error::{Context, Result, StoreError};
use super::generation::Generation;
use super::quote::{identifier, literal, qualified};
use super::views::{self, Draft};
use crate::definition::projection::{Projection, Table};

/// The part of the settings that is about readers.
#[derive(Clone, Debug)]
pub struct ReadSettings {
    /// Created if it is missing.
    pub schema: String,
    /// Roles; they must exist.
    pub readers: Vec<String>,
}

/// Held while views and grants change: concurrent grants on one schema fail with "tuple concurrently updated".
const LOCK: i64 = 0x636f_6e73_7265_6164;

/// A view that readers see.
pub(super) struct Published<'a> {
    pub(super) name: &'a str,
    pub(super) kind: &'static str,
    comment: Option<&'a str>,
    column_comments: Vec<(&'a str, &'a str)>,
}

/// Puts every missing view and grant in place; does nothing to what is there.
pub(super) async fn publish(
    connection: &mut PgConnection,
    projection: &Projection,
    generation: &Generation,
    read: &ReadSettings,
) -> Result<()> {
    lock(connection).await?;
    ensure_schema(connection, &read.schema).await?;
    for relation in relations(projection) {
        ensure_view(
            connection,
            projection,
            generation.id,
            &read.schema,
            &relation,
        )
        .await?;
    }
    grant_all(connection, projection, read).await
}

/// Only one at a time changes views and grants, until the end of the transaction.
pub(super) async fn lock(connection: &mut PgConnection) -> Result<()> {
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(connection)
        .await
        .doing("waiting for another process that prepares views")?;
    Ok(())
}

/// What `postgres.readers` may see.
pub(super) async fn grant_all(
    connection: &mut PgConnection,
    projection: &Projection,
    read: &ReadSettings,
) -> Result<()> {
    for role in &read.readers {
        grant(connection, role, &read.schema, projection).await?;
    }
    Ok(())
}

const HISTORY_COMMENTS: [(&str, &str); 3] = [
    (
        "valid_from",
        "Event time from which on the row was so (inclusive).",
    ),
    (
        "valid_to",
        "Event time until which the row was so (exclusive); null: it still is.",
    ),
    (
        "late",
        "Its event happened before that of the state which it follows; valid_from is then that state's.",
    ),
];

/// Tables and views of a definition that readers see.
pub(super) fn relations(projection: &Projection) -> Vec<Published<'_>> {
    fn of_columns(table: &Table) -> Vec<(&str, &str)> {
        let columns = table.columns.iter();
        columns
            .filter_map(|column| Some((column.name.as_str(), column.comment.as_deref()?)))
            .collect()
    }
    let tables = projection.tables.iter().map(|table| Published {
        name: &table.name,
        kind: "table",
        comment: table.comment.as_deref(),
        column_comments: of_columns(table),
    });
    let histories = projection.tables.iter().filter_map(|table| {
        let mut column_comments = of_columns(table);
        column_comments.extend(HISTORY_COMMENTS);
        Some(Published {
            name: table.history.as_deref()?,
            kind: "table",
            comment: Some("Every state that a row has had, and the event that caused it."),
            column_comments,
        })
    });
    let views = projection.views.iter().map(|view| Published {
        name: &view.name,
        kind: "view",
        comment: view.comment.as_deref(),
        column_comments: Vec::new(),
    });
    tables.chain(histories).chain(views).collect()
}

pub(super) async fn ensure_schema(connection: &mut PgConnection, name: &str) -> Result<()> {
    let exists: bool = sqlx::query_scalar(
        "select exists (select from pg_catalog.pg_namespace where nspname = $1)",
    )
    .bind(name)
    .fetch_one(&mut *connection)
    .await
    .doing("looking for the read schema")?;
    if exists {
        return Ok(());
    }
    execute(
        connection,
        format!("create schema {}", identifier(name)),
        "creating the read schema",
    )
    .await
}

async fn ensure_view(
    connection: &mut PgConnection,
    projection: &Projection,
    generation: i64,
    read_schema: &str,
    relation: &Published<'_>,
) -> Result<()> {
    let known = views::claim_name(connection, &projection.name, read_schema, relation.name).await?;
    if known.is_some() {
        return Ok(());
    }
    let draft =
        views::with_branch(connection, read_schema, relation.name, generation, false).await?;
    install(connection, &projection.name, read_schema, relation, &draft).await
}

/// Makes the view as drafted, records it, and says on it what the definition says.
pub(super) async fn install(
    connection: &mut PgConnection,
    projection: &str,
    read_schema: &str,
    relation: &Published<'_>,
    draft: &Draft,
) -> Result<()> {
    replace(connection, projection, read_schema, relation.kind, draft).await?;
    comment(connection, read_schema, relation).await
}

/// Makes the view as drafted and records it.
pub(super) async fn replace(
    connection: &mut PgConnection,
    projection: &str,
    read_schema: &str,
    kind: &str,
    draft: &Draft,
) -> Result<()> {
    let sql = views::statement(connection, projection, read_schema, draft).await?;
    execute(connection, sql, "preparing a view for readers").await?;
    let names: Vec<&str> = draft
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    sqlx::query(
        "insert into consolidator.published (table_name, projection, schema, kind, columns, branches) \
         values ($1, $2, $3, $4, $5, $6) \
         on conflict (table_name) do update set schema = excluded.schema, kind = excluded.kind, \
           columns = excluded.columns, branches = excluded.branches",
    )
    .bind(&draft.relation)
    .bind(projection)
    .bind(read_schema)
    .bind(kind)
    .bind(&names)
    .bind(&draft.branches)
    .execute(connection)
    .await
    .context(|| format!("recording the view {}", draft.relation))?;
    Ok(())
}

/// What the definition says about a relation; what somebody else wrote where it says nothing stays.
pub(super) async fn comment(
    connection: &mut PgConnection,
    read_schema: &str,
    relation: &Published<'_>,
) -> Result<()> {
    let place = qualified(read_schema, relation.name);
    let mut statements = Vec::new();
    if let Some(comment) = relation.comment {
        statements.push(format!("comment on view {place} is {}", literal(comment)));
    }
    for (column, comment) in &relation.column_comments {
        statements.push(format!(
            "comment on column {place}.{} is {}",
            identifier(column),
            literal(comment)
        ));
    }
    for sql in statements {
        execute(connection, sql, "commenting a view").await?;
    }
    Ok(())
}

async fn grant(
    connection: &mut PgConnection,
    role: &str,
    read_schema: &str,
    projection: &Projection,
) -> Result<()> {
    let exists: bool =
        sqlx::query_scalar("select exists (select from pg_catalog.pg_roles where rolname = $1)")
            .bind(role)
            .fetch_one(&mut *connection)
            .await
            .doing("looking for the readers' roles")?;
    if !exists {
        return Err(
            StoreError::refused("postgres.readers", format!("there is no role {role}")).hint(
                format!(
                    "Create it (create role {}), or take it out of the setting.",
                    identifier(role)
                ),
            ),
        );
    }
    let mut rights = vec![
        format!("usage on schema {}", identifier(read_schema)),
        "usage on schema consolidator".to_owned(),
        "select on consolidator.freshness, consolidator.blocked_keys".to_owned(),
        "execute on function consolidator.wait_for(text, text, integer, bigint, interval)"
            .to_owned(),
    ];
    for relation in relations(projection) {
        rights.push(format!(
            "select on {}",
            qualified(read_schema, relation.name)
        ));
    }
    for right in rights {
        execute(
            connection,
            format!("grant {right} to {}", identifier(role)),
            "granting readers their rights",
        )
        .await?;
    }
    Ok(())
}

pub(super) async fn execute(
    connection: &mut PgConnection,
    sql: String,
    context: &'static str,
) -> Result<()> {
    sqlx::query(AssertSqlSafe(sql))
        .persistent(false)
        .execute(connection)
        .await
        .doing(context)?;
    Ok(())
}
