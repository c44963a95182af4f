//! How far a build is, as stored: for the terminal, for `status`, and to be summed up at its end. Decides nothing.

use sqlx::FromRow;

use super::connect::Store;
use super::error::{Context, Result};
use super::generation::{Phase, State};
use super::quote::{generation_schema, qualified};

/// A topic of a build.
#[derive(Clone, Debug, FromRow)]
pub struct TopicProgress {
    pub topic: String,
    /// Offsets folded, those in memory included.
    pub done: i64,
    /// Offsets there are, as last measured.
    pub total: i64,
    /// Events applied.
    pub events: i64,
}

/// A build as a whole.
#[derive(Clone, Debug, FromRow)]
pub struct BuildStatus {
    #[sqlx(try_from = "String")]
    pub state: State,
    #[sqlx(try_from = "String")]
    pub phase: Phase,
    /// What it waits for, or why it was given up.
    pub reason: Option<String>,
    pub hole: Option<String>,
    /// What came of comparing it with the live one, as JSON.
    pub compared: Option<String>,
    /// Of a generation as of a time or of offsets.
    pub read_schema: Option<String>,
    /// Why an event cannot be applied, if that stops it.
    pub stopped: Option<String>,
    /// Events that were set aside.
    pub rejected: i64,
    /// Seconds of each part, as far as it is over.
    pub load_seconds: Option<f64>,
    pub index_seconds: Option<f64>,
    pub follow_seconds: Option<f64>,
    /// How long live's commits were kept waiting by the switch.
    pub switch_seconds: Option<f64>,
}

impl Store {
    /// How far each topic of a build is.
    ///
    /// # Errors
    /// As the server's.
    pub async fn topic_progress(&self, generation: i64) -> Result<Vec<TopicProgress>> {
        sqlx::query_as(
            "select topic, sum(coalesce(reading_offset, next_offset) - begin_offset)::bigint as done, \
               sum(greatest(coalesce(end_offset, next_offset), next_offset) - begin_offset)::bigint as total, \
               sum(events)::bigint as events \
             from consolidator.checkpoint where generation = $1 group by topic order by topic",
        )
        .bind(generation)
        .fetch_all(&self.pool)
        .await
        .doing("reading how far a build is")
    }

    /// Where a build stands; `None`: there is no such generation any more.
    ///
    /// # Errors
    /// As the server's.
    pub async fn build_status(&self, generation: i64) -> Result<Option<BuildStatus>> {
        sqlx::query_as(
            "select g.state, g.phase, g.reason, g.hole, g.compared::text as compared, g.read_schema, g.switch_seconds, \
               (select min(s.reason) from consolidator.stop s where s.generation = g.id) as stopped, \
               (select count(*) from consolidator.dead_letter d where d.generation = g.id) as rejected, \
               extract(epoch from g.loaded_at - g.load_at)::double precision as load_seconds, \
               extract(epoch from g.indexed_at - g.loaded_at)::double precision as index_seconds, \
               extract(epoch from g.caught_up_at - coalesce(g.indexed_at, g.load_at))::double precision as follow_seconds \
             from consolidator.generation g where g.id = $1",
        )
        .bind(generation)
        .fetch_optional(&self.pool)
        .await
        .doing("reading how far a build is")
    }

    /// Rows of a generation's table, counted.
    ///
    /// # Errors
    /// As the server's.
    pub async fn count_generation_rows(&self, generation: i64, table: &str) -> Result<i64> {
        let sql = format!(
            "select count(*) from {}",
            qualified(&generation_schema(generation), table)
        );
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .fetch_one(&self.pool)
            .await
            .doing("counting rows")
    }
}
