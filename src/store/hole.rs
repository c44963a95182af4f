//! Holes: offsets that Kafka no longer holds and that were never applied. A generation goes on behind one only if an operator says
//! so; what it lacks since then stays recorded.

use sqlx::FromRow;
use sqlx::postgres::PgConnection;

use super::connect::Store;
use super::error::{Context, Result};
use super::lane::{LaneStore, Transaction};

/// A row of `consolidator.hole`, or one to come.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Hole {
    pub topic: String,
    pub partition: i32,
    /// Inclusive: the first offset that was not applied.
    pub from_offset: i64,
    /// Exclusive: where the log began when it was accepted.
    pub to_offset: i64,
    /// RFC 3339 in UTC; `None`: not accepted.
    pub accepted_at: Option<String>,
}

impl Store {
    /// What the generations of a projection stand still at.
    ///
    /// # Errors
    /// As the server's.
    pub async fn open_holes(&self, projection: &str) -> Result<Vec<Hole>> {
        sqlx::query_as(
            "select s.topic, s.partition, c.next_offset as from_offset, s.log_begin as to_offset, null::text as accepted_at \
             from consolidator.stop s join consolidator.generation g on g.id = s.generation \
             join consolidator.checkpoint c on c.generation = g.id and c.topic = s.topic and c.partition = s.partition \
             where g.projection = $1 and s.log_begin > c.next_offset order by g.id, s.id",
        )
        .bind(projection)
        .fetch_all(&self.pool)
        .await
        .doing("reading what the logs no longer hold")
    }

    /// Lets the generations of a projection go on behind what they stand still at, or in another log than the one they applied.
    /// Their lanes do it.
    ///
    /// # Errors
    /// As the server's.
    pub async fn accept_holes(&self, projection: &str) -> Result<()> {
        sqlx::query(
            "update consolidator.checkpoint c set accept_hole = true \
             from consolidator.stop s join consolidator.generation g on g.id = s.generation \
             where g.projection = $1 and s.log_begin is not null \
               and c.generation = g.id and c.topic = s.topic and c.partition = s.partition",
        )
        .bind(projection)
        .execute(&self.pool)
        .await
        .doing("accepting what the logs no longer hold")?;
        // What is there now is taken for what was applied.
        sqlx::query(
            "update consolidator.checkpoint c set topic_id = null, last_offset = null, last_epoch = null, last_fingerprint = null \
             from consolidator.stop s join consolidator.generation g on g.id = s.generation \
             where g.projection = $1 and s.other_log \
               and c.generation = g.id and c.topic = s.topic and c.partition = s.partition",
        )
        .bind(projection)
        .execute(&self.pool)
        .await
        .doing("accepting another log")?;
        Ok(())
    }

    /// Where the generations of a projection stand still because Kafka holds something else than what was applied.
    ///
    /// # Errors
    /// As the server's.
    pub async fn other_logs(&self, projection: &str) -> Result<Vec<String>> {
        sqlx::query_scalar(
            "select distinct s.topic || ' [' || s.partition || ']: ' || s.reason from consolidator.stop s \
             join consolidator.generation g on g.id = s.generation where g.projection = $1 and s.other_log order by 1",
        )
        .bind(projection)
        .fetch_all(&self.pool)
        .await
        .doing("reading which logs are others")
    }

    /// What the generation that readers see lacks.
    ///
    /// # Errors
    /// As the server's.
    pub async fn holes(&self, generation: i64) -> Result<Vec<Hole>> {
        let mut connection = self.pool.acquire().await.doing("reading holes")?;
        load(&mut connection, generation).await
    }
}

impl LaneStore {
    /// An operator wants the partition to go on at the log's beginning.
    ///
    /// # Errors
    /// As the server's.
    pub async fn accepts_hole(&mut self, generation: i64, slot: i32) -> Result<bool> {
        let accepts: Option<bool> = sqlx::query_scalar(
            "select accept_hole from consolidator.checkpoint where generation = $1 and slot = $2",
        )
        .bind(generation)
        .bind(slot)
        .fetch_optional(self.session())
        .await
        .doing("reading a checkpoint")?;
        Ok(accepts == Some(true))
    }
}

impl Transaction<'_> {
    /// Together with the claim that moves the checkpoint over it.
    ///
    /// # Errors
    /// As the server's.
    pub async fn record_hole(&mut self, generation: i64, hole: &Hole) -> Result<()> {
        let context = "recording what a log no longer holds";
        sqlx::query(
            "insert into consolidator.hole (generation, topic, partition, from_offset, to_offset) values ($1, $2, $3, $4, $5)",
        )
        .bind(generation)
        .bind(&hole.topic)
        .bind(hole.partition)
        .bind(hole.from_offset)
        .bind(hole.to_offset)
        .execute(&mut *self.tx)
        .await
        .doing(context)?;
        sqlx::query(
            "update consolidator.checkpoint set accept_hole = false where generation = $1 and topic = $2 and partition = $3",
        )
        .bind(generation)
        .bind(&hole.topic)
        .bind(hole.partition)
        .execute(&mut *self.tx)
        .await
        .doing(context)?;
        Ok(())
    }
}

pub(super) async fn load(connection: &mut PgConnection, generation: i64) -> Result<Vec<Hole>> {
    sqlx::query_as(
        "select topic, partition, from_offset, to_offset, \
           to_char(accepted_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') as accepted_at \
         from consolidator.hole where generation = $1 order by topic, partition, from_offset",
    )
    .bind(generation)
    .fetch_all(connection)
    .await
    .doing("reading holes")
}

impl std::fmt::Display for Hole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Hole {
            topic,
            partition,
            from_offset,
            to_offset,
            ..
        } = self;
        let last = to_offset - 1;
        write!(f, "{topic} [{partition}] offsets {from_offset} to {last}")
    }
}
