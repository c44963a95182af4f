//! Why a generation does not go on although no event is at fault: it goes on by itself once the cause is gone, and nobody has
//! to resume it. A row counts for as long as its worker keeps telling it.

use sqlx::FromRow;
use sqlx::postgres::PgConnection;

use super::connect::Store;
use super::error::{Context, Result};

/// A row of `consolidator.waiting`.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Waiting {
    /// `host/pid` or `host/pid/lane`.
    pub worker: String,
    pub reason: String,
    pub hint: Option<String>,
    /// RFC 3339 in UTC.
    pub since: String,
}

impl Store {
    /// Tells, or tells again, what a worker waits for. To be repeated every 10 s at least while it does.
    ///
    /// # Errors
    /// As the server's.
    pub async fn note_waiting(
        &self,
        generation: i64,
        worker: &str,
        reason: &str,
        hint: &str,
    ) -> Result<()> {
        // Those that were killed while they waited leave a row behind.
        sqlx::query(
            "with gone as (delete from consolidator.waiting where told_at < now() - interval '1 hour') \
             insert into consolidator.waiting as w (generation, worker, reason, hint) values ($1, $2, $3, $4) \
             on conflict (generation, worker) do update set reason = excluded.reason, hint = excluded.hint, told_at = now(), \
               since = case when w.told_at < now() - interval '30 seconds' then now() else w.since end",
        )
        .bind(generation)
        .bind(worker)
        .bind(reason.replace('\0', "\u{fffd}"))
        .bind(hint)
        .execute(&self.pool)
        .await
        .doing("recording what a worker waits for")?;
        Ok(())
    }

    /// It goes on.
    ///
    /// # Errors
    /// As the server's.
    pub async fn clear_waiting(&self, generation: i64, worker: &str) -> Result<()> {
        sqlx::query("delete from consolidator.waiting where generation = $1 and worker = $2")
            .bind(generation)
            .bind(worker)
            .execute(&self.pool)
            .await
            .doing("recording that a worker goes on")?;
        Ok(())
    }
}

/// What the workers of a generation wait for now, the longest first.
pub(super) async fn load(connection: &mut PgConnection, generation: i64) -> Result<Vec<Waiting>> {
    sqlx::query_as(
        "select worker, reason, hint, to_char(since at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') as since \
         from consolidator.waiting where generation = $1 and told_at > now() - interval '30 seconds' \
         order by waiting.since, worker",
    )
    .bind(generation)
    .fetch_all(connection)
    .await
    .doing("reading what workers wait for")
}
