//! A table against the fold of its events: a generation is built to exactly the offsets of a snapshot of the live one, and both
//! are read side by side in one order. Knows nothing of how it is built.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, FromRow, Postgres};

use super::connect::Store;
use super::encode::KeysEncoder;
use super::error::{Context, Result};
use super::generation::{self, Generation};
use super::layout::{Layout, PLACEHOLDER};
use super::life::{LEASE, Position, positions};
use super::load;
use super::projection;
use super::quote::{generation_schema, identifier, literal, qualified};
use crate::definition::Projection;
use crate::definition::projection::GHOST;
use crate::expression::cell::Cell;

/// Rows read at once from each side.
const FETCH_ROWS: usize = 2_000;

/// topic -> partition -> offset (exclusive).
pub type Offsets = BTreeMap<String, BTreeMap<i32, i64>>;

/// The first offsets that are not applied.
pub fn offsets_of(positions: &[Position]) -> Offsets {
    let mut offsets = Offsets::new();
    for at in positions {
        let topic = offsets.entry(at.topic.clone()).or_default();
        topic.insert(at.partition, at.next_offset);
    }
    offsets
}

/// A snapshot of the live generation, and where it stands in it. Ends when dropped.
#[derive(Debug)]
pub struct Snapshot {
    connection: PoolConnection<Postgres>,
    pub generation: i64,
    pub positions: Vec<Position>,
}

/// A key whose rows are not the same on both sides; `None`: there is no such row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// As PostgreSQL writes a row of the key columns: `(XYZ-1)`.
    pub key: String,
    pub live: Option<String>,
    pub folded: Option<String>,
    /// Only columns differ that may come out either way.
    #[serde(default)]
    pub apart: bool,
}

/// What is compared of a table.
#[derive(Clone, Debug)]
pub struct Comparison<'a> {
    pub table: &'a str,
    pub key: Vec<&'a str>,
    /// The other columns that both sides have and that must be the same.
    pub exact: Vec<&'a str>,
    /// Columns that depend on an order of events that the logs do not have.
    pub apart: Vec<&'a str>,
    /// Which of both keep deleted rows, hidden: live, folded.
    pub ghosts: [bool; 2],
    /// Only these keys, as a row of the first `key_len` key columns (`(XYZ-1)`), or as the one column has it; empty: all.
    pub keys: &'a [String],
    pub key_len: usize,
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

    /// The generation's lanes go on from where they stand.
    ///
    /// # Errors
    /// As the server's.
    pub async fn clear_stop_at(&self, generation: i64) -> Result<()> {
        sqlx::query("update consolidator.generation set stop_at = null where id = $1")
            .bind(generation)
            .execute(&self.pool)
            .await
            .doing("letting a generation go on")?;
        Ok(())
    }

    /// What came of comparing the generation with the live one, as JSON; it is compared once.
    ///
    /// # Errors
    /// As the server's.
    pub async fn record_compared(&self, generation: i64, compared: &str) -> Result<()> {
        sqlx::query(
            "update consolidator.generation set compared = $2::jsonb, stop_at = null where id = $1",
        )
        .bind(generation)
        .bind(compared)
        .execute(&self.pool)
        .await
        .doing("recording what differs")?;
        Ok(())
    }

    /// Where events stand that are set aside: topic, partition, offset.
    ///
    /// # Errors
    /// As the server's.
    pub async fn set_aside(&self, generation: i64) -> Result<BTreeSet<(String, i32, i64)>> {
        let rows: Vec<(String, i32, i64)> = sqlx::query_as(
            "select topic, partition, \"offset\" from consolidator.dead_letter where generation = $1",
        )
        .bind(generation)
        .fetch_all(&self.pool)
        .await
        .doing("reading which events are set aside")?;
        Ok(rows.into_iter().collect())
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
        comparison: &Comparison<'_>,
        found: &mut (dyn FnMut(Difference) + Send),
    ) -> Result<u64> {
        let mut other = self.pool.acquire().await.doing("comparing tables")?;
        let mut other = other.begin().await.doing("comparing tables")?;
        let [live_ghosts, folded_ghosts] = comparison.ghosts;
        let generation = snapshot.generation;
        let connection = &mut *snapshot.connection;
        let mut live = Reader::open(connection, generation, comparison, live_ghosts).await?;
        let mut folded = Reader::open(&mut other, folded, comparison, folded_ghosts).await?;
        let mut same = 0;
        loop {
            let (a, b) = (live.head().await?, folded.head().await?);
            let order = match (&a, &b) {
                (None, None) => break,
                (Some(a), Some(b)) => a.key.cmp(&b.key),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
            };
            let a = a.filter(|_| order.is_le());
            let b = b.filter(|_| order.is_ge());
            if a.is_some() {
                live.next();
            }
            if b.is_some() {
                folded.next();
            }
            if a == b {
                same += 1;
                continue;
            }
            let apart = matches!((&a, &b), (Some(a), Some(b)) if a.exact == b.exact);
            let key = a.as_ref().or(b.as_ref()).map(|row| row.key.clone());
            found(Difference {
                key: key.unwrap_or_default(),
                live: a.map(|row| row.all),
                folded: b.map(|row| row.all),
                apart,
            });
        }
        live.close().await?;
        folded.close().await?;
        Ok(same)
    }
}

impl Snapshot {
    /// One row of the live generation, with the slot that owns it; also one that was deleted and is kept for its versions.
    ///
    /// # Errors
    /// As the server's.
    pub async fn row(
        &mut self,
        layout: &Layout,
        table: usize,
        key: &[Cell],
    ) -> Result<Option<(i32, Vec<Cell>)>> {
        let layout = &layout.tables[table];
        let mut keys = KeysEncoder::new(layout);
        keys.push(key);
        let connection = &mut *self.connection;
        let mut rows = load::by_key(connection, layout, &keys.finish(), Some(PLACEHOLDER)).await?;
        let row = rows.drain().next();
        Ok(row.map(|(owner, cells)| (owner, cells.to_vec())))
    }
}

/// A row as texts.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
struct TextRow {
    key: String,
    exact: String,
    all: String,
}

/// Rows of one side, by key in byte order.
struct Reader<'c> {
    connection: &'c mut PgConnection,
    rows: std::vec::IntoIter<TextRow>,
    head: Option<TextRow>,
    over: bool,
}

impl<'c> Reader<'c> {
    async fn open(
        connection: &'c mut PgConnection,
        generation: i64,
        comparison: &Comparison<'_>,
        ghosts: bool,
    ) -> Result<Reader<'c>> {
        let Comparison {
            key, exact, apart, ..
        } = comparison;
        let row = |parts: &[&[&str]]| {
            let names = parts.iter().copied().flatten();
            let names: Vec<String> = names.map(|name| identifier(name)).collect();
            format!("row({})::text", names.join(", "))
        };
        let key_row = row(&[key]);
        let mut conditions = vec!["true".to_owned()];
        if ghosts {
            conditions.push(format!("not {}", identifier(GHOST)));
        }
        if !comparison.keys.is_empty() {
            let keys: Vec<String> = comparison.keys.iter().map(|key| literal(key)).collect();
            let keys = format!("any (array[{}])", keys.join(", "));
            let own = &key[..comparison.key_len];
            let own_row = row(&[own]);
            conditions.push(match own {
                [one] => format!("({own_row} = {keys} or {}::text = {keys})", identifier(one)),
                _ => format!("{own_row} = {keys}"),
            });
        }
        let sql = format!(
            "declare verify_rows no scroll cursor for \
             select {key_row} collate \"C\" as key, {} as exact, {} as \"all\" from {} where {} order by 1",
            row(&[key, exact]),
            row(&[key, exact, apart]),
            qualified(&generation_schema(generation), comparison.table),
            conditions.join(" and "),
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

    async fn head(&mut self) -> Result<Option<TextRow>> {
        if self.head.is_none() {
            self.head = self.rows.next();
        }
        if self.head.is_none() && !self.over {
            let sql = format!("fetch {FETCH_ROWS} from verify_rows");
            let rows: Vec<TextRow> = sqlx::query_as(AssertSqlSafe(sql))
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

pub(super) fn as_json(offsets: &Offsets) -> String {
    serde_json::json!(offsets).to_string()
}
