//! A generation as of a time or of offsets: how it begins, how it is frozen and shown to readers in a schema of its own, and how
//! that goes again. Never switched to. Knows nothing of how it is built.

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::connect::Store;
use super::error::{Context, Result, StoreError};
use super::generation::{self, Generation, State};
use super::life::LEASE;
use super::quote::{generation_schema, identifier, identifiers, qualified};
use super::readers::{self, ReadSettings};
use super::retire::depended_on;
use super::verify::{Offsets, as_json};
use super::{projection, schema, views};
use crate::definition::Projection;
use crate::definition::projection::GHOST;

/// PostgreSQL cuts longer names.
const NAME_BYTES_MAX: usize = 63;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct FreezeOrder<'a> {
    pub projection: &'a Projection,
    pub kafka_group: &'a str,
    /// Who leads it from the beginning; `None`: whoever comes first.
    pub leader: Option<&'a str>,
    /// Events of a later `event.time` (µs since 2000) are not applied.
    pub as_of: Option<i64>,
    /// Where its lanes stand still, for every partition there is.
    pub stop_at: &'a Offsets,
    /// The schema for readers; `None`: named after the time.
    pub into: Option<&'a str>,
}

impl Store {
    /// Records a generation that is built up to these offsets, or up to a time, and is frozen then.
    ///
    /// # Errors
    /// `Refused`: the schema's name is taken.
    pub async fn begin_frozen(
        &self,
        order: FreezeOrder<'_>,
        read: &ReadSettings,
    ) -> Result<Generation> {
        let context = "beginning a build as of a time";
        let mut connection = self.pool.acquire().await.doing(context)?;
        let mut tx = connection.begin().await.doing(context)?;
        projection::lock(&mut tx, &order.projection.name).await?;
        let name: String = sqlx::query_scalar(
            "select coalesce($1, $2 || '_as_of_' || to_char(timestamp '2000-01-01' + $3 * interval '1 microsecond', \
               'YYYYMMDD\"t\"HH24MISS\"z\"'))",
        )
        .bind(order.into)
        .bind(&read.schema)
        .bind(order.as_of)
        .fetch_one(&mut *tx)
        .await
        .doing(context)?;
        claim_schema(&mut tx, &name, order.projection, read).await?;
        let fingerprint = &order.projection.fold_fingerprint;
        let generation =
            generation::create(&mut tx, order.projection, fingerprint, order.kafka_group).await?;
        sqlx::query(
            "update consolidator.generation set goal = 'freeze', stop_at = $2::jsonb, read_schema = $3, \
               as_of = timestamptz '2000-01-01 00:00:00+00' + $4 * interval '1 microsecond', leader = $5, \
               leader_until = case when $5 is not null then clock_timestamp() + $6 * interval '1 second' end \
             where id = $1",
        )
        .bind(generation.id)
        .bind(as_json(order.stop_at))
        .bind(&name)
        .bind(order.as_of)
        .bind(order.leader)
        .bind(LEASE.as_secs_f64())
        .execute(&mut *tx)
        .await
        .doing(context)?;
        let generation = generation::load(&mut tx, generation.id).await?;
        tx.commit().await.doing(context)?;
        Ok(generation)
    }

    /// The generation stands where it was to stop: from now on readers see it, in its own schema, and nobody feeds it.
    ///
    /// # Errors
    /// `Refused`: somebody has made something of the same name there meanwhile; a missing role.
    pub async fn freeze(
        &self,
        generation: &Generation,
        projection: &Projection,
        read: &ReadSettings,
    ) -> Result<bool> {
        let context = "freezing a generation";
        let Some(name) = &generation.read_schema else {
            return self
                .set_state(generation.id, State::Building, State::Frozen, None)
                .await;
        };
        let mut connection = self.pool.acquire().await.doing(context)?;
        let mut tx = connection.begin().await.doing(context)?;
        projection::lock(&mut tx, &projection.name).await?;
        readers::lock(&mut tx).await?;
        let relations = readers::relations(projection);
        let names: Vec<&str> = relations.iter().map(|relation| relation.name).collect();
        let moved = sqlx::query(
            "update consolidator.generation set state = 'frozen', caught_up_at = now(), relations = $2 \
             where id = $1 and state = 'building'",
        )
        .bind(generation.id)
        .bind(&names)
        .execute(&mut *tx)
        .await
        .doing(context)?;
        if moved.rows_affected() == 0 {
            return Ok(false);
        }
        readers::ensure_schema(&mut tx, name).await?;
        for relation in &relations {
            let sql =
                view_statement(&mut tx, generation.id, projection, name, relation.name).await?;
            schema::execute(&mut tx, sql).await.map_err(taken)?;
            readers::comment(&mut tx, name, relation).await?;
        }
        let own = ReadSettings {
            schema: name.clone(),
            readers: read.readers.clone(),
        };
        readers::grant_all(&mut tx, projection, &own).await?;
        tx.commit().await.doing(context)?;
        Ok(true)
    }
}

/// The schema is nobody else's, and none of the names is taken in it.
async fn claim_schema(
    connection: &mut PgConnection,
    schema: &str,
    projection: &Projection,
    read: &ReadSettings,
) -> Result<()> {
    let refused = |message: String| {
        Err(StoreError::refused(format!("schema {schema}"), message)
            .hint("`--into` gives another name."))
    };
    if schema.is_empty() || schema.len() > NAME_BYTES_MAX {
        return refused(format!("a name has 1 to {NAME_BYTES_MAX} bytes"));
    }
    if schema == read.schema || schema.starts_with("consolidator") || schema.starts_with("pg_") {
        return refused("it has another purpose".to_owned());
    }
    let (exists, ours, same): (bool, bool, Option<i64>) = sqlx::query_as(
        "select exists (select from pg_catalog.pg_namespace where nspname = $1), count(*) > 0, \
           min(id) filter (where projection = $2) \
         from consolidator.generation where read_schema = $1 and state in ('building', 'frozen')",
    )
    .bind(schema)
    .bind(&projection.name)
    .fetch_one(connection)
    .await
    .doing("looking for the schema")?;
    if let Some(id) = same {
        let name = &projection.name;
        return Err(StoreError::refused(
            format!("schema {schema}"),
            format!("generation {id} of {name} has it"),
        )
        .hint(format!(
            "`consolidator drop {name} --generation {id}` drops that one; `--into` gives another name."
        )));
    }
    if exists && !ours {
        return refused("it exists already, and was not made for this".to_owned());
    }
    Ok(())
}

/// Without hidden columns and rows.
async fn view_statement(
    connection: &mut PgConnection,
    generation: i64,
    projection: &Projection,
    read_schema: &str,
    relation: &str,
) -> Result<String> {
    let schema = generation_schema(generation);
    let columns = views::columns(connection, &schema, relation).await?;
    let table = projection
        .tables
        .iter()
        .find(|table| table.name == relation);
    let shown = match table.and_then(|table| table.ghost) {
        Some(_) => format!(" where not {}", identifier(GHOST)),
        None => String::new(),
    };
    Ok(format!(
        "create view {} as select {} from {}{shown}",
        qualified(read_schema, relation),
        identifiers(columns.iter().map(|column| column.name.as_str())),
        qualified(&schema, relation),
    ))
}

/// 42P07: a relation of that name is there.
fn taken(mut error: StoreError) -> StoreError {
    if error.sqlstate.as_deref() == Some("42P07") {
        error.kind = super::error::ErrorKind::Refused;
    }
    error
}

/// Takes a frozen generation's views away from readers; the schema too, if nothing else is in it.
pub(super) async fn drop_views(
    connection: &mut PgConnection,
    generation: &Generation,
) -> Result<()> {
    let context = "dropping the views of a frozen generation";
    let Some(name) = &generation.read_schema else {
        return Ok(());
    };
    let relations: Vec<String> = sqlx::query_scalar(
        "select v.name from consolidator.generation g cross join lateral unnest(g.relations) as v (name) \
         where g.id = $1 and to_regclass(format('%I.%I', g.read_schema, v.name)) is not null",
    )
    .bind(generation.id)
    .fetch_all(&mut *connection)
    .await
    .doing(context)?;
    if relations.is_empty() {
        return Ok(());
    }
    let places: Vec<String> = relations
        .iter()
        .map(|relation| qualified(name, relation))
        .collect();
    let sql = format!("drop view {}", places.join(", "));
    schema::execute(connection, sql)
        .await
        .map_err(depended_on)?;
    let empty: bool = sqlx::query_scalar(
        "select not exists (select from pg_catalog.pg_depend where refclassid = 'pg_namespace'::regclass \
           and refobjid = to_regnamespace($1))",
    )
    .bind(identifier(name))
    .fetch_one(&mut *connection)
    .await
    .doing(context)?;
    if empty {
        schema::execute(connection, format!("drop schema {}", identifier(name))).await?;
    }
    Ok(())
}
