//! The switch: preparing the views for a generation, and the one transaction that moves readers to it. Knows nothing of Kafka.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{Connection, FromRow};

use super::connect::Store;
use super::error::{Context, Result, StoreError};
use super::generation::Generation;
use super::quote::{identifier, literal, qualified};
use super::readers::{self, Published, ReadSettings};
use super::views::{self, Draft};
use super::{letters, pointer, projection};
use crate::definition::projection::Projection;

/// How long the preparation of a view may keep readers waiting.
const VIEW_LOCK_MS: u64 = 100;
/// How long live's lanes may be kept from committing while the incoming generation comes level with them.
const LEVEL_WITHIN: Duration = Duration::from_secs(1);
const LEVEL_EVERY: Duration = Duration::from_millis(2);

/// How a switch is to be made.
#[derive(Clone, Copy, Debug)]
pub struct SwitchOrder {
    /// The way back to an earlier generation, which may lack what later ones added.
    pub backwards: bool,
    /// Readers may lose columns and tables.
    pub incompatible: bool,
    /// Events of it may be set aside.
    pub accept_dead_letters: bool,
    /// How long the outgoing generation is fed on; `None`: until it is dropped by command.
    pub grace: Option<Duration>,
}

/// What became of the preparation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepared {
    Ready,
    /// Sessions that use the view; it is tried again.
    Waiting {
        relation: String,
        pids: Vec<i32>,
    },
    /// Readers would lose these: only `--incompatible`.
    Incompatible(Vec<String>),
}

/// What became of the switch.
#[derive(Clone, Debug, PartialEq)]
pub enum Switched {
    Done {
        outgoing: i64,
        /// How long live's lanes were kept from committing.
        waited: Duration,
    },
    /// The incoming one is behind there; readers would go back in time.
    Behind {
        topic: String,
        partition: i32,
        events: i64,
    },
    /// So many events of the incoming one are set aside.
    SetAside(i64),
    /// See [`Prepared`].
    NotPrepared(Prepared),
    /// Readers see it already.
    Already,
}

#[derive(FromRow)]
struct Gap {
    topic: String,
    partition: i32,
    events: i64,
}

impl Store {
    /// Adds the generation to every view that readers have, one view per transaction, none of them waiting for long.
    ///
    /// # Errors
    /// As the server's.
    pub async fn prepare_switch(
        &self,
        generation: &Generation,
        definition: &Projection,
        read: &ReadSettings,
        order: SwitchOrder,
    ) -> Result<Prepared> {
        let context = "preparing views";
        let mut connection = self.pool.acquire().await.doing(context)?;
        if !order.incompatible {
            let lost = losses(&mut connection, generation, definition, read, order).await?;
            if !lost.is_empty() {
                return Ok(Prepared::Incompatible(lost));
            }
        }
        for relation in readers::relations(definition) {
            let mut tx = connection.begin().await.doing(context)?;
            projection::lock(&mut tx, &definition.name).await?;
            readers::lock(&mut tx).await?;
            let draft = draft(&mut tx, generation, read, relation.name, order).await?;
            // What is new appears with the switch itself, and what is to be created anew too.
            if draft.current || !draft.exists || !draft.problems.is_empty() {
                continue;
            }
            lock_timeout(&mut tx).await?;
            let installed =
                readers::install(&mut tx, &definition.name, &read.schema, &relation, &draft).await;
            match installed {
                Ok(()) => tx.commit().await.doing(context)?,
                Err(error) if error.is_lock_timeout() => {
                    tx.rollback().await.doing(context)?;
                    let pids = holders(&mut connection, &read.schema, relation.name).await?;
                    let relation = relation.name.to_owned();
                    return Ok(Prepared::Waiting { relation, pids });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Prepared::Ready)
    }

    /// Points readers at a prepared generation, in one transaction that waits for no reader. It goes through only if the
    /// generation is at or past the one that readers see, in every partition.
    ///
    /// # Errors
    /// `Refused`: the generation is in no state to be seen. Else as the server's.
    pub async fn switch(
        &self,
        generation: &Generation,
        definition: &Projection,
        read: &ReadSettings,
        order: SwitchOrder,
    ) -> Result<Switched> {
        let context = "switching readers";
        let mut connection = self.pool.acquire().await.doing(context)?;
        let mut tx = connection.begin().await.doing(context)?;
        lock_timeout(&mut tx).await?;
        // A process that is frozen in here keeps live's lanes waiting: not for long.
        sqlx::query("select set_config('idle_in_transaction_session_timeout', '5s', true)")
            .execute(&mut *tx)
            .await
            .doing(context)?;
        projection::lock(&mut tx, &definition.name).await?;
        readers::lock(&mut tx).await?;
        let outgoing = pointer::generation_of(&mut tx, &definition.name)
            .await?
            .ok_or_else(|| StoreError::refused(context, "readers see nothing of it yet"))?;
        if outgoing == generation.id {
            return Ok(Switched::Already);
        }
        check_state(&mut tx, generation.id).await?;
        let drafts = match drafts(&mut tx, generation, definition, read, order).await? {
            Ok(drafts) => drafts,
            Err(prepared) => return Ok(Switched::NotPrepared(prepared)),
        };
        let waited = match come_level(&mut tx, outgoing, generation.id).await? {
            Ok(waited) => waited,
            Err(gap) => {
                return Ok(Switched::Behind {
                    topic: gap.topic,
                    partition: gap.partition,
                    events: gap.events,
                });
            }
        };
        if !order.accept_dead_letters {
            let set_aside = letters::count(&mut tx, generation.id).await?;
            if set_aside > 0 {
                return Ok(Switched::SetAside(set_aside));
            }
        }
        for (relation, draft) in &drafts {
            if !draft.exists {
                readers::install(&mut tx, &definition.name, &read.schema, relation, draft).await?;
            } else if !draft.problems.is_empty() {
                recreate(&mut tx, definition, &read.schema, relation, draft).await?;
            }
        }
        if order.incompatible {
            drop_removed(&mut tx, definition, &read.schema).await?;
        }
        if drafts.iter().any(|(_, draft)| !draft.exists) {
            readers::grant_all(&mut tx, definition, read).await?;
        }
        point(
            &mut tx,
            &definition.name,
            outgoing,
            generation.id,
            order,
            waited,
        )
        .await?;
        fail::fail_point!("switch-before-commit");
        tx.commit().await.doing(context)?;
        Ok(Switched::Done { outgoing, waited })
    }
}

/// What readers would lose.
async fn losses(
    connection: &mut PgConnection,
    generation: &Generation,
    definition: &Projection,
    read: &ReadSettings,
    order: SwitchOrder,
) -> Result<Vec<String>> {
    let mut lost = Vec::new();
    let relations = readers::relations(definition);
    if !order.backwards {
        for recorded in views::recorded(connection, &definition.name).await? {
            if !relations
                .iter()
                .any(|relation| relation.name == recorded.table_name)
            {
                lost.push(format!("{} is no longer there", recorded.table_name));
            }
        }
    }
    for relation in relations {
        lost.extend(
            draft(connection, generation, read, relation.name, order)
                .await?
                .problems,
        );
    }
    Ok(lost)
}

async fn draft(
    connection: &mut PgConnection,
    generation: &Generation,
    read: &ReadSettings,
    relation: &str,
    order: SwitchOrder,
) -> Result<Draft> {
    views::claim_name(connection, &generation.projection, &read.schema, relation).await?;
    views::with_branch(
        connection,
        &read.schema,
        relation,
        generation.id,
        order.backwards,
    )
    .await
}

/// Every relation as it will be, if nothing but the switch itself is missing.
async fn drafts<'p>(
    connection: &mut PgConnection,
    generation: &Generation,
    definition: &'p Projection,
    read: &ReadSettings,
    order: SwitchOrder,
) -> Result<std::result::Result<Vec<(Published<'p>, Draft)>, Prepared>> {
    if !order.incompatible {
        let lost = losses(connection, generation, definition, read, order).await?;
        if !lost.is_empty() {
            return Ok(Err(Prepared::Incompatible(lost)));
        }
    }
    let mut drafts = Vec::new();
    for relation in readers::relations(definition) {
        let draft = draft(connection, generation, read, relation.name, order).await?;
        if draft.exists && !draft.current && draft.problems.is_empty() {
            let relation = draft.relation;
            return Ok(Err(Prepared::Waiting {
                relation,
                pids: Vec::new(),
            }));
        }
        drafts.push((relation, draft));
    }
    Ok(Ok(drafts))
}

async fn check_state(connection: &mut PgConnection, generation: i64) -> Result<()> {
    let context = "switching readers";
    let state: String = sqlx::query_scalar(
        "select state from consolidator.generation where id = $1 for no key update",
    )
    .bind(generation)
    .fetch_one(connection)
    .await
    .doing(context)?;
    match state.as_str() {
        "caught_up" | "held" | "grace" => Ok(()),
        other => Err(StoreError::refused(
            context,
            format!(
                "generation {generation} is {other}: readers can only be switched to one that is caught up, held or in grace"
            ),
        )),
    }
}

/// Keeps the outgoing generation's lanes from committing until the incoming one is at or past each of its checkpoints; the
/// locks last until the end of the transaction. The partition that stays behind, if one does.
async fn come_level(
    connection: &mut PgConnection,
    outgoing: i64,
    incoming: i64,
) -> Result<std::result::Result<Duration, Gap>> {
    let context = "waiting for the new generation to come level";
    if let Some(gap) = gap(connection, outgoing, incoming, 10_000).await? {
        // So far behind that waiting is of no use: live is not kept waiting at all.
        return Ok(Err(gap));
    }
    sqlx::query("select slot from consolidator.checkpoint where generation = $1 order by slot for no key update")
        .bind(outgoing)
        .execute(&mut *connection)
        .await
        .doing(context)?;
    let started = Instant::now();
    loop {
        match gap(connection, outgoing, incoming, 0).await? {
            None => return Ok(Ok(started.elapsed())),
            Some(gap) if started.elapsed() >= LEVEL_WITHIN => return Ok(Err(gap)),
            Some(_) => tokio::time::sleep(LEVEL_EVERY).await,
        }
    }
}

/// The partition in which the incoming generation is furthest behind, by more than `tolerated` offsets. Of a topic that was made anew
/// in between, the two have read different logs: there is no behind.
async fn gap(
    connection: &mut PgConnection,
    outgoing: i64,
    incoming: i64,
    tolerated: i64,
) -> Result<Option<Gap>> {
    sqlx::query_as(
        "select o.topic, o.partition, o.next_offset - coalesce(i.next_offset, o.begin_offset) as events \
         from consolidator.checkpoint o join consolidator.generation g on g.id = $2 and o.topic = any (g.topics) \
         left join consolidator.checkpoint i on i.generation = g.id and i.topic = o.topic and i.partition = o.partition \
         where o.generation = $1 and o.next_offset - coalesce(i.next_offset, o.begin_offset) > $3 \
           and not exists (select from consolidator.checkpoint a where a.generation = g.id and a.topic = o.topic \
                             and a.topic_id <> o.topic_id) \
         order by 3 desc limit 1",
    )
    .bind(outgoing)
    .bind(incoming)
    .bind(tolerated)
    .fetch_optional(connection)
    .await
    .doing("comparing checkpoints")
}

/// A view whose columns change otherwise than by new ones at the end: made anew, with its rights and comments.
async fn recreate(
    connection: &mut PgConnection,
    definition: &Projection,
    read_schema: &str,
    relation: &Published<'_>,
    draft: &Draft,
) -> Result<()> {
    let place = qualified(read_schema, relation.name);
    refuse_dependants(connection, read_schema, relation.name).await?;
    let grants = views::grants(connection, read_schema, relation.name).await?;
    let comments = views::comments(connection, read_schema, relation.name).await?;
    let context = "creating a view anew";
    readers::execute(connection, format!("drop view {place}"), context).await?;
    readers::replace(
        connection,
        &definition.name,
        read_schema,
        relation.kind,
        draft,
    )
    .await?;
    let has = |column: &str| draft.columns.iter().any(|known| known.name == column);
    for (column, text) in comments {
        let sql = match column {
            None => format!("comment on view {place} is {}", literal(&text)),
            Some(column) if has(&column) => format!(
                "comment on column {place}.{} is {}",
                identifier(&column),
                literal(&text)
            ),
            Some(_) => continue,
        };
        readers::execute(connection, sql, context).await?;
    }
    for sql in grants {
        // A right on a column that has gone went with it.
        let mut attempt = connection.begin().await.doing(context)?;
        match readers::execute(&mut attempt, sql, context).await {
            Ok(()) => attempt.commit().await.doing(context)?,
            Err(error) if error.sqlstate.as_deref() == Some("42703") => {
                attempt.rollback().await.doing(context)?;
            }
            Err(error) => return Err(error),
        }
    }
    readers::comment(connection, read_schema, relation).await
}

/// Views of tables that the definition no longer has.
async fn drop_removed(
    connection: &mut PgConnection,
    definition: &Projection,
    read_schema: &str,
) -> Result<()> {
    let relations = readers::relations(definition);
    for recorded in views::recorded(connection, &definition.name).await? {
        let name = &recorded.table_name;
        if relations.iter().any(|relation| relation.name == name) {
            continue;
        }
        refuse_dependants(connection, read_schema, name).await?;
        drop_view(connection, &recorded.schema, name).await?;
    }
    Ok(())
}

/// The view goes, and its name is free.
pub(super) async fn drop_view(
    connection: &mut PgConnection,
    read_schema: &str,
    relation: &str,
) -> Result<()> {
    let sql = format!("drop view if exists {}", qualified(read_schema, relation));
    readers::execute(connection, sql, "dropping a view").await?;
    sqlx::query("delete from consolidator.published where table_name = $1")
        .bind(relation)
        .execute(connection)
        .await
        .doing("dropping a view")?;
    Ok(())
}

pub(super) async fn refuse_dependants(
    connection: &mut PgConnection,
    read_schema: &str,
    relation: &str,
) -> Result<()> {
    let dependants = views::dependants(connection, read_schema, relation).await?;
    if dependants.is_empty() {
        return Ok(());
    }
    Err(StoreError::refused(
        format!("creating {relation} anew"),
        format!("others depend on it: {}", dependants.join(", ")),
    )
    .hint("Drop them first, and create them again after the switch."))
}

/// The flip itself: who is seen, and what becomes of the others. An older generation in grace gives its place up.
async fn point(
    connection: &mut PgConnection,
    projection: &str,
    outgoing: i64,
    incoming: i64,
    order: SwitchOrder,
    waited: Duration,
) -> Result<()> {
    let context = "switching readers";
    sqlx::query(
        "update consolidator.generation set grace_until = clock_timestamp() \
         where projection = $1 and state = 'grace' and id <> $2 and grace_until > clock_timestamp()",
    )
    .bind(projection)
    .bind(incoming)
    .execute(&mut *connection)
    .await
    .doing(context)?;
    sqlx::query(
        "update consolidator.generation set state = 'grace', replaced_at = clock_timestamp(), waits_for = null, reason = null, \
           grace_until = clock_timestamp() + $2 * interval '1 second' where id = $1",
    )
    .bind(outgoing)
    .bind(order.grace.map(|grace| grace.as_secs_f64()))
    .execute(&mut *connection)
    .await
    .doing(context)?;
    sqlx::query(
        "update consolidator.generation set state = 'live', live_at = clock_timestamp(), reason = null, grace_until = null, \
           waits_for = null, switch_seconds = $2 where id = $1",
    )
    .bind(incoming)
    .bind(waited.as_secs_f64())
    .execute(&mut *connection)
    .await
    .doing(context)?;
    sqlx::query(
        "update consolidator.pointer set generation = $2, moved_at = clock_timestamp() where projection = $1",
    )
    .bind(projection)
    .bind(incoming)
    .execute(connection)
    .await
    .doing(context)?;
    Ok(())
}

pub(super) async fn lock_timeout(connection: &mut PgConnection) -> Result<()> {
    sqlx::query("select set_config('lock_timeout', $1, true)")
        .bind(format!("{VIEW_LOCK_MS}ms"))
        .execute(connection)
        .await
        .doing("setting the lock timeout")?;
    Ok(())
}

/// Sessions that use a view at this moment.
pub(super) async fn holders(
    connection: &mut PgConnection,
    schema: &str,
    relation: &str,
) -> Result<Vec<i32>> {
    sqlx::query_scalar(
        "select distinct l.pid from pg_catalog.pg_locks l where l.relation = to_regclass($1) \
           and l.database = (select oid from pg_catalog.pg_database where datname = current_database()) \
           and l.granted and l.pid <> pg_backend_pid() order by 1",
    )
    .bind(qualified(schema, relation))
    .fetch_all(connection)
    .await
    .doing("looking for who uses a view")
}
