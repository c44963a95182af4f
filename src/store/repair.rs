//! Rows of the live generation are put right from one that was folded anew to exactly the same offsets. Knows nothing of how it was
//! folded, or of how the rows were found.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use super::connect::Store;
use super::error::{Context, ErrorKind, Result, StoreError};
use super::life::positions;
use super::quote::{generation_schema, identifier, identifiers, qualified};
use super::schema::OWNER;
use super::verify::offsets_of;
use crate::definition::projection::Table;

/// How long live's lanes may be kept from committing while the other generation comes level with them.
const LEVEL_WITHIN: Duration = Duration::from_secs(2);
const LEVEL_EVERY: Duration = Duration::from_millis(5);
const CONTEXT: &str = "putting rows right";

/// What is to be put right of a table.
#[derive(Clone, Copy, Debug)]
pub struct Damage<'d> {
    pub table: &'d Table,
    /// Rows, as [`Difference::key`](super::Difference::key) names them.
    pub rows: &'d [String],
    /// States of its history, the same way: all states of their rows are put right, as those of `rows` are.
    pub states: &'d [String],
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repaired {
    Done,
    /// The other generation did not come level in time, or somebody held locks: nothing was changed.
    NotLevel,
}

impl Store {
    /// Replaces rows of `live` by those of `folded`, in one transaction that is the owner of all of live's partitions: it has their
    /// checkpoints locked, so that nobody commits; it waits until `folded` stands at exactly the same offsets; and it raises every epoch, so
    /// that no lane goes on with a row it has in memory.
    ///
    /// # Errors
    /// `Refused`: other events are set aside in the one than in the other. Else as the server's.
    pub async fn repair(&self, live: i64, folded: i64, damages: &[Damage<'_>]) -> Result<Repaired> {
        let mut connection = self.pool.acquire().await.doing(CONTEXT)?;
        let mut tx = connection.begin().await.doing(CONTEXT)?;
        // A process that is frozen in here keeps live's lanes waiting: not for long.
        sqlx::raw_sql(
            "set local idle_in_transaction_session_timeout = '5s'; set local lock_timeout = '2s'",
        )
        .execute(&mut *tx)
        .await
        .doing(CONTEXT)?;
        for (number, damage) in damages.iter().enumerate() {
            note_keys(&mut tx, number, damage, [live, folded]).await?;
        }
        match lock(&mut tx, live).await {
            Err(error) if error.kind == ErrorKind::Contention => return Ok(Repaired::NotLevel),
            locked => locked?,
        }
        let exactly = offsets_of(&positions(&mut tx, live).await?);
        self.set_stop_at(folded, &exactly).await?;
        let started = Instant::now();
        while !is_level(&mut tx, live, folded).await? {
            if started.elapsed() >= LEVEL_WITHIN {
                return Ok(Repaired::NotLevel);
            }
            tokio::time::sleep(LEVEL_EVERY).await;
        }
        refuse_other_letters(&mut tx, live, folded).await?;
        take_over(&mut tx, live, folded, damages).await?;
        for (number, damage) in damages.iter().enumerate() {
            replace(&mut tx, number, damage, live, folded).await?;
        }
        fail::fail_point!("rows-put-right");
        // Offsets only grow: it has stood still all the while.
        if !is_level(&mut tx, live, folded).await? {
            return Ok(Repaired::NotLevel);
        }
        tx.commit().await.doing(CONTEXT)?;
        Ok(Repaired::Done)
    }
}

/// Keys as values, found before anybody has to wait: the rows are then met by their index.
async fn note_keys(
    connection: &mut PgConnection,
    number: usize,
    damage: &Damage<'_>,
    generations: [i64; 2],
) -> Result<()> {
    let key = key_columns(damage.table);
    let mut found = Vec::new();
    for generation in generations {
        let schema = generation_schema(generation);
        found.push(format!(
            "select {key} from {} where row({key})::text = any ($1)",
            qualified(&schema, &damage.table.name)
        ));
    }
    create_keys(connection, &rows_of(number), &found, damage.rows).await?;
    let Some(view) = &damage.table.history else {
        return Ok(());
    };
    let found = generations.map(|generation| {
        let place = qualified(&generation_schema(generation), view);
        format!(
            "select {key} from {place} where row({key}, event_topic, event_partition, event_offset)::text = any ($1)"
        )
    });
    let (rows, states) = (rows_of(number), states_of(number));
    create_keys(connection, &states, &found, damage.states).await?;
    // What has been made of a wrong row since is wrong, too.
    let and_rows = format!(
        "insert into pg_temp.{states} select * from pg_temp.{rows} except select * from pg_temp.{states}"
    );
    execute(connection, and_rows).await
}

async fn create_keys(
    connection: &mut PgConnection,
    name: &str,
    found: &[String],
    keys: &[String],
) -> Result<()> {
    let create = format!(
        "create temporary table {name} on commit drop as select * from ({}) k limit 0",
        found.join(" union ").replace("$1", "'{}'::text[]")
    );
    execute(connection, create).await?;
    sqlx::query(AssertSqlSafe(format!(
        "insert into pg_temp.{name} {}",
        found.join(" union ")
    )))
    .bind(keys)
    .execute(connection)
    .await
    .doing(CONTEXT)?;
    Ok(())
}

fn rows_of(number: usize) -> String {
    format!("repair_rows_{number}")
}

fn states_of(number: usize) -> String {
    format!("repair_states_{number}")
}

/// As who gives a table over to the locked way: no partition comes up meanwhile, and no lane commits.
async fn lock(connection: &mut PgConnection, live: i64) -> Result<()> {
    sqlx::query("select from consolidator.generation where id = $1 for no key update")
        .bind(live)
        .execute(&mut *connection)
        .await
        .doing(CONTEXT)?;
    sqlx::query("select slot from consolidator.checkpoint where generation = $1 order by slot for no key update")
        .bind(live)
        .execute(connection)
        .await
        .doing(CONTEXT)?;
    Ok(())
}

/// Both have applied exactly the same events.
async fn is_level(connection: &mut PgConnection, live: i64, folded: i64) -> Result<bool> {
    sqlx::query_scalar(
        "select not exists ( \
           select from (select * from consolidator.checkpoint where generation = $1) l \
           full join (select * from consolidator.checkpoint where generation = $2) f using (topic, partition) \
           where coalesce(l.next_offset, f.begin_offset) is distinct from coalesce(f.next_offset, l.begin_offset))",
    )
    .bind(live)
    .bind(folded)
    .fetch_one(connection)
    .await
    .doing(CONTEXT)
}

/// What was tried again, or thrown away, by an operator is in one of both and not in the other: then neither is the truth.
async fn refuse_other_letters(connection: &mut PgConnection, live: i64, folded: i64) -> Result<()> {
    let differing: i64 = sqlx::query_scalar(
        "select count(*) from (select * from consolidator.dead_letter where generation = $1) l \
         full join (select * from consolidator.dead_letter where generation = $2) f using (topic, partition, \"offset\") \
         where l.id is null or f.id is null",
    )
    .bind(live)
    .bind(folded)
    .fetch_one(connection)
    .await
    .doing(CONTEXT)?;
    if differing == 0 {
        return Ok(());
    }
    Err(StoreError::refused(
        CONTEXT,
        format!("{differing} events are set aside in only one of the live tables and the fold that they were compared with"),
    )
    .hint("They were retried or discarded, or fail only now. A rebuild makes the tables anew."))
}

/// All epochs are raised. A table whose rows partitions were found to share in the one is shared in the other, too: its rows have no owner.
async fn take_over(
    connection: &mut PgConnection,
    live: i64,
    folded: i64,
    damages: &[Damage<'_>],
) -> Result<()> {
    sqlx::query("update consolidator.checkpoint set epoch = epoch + 1 where generation = $1")
        .bind(live)
        .execute(&mut *connection)
        .await
        .doing(CONTEXT)?;
    let names = damages.iter().map(|damage| damage.table.name.as_str());
    sqlx::query(
        "update consolidator.generation g set shared_tables = g.shared_tables || array( \
           select t from consolidator.generation f, unnest(f.shared_tables) t \
           where f.id = $2 and t = any ($3) and t <> all (g.shared_tables)) \
         where g.id = $1",
    )
    .bind(live)
    .bind(folded)
    .bind(names.collect::<Vec<_>>())
    .execute(connection)
    .await
    .doing(CONTEXT)?;
    Ok(())
}

async fn replace(
    connection: &mut PgConnection,
    number: usize,
    damage: &Damage<'_>,
    live: i64,
    folded: i64,
) -> Result<()> {
    let table = damage.table;
    let keys = rows_of(number);
    replace_rows(connection, table, &keys, [live, folded], "").await?;
    if let Some(states) = table.states() {
        let keys = states_of(number);
        let in_order = " order by f.\"$seq\"";
        replace_rows(connection, &states, &keys, [live, folded], in_order).await?;
    }
    Ok(())
}

/// The numbers of partitions in `"$owner"` are each generation's own.
async fn replace_rows(
    connection: &mut PgConnection,
    table: &Table,
    keys: &str,
    [live, folded]: [i64; 2],
    in_order: &str,
) -> Result<()> {
    let place = qualified(&generation_schema(live), &table.name);
    let other = qualified(&generation_schema(folded), &table.name);
    let key = key_columns(table);
    let owner = identifier(OWNER);
    execute(
        connection,
        format!(
            "delete from {place} t using pg_temp.{keys} k where ({}) = ({})",
            of(table, "t"),
            of(table, "k")
        ),
    )
    .await?;
    let columns = identifiers(table.columns.iter().map(|column| column.name.as_str()));
    let values = table
        .columns
        .iter()
        .map(|column| format!("f.{}", identifier(&column.name)));
    execute(
        connection,
        format!(
            "insert into {place} ({columns}, {owner}) \
             select {}, coalesce(l.slot, f.{owner}) from {other} f join pg_temp.{keys} k using ({key}) \
             left join consolidator.checkpoint c on c.generation = {folded} and c.slot = f.{owner} \
             left join consolidator.checkpoint l on l.generation = {live} and l.topic = c.topic and l.partition = c.partition{in_order}",
            values.collect::<Vec<_>>().join(", ")
        ),
    )
    .await
}

fn key_columns(table: &Table) -> String {
    let key = table.columns[..table.key_len].iter();
    identifiers(key.map(|column| column.name.as_str()))
}

fn of(table: &Table, alias: &str) -> String {
    let key = table.columns[..table.key_len].iter();
    let key: Vec<String> = key
        .map(|column| format!("{alias}.{}", identifier(&column.name)))
        .collect();
    key.join(", ")
}

async fn execute(connection: &mut PgConnection, sql: String) -> Result<()> {
    sqlx::query(AssertSqlSafe(sql))
        .persistent(false)
        .execute(connection)
        .await
        .doing(CONTEXT)?;
    Ok(())
}
