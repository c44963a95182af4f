//! `consolidator.dead_letter`: events that could not be applied, as the lane that owns their partition keeps them, and what
//! operators ask to be done with them. Knows nothing of why an event failed.

use sqlx::FromRow;
use sqlx::postgres::PgConnection;

use super::checkpoint::Partition;
use super::encode::RawArray;
use super::error::{Context, ErrorKind, Result, StoreError};
use super::lane::{LaneStore, Transaction};
use super::rows::Bound;
use crate::expression::value::{Modifier, Scalar, Type, Value};

/// Letters written, or taken up again, in one statement at most.
pub const LETTERS_AT_ONCE: usize = 1_000;
/// Bytes of values in one statement at most, but for a single larger letter.
const BYTES_AT_ONCE: usize = 16 << 20;
/// Longer reasons are cut: some quote what the event says.
const REASON_CHARS_MAX: usize = 1_000;

/// An event to be set aside, with all that is needed to apply it later.
#[derive(Clone, Debug, Default)]
pub struct NewLetter {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// As text; `None`: the record has none, or its bytes are no text.
    pub key: Option<String>,
    pub record_key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// JSON: an array of `{"name", "text"}`, `{"name", "hex"}` or `{"name"}`.
    pub headers: Option<String>,
    /// Kafka's timestamp, microseconds since 2000-01-01.
    pub record_at: Option<i64>,
    pub event_type: Option<String>,
    pub event_id: Option<String>,
    /// Microseconds since 2000-01-01.
    pub event_time: Option<i64>,
    pub fault: Fault,
    /// Set aside only because an earlier event of its key is.
    pub follows: bool,
    /// What the record held is not kept.
    pub redacted: bool,
}

/// Why an event could not be applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    pub table_name: Option<String>,
    pub rule: Option<String>,
    pub sqlstate: Option<String>,
    pub reason: String,
}

impl NewLetter {
    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let len = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self.headers.as_ref().map_or(0, String::len);
        size_of::<NewLetter>() + len(&self.value) + len(&self.record_key) + headers
    }
}

/// A letter that is taken up again.
#[derive(Clone, Debug, FromRow)]
pub struct Requested {
    pub id: i64,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<String>,
    pub record_key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// As in [`NewLetter`].
    pub headers: Option<String>,
    /// Milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// To be thrown away; otherwise to be applied.
    pub discard: bool,
}

/// What a lane has to know of the letters of its partitions.
#[derive(Clone, Debug, Default)]
pub struct SetAside {
    /// Topic, partition and key; `None` stands for letters that hold nothing back.
    pub keys: Vec<(String, i32, Option<String>)>,
    /// Of the whole generation.
    pub letters: i64,
}

/// What a transaction does to letters.
#[derive(Clone, Debug, Default)]
pub struct LetterChanges {
    pub new: Vec<NewLetter>,
    /// By id: applied or thrown away.
    pub gone: Vec<i64>,
    /// By id: tried again, and why that failed.
    pub failed: Vec<(i64, Fault)>,
    /// Topic, partition and key of those: nothing more is done with their letters.
    pub left: Vec<(String, i32, String)>,
}

impl LetterChanges {
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.gone.is_empty() && self.failed.is_empty()
    }
}

impl LaneStore {
    /// What is set aside of partitions that this lane owns, and so alone adds to or takes from.
    ///
    /// # Errors
    /// As the server's.
    pub async fn set_aside(&mut self, generation: i64, parts: &[Partition]) -> Result<SetAside> {
        set_aside(self.session(), generation, parts).await
    }

    /// Somebody wants something done with letters of these partitions.
    ///
    /// # Errors
    /// As the server's.
    pub async fn is_requested(&mut self, generation: i64, parts: &[Partition]) -> Result<bool> {
        sqlx::query_scalar(
            "select exists (select from consolidator.dead_letter where generation = $1 and requested is not null \
               and (topic, partition) in (select * from unnest($2::text[], $3::integer[])))",
        )
        .bind(generation)
        .bind(topics(parts))
        .bind(partitions(parts))
        .fetch_one(self.session())
        .await
        .doing("looking for what is wanted of dead letters")
    }

    /// The first of them, at most `count`, in the order of their offsets. Those of one key are all the first ones of it, after
    /// [`Transaction::widen_requests`].
    ///
    /// # Errors
    /// As the server's.
    pub async fn requested(
        &mut self,
        generation: i64,
        parts: &[Partition],
        count: usize,
    ) -> Result<Vec<Requested>> {
        sqlx::query_as(
            "select l.id, l.topic, l.partition, l.\"offset\", l.key, l.record_key, l.value, l.headers::text as headers, \
               (extract(epoch from l.record_at) * 1000)::bigint as timestamp_ms, l.requested = 'discard' as discard \
             from (select d.id, sum(coalesce(octet_length(d.value), 0)) over place as bytes, row_number() over place as number \
                   from (select id, topic, partition, \"offset\", value from consolidator.dead_letter \
                         where generation = $1 and requested is not null \
                           and (topic, partition) in (select * from unnest($2::text[], $3::integer[])) \
                         order by topic, partition, \"offset\" limit $4) d \
                   window place as (order by d.topic, d.partition, d.\"offset\")) f \
             join consolidator.dead_letter l on l.id = f.id \
             where f.bytes <= $5 or f.number = 1 order by l.topic, l.partition, l.\"offset\"",
        )
        .bind(generation)
        .bind(topics(parts))
        .bind(partitions(parts))
        .bind(i64::try_from(count).unwrap_or(i64::MAX))
        .bind(BYTES_AT_ONCE as i64)
        .fetch_all(self.session())
        .await
        .doing("reading dead letters")
    }
}

impl Transaction<'_> {
    /// Who wants one letter of a key applied wants all of them applied: later ones have come since.
    ///
    /// # Errors
    /// As the server's.
    pub async fn widen_requests(&mut self, generation: i64, parts: &[Partition]) -> Result<()> {
        sqlx::query(
            "update consolidator.dead_letter d set requested = 'retry' \
             from (select distinct topic, partition, key from consolidator.dead_letter \
                   where generation = $1 and requested = 'retry' and key is not null \
                     and (topic, partition) in (select * from unnest($2::text[], $3::integer[]))) k \
             where d.generation = $1 and d.requested is null and d.topic = k.topic and d.partition = k.partition \
               and md5(d.key) = md5(k.key) and d.key = k.key",
        )
        .bind(generation)
        .bind(topics(parts))
        .bind(partitions(parts))
        .execute(&mut *self.tx)
        .await
        .doing("reading dead letters")?;
        Ok(())
    }

    /// Sets events aside, and settles what was asked for, together with the rows and the claim; gives how many letters the
    /// generation has then.
    ///
    /// # Errors
    /// As the server's; never an event's fault.
    pub async fn write_letters(&mut self, generation: i64, changes: &LetterChanges) -> Result<i64> {
        let written = write(&mut self.tx, generation, changes).await;
        fail::fail_point!("letters-written");
        written.map_err(|error| match error.kind {
            ErrorKind::EventFault => StoreError {
                kind: ErrorKind::Unexpected,
                ..error
            },
            _ => error,
        })
    }
}

/// After the epochs of the partitions were raised, this is the truth: nobody else can add or take letters of theirs any more.
pub(super) async fn set_aside(
    connection: &mut PgConnection,
    generation: i64,
    parts: &[Partition],
) -> Result<SetAside> {
    let context = "reading which keys are blocked";
    let letters = count(connection, generation).await?;
    if letters == 0 {
        return Ok(SetAside::default());
    }
    let keys = sqlx::query_as(
        "select distinct topic, partition, key from consolidator.dead_letter where generation = $1 \
           and (topic, partition) in (select * from unnest($2::text[], $3::integer[]))",
    )
    .bind(generation)
    .bind(topics(parts))
    .bind(partitions(parts))
    .fetch_all(connection)
    .await
    .doing(context)?;
    Ok(SetAside { keys, letters })
}

pub(super) async fn count(connection: &mut PgConnection, generation: i64) -> Result<i64> {
    sqlx::query_scalar("select count(*) from consolidator.dead_letter where generation = $1")
        .bind(generation)
        .fetch_one(connection)
        .await
        .doing("counting dead letters")
}

/// All of a generation: its rows go back to their beginning, or go.
pub(super) async fn forget(connection: &mut PgConnection, generation: i64) -> Result<()> {
    sqlx::query("delete from consolidator.dead_letter where generation = $1")
        .bind(generation)
        .execute(connection)
        .await
        .doing("dropping dead letters")?;
    Ok(())
}

async fn write(
    connection: &mut PgConnection,
    generation: i64,
    changes: &LetterChanges,
) -> Result<i64> {
    let mut letters = &changes.new[..];
    while !letters.is_empty() {
        let mut bytes = 0;
        let fits = letters.iter().take(LETTERS_AT_ONCE).take_while(|letter| {
            bytes += letter.bytes();
            bytes <= BYTES_AT_ONCE
        });
        let (now, later) = letters.split_at(fits.count().max(1));
        insert(connection, generation, now).await?;
        letters = later;
    }
    if !changes.gone.is_empty() {
        sqlx::query("delete from consolidator.dead_letter where generation = $1 and id = any($2)")
            .bind(generation)
            .bind(&changes.gone)
            .execute(&mut *connection)
            .await
            .doing("taking events back into the flow")?;
    }
    if !changes.failed.is_empty() {
        note_failed(connection, generation, changes).await?;
    }
    count(connection, generation).await
}

async fn insert(
    connection: &mut PgConnection,
    generation: i64,
    letters: &[NewLetter],
) -> Result<()> {
    let (mut record_at, mut event_time) = (times(), times());
    for letter in letters {
        record_at.push(letter.record_at.map_or(Value::Null, Value::TimestampTz));
        event_time.push(letter.event_time.map_or(Value::Null, Value::TimestampTz));
    }
    let texts = |text: fn(&NewLetter) -> Option<&str>| letters.iter().map(text).collect::<Vec<_>>();
    let bytes =
        |bytes: fn(&NewLetter) -> Option<&[u8]>| letters.iter().map(bytes).collect::<Vec<_>>();
    let reasons: Vec<String> = letters.iter().map(|l| reason(&l.fault.reason)).collect();
    sqlx::query(
        "insert into consolidator.dead_letter (generation, topic, partition, \"offset\", key, record_key, value, headers, \
           record_at, event_type, event_id, event_time, table_name, rule, sqlstate, reason, follows, redacted) \
         select $1, u.topic, u.partition, u.at, u.key, u.record_key, u.value, u.headers::jsonb, u.record_at, u.event_type, \
           u.event_id, u.event_time, u.table_name, u.rule, u.sqlstate, u.reason, u.follows, u.redacted \
         from unnest($2::text[], $3::integer[], $4::bigint[], $5::text[], $6::bytea[], $7::bytea[], $8::text[], \
           $9::timestamptz[], $10::text[], $11::text[], $12::timestamptz[], $13::text[], $14::text[], $15::text[], $16::text[], \
           $17::boolean[], $18::boolean[]) as u (topic, partition, at, key, record_key, value, headers, record_at, event_type, event_id, \
           event_time, table_name, rule, sqlstate, reason, follows, redacted)",
    )
    .bind(generation)
    .bind(texts(|l| Some(&l.topic)))
    .bind(letters.iter().map(|l| l.partition).collect::<Vec<_>>())
    .bind(letters.iter().map(|l| l.offset).collect::<Vec<_>>())
    .bind(texts(|l| l.key.as_deref()))
    .bind(bytes(|l| l.record_key.as_deref()))
    .bind(bytes(|l| l.value.as_deref()))
    .bind(texts(|l| l.headers.as_deref()))
    .bind(Bound(&record_at))
    .bind(texts(|l| l.event_type.as_deref()))
    .bind(texts(|l| l.event_id.as_deref()))
    .bind(Bound(&event_time))
    .bind(texts(|l| l.fault.table_name.as_deref()))
    .bind(texts(|l| l.fault.rule.as_deref()))
    .bind(texts(|l| l.fault.sqlstate.as_deref()))
    .bind(reasons)
    .bind(letters.iter().map(|l| l.follows).collect::<Vec<_>>())
    .bind(letters.iter().map(|l| l.redacted).collect::<Vec<_>>())
    .execute(connection)
    .await
    .doing("setting events aside")?;
    Ok(())
}

/// They stay, with their new reasons, and what comes behind them stays too.
async fn note_failed(
    connection: &mut PgConnection,
    generation: i64,
    changes: &LetterChanges,
) -> Result<()> {
    let context = "setting events aside again";
    let failed = &changes.failed;
    let texts = |text: fn(&Fault) -> Option<&str>| {
        failed
            .iter()
            .map(|(_, fault)| text(fault))
            .collect::<Vec<_>>()
    };
    let reasons: Vec<String> = failed
        .iter()
        .map(|(_, fault)| reason(&fault.reason))
        .collect();
    sqlx::query(
        "update consolidator.dead_letter d set requested = null, follows = false, table_name = u.table_name, rule = u.rule, \
           sqlstate = u.sqlstate, reason = u.reason \
         from unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[]) as u (id, table_name, rule, sqlstate, reason) \
         where d.generation = $1 and d.id = u.id",
    )
    .bind(generation)
    .bind(failed.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(texts(|fault| fault.table_name.as_deref()))
    .bind(texts(|fault| fault.rule.as_deref()))
    .bind(texts(|fault| fault.sqlstate.as_deref()))
    .bind(reasons)
    .execute(&mut *connection)
    .await
    .doing(context)?;
    sqlx::query(
        "update consolidator.dead_letter d set requested = null \
         from unnest($2::text[], $3::integer[], $4::text[]) as u (topic, partition, key) \
         where d.generation = $1 and d.topic = u.topic and d.partition = u.partition and md5(d.key) = md5(u.key) \
           and d.key = u.key and d.requested = 'retry'",
    )
    .bind(generation)
    .bind(changes.left.iter().map(|(topic, ..)| topic.as_str()).collect::<Vec<_>>())
    .bind(changes.left.iter().map(|(_, partition, _)| *partition).collect::<Vec<_>>())
    .bind(changes.left.iter().map(|(.., key)| key.as_str()).collect::<Vec<_>>())
    .execute(connection)
    .await
    .doing(context)?;
    Ok(())
}

fn times() -> RawArray {
    RawArray::new(Type {
        scalar: Scalar::TimestampTz,
        modifier: Modifier::None,
        array: false,
    })
}

/// As PostgreSQL's text takes it, and not at any length.
fn reason(text: &str) -> String {
    let kept = text.chars().take(REASON_CHARS_MAX);
    kept.map(|c| if c == '\0' { '\u{fffd}' } else { c })
        .collect()
}

fn topics(parts: &[Partition]) -> Vec<&str> {
    parts.iter().map(|part| part.topic.as_str()).collect()
}

fn partitions(parts: &[Partition]) -> Vec<i32> {
    parts.iter().map(|part| part.partition).collect()
}
