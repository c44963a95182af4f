//! Checkpoints: taking partitions over, claiming, reading. Every move is guarded by the expected offset and the epoch.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, FromRow};

use super::encode::RawArray;
use super::error::{Context, ErrorKind, Result, StoreError};
use super::letters::{self, SetAside};
use super::rows::Bound;
use crate::event::Mark;
use crate::expression::value::{Modifier, Scalar, Type, Value};

/// How often a rival that holds a partition is terminated before we give up and say so.
const TAKE_OVER_ATTEMPTS: usize = 5;
/// The server's wait for a terminated rival to be gone, in milliseconds.
const TERMINATE_WAIT_MS: i64 = 5_000;

/// A partition to take over. `begin_offset` (inclusive) counts only if the generation has no checkpoint of it yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub topic: String,
    pub partition: i32,
    pub begin_offset: i64,
}

/// A checkpoint as it was when the partition was taken over: the truth to start from.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Checkpoint {
    pub topic: String,
    pub partition: i32,
    /// Names the partition in `"$owner"`.
    pub slot: i32,
    pub begin_offset: i64,
    /// The first offset not yet applied.
    pub next_offset: i64,
    pub epoch: i64,
    pub topic_id: Option<String>,
    /// See [`last`](Checkpoint::last).
    pub last_offset: Option<i64>,
    pub last_epoch: Option<i32>,
    pub last_fingerprint: Option<i64>,
}

impl Checkpoint {
    /// The last applied record, or one before it; `None` before the first.
    pub fn last(&self) -> Option<Mark> {
        Some(Mark {
            offset: self.last_offset?,
            leader_epoch: self.last_epoch,
            fingerprint: self.last_fingerprint?,
        })
    }
}

/// What is read of a [`Checkpoint`].
const COLUMNS: &str = "c.topic, c.partition, c.slot, c.begin_offset, c.next_offset, c.epoch, c.topic_id, c.last_offset, \
     c.last_epoch, c.last_fingerprint";

/// A partition that has a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Known {
    pub topic: String,
    pub partition: i32,
    /// It alone has stopped; the others of the generation go on.
    pub stands: bool,
}

/// What a lane starts from.
#[derive(Clone, Debug)]
pub struct TakeOver {
    /// In the order of slots.
    pub checkpoints: Vec<Checkpoint>,
    /// Tables that went over to the locked way, read after the epochs were raised: as long as these epochs hold, it is all of them.
    pub shared_tables: Vec<String>,
    /// Of these partitions, read after their epochs were raised.
    pub set_aside: SetAside,
}

/// The move of one checkpoint: from `expected` to `next`, if the epoch is still ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub slot: i32,
    /// `next_offset` as this lane left or found it.
    pub expected: i64,
    /// The new `next_offset`; `expected` itself if only the measurements are new.
    pub next: i64,
    pub epoch: i64,
    /// Exclusive end of the log as last heard of.
    pub end_offset: Option<i64>,
    /// Event time of the last event of the batch, microseconds since 2000-01-01; `None`: as before.
    pub as_of: Option<i64>,
    /// Events that the batch applies.
    pub events: i64,
    /// The last record below `next`, or one before it; `None`: as before.
    pub last: Option<Mark>,
}

/// Makes sure of a checkpoint row for every partition; new ones get slots that nobody had.
pub(super) async fn ensure(
    connection: &mut PgConnection,
    generation: i64,
    parts: &[Partition],
) -> Result<()> {
    let context = "recording new partitions";
    let known = known(connection, generation).await?;
    let missing: Vec<&Partition> = parts
        .iter()
        .filter(|part| {
            let is_part =
                |known: &Known| known.topic == part.topic && known.partition == part.partition;
            !known.iter().any(is_part)
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut tx = connection.begin().await.doing(context)?;
    // Slots are given out under the lock of the generation's row; who gives a table over to the locked way holds it too, so
    // that no new partition escapes the raised epochs.
    sqlx::query("select from consolidator.generation where id = $1 for no key update")
        .bind(generation)
        .execute(&mut *tx)
        .await
        .doing(context)?;
    sqlx::query(
        "insert into consolidator.checkpoint (generation, topic, partition, slot, begin_offset, next_offset) \
         select $1, u.topic, u.partition, s.highest + u.n, u.begin_offset, u.begin_offset \
         from unnest($2::text[], $3::integer[], $4::bigint[]) with ordinality as u (topic, partition, begin_offset, n), \
              (select coalesce(max(slot), 0) as highest from consolidator.checkpoint where generation = $1) s \
         on conflict (generation, topic, partition) do nothing",
    )
    .bind(generation)
    .bind(missing.iter().map(|part| part.topic.as_str()).collect::<Vec<_>>())
    .bind(missing.iter().map(|part| part.partition).collect::<Vec<_>>())
    .bind(missing.iter().map(|part| part.begin_offset).collect::<Vec<_>>())
    .execute(&mut *tx)
    .await
    .doing(context)?;
    tx.commit().await.doing(context)
}

/// Every partition that has a checkpoint.
pub(super) async fn known(connection: &mut PgConnection, generation: i64) -> Result<Vec<Known>> {
    sqlx::query_as(
        "select c.topic, c.partition, exists (select from consolidator.stop s where s.generation = c.generation \
           and s.topic = c.topic and s.partition = c.partition and s.alone) as stands \
         from consolidator.checkpoint c where c.generation = $1",
    )
    .bind(generation)
    .fetch_all(connection)
    .await
    .doing("reading which partitions are known")
}

/// The id that Kafka gives a topic is noted once; after that it is only compared.
pub(super) async fn note_topic_id(
    connection: &mut PgConnection,
    generation: i64,
    topic: &str,
    id: &str,
) -> Result<()> {
    sqlx::query(
        "update consolidator.checkpoint set topic_id = $3 where generation = $1 and topic = $2 and topic_id is null",
    )
    .bind(generation)
    .bind(topic)
    .bind(id)
    .execute(connection)
    .await
    .doing("noting the id of a topic")?;
    Ok(())
}

/// Raises the epochs, waiting for a rival's open transaction at most `rival_wait`; then its backend is terminated.
pub(super) async fn take_over(
    connection: &mut PgConnection,
    generation: i64,
    parts: &[Partition],
    owner_name: &str,
    rival_wait: Duration,
) -> Result<TakeOver> {
    for _ in 0..TAKE_OVER_ATTEMPTS {
        match raise_epochs(connection, generation, parts, owner_name, rival_wait).await {
            Err(error) if error.sqlstate.as_deref() == Some("55P03") => {
                terminate_owners(connection, generation, Some(parts)).await?;
            }
            outcome => return outcome,
        }
    }
    Err(StoreError::new(
        ErrorKind::Contention,
        "taking partitions over",
        "somebody else than the recorded owner holds a lock on their checkpoints",
    ))
}

async fn raise_epochs(
    connection: &mut PgConnection,
    generation: i64,
    parts: &[Partition],
    owner_name: &str,
    rival_wait: Duration,
) -> Result<TakeOver> {
    let context = "taking partitions over";
    let mut tx = connection.begin().await.doing(context)?;
    set_lock_timeout(&mut tx, rival_wait).await?;
    // Locked in the order of slots, as claims are: lanes that take over what others claim wait, they do not deadlock.
    let slots: Vec<i32> = sqlx::query_scalar(
        "select c.slot from consolidator.checkpoint c \
         join unnest($2::text[], $3::integer[]) as u (topic, partition) on c.topic = u.topic and c.partition = u.partition \
         where c.generation = $1 order by c.slot for no key update of c",
    )
    .bind(generation)
    .bind(topics(parts))
    .bind(partitions(parts))
    .fetch_all(&mut *tx)
    .await
    .doing(context)?;
    let mut checkpoints: Vec<Checkpoint> = sqlx::query_as(AssertSqlSafe(format!(
        "update consolidator.checkpoint c set epoch = c.epoch + 1, owner_name = $3, owner_pid = pg_backend_pid(), \
           parked_at = null, reading_offset = null, \
           owner_backend_start = (select a.backend_start from pg_stat_activity a where a.pid = pg_backend_pid()) \
         where c.generation = $1 and c.slot = any($2) returning {COLUMNS}"
    )))
    .bind(generation)
    .bind(&slots)
    .bind(owner_name)
    .fetch_all(&mut *tx)
    .await
    .doing(context)?;
    let shared_tables: Vec<String> = sqlx::query_scalar(
        "select unnest(shared_tables) from consolidator.generation where id = $1",
    )
    .bind(generation)
    .fetch_all(&mut *tx)
    .await
    .doing(context)?;
    let set_aside = letters::set_aside(&mut tx, generation, parts).await?;
    tx.commit().await.doing(context)?;
    if checkpoints.len() != parts.len() {
        return Err(StoreError::new(
            ErrorKind::SchemaDiffers,
            context,
            format!(
                "{} of {} checkpoints are there",
                checkpoints.len(),
                parts.len()
            ),
        ));
    }
    checkpoints.sort_by_key(|checkpoint| checkpoint.slot);
    Ok(TakeOver {
        checkpoints,
        shared_tables,
        set_aside,
    })
}

/// Ends the sessions that the checkpoints name as owners, as far as they are still those sessions; `None`: of the whole generation.
async fn terminate_owners(
    connection: &mut PgConnection,
    generation: i64,
    parts: Option<&[Partition]>,
) -> Result<()> {
    sqlx::query(
        "select pg_terminate_backend(o.pid, $4) from \
           (select distinct a.pid from consolidator.checkpoint c \
            join pg_stat_activity a on a.pid = c.owner_pid and a.backend_start = c.owner_backend_start \
            where c.generation = $1 and a.pid <> pg_backend_pid() \
              and ($2::text[] is null or (c.topic, c.partition) in (select * from unnest($2::text[], $3::integer[])))) o",
    )
    .bind(generation)
    .bind(parts.map(topics))
    .bind(parts.map(partitions))
    .bind(TERMINATE_WAIT_MS)
    .execute(connection)
    .await
    .doing("ending the session of a partition's former owner")?;
    Ok(())
}

/// Fenced unless every claim moves its checkpoint.
pub(super) async fn claim(
    connection: &mut PgConnection,
    generation: i64,
    claims: &[Claim],
) -> Result<()> {
    debug_assert!(
        claims.iter().all(|claim| claim.next >= claim.expected),
        "a checkpoint never goes back"
    );
    let mut claims: Vec<&Claim> = claims.iter().collect();
    claims.sort_unstable_by_key(|claim| claim.slot);
    let mut as_of = RawArray::new(TIMESTAMPTZ);
    for claim in &claims {
        as_of.push(claim.as_of.map_or(Value::Null, Value::TimestampTz));
    }
    let guard = if is_guarded() {
        "and c.next_offset = u.expected and c.epoch = u.epoch"
    } else {
        ""
    };
    let sql = format!(
        "update consolidator.checkpoint c set next_offset = u.next, end_offset = coalesce(u.end_offset, c.end_offset), \
           as_of = coalesce(u.as_of, c.as_of), events = c.events + u.events, measured_at = clock_timestamp(), \
           last_offset = coalesce(u.last_offset, c.last_offset), last_fingerprint = coalesce(u.fingerprint, c.last_fingerprint), \
           last_epoch = case when u.last_offset is null then c.last_epoch else u.last_epoch end \
         from unnest($2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::timestamptz[], $8::bigint[], \
                     $9::bigint[], $10::integer[], $11::bigint[]) \
           as u (slot, expected, next, epoch, end_offset, as_of, events, last_offset, last_epoch, fingerprint) \
         where c.generation = $1 and c.slot = u.slot {guard}"
    );
    let moved = sqlx::query(AssertSqlSafe(sql))
        .bind(generation)
        .bind(claims.iter().map(|claim| claim.slot).collect::<Vec<_>>())
        .bind(
            claims
                .iter()
                .map(|claim| claim.expected)
                .collect::<Vec<_>>(),
        )
        .bind(claims.iter().map(|claim| claim.next).collect::<Vec<_>>())
        .bind(claims.iter().map(|claim| claim.epoch).collect::<Vec<_>>())
        .bind(
            claims
                .iter()
                .map(|claim| claim.end_offset)
                .collect::<Vec<_>>(),
        )
        .bind(Bound(&as_of))
        .bind(claims.iter().map(|claim| claim.events).collect::<Vec<_>>())
        .bind(last(&claims, |mark| Some(mark.offset)))
        .bind(last(&claims, |mark| mark.leader_epoch))
        .bind(last(&claims, |mark| Some(mark.fingerprint)))
        .execute(connection)
        .await
        .doing("claiming partitions")?
        .rows_affected();
    if moved == claims.len() as u64 {
        return Ok(());
    }
    Err(StoreError::new(
        ErrorKind::Fenced,
        "claiming partitions",
        format!("{moved} of {} checkpoints were still ours", claims.len()),
    ))
}

fn last<T>(claims: &[&Claim], of: impl Fn(Mark) -> Option<T>) -> Vec<Option<T>> {
    claims
        .iter()
        .map(|claim| claim.last.and_then(&of))
        .collect()
}

/// False only where a test takes this defence away to see that it is found out.
fn is_guarded() -> bool {
    fail::fail_point!("claim-without-epoch", |_| false);
    true
}

/// The checkpoints of some slots, after whoever has an open transaction on them has ended it: so that the outcome of a COMMIT
/// whose answer was lost is settled when this answers.
pub(super) async fn reread(
    connection: &mut PgConnection,
    generation: i64,
    slots: &[i32],
) -> Result<Vec<Checkpoint>> {
    let context = "reading checkpoints again";
    let mut tx = connection.begin().await.doing(context)?;
    let checkpoints = sqlx::query_as(AssertSqlSafe(format!(
        "select {COLUMNS} from consolidator.checkpoint c \
         where generation = $1 and slot = any($2) order by slot for no key update"
    )))
    .bind(generation)
    .bind(slots)
    .fetch_all(&mut *tx)
    .await
    .doing(context)?;
    tx.commit().await.doing(context)?;
    Ok(checkpoints)
}

/// Gives partitions up in good order, so that nobody takes this session for their owner. Those of a later epoch are not ours any more.
pub(super) async fn release(
    connection: &mut PgConnection,
    generation: i64,
    held: &[(i32, i64)],
) -> Result<()> {
    sqlx::query(
        "update consolidator.checkpoint c set owner_pid = null, owner_backend_start = null, owner_name = null \
         from unnest($2::integer[], $3::bigint[]) as u (slot, epoch) \
         where c.generation = $1 and c.slot = u.slot and c.epoch = u.epoch",
    )
    .bind(generation)
    .bind(held.iter().map(|(slot, _)| *slot).collect::<Vec<_>>())
    .bind(held.iter().map(|(_, epoch)| *epoch).collect::<Vec<_>>())
    .execute(connection)
    .await
    .doing("giving partitions up")?;
    Ok(())
}

/// A table goes over to the locked way, for good. In one transaction: first every epoch of the generation is raised, so that
/// every lane drops what it has cached before its next commit; then the table is recorded. Rows keep their old owner until
/// they are next written; the locked way does not look at it. False if the table had gone over already.
pub(super) async fn give_up_ownership(
    connection: &mut PgConnection,
    generation: i64,
    table: &str,
    rival_wait: Duration,
) -> Result<bool> {
    for _ in 0..TAKE_OVER_ATTEMPTS {
        match try_give_up_ownership(connection, generation, table, rival_wait).await {
            Err(error) if error.sqlstate.as_deref() == Some("55P03") => {
                terminate_owners(connection, generation, None).await?;
            }
            outcome => return outcome,
        }
    }
    Err(StoreError::new(
        ErrorKind::Contention,
        "giving up the ownership of rows",
        "somebody else than the recorded owners holds a lock on the checkpoints",
    ))
}

async fn try_give_up_ownership(
    connection: &mut PgConnection,
    generation: i64,
    table: &str,
    rival_wait: Duration,
) -> Result<bool> {
    let context = "giving up the ownership of rows";
    let mut tx = connection.begin().await.doing(context)?;
    set_lock_timeout(&mut tx, rival_wait).await?;
    let done: bool =
        sqlx::query_scalar("select $2 = any(shared_tables) from consolidator.generation where id = $1 for no key update")
            .bind(generation)
            .bind(table)
            .fetch_one(&mut *tx)
            .await
            .doing(context)?;
    if done {
        tx.rollback().await.doing(context)?;
        return Ok(false);
    }
    sqlx::query("select slot from consolidator.checkpoint where generation = $1 order by slot for no key update")
        .bind(generation)
        .execute(&mut *tx)
        .await
        .doing(context)?;
    sqlx::query("update consolidator.checkpoint set epoch = epoch + 1 where generation = $1")
        .bind(generation)
        .execute(&mut *tx)
        .await
        .doing(context)?;
    sqlx::query("update consolidator.generation set shared_tables = array_append(shared_tables, $2) where id = $1")
        .bind(generation)
        .bind(table)
        .execute(&mut *tx)
        .await
        .doing(context)?;
    tx.commit().await.doing(context)?;
    Ok(true)
}

const TIMESTAMPTZ: Type = Type {
    scalar: Scalar::TimestampTz,
    modifier: Modifier::None,
    array: false,
};

async fn set_lock_timeout(connection: &mut PgConnection, wait: Duration) -> Result<()> {
    sqlx::query("select set_config('lock_timeout', $1, true)")
        .bind(format!("{}ms", wait.as_millis().max(1)))
        .execute(connection)
        .await
        .doing("setting the lock timeout")?;
    Ok(())
}

fn topics(parts: &[Partition]) -> Vec<&str> {
    parts.iter().map(|part| part.topic.as_str()).collect()
}

fn partitions(parts: &[Partition]) -> Vec<i32> {
    parts.iter().map(|part| part.partition).collect()
}
