//! Brings the control schema up to date. Several processes may try at once; a role that may create nothing can work
//! once the schema is there.

use std::borrow::Cow;
use std::collections::HashMap;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, SqlSafeStr};

use super::error::{Context, ErrorKind, Result, StoreError};

const MIGRATIONS: [(i64, &str, &str); 2] = [
    (
        1,
        "control",
        include_str!("../../migrations/0001_control.sql"),
    ),
    (
        2,
        "readers",
        include_str!("../../migrations/0002_readers.sql"),
    ),
];

/// sqlx's own table, in our schema as everything else.
const TABLE: &str = "consolidator._sqlx_migrations";
/// Advisory lock (`consolid` in ASCII): one process migrates, the others wait and then find nothing to do.
const LOCK: i64 = 0x636f_6e73_6f6c_6964;

/// Does nothing, and needs no rights but select, if every migration is there. Migrations of a newer version of the program are
/// left alone: pods of two versions work side by side.
pub(super) async fn migrate(connection: &mut PgConnection) -> Result<()> {
    let migrator = migrator();
    if is_current(connection, &migrator).await? {
        return Ok(());
    }
    sqlx::query("select pg_advisory_lock($1)")
        .bind(LOCK)
        .execute(&mut *connection)
        .await
        .doing("waiting for the migration of the control schema")?;
    let outcome = migrate_locked(connection, &migrator).await;
    let unlocked = sqlx::query("select pg_advisory_unlock($1)")
        .bind(LOCK)
        .execute(&mut *connection)
        .await
        .doing("migrating the control schema");
    outcome.and(unlocked.map(|_| ()))
}

async fn migrate_locked(connection: &mut PgConnection, migrator: &Migrator) -> Result<()> {
    if is_current(connection, migrator).await? {
        return Ok(());
    }
    // Not `create schema if not exists`: that asks for the right to create even where there is nothing to do.
    let exists: bool = sqlx::query_scalar(
        "select exists (select from pg_catalog.pg_namespace where nspname = 'consolidator')",
    )
    .fetch_one(&mut *connection)
    .await
    .doing("looking for the control schema")?;
    if !exists {
        let mut tx = connection
            .begin()
            .await
            .doing("creating the control schema")?;
        sqlx::raw_sql(
            "create schema consolidator; \
             comment on schema consolidator is 'Control tables of Consolidator; readers: freshness, blocked_keys, wait_for()'",
        )
        .execute(&mut *tx)
        .await
        .doing("creating the control schema")?;
        tx.commit().await.doing("creating the control schema")?;
    }
    migrator
        .run_direct(None, connection, false)
        .await
        .map_err(|error| from_migrate(&error))
}

/// Every migration of ours is applied, with the text we know.
async fn is_current(connection: &mut PgConnection, migrator: &Migrator) -> Result<bool> {
    let exists: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(TABLE)
        .fetch_one(&mut *connection)
        .await
        .doing("looking for the control schema")?;
    if !exists {
        return Ok(false);
    }
    let applied: HashMap<i64, Vec<u8>> = sqlx::query_as::<_, (i64, Vec<u8>)>(
        "select version, checksum from consolidator._sqlx_migrations where success",
    )
    .fetch_all(&mut *connection)
    .await
    .doing("reading which migrations are applied")?
    .into_iter()
    .collect();
    Ok(migrator.iter().all(|migration| {
        applied.get(&migration.version).map(Vec::as_slice) == Some(&*migration.checksum)
    }))
}

fn migrator() -> Migrator {
    let migrations = MIGRATIONS
        .iter()
        .map(|(version, description, sql)| {
            Migration::new(
                *version,
                Cow::Borrowed(*description),
                MigrationType::Simple,
                sql.into_sql_str(),
                false,
            )
        })
        .collect();
    let mut migrator = Migrator::with_migrations(migrations);
    migrator.dangerous_set_table_name(TABLE);
    migrator.set_ignore_missing(true).set_locking(false);
    migrator
}

fn from_migrate(error: &MigrateError) -> StoreError {
    let context = "migrating the control schema";
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            StoreError::from_sqlx(error, context)
        }
        MigrateError::VersionMismatch(version) => StoreError::refused(
            context,
            format!(
                "migration {version} was applied with another text: this database belongs to a different build"
            ),
        ),
        other => StoreError::new(ErrorKind::Unexpected, context, other.to_string()),
    }
}
