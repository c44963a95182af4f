//! Generations: their stored definition, their state, and how one comes into being with tables, pointer and views at once.

use std::fmt;
use std::str::FromStr;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, FromRow};

use super::connect::Store;
use super::error::{Context, Result, StoreError};
use super::readers::ReadSettings;
use super::verify::Offsets;
use super::{pointer, projection, readers, schema};
use crate::definition::{self, Projection};

/// The life of a generation.
///
/// Every move is one transaction that names the state it moves from, so a state is durable once it is seen, and two processes
/// cannot both make a move. After a restart whoever gets the lease goes on from the stored state; nothing is kept elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Replays from where it began, in the steps of [`Phase`]. Set by `rebuild` and by `run` for a new or changed definition.
    Building,
    /// Has been at the end of its topics once. Set by its leader, who then prepares the views and switches readers; a leader
    /// that starts anew goes on with whatever view is not prepared yet.
    CaughtUp,
    /// Caught up, and kept from readers until `switch`: asked for, or the log no longer reaches back to where the live one
    /// began. Set by its leader. Still fed.
    Held,
    /// Readers see it. Set in the transaction that moves the pointer; for a projection's first generation by its leader.
    Live,
    /// Readers saw it before the last switch; still fed, so that a rollback is instant and current. Set by the transaction that
    /// moved the pointer away; ends when its time is over, or when another takes its place.
    Grace,
    /// As of a time or of offsets; fed no more, never switched to. Set by its leader.
    Frozen,
    /// Superseded. Set when nobody can see it any more; whoever leads it then drops its tables, after a restart again.
    Retired,
    /// Given up before readers saw it (`cancel`, or it cannot be built). Its tables are dropped as for `Retired`.
    Failed,
}

/// How far a generation that is [`State::Building`] has come. Set by its leader alone; see `migrations/0001_control.sql` for
/// what a restart does in each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Nothing is folded yet: how long are the logs?
    Measure,
    /// Tables without keys; lanes keep rows in memory and write each once.
    Load,
    /// Lanes write what they have and stand still: the keys are needed now.
    Drain,
    /// Keys and indexes are built; nobody folds.
    Index,
    /// Folded as live is.
    Follow,
}

impl Phase {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Measure => "measure",
            Phase::Load => "load",
            Phase::Drain => "drain",
            Phase::Index => "index",
            Phase::Follow => "follow",
        }
    }
}

impl TryFrom<String> for Phase {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Phase, String> {
        Ok(match text.as_str() {
            "measure" => Phase::Measure,
            "load" => Phase::Load,
            "drain" => Phase::Drain,
            "index" => Phase::Index,
            "follow" => Phase::Follow,
            other => return Err(format!("`{other}` is no phase of a build")),
        })
    }
}

/// What becomes of a generation once it has caught up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goal {
    /// Readers are switched to it.
    Switch,
    /// It is kept beside the live one.
    Hold,
    /// It is as of a time: it stands still, and is never switched to.
    Freeze,
    /// It is compared with the live one by the `verify` that began it, and ends with that.
    Verify,
}

impl Goal {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Goal::Switch => "switch",
            Goal::Hold => "hold",
            Goal::Freeze => "freeze",
            Goal::Verify => "verify",
        }
    }
}

impl TryFrom<String> for Goal {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Goal, String> {
        Ok(match text.as_str() {
            "switch" => Goal::Switch,
            "hold" => Goal::Hold,
            "freeze" => Goal::Freeze,
            "verify" => Goal::Verify,
            other => return Err(format!("`{other}` is no goal of a build")),
        })
    }
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
    #[sqlx(try_from = "String")]
    pub phase: Phase,
    #[sqlx(try_from = "String")]
    pub goal: Goal,
    /// Compare it with the live one before the switch.
    pub compare: bool,
    /// It was.
    pub compared: bool,
    /// Names of the tables that went over to the locked way.
    pub shared_tables: Vec<String>,
    pub reason: Option<String>,
    /// What the log no longer holds of what the live one was built from.
    pub hole: Option<String>,
    /// JSON, topic -> partition -> offset (exclusive) at which its lanes stand still; `None`: never.
    pub stop_at: Option<String>,
    /// Events of a later `event.time` (µs since 2000) are not applied.
    pub as_of_micros: Option<i64>,
    /// Where readers see it apart from the live one, once it is frozen.
    pub read_schema: Option<String>,
    /// The process that drives it on, while it is built.
    pub leader: Option<String>,
    /// Of all its topics together, as counted before the load.
    pub partitions: Option<i32>,
}

/// The columns of a [`Generation`]; the table is `g`.
pub(super) const COLUMNS: &str = "g.id, g.projection, g.definition, g.fingerprint, g.kafka_group, g.topics, g.state, g.phase, \
     g.goal, g.compare, g.compared is not null as compared, g.shared_tables, g.reason, g.hole, g.stop_at::text as stop_at, \
     (extract(epoch from g.as_of) * 1000000)::bigint - 946684800000000 as as_of_micros, g.read_schema, g.leader, g.partitions";

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

    /// How many partitions one lane, in the leader's process, has to have together before it loads the generation: rows that
    /// partitions share can stay in memory only with somebody who reads all of them. `None`: every lane loads what it has.
    pub fn loaded_alone(&self, projection: &Projection) -> Option<usize> {
        let is_loaded = matches!(self.phase, Phase::Load | Phase::Drain | Phase::Index);
        let shares =
            !self.shared_tables.is_empty() || projection.tables.iter().any(|table| !table.owned);
        let partitions = usize::try_from(self.partitions?).ok()?;
        (is_loaded && shares).then_some(partitions)
    }

    /// Where its lanes are to stand still; empty: nowhere.
    pub fn stops(&self) -> Offsets {
        // Written by this program alone.
        let text = self.stop_at.as_deref();
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }
}

impl TryFrom<String> for State {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<State, String> {
        text.parse()
    }
}

/// A projection whose events are to be folded.
#[derive(Clone, Debug, FromRow)]
pub struct Fed {
    pub projection: String,
    pub generations: i64,
    pub paused: bool,
    /// Some generation of it cannot go on.
    pub stopped: bool,
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

    /// Projections with generations that are fed, those that are paused or have stopped included.
    ///
    /// # Errors
    /// As the server's.
    pub async fn fed(&self) -> Result<Vec<Fed>> {
        sqlx::query_as(
            "select g.projection, count(*) as generations, bool_or(p.paused_at is not null) as paused, \
               bool_or(exists (select from consolidator.stop s where s.generation = g.id)) as stopped \
             from consolidator.generation g join consolidator.projection p on p.name = g.projection \
             where g.state in ('building', 'caught_up', 'held', 'live', 'grace') group by g.projection",
        )
        .fetch_all(&self.pool)
        .await
        .doing("reading which projections are fed")
    }

    /// Those generations of [`fed`](Store::fed) projections that are neither paused nor stopped as a whole: what lanes should work on.
    ///
    /// # Errors
    /// As the server's.
    pub async fn generations_to_fold(&self) -> Result<Vec<Generation>> {
        sqlx::query_as(AssertSqlSafe(format!(
            "select {COLUMNS} from consolidator.generation g join consolidator.projection p on p.name = g.projection \
             where g.state in ('building', 'caught_up', 'held', 'live', 'grace') and p.paused_at is null \
               and not exists (select from consolidator.stop s where s.generation = g.id and not s.alone) order by g.id"
        )))
        .fetch_all(&self.pool)
        .await
        .doing("reading the generations to fold")
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
               caught_up_at = case when $3 in ('caught_up', 'held', 'live', 'frozen') then coalesce(caught_up_at, now()) else caught_up_at end, \
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

pub(super) async fn create(
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

pub(super) async fn load(connection: &mut PgConnection, id: i64) -> Result<Generation> {
    sqlx::query_as(AssertSqlSafe(format!(
        "select {COLUMNS} from consolidator.generation g where g.id = $1"
    )))
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
