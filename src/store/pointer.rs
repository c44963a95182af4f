//! Which generation readers see. The views of the read schema are gated by this row; moving it is one update.

use sqlx::postgres::PgConnection;

use super::error::{Context, Result};
use super::quote::literal;

/// The generation that readers of a projection see.
pub(super) async fn generation_of(
    connection: &mut PgConnection,
    projection: &str,
) -> Result<Option<i64>> {
    sqlx::query_scalar("select generation from consolidator.pointer where projection = $1")
        .bind(projection)
        .fetch_optional(connection)
        .await
        .doing("reading the pointer")
}

/// Points readers at the first generation.
pub(super) async fn create(
    connection: &mut PgConnection,
    projection: &str,
    generation: i64,
) -> Result<()> {
    sqlx::query("insert into consolidator.pointer (projection, generation) values ($1, $2)")
        .bind(projection)
        .bind(generation)
        .execute(connection)
        .await
        .doing("creating the pointer")?;
    Ok(())
}

/// The condition of a view's branch: true for the whole query or for none of it, since PostgreSQL evaluates it once.
pub(super) fn gate(projection: &str, generation: i64) -> String {
    format!(
        "(select p.generation from consolidator.pointer p where p.projection = {}) = {generation}",
        literal(projection)
    )
}
