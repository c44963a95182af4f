//! How a generation goes: its branches leave the views once nobody can see them any more, then its tables are dropped. Every step
//! can be made again after a restart. Knows nothing of why it goes.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use super::connect::Store;
use super::error::{Context, Result, StoreError};
use super::generation::{COLUMNS, Generation, State};
use super::quote::{generation_schema, identifier, qualified};
use super::switch::{drop_view, holders, lock_timeout, refuse_dependants};
use super::{freeze, letters, projection, readers, schema, views};

/// What became of a step towards the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Nothing is left but its row.
    Done,
    /// Sessions that use it, or may see it in a snapshot of theirs; it is tried again.
    Waiting { what: String, pids: Vec<i32> },
}

/// How long lanes get to end by themselves before the tables are dropped.
const LANES_END_WITHIN_S: f64 = 10.0;

impl Store {
    /// Takes a generation in grace away from readers once every snapshot that may show it has ended; then it is retired.
    ///
    /// # Errors
    /// As the server's.
    pub async fn retire(&self, generation: &Generation) -> Result<Gone> {
        let context = "retiring a generation";
        let mut connection = self.pool.acquire().await.doing(context)?;
        // Whoever reads now may have begun before the switch; who begins later sees the pointer where it is.
        sqlx::query(
            "update consolidator.generation set waits_for = array( \
               select l.virtualtransaction from pg_catalog.pg_locks l \
               join pg_catalog.pg_stat_activity a on a.pid = l.pid and a.datname = current_database() \
               where l.locktype = 'virtualxid' and l.pid <> pg_backend_pid()) \
             where id = $1 and waits_for is null and state = 'grace'",
        )
        .bind(generation.id)
        .execute(&mut *connection)
        .await
        .doing(context)?;
        let pids: Vec<i32> = sqlx::query_scalar(
            "select distinct l.pid from consolidator.generation g, pg_catalog.pg_locks l \
             where g.id = $1 and l.locktype = 'virtualxid' and l.virtualtransaction = any (g.waits_for) order by 1",
        )
        .bind(generation.id)
        .fetch_all(&mut *connection)
        .await
        .doing(context)?;
        if !pids.is_empty() {
            let what = "transactions that began before its time was over".to_owned();
            return Ok(Gone::Waiting { what, pids });
        }
        drop(connection);
        if let Gone::Waiting { what, pids } = self.remove_branches(generation).await? {
            return Ok(Gone::Waiting { what, pids });
        }
        self.set_state(generation.id, State::Grace, State::Retired, None)
            .await?;
        Ok(Gone::Done)
    }

    /// Removes all that a generation that was given up or retired still has: branches, tables, checkpoints.
    ///
    /// # Errors
    /// `Refused`: somebody built something of his own on its tables.
    pub async fn clean_up(&self, generation: &Generation) -> Result<Gone> {
        let context = "dropping a generation's tables";
        if let Gone::Waiting { what, pids } = self.remove_branches(generation).await? {
            return Ok(Gone::Waiting { what, pids });
        }
        let mut connection = self.pool.acquire().await.doing(context)?;
        let lanes: Vec<i32> = sqlx::query_scalar(
            "select distinct a.pid from consolidator.checkpoint c join consolidator.generation g on g.id = c.generation \
             join pg_catalog.pg_stat_activity a on a.pid = c.owner_pid and a.backend_start = c.owner_backend_start \
             where g.id = $1 and g.ended_at > now() - $2 * interval '1 second'",
        )
        .bind(generation.id)
        .bind(LANES_END_WITHIN_S)
        .fetch_all(&mut *connection)
        .await
        .doing(context)?;
        if !lanes.is_empty() {
            let what = "its lanes to end".to_owned();
            return Ok(Gone::Waiting { what, pids: lanes });
        }
        let mut tx = connection.begin().await.doing(context)?;
        // A command and a worker may both be at it: who comes second finds nothing left to drop.
        projection::lock(&mut tx, &generation.projection).await?;
        lock_timeout(&mut tx).await?;
        let dropped = match freeze::drop_views(&mut tx, generation).await {
            Ok(()) => drop_tables(&mut tx, generation.id).await,
            Err(error) => Err(error),
        };
        match dropped {
            Ok(()) => tx.commit().await.doing(context)?,
            Err(error) if error.is_lock_timeout() => {
                let what = "whoever uses its tables".to_owned();
                return Ok(Gone::Waiting {
                    what,
                    pids: Vec::new(),
                });
            }
            Err(error) => return Err(error),
        }
        Ok(Gone::Done)
    }

    /// Forgets a generation whose tables are gone.
    ///
    /// # Errors
    /// As the server's.
    pub async fn forget_generation(&self, generation: i64) -> Result<()> {
        sqlx::query(
            "delete from consolidator.generation where id = $1 and state in ('failed', 'retired')",
        )
        .bind(generation)
        .execute(&self.pool)
        .await
        .doing("forgetting a generation")?;
        Ok(())
    }

    /// Takes the views of a projection away from readers, and gives all its generations up.
    ///
    /// # Errors
    /// `Refused`: others depend on a view.
    pub async fn drop_projection(&self, name: &str) -> Result<Vec<Generation>> {
        let context = "dropping a projection";
        let mut connection = self.pool.acquire().await.doing(context)?;
        let mut tx = connection.begin().await.doing(context)?;
        projection::lock(&mut tx, name).await?;
        readers::lock(&mut tx).await?;
        for recorded in views::recorded(&mut tx, name).await? {
            refuse_dependants(&mut tx, &recorded.schema, &recorded.table_name).await?;
            drop_view(&mut tx, &recorded.schema, &recorded.table_name).await?;
        }
        sqlx::query("delete from consolidator.pointer where projection = $1")
            .bind(name)
            .execute(&mut *tx)
            .await
            .doing(context)?;
        let generations = sqlx::query_as(AssertSqlSafe(format!(
            "update consolidator.generation g set state = 'failed', reason = 'the projection was dropped', ended_at = now() \
             where g.projection = $1 returning {COLUMNS}"
        )))
        .bind(name)
        .fetch_all(&mut *tx)
        .await
        .doing(context)?;
        tx.commit().await.doing(context)?;
        Ok(generations)
    }

    /// Forgets a projection that has no generation left.
    ///
    /// # Errors
    /// As the server's.
    pub async fn forget_projection(&self, name: &str) -> Result<()> {
        sqlx::query("delete from consolidator.projection where name = $1")
            .bind(name)
            .execute(&self.pool)
            .await
            .doing("forgetting a projection")?;
        Ok(())
    }

    /// One view per transaction, none of them waiting for long.
    async fn remove_branches(&self, generation: &Generation) -> Result<Gone> {
        let context = "taking a generation out of the views";
        let mut connection = self.pool.acquire().await.doing(context)?;
        for recorded in views::recorded(&mut connection, &generation.projection).await? {
            let mut tx = connection.begin().await.doing(context)?;
            projection::lock(&mut tx, &generation.projection).await?;
            readers::lock(&mut tx).await?;
            let Some(recorded) = views::recorded_as(&mut tx, &recorded.table_name).await? else {
                continue;
            };
            let draft = views::without_branch(&mut tx, &recorded, generation.id).await?;
            if draft.current || !draft.exists {
                continue;
            }
            lock_timeout(&mut tx).await?;
            match remove_branch(&mut tx, generation, &recorded.schema, &draft).await {
                Ok(()) => tx.commit().await.doing(context)?,
                Err(error) if error.is_lock_timeout() => {
                    tx.rollback().await.doing(context)?;
                    let pids =
                        holders(&mut connection, &recorded.schema, &recorded.table_name).await?;
                    let what = format!("readers of {}", recorded.table_name);
                    return Ok(Gone::Waiting { what, pids });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Gone::Done)
    }
}

async fn remove_branch(
    connection: &mut PgConnection,
    generation: &Generation,
    read_schema: &str,
    draft: &views::Draft,
) -> Result<()> {
    let sql = views::statement(connection, &generation.projection, read_schema, draft).await?;
    readers::execute(connection, sql, "taking a generation out of a view").await?;
    sqlx::query("update consolidator.published set branches = $2 where table_name = $1")
        .bind(&draft.relation)
        .bind(&draft.branches)
        .execute(connection)
        .await
        .doing("taking a generation out of a view")?;
    Ok(())
}

/// Checkpoints first: a lane that is left cannot commit any more. What others built on the tables is not dropped with them.
async fn drop_tables(connection: &mut PgConnection, generation: i64) -> Result<()> {
    let context = "dropping a generation's tables";
    sqlx::query("delete from consolidator.checkpoint where generation = $1")
        .bind(generation)
        .execute(&mut *connection)
        .await
        .doing(context)?;
    letters::forget(connection, generation).await?;
    let schema = generation_schema(generation);
    let relations: Vec<(String, bool)> = sqlx::query_as(
        "select c.relname::text, c.relkind = 'v' from pg_catalog.pg_class c \
         where c.relnamespace = to_regnamespace($1) and c.relkind in ('r', 'v') order by c.oid",
    )
    .bind(identifier(&schema))
    .fetch_all(&mut *connection)
    .await
    .doing(context)?;
    let names = |views: bool| -> Vec<String> {
        let of_kind = relations.iter().filter(|(_, is_view)| *is_view == views);
        of_kind.map(|(name, _)| qualified(&schema, name)).collect()
    };
    for (kind, names) in [("view", names(true)), ("table", names(false))] {
        if !names.is_empty() {
            let sql = format!("drop {kind} {}", names.join(", "));
            schema::execute(connection, sql)
                .await
                .map_err(depended_on)?;
        }
    }
    schema::execute(
        connection,
        format!("drop schema if exists {}", identifier(&schema)),
    )
    .await
    .map_err(depended_on)
}

/// 2BP01: something that is not ours stands on it.
pub(super) fn depended_on(error: StoreError) -> StoreError {
    if error.sqlstate.as_deref() != Some("2BP01") {
        return error;
    }
    let detail = error.hint.clone().unwrap_or_default();
    StoreError::refused(error.context, format!("{}: {detail}", error.message))
        .hint("Views of the read schema are what others may build on; drop what stands on the tables themselves.")
}
