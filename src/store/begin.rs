//! How a build begins: a new generation beside the one that readers see, at most one at a time for a projection.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use super::connect::Store;
use super::error::{Context, Result};
use super::generation::{self, COLUMNS, Generation, Goal, State};
use super::readers::{self, ReadSettings};
use super::{projection, views};
use crate::definition::Projection;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct BuildOrder<'a> {
    pub projection: &'a Projection,
    pub kafka_group: &'a str,
    pub goal: Goal,
    /// Compare with the live one before the switch.
    pub compare: bool,
    /// Nobody asked; a definition that was live before, or that was given up, is then not built again.
    pub by_itself: bool,
    /// Who leads it from the beginning, so that nobody takes it for one that was left unfinished.
    pub leader: Option<&'a str>,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Begun {
    New(Generation),
    /// One is being built already; who leads it, and for how many seconds at least.
    UnderWay {
        generation: Generation,
        leader: Option<String>,
        lease_left: f64,
    },
    /// There was such a generation already, in this state.
    Superseded(Generation),
}

impl Store {
    /// Records a new generation with its own tables, or says which one is in the way.
    ///
    /// # Errors
    /// `Refused`: the projection is not known yet, a name is taken, a type that PostgreSQL does not have.
    pub async fn begin_rebuild(&self, order: BuildOrder<'_>, read: &ReadSettings) -> Result<Begun> {
        let context = "beginning a rebuild";
        let name = &order.projection.name;
        let mut connection = self.pool.acquire().await.doing(context)?;
        let mut tx = connection.begin().await.doing(context)?;
        projection::lock(&mut tx, name).await?;
        if let Some(begun) = in_the_way(&mut tx, &order).await? {
            return Ok(begun);
        }
        for relation in readers::relations(order.projection) {
            views::claim_name(&mut tx, name, &read.schema, relation.name).await?;
        }
        let fingerprint = &order.projection.fold_fingerprint;
        projection::remember(&mut tx, order.projection, fingerprint).await?;
        let generation =
            generation::create(&mut tx, order.projection, fingerprint, order.kafka_group).await?;
        sqlx::query(
            "update consolidator.generation set goal = $2, compare = $3, leader = $4, \
               leader_until = case when $4 is not null then clock_timestamp() + $5 * interval '1 second' end where id = $1",
        )
            .bind(generation.id)
            .bind(order.goal.as_str())
            .bind(order.compare)
            .bind(order.leader)
            .bind(super::life::LEASE.as_secs_f64())
            .execute(&mut *tx)
            .await
            .doing(context)?;
        tx.commit().await.doing(context)?;
        Ok(Begun::New(Generation {
            goal: order.goal,
            compare: order.compare,
            ..generation
        }))
    }

    /// The build that is under way for a projection.
    ///
    /// # Errors
    /// As the server's.
    pub async fn build_under_way(&self, projection: &str) -> Result<Option<Generation>> {
        let mut connection = self.pool.acquire().await.doing("looking for a build")?;
        Ok(under_way(&mut connection, projection)
            .await?
            .map(|(generation, ..)| generation))
    }
}

async fn in_the_way(
    connection: &mut PgConnection,
    order: &BuildOrder<'_>,
) -> Result<Option<Begun>> {
    if let Some((generation, leader, lease_left)) =
        under_way(connection, &order.projection.name).await?
    {
        return Ok(Some(Begun::UnderWay {
            generation,
            leader,
            lease_left,
        }));
    }
    if !order.by_itself {
        return Ok(None);
    }
    let known: Option<Generation> = sqlx::query_as(AssertSqlSafe(format!(
        "select {COLUMNS} from consolidator.generation g where g.projection = $1 and g.fingerprint = $2 \
         and g.goal in ('switch', 'hold') order by g.id desc limit 1"
    )))
    .bind(&order.projection.name)
    .bind(&order.projection.fold_fingerprint)
    .fetch_optional(connection)
    .await
    .doing("looking for earlier generations")?;
    Ok(known.map(Begun::Superseded))
}

async fn under_way(
    connection: &mut PgConnection,
    projection: &str,
) -> Result<Option<(Generation, Option<String>, f64)>> {
    let id: Option<(i64, Option<String>, Option<f64>)> = sqlx::query_as(
        "select g.id, g.leader, extract(epoch from g.leader_until - clock_timestamp())::double precision \
         from consolidator.generation g \
         where g.projection = $1 and g.state in ('building', 'caught_up', 'held') and g.goal in ('switch', 'hold') \
           and not exists (select from consolidator.pointer p where p.generation = g.id) \
         order by g.id limit 1",
    )
    .bind(projection)
    .fetch_optional(&mut *connection)
    .await
    .doing("looking for a build")?;
    let Some((id, leader, lease_left)) = id else {
        return Ok(None);
    };
    let generation = generation::load(connection, id).await?;
    let lease_left = lease_left.filter(|_| generation.state != State::Held);
    Ok(Some((generation, leader, lease_left.unwrap_or(0.0))))
}
