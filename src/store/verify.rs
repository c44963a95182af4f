//! A table against the fold of its events: a generation is built to exactly the offsets of a snapshot of the live one, and both
//! are read side by side in one order. Knows nothing of how it is built.

use std::collections::BTreeMap;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Postgres};

use super::connect::Store;
use super::error::{Context, Result};
use super::generation::{self, Generation};
use super::life::{LEASE, Position, positions};
use super::projection;
use super::quote::{generation_schema, identifier, qualified};
use crate::definition::Projection;
use crate::definition::projection::{GHOST, Table};

/// Rows read at once from each side.
const FETCH_ROWS: usize = 2_000;

/// topic -> partition -> offset (exclusive).
pub type Offsets = BTreeMap<String, BTreeMap<i32, i64>>;

/// A snapshot of the live generation, and where it stands in it. Ends when dropped.
#[derive(Debug)]
pub struct Snapshot {
    connection: PoolConnection<Postgres>,
    pub generation: i64,
    pub positions: Vec<Position>,
}

/// A key whose rows are not the same on both sides; `None`: there is no such row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// As PostgreSQL writes a row of the key columns: `(XYZ-1)`.
    pub key: String,
    pub live: Option<String>,
    pub folded: Option<String>,
}

impl Store {
    /// Records a generation that is built by the live one's definition up to these offsets, and led by `leader` alone.
    ///
    /// # Errors
    /// As the server's.
    pub async fn begin_verify(
        &self,
        definition: &Projection,
        kafka_group: &str,
        leader: &str,
        stop_at: &Offsets,
    ) -> Result<Generation> {
        let context = "beginning to verify";
        let mut connection = self.pool.acquire().await.doing(context)?;
        let mut tx = connection.begin().await.doing(context)?;
        projection::lock(&mut tx, &definition.name).await?;
        let fingerprint = &definition.fold_fingerprint;
        let generation = generation::create(&mut tx, definition, fingerprint, kafka_group).await?;
        sqlx::query(
            "update consolidator.generation set goal = 'verify', stop_at = $2::jsonb, leader = $3, \
               leader_until = clock_timestamp() + $4 * interval '1 second' where id = $1",
        )
        .bind(generation.id)
        .bind(as_json(stop_at))
        .bind(leader)
        .bind(LEASE.as_secs_f64())
        .execute(&mut *tx)
        .await
        .doing(context)?;
        tx.commit().await.doing(context)?;
        Ok(generation)
    }

    /// The generation's lanes stand still at these offsets from now on.
    ///
    /// # Errors
    /// As the server's.
    pub async fn set_stop_at(&self, generation: i64, stop_at: &Offsets) -> Result<()> {
        sqlx::query("update consolidator.generation set stop_at = $2::jsonb where id = $1")
            .bind(generation)
            .bind(as_json(stop_at))
            .execute(&self.pool)
            .await
            .doing("setting where a generation stands still")?;
        Ok(())
    }

    /// Opens a snapshot in which the generation that readers see does not move any more.
    ///
    /// # Errors
    /// As the server's.
    pub async fn snapshot(&self, projection: &str) -> Result<Snapshot> {
        let context = "taking a snapshot";
        let mut connection = self.pool.acquire().await.doing(context)?;
        // It may have to wait long for the other side; it is never given back.
        connection.close_on_drop();
        sqlx::raw_sql(
            "set idle_in_transaction_session_timeout = 0; begin isolation level repeatable read read only",
        )
        .execute(&mut *connection)
        .await
        .doing(context)?;
        let generation: i64 =
            sqlx::query_scalar("select generation from consolidator.pointer where projection = $1")
                .bind(projection)
                .fetch_one(&mut *connection)
                .await
                .doing(context)?;
        let positions = positions(&mut connection, generation).await?;
        Ok(Snapshot {
            connection,
            generation,
            positions,
        })
    }

    /// Compares a table of the live generation, as of the snapshot, with the one of a generation that stands still. Calls
    /// `found` for every difference, in the order of keys; gives the number of rows that are the same.
    ///
    /// # Errors
    /// As the server's.
    pub async fn compare_table(
        &self,
        snapshot: &mut Snapshot,
        folded: i64,
        table: &Table,
        found: &mut dyn FnMut(Difference),
    ) -> Result<u64> {
        let mut other = self.pool.acquire().await.doing("comparing tables")?;
        let mut other = other.begin().await.doing("comparing tables")?;
        let mut live = Reader::open(&mut snapshot.connection, snapshot.generation, table).await?;
        let mut folded = Reader::open(&mut other, folded, table).await?;
        let mut same = 0;
        loop {
            match (live.head().await?, folded.head().await?) {
                (None, None) => break,
                (Some(a), Some(b)) if a == b => {
                    same += 1;
                    live.next();
                    folded.next();
                }
                (Some((key, row)), Some((other, folded_row))) if key == other => {
                    found(Difference {
                        key,
                        live: Some(row),
                        folded: Some(folded_row),
                    });
                    live.next();
                    folded.next();
                }
                (Some((key, row)), other)
                    if other.as_ref().is_none_or(|(other, _)| key < *other) =>
                {
                    found(Difference {
                        key,
                        live: Some(row),
                        folded: None,
                    });
                    live.next();
                }
                (_, Some((key, row))) => {
                    found(Difference {
                        key,
                        live: None,
                        folded: Some(row),
                    });
                    folded.next();
                }
                (Some(_), None) => {
                    unreachable!("a key with nothing to compare it with stands first")
                }
            }
        }
        live.close().await?;
        folded.close().await?;
        Ok(same)
    }
}

/// Rows of one side, by key in byte order.
struct Reader<'c> {
    connection: &'c mut PgConnection,
    rows: std::vec::IntoIter<(String, String)>,
    head: Option<(String, String)>,
    over: bool,
}

impl<'c> Reader<'c> {
    async fn open(
        connection: &'c mut PgConnection,
        generation: i64,
        table: &Table,
    ) -> Result<Reader<'c>> {
        let names = table.columns.iter().map(|column| column.name.as_str());
        let named: Vec<String> = names
            .filter(|name| !name.starts_with('$'))
            .map(identifier)
            .collect();
        let condition = match table.ghost {
            Some(_) => format!(" where not {}", identifier(GHOST)),
            None => String::new(),
        };
        let sql = format!(
            "declare verify_rows no scroll cursor for \
             select row({})::text collate \"C\", row({})::text from {}{condition} order by 1",
            named[..table.key_len].join(", "),
            named.join(", "),
            qualified(&generation_schema(generation), &table.name)
        );
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut *connection)
            .await
            .doing("comparing tables")?;
        Ok(Reader {
            connection,
            rows: Vec::new().into_iter(),
            head: None,
            over: false,
        })
    }

    async fn head(&mut self) -> Result<Option<(String, String)>> {
        if self.head.is_none() {
            self.head = self.rows.next();
        }
        if self.head.is_none() && !self.over {
            let sql = format!("fetch {FETCH_ROWS} from verify_rows");
            let rows: Vec<(String, String)> = sqlx::query_as(AssertSqlSafe(sql))
                .persistent(false)
                .fetch_all(&mut *self.connection)
                .await
                .doing("comparing tables")?;
            self.over = rows.len() < FETCH_ROWS;
            self.rows = rows.into_iter();
            self.head = self.rows.next();
        }
        Ok(self.head.clone())
    }

    fn next(&mut self) {
        self.head = None;
    }

    async fn close(self) -> Result<()> {
        sqlx::raw_sql("close verify_rows")
            .execute(&mut *self.connection)
            .await
            .doing("comparing tables")?;
        Ok(())
    }
}

fn as_json(offsets: &Offsets) -> String {
    serde_json::json!(offsets).to_string()
}
