//! Changes of a definition that need no replay, applied to the generation that readers see: its text, indexes, views, comments.

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::connect::Store;
use super::error::{Context, Result, StoreError};
use super::generation::Generation;
use super::quote::{generation_schema, identifier, qualified};
use super::readers::{self, ReadSettings};
use super::switch::{drop_view, refuse_dependants};
use super::{projection, schema, views};
use crate::definition::Projection;
use crate::definition::projection::{Table, View};

impl Store {
    /// From now on the generation is folded by `definition`, which makes the same rows of the same events. All or nothing.
    ///
    /// # Errors
    /// `Refused`: it would fold otherwise, PostgreSQL does not take an index or a view, or others depend on a view that changes.
    pub async fn adopt_definition(
        &self,
        generation: &Generation,
        definition: &Projection,
        read: &ReadSettings,
    ) -> Result<()> {
        let name = &definition.name;
        if generation.fingerprint != definition.fold_fingerprint {
            return Err(StoreError::refused(
                format!("projection {name}"),
                "the definition folds events otherwise: it needs a rebuild",
            ));
        }
        let context = "applying a changed definition";
        let before = generation.meant()?;
        let mut connection = self.pool.acquire().await.doing(context)?;
        let mut tx = connection.begin().await.doing(context)?;
        projection::lock(&mut tx, name).await?;
        sqlx::query("update consolidator.generation set definition = $2 where id = $1")
            .bind(generation.id)
            .bind(&definition.text)
            .execute(&mut *tx)
            .await
            .doing(context)?;
        for table in &definition.tables {
            let old = before.tables.iter().find(|old| old.name == table.name);
            if old.is_some_and(|old| old.indexes != table.indexes) {
                replace_indexes(&mut tx, generation.id, table).await?;
            }
        }
        for view in &before.views {
            if !definition.views.iter().any(|kept| kept.name == view.name) {
                refuse_dependants(&mut tx, &read.schema, &view.name).await?;
                drop_view(&mut tx, &read.schema, &view.name).await?;
                let place = qualified(&generation_schema(generation.id), &view.name);
                schema::execute(&mut tx, format!("drop view if exists {place}")).await?;
            }
        }
        for view in &definition.views {
            if !before.views.contains(view) {
                replace_view(&mut tx, generation.id, definition, view, read).await?;
            }
        }
        readers::publish(&mut tx, definition, generation, read).await?;
        for relation in readers::relations(definition) {
            readers::comment(&mut tx, &read.schema, &relation).await?;
        }
        tx.commit().await.doing(context)
    }
}

/// New ones first, so that readers are never without.
async fn replace_indexes(
    connection: &mut PgConnection,
    generation: i64,
    table: &Table,
) -> Result<()> {
    let place = qualified(&generation_schema(generation), &table.name);
    let old: Vec<String> = sqlx::query_scalar(
        "select i.indexrelid::regclass::text from pg_catalog.pg_index i where i.indrelid = to_regclass($1) and not i.indisprimary",
    )
    .bind(&place)
    .fetch_all(&mut *connection)
    .await
    .doing("looking for indexes")?;
    for sql in schema::index_statements(&place, table) {
        schema::execute(connection, sql).await?;
    }
    for name in old {
        schema::execute(connection, format!("drop index {name}")).await?;
    }
    Ok(())
}

/// A view whose columns only grow is replaced under its readers; any other is made anew, unless somebody depends on it.
async fn replace_view(
    connection: &mut PgConnection,
    generation: i64,
    definition: &Projection,
    view: &View,
    read: &ReadSettings,
) -> Result<()> {
    let schema_name = generation_schema(generation);
    let mut attempt = connection.begin().await.doing("replacing a view")?;
    match schema::create_view(&mut attempt, &schema_name, definition, view).await {
        Ok(()) => attempt.commit().await.doing("replacing a view")?,
        Err(error) if error.sqlstate.as_deref() == Some("42P16") => {
            attempt.rollback().await.doing("replacing a view")?;
            refuse_dependants(connection, &read.schema, &view.name).await?;
            drop_view(connection, &read.schema, &view.name).await?;
            let place = format!("{}.{}", identifier(&schema_name), identifier(&view.name));
            schema::execute(connection, format!("drop view {place}")).await?;
            schema::create_view(connection, &schema_name, definition, view).await?;
        }
        Err(error) => return Err(error),
    }
    if views::recorded_as(connection, &view.name).await?.is_none() {
        return Ok(());
    }
    let draft = views::with_branch(connection, &read.schema, &view.name, generation, true).await?;
    readers::replace(connection, &definition.name, &read.schema, "view", &draft).await
}
