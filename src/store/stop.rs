//! Why a generation or one of its partitions stands still. The row is there exactly as long as it does.

use sqlx::FromRow;
use sqlx::postgres::PgConnection;

use super::connect::Store;
use super::error::{Context, Result};
use super::lane::Transaction;

/// A row of `consolidator.stop`.
#[derive(Clone, Debug, Default, PartialEq, Eq, FromRow)]
pub struct Stop {
    pub generation: i64,
    /// `None`: the whole generation.
    pub topic: Option<String>,
    pub partition: Option<i32>,
    /// The record that could not be applied.
    pub offset: Option<i64>,
    pub key: Option<String>,
    pub event_type: Option<String>,
    pub table_name: Option<String>,
    pub rule: Option<String>,
    pub reason: String,
    pub hint: Option<String>,
    /// Only this partition stands still.
    pub alone: bool,
    /// What Kafka holds is not what was applied.
    pub other_log: bool,
    /// Where the log begins, if offsets that were not applied are gone.
    pub log_begin: Option<i64>,
    /// RFC 3339 in UTC; given by the server when it is recorded.
    pub stopped_at: Option<String>,
}

/// What to do where [`Stop::other_log`] is set.
pub fn hint_of_other_log(projection: &str) -> String {
    format!(
        "`consolidator rebuild {projection}` makes the tables from what Kafka holds now. Only if the topic was moved with its \
         records and offsets, `consolidator resume {projection} --accept-hole` goes on where it stood."
    )
}

impl Store {
    /// Records that a generation or partition stands still; a later reason replaces an earlier one.
    ///
    /// # Errors
    /// As the server's.
    pub async fn record_stop(&self, stop: &Stop) -> Result<()> {
        let mut connection = self
            .pool
            .acquire()
            .await
            .doing("recording why a projection stands still")?;
        record(&mut connection, stop).await
    }

    /// What a generation stands still at, oldest first.
    ///
    /// # Errors
    /// As the server's.
    pub async fn stops(&self, generation: i64) -> Result<Vec<Stop>> {
        let mut connection = self
            .pool
            .acquire()
            .await
            .doing("reading why a projection stands still")?;
        load(&mut connection, generation).await
    }
}

impl Transaction<'_> {
    /// The same in the transaction of a batch, so that only the owner of a partition can say that it stands still: whoever
    /// was fenced meanwhile reads from a place that nobody reads from any more.
    ///
    /// # Errors
    /// As the server's.
    pub async fn record_stop(&mut self, stop: &Stop) -> Result<()> {
        record(&mut self.tx, stop).await
    }
}

async fn record(connection: &mut PgConnection, stop: &Stop) -> Result<()> {
    sqlx::query(
        "insert into consolidator.stop \
           (generation, topic, partition, \"offset\", key, event_type, table_name, rule, reason, hint, log_begin, alone, other_log) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
         on conflict (generation, coalesce(topic, ''), coalesce(partition, -1)) do update set \
           \"offset\" = excluded.\"offset\", key = excluded.key, event_type = excluded.event_type, \
           table_name = excluded.table_name, rule = excluded.rule, reason = excluded.reason, hint = excluded.hint, \
           log_begin = excluded.log_begin, alone = excluded.alone, other_log = excluded.other_log, \
           stopped_at = now()",
    )
    .bind(stop.generation)
    .bind(&stop.topic)
    .bind(stop.partition)
    .bind(stop.offset)
    .bind(stop.key.as_deref().map(without_nul))
    .bind(stop.event_type.as_deref().map(without_nul))
    .bind(&stop.table_name)
    .bind(&stop.rule)
    .bind(without_nul(&stop.reason))
    .bind(stop.hint.as_deref().map(without_nul))
    .bind(stop.log_begin)
    .bind(stop.alone)
    .bind(stop.other_log)
    .execute(connection)
    .await
    .doing("recording why a projection stands still")?;
    Ok(())
}

pub(super) async fn load(connection: &mut PgConnection, generation: i64) -> Result<Vec<Stop>> {
    sqlx::query_as(
        "select generation, topic, partition, \"offset\", key, event_type, table_name, rule, reason, hint, log_begin, alone, other_log, \
           to_char(stopped_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') as stopped_at \
         from consolidator.stop where generation = $1 order by id",
    )
    .bind(generation)
    .fetch_all(connection)
    .await
    .doing("reading why a projection stands still")
}

/// Texts of events may hold what PostgreSQL's text cannot.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
