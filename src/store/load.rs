//! The rows that a batch needs: by key, by prefix, locked where partitions share them. Knows nothing of events.

use sqlx::postgres::PgConnection;

use super::encode::EncodedKeys;
use super::error::{Context, ErrorKind, Result, StoreError};
use super::layout::{PLACEHOLDER, TableLayout};
use super::rows::{self, Rows};
use crate::fold::REACHED_ROWS_MAX;

/// Most rows that a batch may reach by prefix: all are in memory at once. More than one event may reach, so that whatever that one
/// may not reach is still its own fault, and not the size of its batch.
pub(super) const ROWS_BY_PREFIX_MAX: usize = 2 * REACHED_ROWS_MAX;

/// What a batch needs of one table. Keys and prefixes are sorted: the order in which everybody locks.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Whole keys.
    pub keys: EncodedKeys,
    /// First key columns, by their number: every row that has them is wanted.
    pub prefixes: Vec<(usize, EncodedKeys)>,
    /// Of a shared table with rules on prefixes: the prefixes of all the rows that the batch meets.
    pub guards: EncodedKeys,
}

/// What there is of it.
#[derive(Debug, Default)]
pub struct Loaded {
    pub by_key: Rows,
    /// By number of first key columns.
    pub by_prefix: Vec<(usize, Rows)>,
}

/// Reads without locking. Rows of an owned table, or of a shared one that is locked already.
pub(super) async fn load(
    connection: &mut PgConnection,
    layout: &TableLayout,
    wanted: &Wanted,
) -> Result<Loaded> {
    Ok(Loaded {
        by_key: by_key(connection, layout, &wanted.keys, None).await?,
        by_prefix: by_prefix(connection, layout, &wanted.prefixes).await?,
    })
}

pub(super) async fn by_key(
    connection: &mut PgConnection,
    layout: &TableLayout,
    keys: &EncodedKeys,
    skip_owner: Option<i32>,
) -> Result<Rows> {
    fetch(connection, layout, &layout.sql.load, keys, skip_owner).await
}

/// Rows by prefix. A placeholder is none.
pub(super) async fn by_prefix(
    connection: &mut PgConnection,
    layout: &TableLayout,
    prefixes: &[(usize, EncodedKeys)],
) -> Result<Vec<(usize, Rows)>> {
    let mut loaded = Vec::with_capacity(prefixes.len());
    for (columns, keys) in prefixes {
        let statement = layout.sql.load_by_prefix(*columns);
        let rows = fetch(connection, layout, statement, keys, Some(PLACEHOLDER)).await?;
        if rows.len() > ROWS_BY_PREFIX_MAX {
            return Err(too_many(layout));
        }
        loaded.push((*columns, rows));
    }
    Ok(loaded)
}

/// Fewer events at once reach fewer rows; of one alone it is the fault.
fn too_many(layout: &TableLayout) -> StoreError {
    StoreError::new(
        ErrorKind::EventFault,
        format!("loading rows of table {}", layout.name),
        format!("rules reach more than {ROWS_BY_PREFIX_MAX} rows at once"),
    )
}

/// Whoever holds a guard is alone with all rows under its prefix, also with those that are not there, until the end of the
/// transaction. True if there are guards now that there were not before.
pub(super) async fn lock_guards(
    connection: &mut PgConnection,
    layout: &TableLayout,
    guards: &EncodedKeys,
) -> Result<bool> {
    let Some(guard) = &layout.sql.guard else {
        return Ok(false);
    };
    let mut added = 0;
    for chunk in &guards.chunks {
        added += rows::execute(connection, &guard.lock, chunk)
            .await
            .context(|| format!("locking rows of table {}", layout.name))?;
    }
    Ok(added > 0)
}

/// Guards of prefixes that no row has are not kept.
pub(super) async fn drop_idle_guards(
    connection: &mut PgConnection,
    layout: &TableLayout,
    guards: &EncodedKeys,
) -> Result<()> {
    let Some(guard) = &layout.sql.guard else {
        return Ok(());
    };
    for chunk in &guards.chunks {
        rows::execute(connection, &guard.drop_idle, chunk)
            .await
            .context(|| format!("writing table {}", layout.name))?;
    }
    Ok(())
}

async fn fetch(
    connection: &mut PgConnection,
    layout: &TableLayout,
    statement: &str,
    keys: &EncodedKeys,
    skip_owner: Option<i32>,
) -> Result<Rows> {
    let mut loaded = Rows::default();
    let mut first_key = 0;
    for chunk in &keys.chunks {
        let answer = rows::fetch(connection, statement, chunk)
            .await
            .context(|| format!("loading rows of table {}", layout.name))?;
        loaded.extend(&answer, first_key, &layout.column_types, skip_owner)?;
        first_key += chunk.rows;
    }
    Ok(loaded)
}
