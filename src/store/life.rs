//! The moves in a generation's life that its leader makes: who leads, the phases of a build, caught up, held, given up. Every
//! move names the state it moves from, so that it is made once. The switch and what comes after it are in [`super::switch`] and
//! [`super::retire`].

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, FromRow};

use super::connect::Store;
use super::error::{Context, ErrorKind, Result, StoreError};
use super::generation::{COLUMNS, Generation, Phase, State};
use super::quote::{generation_schema, qualified};
use super::{letters, schema};
use crate::definition::projection::Projection;

/// How long a leader may be silent before another takes its place.
pub const LEASE: Duration = Duration::from_secs(10);

/// A generation that somebody has to drive on.
#[derive(Clone, Debug, FromRow)]
pub struct Led {
    #[sqlx(flatten)]
    pub generation: Generation,
    /// Readers see it.
    pub visible: bool,
    /// Its tables have been analyzed.
    pub analyzed: bool,
    /// Neither paused nor stopped: lanes fold it.
    pub fed: bool,
    /// Seconds until the lease ends; negative: it has ended.
    pub lease_left: Option<f64>,
    /// Its tables, views or branches are to go now.
    pub due: bool,
}

/// How far the partitions of a generation are, for its leader.
#[derive(Clone, Copy, Debug, FromRow)]
pub struct LoadState {
    pub keys_wanted: bool,
    /// Partitions that have a checkpoint.
    pub known: i64,
    /// Partitions that a lane folds, or may fold, at this moment.
    pub moving: i64,
    /// Partitions that are durable and stand still.
    pub parked: i64,
}

/// A partition and its next offset.
#[derive(Clone, Debug, FromRow)]
pub struct Position {
    pub topic: String,
    pub partition: i32,
    /// The value of `"$owner"` on the partition's rows.
    pub slot: i32,
    pub begin_offset: i64,
    pub next_offset: i64,
}

impl Store {
    /// Generations that need a leader: those being built or switched to, and those whose time is over.
    ///
    /// # Errors
    /// As the server's.
    pub async fn led_generations(&self) -> Result<Vec<Led>> {
        sqlx::query_as(AssertSqlSafe(format!(
            "select {COLUMNS}, p.generation is not null as visible, g.analyzed_at is not null as analyzed, \
               j.paused_at is null and not exists (select from consolidator.stop s where s.generation = g.id) as fed, \
               extract(epoch from g.leader_until - clock_timestamp())::double precision as lease_left, \
               g.state in ('failed', 'retired', 'grace') as due \
             from consolidator.generation g join consolidator.projection j on j.name = g.projection \
             left join consolidator.pointer p on p.generation = g.id \
             where g.state in ('building', 'caught_up') \
                or (g.state = 'grace' and g.grace_until <= clock_timestamp()) \
                or (g.state in ('failed', 'retired') and to_regnamespace('consolidator_g' || g.id) is not null) \
             order by g.id"
        )))
        .fetch_all(&self.pool)
        .await
        .doing("reading which generations are being built")
    }

    /// Gets or keeps the lease of a generation; false if another holds it.
    ///
    /// # Errors
    /// As the server's.
    pub async fn lead(&self, generation: i64, name: &str) -> Result<bool> {
        let done = sqlx::query(
            "update consolidator.generation set leader = $2, leader_until = clock_timestamp() + $3 * interval '1 second' \
             where id = $1 and (leader = $2 or leader is null or leader_until is null or leader_until < clock_timestamp())",
        )
        .bind(generation)
        .bind(name)
        .bind(LEASE.as_secs_f64())
        .execute(&self.pool)
        .await
        .doing("taking the lead of a generation")?;
        Ok(done.rows_affected() == 1)
    }

    /// Lets others lead at once what `name` led.
    ///
    /// # Errors
    /// As the server's.
    pub async fn stop_leading(&self, name: &str) -> Result<()> {
        sqlx::query("update consolidator.generation set leader = null, leader_until = null where leader = $1")
            .bind(name)
            .execute(&self.pool)
            .await
            .doing("giving the lead up")?;
        Ok(())
    }

    /// The logs were measured: the tables lose their keys and are loaded, or (`partitions` is `None`) are folded into as live is.
    ///
    /// # Errors
    /// As the server's.
    pub async fn begin_build(&self, generation: i64, partitions: Option<i32>) -> Result<bool> {
        let context = "beginning a build";
        let mut connection = self.pool.acquire().await.doing(context)?;
        let mut tx = connection.begin().await.doing(context)?;
        let next = if partitions.is_some() {
            Phase::Load
        } else {
            Phase::Follow
        };
        let moved = sqlx::query(
            "update consolidator.generation set phase = $2, partitions = $3, load_at = clock_timestamp() \
             where id = $1 and state = 'building' and phase = 'measure'",
        )
        .bind(generation)
        .bind(next.as_str())
        .bind(partitions)
        .execute(&mut *tx)
        .await
        .doing(context)?;
        if moved.rows_affected() == 1 && next == Phase::Load {
            schema::drop_keys(&mut tx, generation).await?;
        }
        tx.commit().await.doing(context)?;
        Ok(moved.rows_affected() == 1)
    }

    /// A build's phase moves on; false if it was in another.
    ///
    /// # Errors
    /// As the server's.
    pub async fn set_phase(&self, generation: i64, from: Phase, to: Phase) -> Result<bool> {
        let done = sqlx::query(
            "update consolidator.generation set phase = $3, \
               loaded_at = case when $3 = 'index' then clock_timestamp() else loaded_at end, \
               indexed_at = case when $3 = 'follow' then clock_timestamp() else indexed_at end \
             where id = $1 and phase = $2 and state = 'building'",
        )
        .bind(generation)
        .bind(from.as_str())
        .bind(to.as_str())
        .execute(&self.pool)
        .await
        .doing("moving a build on")?;
        Ok(done.rows_affected() == 1)
    }

    /// Where a load stands.
    ///
    /// # Errors
    /// As the server's.
    pub async fn load_state(&self, generation: i64) -> Result<LoadState> {
        sqlx::query_as(
            "select g.keys_wanted, count(c.slot) as known, \
               count(c.slot) filter (where c.parked_at is null and a.pid is not null) as moving, \
               count(c.slot) filter (where c.parked_at is not null) as parked \
             from consolidator.generation g \
             left join consolidator.checkpoint c on c.generation = g.id \
             left join pg_stat_activity a on a.pid = c.owner_pid and a.backend_start = c.owner_backend_start \
             where g.id = $1 group by g.id",
        )
        .bind(generation)
        .fetch_one(&self.pool)
        .await
        .doing("reading where a load stands")
    }

    /// Gives one table its key and indexes.
    ///
    /// # Errors
    /// `OwnershipConflict`: a key came from two partitions, so that it is there twice.
    pub async fn build_keys(
        &self,
        generation: i64,
        projection: &Projection,
        table: usize,
    ) -> Result<()> {
        let context = "building keys and indexes";
        let mut connection = self.pool.acquire().await.doing(context)?;
        let mut tx = connection.begin().await.doing(context)?;
        sqlx::query("select set_config('maintenance_work_mem', '128MB', true)")
            .execute(&mut *tx)
            .await
            .doing(context)?;
        let definition = &projection.tables[table];
        let built = schema::build_keys(&mut tx, generation, definition).await;
        if let Err(mut error) = built {
            if error.sqlstate.as_deref() == Some("23505") {
                error.kind = ErrorKind::OwnershipConflict { table };
            }
            return Err(error);
        }
        tx.commit().await.doing(context)
    }

    /// What was loaded without keys does not take them: the build begins anew, with keys. If one key came from two partitions, the
    /// table goes over to the locked way. Rows, letters and checkpoints go back together, and every lane is fenced.
    ///
    /// # Errors
    /// As the server's.
    pub async fn start_over(
        &self,
        generation: i64,
        projection: &Projection,
        shared: Option<usize>,
    ) -> Result<()> {
        let context = "starting a build over";
        let mut connection = self.pool.acquire().await.doing(context)?;
        let mut tx = connection.begin().await.doing(context)?;
        let moved = sqlx::query(
            "update consolidator.generation set phase = 'follow', shared_tables = shared_tables || $2 \
             where id = $1 and state = 'building' and phase = 'index'",
        )
        .bind(generation)
        .bind(shared.map(|table| projection.tables[table].name.clone()).as_slice())
        .execute(&mut *tx)
        .await
        .doing(context)?;
        if moved.rows_affected() == 0 {
            return Ok(());
        }
        sqlx::query(
            "update consolidator.checkpoint set epoch = epoch + 1, next_offset = begin_offset, as_of = null, events = 0, \
               last_offset = null, last_epoch = null, last_fingerprint = null \
             where generation = $1",
        )
        .bind(generation)
        .execute(&mut *tx)
        .await
        .doing(context)?;
        letters::forget(&mut tx, generation).await?;
        let schema = generation_schema(generation);
        for table in &projection.tables {
            let sql = format!("truncate {}", qualified(&schema, &table.name));
            schema::execute(&mut tx, sql).await?;
            if let Some(states) = table.states() {
                let sql = format!("truncate {}", qualified(&schema, &states.name));
                schema::execute(&mut tx, sql).await?;
            }
            schema::build_keys(&mut tx, generation, table).await?;
        }
        tx.commit().await.doing(context)
    }

    /// Sees to the planner's statistics of all tables, so that readers find good plans when they are switched.
    ///
    /// # Errors
    /// As the server's.
    pub async fn analyze(&self, generation: i64, projection: &Projection) -> Result<()> {
        let context = "analyzing a generation";
        let mut connection = self.pool.acquire().await.doing(context)?;
        for table in &projection.tables {
            schema::analyze(&mut connection, generation, &table.name).await?;
            if let Some(states) = table.states() {
                schema::analyze(&mut connection, generation, &states.name).await?;
            }
        }
        sqlx::query(
            "update consolidator.generation set analyzed_at = clock_timestamp() where id = $1",
        )
        .bind(generation)
        .execute(&mut *connection)
        .await
        .doing(context)?;
        Ok(())
    }

    /// Where every partition of a generation is.
    ///
    /// # Errors
    /// As the server's.
    pub async fn positions(&self, generation: i64) -> Result<Vec<Position>> {
        let mut connection = self.pool.acquire().await.doing("reading checkpoints")?;
        positions(&mut connection, generation).await
    }

    /// What the live generation was built from and this one cannot be any more, in words; `None`: it reaches as far back.
    ///
    /// # Errors
    /// As the server's.
    pub async fn find_hole(&self, generation: i64) -> Result<Option<String>> {
        type Row = (String, i32, i64, Option<i64>, bool);
        let rows: Vec<Row> = sqlx::query_as(
            "select o.topic, o.partition, o.begin_offset, i.begin_offset, coalesce(i.topic_id <> o.topic_id, false) from consolidator.generation g \
             join consolidator.pointer p on p.projection = g.projection and p.generation <> g.id \
             join consolidator.checkpoint o on o.generation = p.generation and o.topic = any (g.topics) \
             left join consolidator.checkpoint i on i.generation = g.id and i.topic = o.topic and i.partition = o.partition \
             where g.id = $1 and (i.begin_offset > o.begin_offset or i.begin_offset is null or i.topic_id <> o.topic_id) and o.next_offset > o.begin_offset \
             order by 1, 2",
        )
        .bind(generation)
        .fetch_all(&self.pool)
        .await
        .doing("comparing where generations began")?;
        let one = |(topic, partition, from, to, is_other): &Row| match to {
            Some(_) if *is_other => {
                format!("{topic} [{partition}]: the topic was made anew since the live one read it")
            }
            Some(to) => format!(
                "{topic} [{partition}]: the live one began at offset {from}, the log now begins at {to}"
            ),
            None => format!("{topic} [{partition}] is gone from Kafka"),
        };
        let parts: Vec<String> = rows.iter().map(one).collect();
        Ok((!parts.is_empty()).then(|| parts.join("; ")))
    }

    /// Notes what the log no longer holds, so that the generation is held.
    ///
    /// # Errors
    /// As the server's.
    pub async fn record_hole(&self, generation: i64, hole: Option<&str>) -> Result<()> {
        sqlx::query("update consolidator.generation set hole = $2 where id = $1")
            .bind(generation)
            .bind(hole)
            .execute(&self.pool)
            .await
            .doing("noting a hole")?;
        Ok(())
    }

    /// Why a generation waits, for people; `None`: it does not.
    ///
    /// # Errors
    /// As the server's.
    pub async fn set_reason(&self, generation: i64, reason: Option<&str>) -> Result<()> {
        sqlx::query("update consolidator.generation set reason = $2 where id = $1 and reason is distinct from $2")
            .bind(generation)
            .bind(reason)
            .execute(&self.pool)
            .await
            .doing("noting why a generation waits")?;
        Ok(())
    }

    /// Gives a generation up that readers do not see: its lanes stop, and whoever leads it drops its tables.
    ///
    /// # Errors
    /// `Refused` if readers see it.
    pub async fn give_up(&self, generation: i64, reason: &str) -> Result<bool> {
        let done = sqlx::query(
            "update consolidator.generation g set state = case when state in ('grace') then 'retired' else 'failed' end, \
               reason = $2, ended_at = now() \
             where id = $1 and state in ('building', 'caught_up', 'held', 'grace', 'frozen') \
               and not exists (select from consolidator.pointer p where p.generation = g.id)",
        )
        .bind(generation)
        .bind(reason)
        .execute(&self.pool)
        .await
        .doing("giving a generation up")?;
        Ok(done.rows_affected() == 1)
    }

    /// The generations of a projection, oldest first.
    ///
    /// # Errors
    /// As the server's.
    pub async fn generations(&self, projection: &str) -> Result<Vec<Generation>> {
        sqlx::query_as(AssertSqlSafe(format!(
            "select {COLUMNS} from consolidator.generation g where g.projection = $1 order by g.id"
        )))
        .bind(projection)
        .fetch_all(&self.pool)
        .await
        .doing("reading the generations")
    }

    /// The generation that readers of a projection see.
    ///
    /// # Errors
    /// As the server's.
    pub async fn visible_generation(&self, projection: &str) -> Result<Option<i64>> {
        let mut connection = self.pool.acquire().await.doing("reading the pointer")?;
        super::pointer::generation_of(&mut connection, projection).await
    }

    /// The latest generation that readers saw before and that is still fed.
    ///
    /// # Errors
    /// As the server's.
    pub async fn latest_in_grace(&self, projection: &str) -> Result<Option<Generation>> {
        sqlx::query_as(AssertSqlSafe(format!(
            "select {COLUMNS} from consolidator.generation g where g.projection = $1 and g.state = 'grace' \
             order by g.replaced_at desc nulls last, g.id desc limit 1"
        )))
        .bind(projection)
        .fetch_optional(&self.pool)
        .await
        .doing("reading the generations")
    }

    /// Moves a generation that is caught up to the state it was built for.
    ///
    /// # Errors
    /// As the server's.
    pub async fn caught_up(&self, generation: i64, to: State) -> Result<bool> {
        self.set_state(generation, State::Building, to, None).await
    }
}

pub(super) async fn positions(
    connection: &mut PgConnection,
    generation: i64,
) -> Result<Vec<Position>> {
    sqlx::query_as(
        "select topic, partition, slot, begin_offset, next_offset from consolidator.checkpoint \
         where generation = $1 order by topic, partition",
    )
    .bind(generation)
    .fetch_all(connection)
    .await
    .doing("reading checkpoints")
}

impl super::lane::LaneStore {
    /// The lane needs keys on the tables to go on: the load ends.
    ///
    /// # Errors
    /// As the server's.
    pub async fn want_keys(&mut self, generation: i64) -> Result<()> {
        sqlx::query(
            "update consolidator.generation set keys_wanted = true where id = $1 and not keys_wanted",
        )
        .bind(generation)
        .execute(self.session())
        .await
        .doing("asking for keys")?;
        Ok(())
    }

    /// The lane stands still, and everything that it folded of these partitions (slot, epoch) is durable.
    ///
    /// # Errors
    /// As the server's.
    pub async fn park(&mut self, generation: i64, held: &[(i32, i64)]) -> Result<()> {
        sqlx::query(
            "update consolidator.checkpoint c set parked_at = clock_timestamp(), reading_offset = null \
             from unnest($2::integer[], $3::bigint[]) as u (slot, epoch) \
             where c.generation = $1 and c.slot = u.slot and c.epoch = u.epoch",
        )
        .bind(generation)
        .bind(held.iter().map(|(slot, _)| *slot).collect::<Vec<_>>())
        .bind(held.iter().map(|(_, epoch)| *epoch).collect::<Vec<_>>())
        .execute(self.session())
        .await
        .doing("noting that a lane stands still")?;
        Ok(())
    }

    /// How far the lane has folded in memory (slot, offset, end of the log), for progress alone.
    ///
    /// # Errors
    /// As the server's.
    pub async fn note_reading(
        &mut self,
        generation: i64,
        read: &[(i32, i64, Option<i64>)],
    ) -> Result<()> {
        sqlx::query(
            "update consolidator.checkpoint c set reading_offset = u.reading, end_offset = coalesce(u.end_offset, c.end_offset), \
               measured_at = clock_timestamp() \
             from unnest($2::integer[], $3::bigint[], $4::bigint[]) as u (slot, reading, end_offset) \
             where c.generation = $1 and c.slot = u.slot",
        )
        .bind(generation)
        .bind(read.iter().map(|read| read.0).collect::<Vec<_>>())
        .bind(read.iter().map(|read| read.1).collect::<Vec<_>>())
        .bind(read.iter().map(|read| read.2).collect::<Vec<_>>())
        .execute(self.session())
        .await
        .doing("noting how far a load is")?;
        Ok(())
    }
}

impl StoreError {
    /// Somebody holds a lock that was waited for as long as readers may be kept waiting.
    pub(super) fn is_lock_timeout(&self) -> bool {
        self.sqlstate.as_deref() == Some("55P03")
    }
}
