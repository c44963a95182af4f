//! What analysts see: the gated views of the read schema, and the grants of `postgres.readers`.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::error::{Context, Result, StoreError};
use super::generation::Generation;
use super::quote::{generation_schema, identifier, identifiers, literal, qualified};
use super::{pointer, schema};
use crate::definition::projection::Projection;

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
struct Published<'a> {
    name: &'a str,
    kind: &'static str,
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
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(&mut *connection)
        .await
        .doing("waiting for another process that prepares views")?;
    ensure_schema(connection, &read.schema).await?;
    for relation in relations(projection) {
        ensure_view(connection, projection, generation, &read.schema, &relation).await?;
    }
    for role in &read.readers {
        grant(connection, role, &read.schema, projection).await?;
    }
    Ok(())
}

fn relations(projection: &Projection) -> Vec<Published<'_>> {
    let tables = projection.tables.iter().map(|table| Published {
        name: &table.name,
        kind: "table",
        comment: table.comment.as_deref(),
        column_comments: table
            .columns
            .iter()
            .filter_map(|column| Some((column.name.as_str(), column.comment.as_deref()?)))
            .collect(),
    });
    let views = projection.views.iter().map(|view| Published {
        name: &view.name,
        kind: "view",
        comment: view.comment.as_deref(),
        column_comments: Vec::new(),
    });
    tables.chain(views).collect()
}

async fn ensure_schema(connection: &mut PgConnection, name: &str) -> Result<()> {
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
    generation: &Generation,
    read_schema: &str,
    relation: &Published<'_>,
) -> Result<()> {
    let place = qualified(read_schema, relation.name);
    let context = || {
        format!(
            "projection {}, {} {}",
            projection.name, relation.kind, relation.name
        )
    };
    let recorded: Option<(String, String)> = sqlx::query_as(
        "select projection, schema from consolidator.published where table_name = $1",
    )
    .bind(relation.name)
    .fetch_optional(&mut *connection)
    .await
    .context(context)?;
    let exists: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(&place)
        .fetch_one(&mut *connection)
        .await
        .context(context)?;
    match recorded {
        Some((owner, _)) if owner != projection.name => {
            return Err(StoreError::refused(
                context(),
                format!("the name belongs to projection {owner} already"),
            )
            .hint("A table or view name belongs to one projection: rename one of them."));
        }
        Some((_, schema)) if schema == read_schema && exists => return Ok(()),
        Some(_) | None if exists => {
            return Err(StoreError::refused(
                context(),
                format!("there is a relation {place} already, and it is not ours"),
            )
            .hint("Rename or drop it, or choose another postgres.read_schema."));
        }
        Some(_) | None => {}
    }
    let columns =
        schema::visible_columns(connection, &generation_schema(generation.id), relation.name)
            .await?;
    let sql = view_sql(
        &place,
        &projection.name,
        relation.name,
        &columns,
        &[generation.id],
    );
    execute(connection, sql, "creating a view for readers").await?;
    sqlx::query(
        "insert into consolidator.published (table_name, projection, schema, kind, columns) values ($1, $2, $3, $4, $5) \
         on conflict (table_name) do update set schema = excluded.schema, columns = excluded.columns",
    )
    .bind(relation.name)
    .bind(&projection.name)
    .bind(read_schema)
    .bind(relation.kind)
    .bind(&columns)
    .execute(&mut *connection)
    .await
    .context(context)?;
    if let Some(comment) = relation.comment {
        execute(
            connection,
            format!("comment on view {place} is {}", literal(comment)),
            "commenting a view",
        )
        .await?;
    }
    for (column, comment) in &relation.column_comments {
        let sql = format!(
            "comment on column {place}.{} is {}",
            identifier(column),
            literal(comment)
        );
        execute(connection, sql, "commenting a view").await?;
    }
    Ok(())
}

/// One branch per generation that may become visible; the pointer opens exactly one of them.
fn view_sql(
    place: &str,
    projection: &str,
    relation: &str,
    columns: &[String],
    generations: &[i64],
) -> String {
    let columns = identifiers(columns.iter().map(String::as_str));
    let branches: Vec<String> = generations
        .iter()
        .map(|generation| {
            format!(
                "select {columns} from {} where {}",
                qualified(&generation_schema(*generation), relation),
                pointer::gate(projection, *generation)
            )
        })
        .collect();
    format!(
        "create view {place} ({columns}) as\n{}",
        branches.join("\nunion all\n")
    )
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

async fn execute(connection: &mut PgConnection, sql: String, context: &'static str) -> Result<()> {
    sqlx::query(AssertSqlSafe(sql))
        .persistent(false)
        .execute(connection)
        .await
        .doing(context)?;
    Ok(())
}
