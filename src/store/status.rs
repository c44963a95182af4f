//! What is stored about how everything is doing, read in one snapshot. Knows nothing of how it is shown.

use std::collections::HashMap;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, FromRow};

use super::connect::Store;
use super::error::{Context, Result};
use super::generation::State;
use super::hole::Hole;
use super::stop::Stop;
use super::waiting::Waiting;

/// The rest is counted in [`GenerationStatus::dead_letters`].
pub const BLOCKED_KEYS_SHOWN: i64 = 20;

/// A projection with its generations, oldest first. Times are RFC 3339 in UTC.
#[derive(Clone, Debug)]
pub struct ProjectionStatus {
    pub name: String,
    pub paused_at: Option<String>,
    /// As the files last said.
    pub fingerprint: String,
    /// Those that are not retired.
    pub generations: Vec<GenerationStatus>,
}

/// A generation, summed over its partitions.
#[derive(Clone, Debug)]
pub struct GenerationStatus {
    pub id: i64,
    pub state: State,
    pub reason: Option<String>,
    pub fingerprint: String,
    pub kafka_group: String,
    pub topics: Vec<String>,
    /// Readers see it in the read schema.
    pub visible: bool,
    /// The schema of its own where readers see one that is as of a time or of offsets.
    pub read_schema: Option<String>,
    /// Events of a later time are not in it.
    pub as_of: Option<String>,
    pub created_at: String,
    pub partitions: Vec<PartitionStatus>,
    pub tables: Vec<TableStatus>,
    /// Why it or its partitions stand still.
    pub stops: Vec<Stop>,
    /// What its lanes wait for, to go on by themselves.
    pub waiting: Vec<Waiting>,
    /// What it lacks because Kafka no longer held it.
    pub holes: Vec<Hole>,
    /// Sessions that its lanes wait for.
    pub blockers: Vec<Blocker>,
    /// Events set aside.
    pub dead_letters: i64,
    /// Keys whose events are set aside, those that began first; at most [`BLOCKED_KEYS_SHOWN`].
    pub blocked_keys: Vec<BlockedKey>,
}

/// A checkpoint, with what was measured beside it.
#[derive(Clone, Debug, FromRow)]
pub struct PartitionStatus {
    pub topic: String,
    pub partition: i32,
    pub slot: i32,
    /// Inclusive.
    pub begin_offset: i64,
    /// The first offset not yet applied.
    pub next_offset: i64,
    /// Exclusive; `None` until it was measured.
    pub end_offset: Option<i64>,
    pub epoch: i64,
    /// Events applied since the beginning, for rates.
    pub events: i64,
    /// Event time of the last applied event.
    pub as_of: Option<String>,
    /// How long before the measurement that was; 0 without a gap.
    pub lag_seconds: Option<f64>,
    pub measured_at: Option<String>,
    /// Seconds since then, by the server's clock.
    pub measured_ago: Option<f64>,
    /// `host/pid/lane`; `None` if nobody has it.
    pub owner_name: Option<String>,
    pub owner_pid: Option<i32>,
    /// The owner's session is there.
    pub owner_connected: bool,
}

impl PartitionStatus {
    /// Events behind, as last measured.
    pub fn gap(&self) -> Option<i64> {
        self.end_offset.map(|end| (end - self.next_offset).max(0))
    }
}

impl GenerationStatus {
    /// Events behind; `None` while some partition was never measured, and where it is not to follow the log.
    pub fn gap(&self) -> Option<i64> {
        if self.partitions.is_empty() || self.state == State::Frozen {
            return None;
        }
        self.partitions.iter().map(PartitionStatus::gap).sum()
    }

    /// Of the slowest partition.
    pub fn lag_seconds(&self) -> Option<f64> {
        self.gap()?;
        self.partitions
            .iter()
            .try_fold(0.0, |worst: f64, partition| {
                partition.lag_seconds.map(|lag| worst.max(lag))
            })
    }

    /// Events applied since the beginning.
    pub fn events(&self) -> i64 {
        self.partitions
            .iter()
            .map(|partition| partition.events)
            .sum()
    }
}

/// A table of a generation.
#[derive(Clone, Debug, FromRow)]
pub struct TableStatus {
    pub name: String,
    /// As the server's statistics say: an estimate.
    pub rows: i64,
    /// With indexes.
    pub bytes: i64,
    /// It went over to the locked way.
    pub shared: bool,
}

/// A session that a lane waits for.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Blocker {
    pub pid: i32,
    pub role: Option<String>,
    pub application: Option<String>,
    /// As in `pg_stat_activity`: `idle in transaction`, …
    pub state: Option<String>,
    /// Since when its transaction is open.
    pub since: Option<String>,
    /// The lane's backend that waits.
    pub blocked_pid: i32,
}

/// A key of one partition whose rows stand still: its events are set aside since one could not be applied.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct BlockedKey {
    pub topic: String,
    pub partition: i32,
    /// `None`: events without a key, which hold nothing back.
    pub key: Option<String>,
    /// Of the event that could not be applied.
    pub offset: i64,
    pub event_type: Option<String>,
    pub table_name: Option<String>,
    pub rule: Option<String>,
    pub reason: String,
    pub since: String,
    /// Set aside so far.
    pub events: i64,
}

#[derive(FromRow)]
struct GenerationRow {
    id: i64,
    projection: String,
    #[sqlx(try_from = "String")]
    state: State,
    reason: Option<String>,
    fingerprint: String,
    kafka_group: String,
    topics: Vec<String>,
    visible: bool,
    read_schema: Option<String>,
    as_of: Option<String>,
    created_at: String,
    dead_letters: i64,
}

impl Store {
    /// Every projection, by name.
    ///
    /// # Errors
    /// As the server's.
    pub async fn status(&self) -> Result<Vec<ProjectionStatus>> {
        let context = "reading the status";
        let mut connection = self.pool.acquire().await.doing(context)?;
        let mut tx = connection
            .begin_with("begin isolation level repeatable read read only")
            .await
            .doing(context)?;
        let projections: Vec<(String, Option<String>, String)> = sqlx::query_as(
            "select name, to_char(paused_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), fingerprint \
             from consolidator.projection order by name",
        )
        .fetch_all(&mut *tx)
        .await
        .doing(context)?;
        let mut statuses: Vec<ProjectionStatus> = projections
            .into_iter()
            .map(|(name, paused_at, fingerprint)| ProjectionStatus {
                name,
                paused_at,
                fingerprint,
                generations: Vec::new(),
            })
            .collect();
        let places: HashMap<String, usize> = statuses
            .iter()
            .enumerate()
            .map(|(place, status)| (status.name.clone(), place))
            .collect();
        for row in generations(&mut tx).await? {
            let place = places[&row.projection];
            let generation = generation(&mut tx, row).await?;
            statuses[place].generations.push(generation);
        }
        tx.commit().await.doing(context)?;
        Ok(statuses)
    }

    /// Rows of the relations that readers see, counted. Reads the whole tables.
    ///
    /// # Errors
    /// As the server's.
    pub async fn count_rows(&self, read_schema: &str, relation: &str) -> Result<i64> {
        let sql = format!(
            "select count(*) from {}",
            super::quote::qualified(read_schema, relation)
        );
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .fetch_one(&self.pool)
            .await
            .doing("counting rows")
    }
}

async fn generations(connection: &mut PgConnection) -> Result<Vec<GenerationRow>> {
    sqlx::query_as(
        "select g.id, g.projection, g.state, g.reason, g.fingerprint, g.kafka_group, g.topics, \
           p.generation is not null as visible, g.read_schema, \
           to_char(g.as_of at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') as as_of, \
           to_char(g.created_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') as created_at, \
           (select count(*) from consolidator.dead_letter d where d.generation = g.id) as dead_letters \
         from consolidator.generation g \
         left join consolidator.pointer p on p.projection = g.projection and p.generation = g.id \
         where g.state <> 'retired' order by g.id",
    )
    .fetch_all(connection)
    .await
    .doing("reading the status of generations")
}

async fn generation(connection: &mut PgConnection, row: GenerationRow) -> Result<GenerationStatus> {
    let partitions = partitions(connection, row.id).await?;
    let tables = tables(connection, row.id).await?;
    let blockers = blockers(connection, row.id).await?;
    let stops = super::stop::load(connection, row.id).await?;
    let waiting = super::waiting::load(connection, row.id).await?;
    let holes = super::hole::load(connection, row.id).await?;
    let blocked_keys = match row.dead_letters {
        0 => Vec::new(),
        _ => blocked_keys(connection, row.id).await?,
    };
    Ok(GenerationStatus {
        id: row.id,
        state: row.state,
        reason: row.reason,
        fingerprint: row.fingerprint,
        kafka_group: row.kafka_group,
        topics: row.topics,
        visible: row.visible,
        read_schema: row.read_schema,
        as_of: row.as_of,
        created_at: row.created_at,
        partitions,
        tables,
        stops,
        waiting,
        holes,
        blockers,
        dead_letters: row.dead_letters,
        blocked_keys,
    })
}

async fn partitions(
    connection: &mut PgConnection,
    generation: i64,
) -> Result<Vec<PartitionStatus>> {
    sqlx::query_as(
        "select c.topic, c.partition, c.slot, c.begin_offset, c.next_offset, c.end_offset, c.epoch, c.events, \
           to_char(c.as_of at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') as as_of, \
           case when c.end_offset <= c.next_offset then 0 when isfinite(c.as_of) \
             then greatest(0, extract(epoch from c.measured_at - c.as_of)) end::double precision as lag_seconds, \
           to_char(c.measured_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') as measured_at, \
           greatest(0, extract(epoch from clock_timestamp() - c.measured_at))::double precision as measured_ago, \
           c.owner_name, c.owner_pid, a.pid is not null as owner_connected \
         from consolidator.checkpoint c \
         left join pg_stat_activity a on a.pid = c.owner_pid and a.backend_start = c.owner_backend_start \
         where c.generation = $1 order by c.topic, c.partition",
    )
    .bind(generation)
    .fetch_all(connection)
    .await
    .doing("reading the status of partitions")
}

async fn tables(connection: &mut PgConnection, generation: i64) -> Result<Vec<TableStatus>> {
    sqlx::query_as(
        "select c.relname::text as name, coalesce(pg_stat_get_live_tuples(c.oid), 0) as rows, \
           coalesce(pg_total_relation_size(c.oid), 0) as bytes, \
           exists (select from consolidator.generation g where g.id = $1 and c.relname = any (g.shared_tables)) as shared \
         from pg_class c join pg_namespace n on n.oid = c.relnamespace \
         where n.nspname = $2 and c.relkind = 'r' and c.relname not like '%$%' order by c.relname",
    )
    .bind(generation)
    .bind(super::quote::generation_schema(generation))
    .fetch_all(connection)
    .await
    .doing("reading the status of tables")
}

async fn blocked_keys(connection: &mut PgConnection, generation: i64) -> Result<Vec<BlockedKey>> {
    sqlx::query_as(
        "select d.topic, d.partition, d.key, d.\"offset\", d.event_type, d.table_name, d.rule, d.reason, \
           to_char(d.set_aside_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') as since, d.events \
         from (select l.*, count(*) over place as events, row_number() over (place order by l.\"offset\") as place_row \
               from consolidator.dead_letter l where l.generation = $1 \
               window place as (partition by l.topic, l.partition, l.key)) d \
         where d.place_row = 1 order by d.set_aside_at, d.id limit $2",
    )
    .bind(generation)
    .bind(BLOCKED_KEYS_SHOWN)
    .fetch_all(connection)
    .await
    .doing("reading which keys are blocked")
}

async fn blockers(connection: &mut PgConnection, generation: i64) -> Result<Vec<Blocker>> {
    sqlx::query_as(
        "select b.pid, b.usename::text as role, b.application_name as application, b.state, \
           to_char(b.xact_start at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') as since, o.pid as blocked_pid \
         from (select distinct a.pid from consolidator.checkpoint c \
               join pg_stat_activity a on a.pid = c.owner_pid and a.backend_start = c.owner_backend_start \
               where c.generation = $1 and a.wait_event_type = 'Lock') o \
         cross join lateral unnest(pg_blocking_pids(o.pid)) as u (pid) \
         join pg_stat_activity b on b.pid = u.pid order by b.pid, o.pid",
    )
    .bind(generation)
    .fetch_all(connection)
    .await
    .doing("looking for who blocks a lane")
}
