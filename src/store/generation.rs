//! Generations: their stored definition, their state, and how one comes into being with tables, pointer and views at once.

use std::fmt;
use std::str::FromStr;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, FromRow};

use super::connect::Store;
use super::error::{Context, ErrorKind, Result, StoreError};
use super::readers::ReadSettings;
use super::{pointer, projection, readers, schema};
use crate::definition::{self, Projection};

/// The life of a generation. Only [`Store::set_state`] and the switch move it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Replays from where it began.
    Building,
    /// Has been at the end of its topics once; waits for the switch.
    CaughtUp,
    /// Caught up, and kept from readers until told otherwise.
    Held,
    /// Readers see it.
    Live,
    /// Readers saw it before the last switch; still fed, so that a rollback is instant.
    Grace,
    /// As of a time; fed no more.
    Frozen,
    /// Its tables are gone.
    Retired,
    /// Given up while it was built.
    Failed,
}

impl State {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Building => "building",
            State::CaughtUp => "caught_up",
            State::Held => "held",
            State::Live => "live",
            State::Grace => "grace",
            State::Frozen => "frozen",
            State::Retired => "retired",
            State::Failed => "failed",
        }
    }

    /// Lanes fold events into it.
    pub fn is_fed(self) -> bool {
        match self {
            State::Building | State::CaughtUp | State::Held | State::Live | State::Grace => true,
            State::Frozen | State::Retired | State::Failed => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<State, String> {
        Ok(match text {
            "building" => State::Building,
            "caught_up" => State::CaughtUp,
            "held" => State::Held,
            "live" => State::Live,
            "grace" => State::Grace,
            "frozen" => State::Frozen,
            "retired" => State::Retired,
            "failed" => State::Failed,
            other => return Err(format!("`{other}` is no state of a generation")),
        })
    }
}

/// How far a generation is.
#[derive(Clone, Debug)]
pub struct BuildProgress {
    /// Readers see it.
    pub visible: bool,
    partitions: Vec<PartitionProgress>,
}

#[derive(Clone, Debug, FromRow)]
struct PartitionProgress {
    topic: String,
    partition: i32,
    next_offset: i64,
}

impl BuildProgress {
    /// The first offset not yet applied; `None` if nobody has taken the partition yet.
    pub fn next_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        let same = |one: &&PartitionProgress| one.topic == topic && one.partition == partition;
        self.partitions.iter().find(same).map(|one| one.next_offset)
    }
}

/// A row of `consolidator.generation`.
#[derive(Clone, Debug, FromRow)]
pub struct Generation {
    pub id: i64,
    pub projection: String,
    /// The text it is folded by.
    pub definition: String,
    /// As the one who created it gave it.
    pub fingerprint: String,
    /// `<kafka.group>.<projection>.g<id>`.
    pub kafka_group: String,
    pub topics: Vec<String>,
    #[sqlx(try_from = "String")]
    pub state: State,
    /// Names of the tables that went over to the locked way.
    pub shared_tables: Vec<String>,
    pub reason: Option<String>,
}

impl Generation {
    /// Its stored definition, read again: what it is folded by, whatever the files say by now.
    ///
    /// # Errors
    /// `Refused`: a version of the program that reads definitions differently stored it.
    pub fn meant(&self) -> Result<Projection> {
        let name = format!("generation {} of {}", self.id, self.projection);
        let loaded = definition::load(&name, &self.definition);
        loaded.projection.ok_or_else(|| {
            StoreError::refused(
                name,
                "its stored definition is no longer one that this version reads",
            )
            .hint("Run the version that made it, or rebuild.")
        })
    }
}

impl TryFrom<String> for State {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<State, String> {
        text.parse()
    }
}

/// What a worker looks at every second or so: has someone changed what a generation should do?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orders {
    pub state: State,
    pub paused: bool,
    pub shared_tables: Vec<String>,
}

impl Store {
    /// The generation that readers see; created with its tables, pointer and views if the projection has none yet. Two
    /// processes that ask at once get the same one. Also puts missing views and grants in place.
    ///
    /// # Errors
    /// `Refused`: a name that is taken, a column type that PostgreSQL does not have, a view it does not take, a missing role.
    pub async fn ensure_generation(
        &self,
        projection: &Projection,
        fingerprint: &str,
        kafka_group: &str,
        read: &ReadSettings,
    ) -> Result<Generation> {
        let mut connection = self.pool.acquire().await.doing("preparing a projection")?;
        let mut tx = connection.begin().await.doing("preparing a projection")?;
        projection::lock(&mut tx, &projection.name).await?;
        projection::remember(&mut tx, projection, fingerprint).await?;
        let generation = match pointer::generation_of(&mut tx, &projection.name).await? {
            Some(id) => load(&mut tx, id).await?,
            None => {
                let generation = create(&mut tx, projection, fingerprint, kafka_group).await?;
                pointer::create(&mut tx, &projection.name, generation.id).await?;
                generation
            }
        };
        if generation.definition == projection.text {
            readers::publish(&mut tx, projection, &generation, read).await?;
        } else {
            readers::publish(&mut tx, &generation.meant()?, &generation, read).await?;
        }
        tx.commit().await.doing("preparing a projection")?;
        Ok(generation)
    }

    /// One generation by its id.
    ///
    /// # Errors
    /// `Refused` if there is none.
    pub async fn generation(&self, id: i64) -> Result<Generation> {
        let mut connection = self.pool.acquire().await.doing("reading a generation")?;
        load(&mut connection, id).await
    }

    /// All generations that lanes feed, in the order of their ids.
    ///
    /// # Errors
    /// As the server's.
    pub async fn fed_generations(&self) -> Result<Vec<Generation>> {
        sqlx::query_as(
            "select id, projection, definition, fingerprint, kafka_group, topics, state, shared_tables, reason \
             from consolidator.generation where state in ('building', 'caught_up', 'held', 'live', 'grace') order by id",
        )
        .fetch_all(&self.pool)
        .await
        .doing("reading the generations")
    }

    /// How many generations are fed, those of paused and stopped projections included.
    ///
    /// # Errors
    /// As the server's.
    pub async fn fed_count(&self) -> Result<usize> {
        let count: i64 = sqlx::query_scalar(
            "select count(*) from consolidator.generation where state in ('building', 'caught_up', 'held', 'live', 'grace')",
        )
        .fetch_one(&self.pool)
        .await
        .doing("counting the generations")?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Those of [`fed_generations`](Store::fed_generations) that are neither paused nor stopped: what lanes should work on.
    ///
    /// # Errors
    /// As the server's.
    pub async fn generations_to_fold(&self) -> Result<Vec<Generation>> {
        sqlx::query_as(
            "select g.id, g.projection, g.definition, g.fingerprint, g.kafka_group, g.topics, g.state, g.shared_tables, g.reason \
             from consolidator.generation g join consolidator.projection p on p.name = g.projection \
             where g.state in ('building', 'caught_up', 'held', 'live', 'grace') and p.paused_at is null \
               and not exists (select from consolidator.stop s where s.generation = g.id) order by g.id",
        )
        .fetch_all(&self.pool)
        .await
        .doing("reading the generations to fold")
    }

    /// State, pause and shared tables of a generation, as of now.
    ///
    /// # Errors
    /// `Refused` if there is no such generation.
    pub async fn orders(&self, generation: i64) -> Result<Orders> {
        let row: Option<(String, bool, Vec<String>)> = sqlx::query_as(
            "select g.state, p.paused_at is not null, g.shared_tables \
             from consolidator.generation g join consolidator.projection p on p.name = g.projection where g.id = $1",
        )
        .bind(generation)
        .fetch_optional(&self.pool)
        .await
        .doing("reading what a generation should do")?;
        let (state, paused, shared_tables) = row.ok_or_else(|| missing(generation))?;
        Ok(Orders {
            state: parse_state(&state)?,
            paused,
            shared_tables,
        })
    }

    /// How far a generation is, by partition.
    ///
    /// # Errors
    /// As the server's.
    pub async fn build_progress(&self, generation: i64) -> Result<BuildProgress> {
        let context = "reading how far a generation is";
        let partitions = sqlx::query_as(
            "select topic, partition, next_offset from consolidator.checkpoint where generation = $1",
        )
        .bind(generation)
        .fetch_all(&self.pool)
        .await
        .doing(context)?;
        let visible = sqlx::query_scalar(
            "select exists (select from consolidator.pointer where generation = $1)",
        )
        .bind(generation)
        .fetch_one(&self.pool)
        .await
        .doing(context)?;
        Ok(BuildProgress {
            visible,
            partitions,
        })
    }

    /// Moves a generation from `from` to `to`; false if it was in another state.
    ///
    /// # Errors
    /// As the server's.
    pub async fn set_state(
        &self,
        generation: i64,
        from: State,
        to: State,
        reason: Option<&str>,
    ) -> Result<bool> {
        let done = sqlx::query(
            "update consolidator.generation set state = $3, reason = coalesce($4, reason), \
               caught_up_at = case when $3 in ('caught_up', 'held', 'live') then coalesce(caught_up_at, now()) else caught_up_at end, \
               live_at = case when $3 = 'live' then now() else live_at end, \
               ended_at = case when $3 in ('retired', 'failed') then now() else ended_at end \
             where id = $1 and state = $2",
        )
        .bind(generation)
        .bind(from.as_str())
        .bind(to.as_str())
        .bind(reason)
        .execute(&self.pool)
        .await
        .doing("setting a generation's state")?;
        Ok(done.rows_affected() == 1)
    }
}

async fn create(
    connection: &mut PgConnection,
    projection: &Projection,
    fingerprint: &str,
    kafka_group: &str,
) -> Result<Generation> {
    let topics = projection.topic_names();
    let id: i64 = sqlx::query_scalar(
        "insert into consolidator.generation (projection, definition, fingerprint, kafka_group, topics, state) \
         values ($1, $2, $3, '', $4, 'building') returning id",
    )
    .bind(&projection.name)
    .bind(&projection.text)
    .bind(fingerprint)
    .bind(&topics)
    .fetch_one(&mut *connection)
    .await
    .doing("recording a generation")?;
    sqlx::query("update consolidator.generation set kafka_group = $2 where id = $1")
        .bind(id)
        .bind(format!("{kafka_group}.{}.g{id}", projection.name))
        .execute(&mut *connection)
        .await
        .doing("recording a generation")?;
    schema::create(connection, id, projection).await?;
    load(connection, id).await
}

async fn load(connection: &mut PgConnection, id: i64) -> Result<Generation> {
    sqlx::query_as(
        "select id, projection, definition, fingerprint, kafka_group, topics, state, shared_tables, reason \
         from consolidator.generation where id = $1",
    )
    .bind(id)
    .fetch_optional(connection)
    .await
    .doing("reading a generation")?
    .ok_or_else(|| missing(id))
}

fn missing(generation: i64) -> StoreError {
    StoreError::refused(
        "reading a generation",
        format!("there is no generation {generation}"),
    )
}

pub(super) fn parse_state(text: &str) -> Result<State> {
    text.parse().map_err(|message: String| {
        StoreError::new(ErrorKind::Unexpected, "reading a generation", message)
    })
}
