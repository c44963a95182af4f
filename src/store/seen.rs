//! The ids of events that partitions have seen, of a projection that says `deduplicate`: in two tables of the generation's schema,
//! written in the transaction of the batch. Knows nothing of when an id counts.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::error::{Context, Result};
use super::lane::LaneStore;
use super::quote::{generation_schema, qualified};
use crate::fold::NewlySeen;

const IDS: &str = "seen$ids";
const CLOCKS: &str = "seen$clocks";

/// What is stored: clocks by slot, and ids with the time at which they were seen.
pub type StoredSeen = (Vec<(i32, i64)>, Vec<(i32, String, i64)>);

/// Times are microseconds since 2000 of the partition's own time.
pub(super) fn create_statements(schema: &str) -> [String; 3] {
    let (ids, clocks) = (qualified(schema, IDS), qualified(schema, CLOCKS));
    [
        format!(
            "create table {ids} (slot integer not null, id text collate \"C\" not null, seen_at bigint not null, primary key (slot, id))"
        ),
        format!("create index on {ids} (slot, seen_at)"),
        format!(
            "create table {clocks} (slot integer primary key, seen_at bigint not null) with (fillfactor = 10)"
        ),
    ]
}

impl LaneStore {
    /// Of partitions and ids, what the generation has stored.
    ///
    /// # Errors
    /// As the server's.
    pub async fn load_seen(
        &mut self,
        generation: i64,
        (slots, ids): &(Vec<i32>, Vec<(i32, String)>),
    ) -> Result<StoredSeen> {
        let context = "looking for ids that were seen";
        let schema = generation_schema(generation);
        let mut clocks = Vec::new();
        if !slots.is_empty() {
            let sql = format!(
                "select slot, seen_at from {} where slot = any ($1)",
                qualified(&schema, CLOCKS)
            );
            clocks = sqlx::query_as(AssertSqlSafe(sql))
                .bind(slots)
                .fetch_all(&mut *self.session())
                .await
                .doing(context)?;
        }
        if ids.is_empty() {
            return Ok((clocks, Vec::new()));
        }
        let sql = format!(
            "select t.slot, t.id, t.seen_at from unnest($1::integer[], $2::text[]) as u (slot, id) \
             join {} t on t.slot = u.slot and t.id = u.id",
            qualified(&schema, IDS)
        );
        let known = sqlx::query_as(AssertSqlSafe(sql))
            .bind(ids.iter().map(|(slot, _)| *slot).collect::<Vec<_>>())
            .bind(ids.iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>())
            .fetch_all(self.session())
            .await
            .doing(context)?;
        Ok((clocks, known))
    }
}

/// An id that had expired and is seen again counts from now on.
pub(super) async fn write(
    connection: &mut PgConnection,
    generation: i64,
    newly: &NewlySeen,
) -> Result<()> {
    let schema = generation_schema(generation);
    let (ids, clocks) = (qualified(&schema, IDS), qualified(&schema, CLOCKS));
    if !newly.expired.is_empty() {
        let sql = format!(
            "delete from {ids} t using unnest($1::integer[], $2::bigint[]) as u (slot, seen_at) \
             where t.slot = u.slot and t.seen_at < u.seen_at"
        );
        execute(connection, sql, &newly.expired).await?;
    }
    if !newly.clocks.is_empty() {
        let sql = format!(
            "insert into {clocks} (slot, seen_at) select * from unnest($1::integer[], $2::bigint[]) \
             on conflict (slot) do update set seen_at = excluded.seen_at"
        );
        execute(connection, sql, &newly.clocks).await?;
    }
    if newly.ids.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "insert into {ids} as t (slot, id, seen_at) \
         select distinct on (slot, id) slot, id, seen_at from unnest($1::integer[], $2::text[], $3::bigint[]) as u (slot, id, seen_at) \
         order by slot, id, seen_at desc \
         on conflict (slot, id) do update set seen_at = excluded.seen_at"
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(newly.ids.iter().map(|seen| seen.0).collect::<Vec<_>>())
        .bind(
            newly
                .ids
                .iter()
                .map(|seen| seen.1.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(newly.ids.iter().map(|seen| seen.2).collect::<Vec<_>>())
        .execute(connection)
        .await
        .doing("noting ids that were seen")?;
    Ok(())
}

async fn execute(connection: &mut PgConnection, sql: String, times: &[(i32, i64)]) -> Result<()> {
    sqlx::query(AssertSqlSafe(sql))
        .bind(times.iter().map(|(slot, _)| *slot).collect::<Vec<_>>())
        .bind(times.iter().map(|(_, time)| *time).collect::<Vec<_>>())
        .execute(connection)
        .await
        .doing("noting ids that were seen")?;
    Ok(())
}
