//! Dead letters as operators see them, and what they ask to be done with them: `requested` is only noted here; the lane that owns
//! the partition carries it out ([`super::letters`]).

use sqlx::{Connection, FromRow};

use super::connect::Store;
use super::error::{Context, Result, StoreError};

/// Which letters; what is not given does not matter.
#[derive(Clone, Debug, Default)]
pub struct LetterFilter {
    pub generation: i64,
    /// The whole key.
    pub key: Option<String>,
    /// Part of the reason, in any case of letters.
    pub reason: Option<String>,
    pub ids: Option<Vec<i64>>,
}

/// A letter without its payload. Times are RFC 3339 in UTC.
#[derive(Clone, Debug, FromRow)]
pub struct Letter {
    pub id: i64,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<String>,
    pub event_type: Option<String>,
    pub event_id: Option<String>,
    pub event_time: Option<String>,
    /// Kafka's timestamp.
    pub record_at: Option<String>,
    pub table_name: Option<String>,
    pub rule: Option<String>,
    pub sqlstate: Option<String>,
    pub reason: String,
    pub follows: bool,
    /// What the record held was not kept.
    pub redacted: bool,
    pub requested: Option<String>,
    pub set_aside_at: String,
    /// Of the value; `None`: a tombstone.
    pub bytes: Option<i32>,
}

/// What the record held.
#[derive(Clone, Debug, FromRow)]
pub struct Payload {
    pub record_key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// JSON, as stored.
    pub headers: Option<String>,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// Applied, with all letters of their keys.
    Retry,
    /// Thrown away.
    Discard,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, Default, FromRow)]
pub struct Requested {
    /// Nobody has come to these yet, and their partitions are read.
    pub open: i64,
    /// The same of partitions that stand still alone.
    pub held: i64,
    /// Tried, and still there.
    pub stay: i64,
}

/// Why nobody may come to it.
#[derive(Clone, Debug, FromRow)]
pub struct Idle {
    pub paused: bool,
    /// Why the whole of it stands still.
    pub stopped: Option<String>,
    /// Why a partition stands still alone.
    pub stopped_alone: Option<String>,
    /// Some lane of a worker owns partitions of it.
    pub worked_on: bool,
}

const LETTER: &str = "id, topic, partition, \"offset\", key, event_type, event_id, \
    to_char(event_time at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') as event_time, \
    to_char(record_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') as record_at, \
    table_name, rule, sqlstate, reason, follows, redacted, requested, \
    to_char(set_aside_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') as set_aside_at, octet_length(value) as bytes";

const CHOSEN: &str = "generation = $1 and ($2::text is null or key = $2) \
    and ($3::text is null or position(lower($3) in lower(reason)) > 0) and ($4::bigint[] is null or id = any ($4))";

impl Store {
    /// In the order of topic, partition and offset.
    ///
    /// # Errors
    /// As the server's.
    pub async fn letters(&self, filter: &LetterFilter) -> Result<Vec<Letter>> {
        let sql = format!(
            "select {LETTER} from consolidator.dead_letter where {CHOSEN} order by topic, partition, \"offset\""
        );
        sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(filter.generation)
            .bind(&filter.key)
            .bind(&filter.reason)
            .bind(&filter.ids)
            .fetch_all(&self.pool)
            .await
            .doing("reading dead letters")
    }

    /// How many a generation has.
    ///
    /// # Errors
    /// As the server's.
    pub async fn count_letters(&self, generation: i64) -> Result<i64> {
        let mut connection = self.pool.acquire().await.doing("counting dead letters")?;
        super::letters::count(&mut connection, generation).await
    }

    /// `None`: there is no such letter.
    ///
    /// # Errors
    /// As the server's.
    pub async fn letter_payload(&self, generation: i64, id: i64) -> Result<Option<Payload>> {
        sqlx::query_as(
            "select record_key, value, headers::text as headers from consolidator.dead_letter where generation = $1 and id = $2",
        )
        .bind(generation)
        .bind(id)
        .fetch_optional(&self.pool)
        .await
        .doing("reading a dead letter")
    }

    /// Notes what is to be done; gives the ids of all letters that it means, those of the same keys included where they are to be
    /// applied.
    ///
    /// # Errors
    /// As the server's; `Refused`: to be applied, and what the record held was not kept.
    pub async fn request_letters(
        &self,
        filter: &LetterFilter,
        request: Request,
    ) -> Result<Vec<i64>> {
        let (word, same_key) = match request {
            Request::Retry => (
                "retry",
                "or (d.topic, d.partition, d.key) in (select topic, partition, key from chosen where key is not null)",
            ),
            Request::Discard => ("discard", ""),
        };
        let sql = format!(
            "with chosen as (select id, topic, partition, key from consolidator.dead_letter where {CHOSEN}) \
             update consolidator.dead_letter d set requested = '{word}' \
             where d.generation = $1 and (d.id in (select id from chosen) {same_key}) returning d.id, d.redacted"
        );
        let context = "noting what is wanted of dead letters";
        let mut connection = self.pool.acquire().await.doing(context)?;
        let mut tx = connection.begin().await.doing(context)?;
        let meant: Vec<(i64, bool)> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(filter.generation)
            .bind(&filter.key)
            .bind(&filter.reason)
            .bind(&filter.ids)
            .fetch_all(&mut *tx)
            .await
            .doing(context)?;
        let redacted = meant.iter().filter(|(_, redacted)| *redacted).count();
        if request == Request::Retry && redacted > 0 {
            let message = format!(
                "what {redacted} of the records held was not kept (dead_letters.payloads: redact)"
            );
            return Err(StoreError::refused(context, message)
                .hint("A rebuild reads the events again; or discard these letters."));
        }
        tx.commit().await.doing(context)?;
        Ok(meant.into_iter().map(|(id, _)| id).collect())
    }

    /// What has become of letters that something was asked for.
    ///
    /// # Errors
    /// As the server's.
    pub async fn requested_letters(&self, generation: i64, ids: &[i64]) -> Result<Requested> {
        sqlx::query_as(
            "select count(*) filter (where d.requested is not null and s.id is null) as open, \
               count(*) filter (where d.requested is not null and s.id is not null) as held, \
               count(*) filter (where d.requested is null) as stay \
             from consolidator.dead_letter d \
             left join consolidator.stop s on s.generation = d.generation and s.alone and s.topic = d.topic and s.partition = d.partition \
             where d.generation = $1 and d.id = any ($2)",
        )
        .bind(generation)
        .bind(ids)
        .fetch_one(&self.pool)
        .await
        .doing("looking what has become of dead letters")
    }

    /// Whether anybody works on a generation.
    ///
    /// # Errors
    /// As the server's.
    pub async fn idle(&self, generation: i64) -> Result<Idle> {
        sqlx::query_as(
            "select p.paused_at is not null as paused, \
               (select s.reason from consolidator.stop s where s.generation = g.id and not s.alone order by s.id limit 1) as stopped, \
               (select format('%s [%s]: %s', s.topic, s.partition, s.reason) from consolidator.stop s \
                where s.generation = g.id and s.alone order by s.id limit 1) as stopped_alone, \
               exists (select from consolidator.checkpoint c \
                       join pg_stat_activity a on a.pid = c.owner_pid and a.backend_start = c.owner_backend_start \
                       where c.generation = g.id) as worked_on \
             from consolidator.generation g join consolidator.projection p on p.name = g.projection where g.id = $1",
        )
        .bind(generation)
        .fetch_one(&self.pool)
        .await
        .doing("looking who works on a generation")
    }
}
