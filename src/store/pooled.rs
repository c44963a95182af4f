//! Poolers between us and the server. One that gives every transaction another session is found out and refused: what we prepare,
//! set and lock in a session would be somebody else's, and theirs ours. Knows nothing of what sessions are for.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::error::{Context, Result, StoreError};

/// Said wherever a session turns out not to be ours alone.
pub(super) const HINT: &str = "behind a pooler such as pgbouncer, its pool_mode must be session: \
     the worker prepares statements and sets parameters in its sessions";
/// How long a second connection is waited for. One that does not come in time proves nothing.
const SECOND_WAIT: Duration = Duration::from_secs(2);

/// A session that is one connection's alone, known by a statement prepared in it that no other session has.
#[derive(Debug)]
pub(super) struct OwnSession {
    statement: String,
}

impl OwnSession {
    /// Marks the session of a connection that was just opened. Statements that are prepared in it already are another connection's.
    /// The mark is SQL, not the protocol's: poolers that keep statements of the protocol with their connections leave it where it is.
    pub(super) async fn mark(
        connection: &mut PgConnection,
    ) -> std::result::Result<OwnSession, sqlx::Error> {
        let used = "select from pg_catalog.pg_prepared_statements limit 1";
        if !sqlx::raw_sql(used)
            .fetch_all(&mut *connection)
            .await?
            .is_empty()
        {
            let shared = format!("a pooler in between gives us a session that others use: {HINT}");
            return Err(sqlx::Error::Configuration(shared.into()));
        }
        let statement = format!("consolidator_{:032x}", rand::random::<u128>());
        let prepare = format!("prepare {statement} as select");
        sqlx::raw_sql(AssertSqlSafe(prepare))
            .execute(connection)
            .await?;
        Ok(OwnSession { statement })
    }

    /// The statement that fails as one that is not there, with [`HINT`], in any other session.
    pub(super) fn check(&self) -> String {
        format!("execute {}", self.statement)
    }
}

/// Marks the session, opens another connection as whoever pools them would have it, and looks whether the first still has its own.
/// Where others use the pooler at the same moment, one that shares sessions may escape; lanes ask again with every transaction.
///
/// # Errors
/// `Refused`; and as the server's.
pub(super) async fn refuse_shared_sessions(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
) -> Result<()> {
    let context = "connecting to Postgres";
    let own = OwnSession::mark(connection).await.doing(context)?;
    let second = async {
        let mut second = options.connect().await?;
        OwnSession::mark(&mut second).await?;
        second.close().await
    };
    // Where there is only one connection to be had, whoever needs more says so.
    if let Ok(Err(error @ sqlx::Error::Configuration(_))) =
        tokio::time::timeout(SECOND_WAIT, second).await
    {
        return Err(StoreError::from_sqlx(&error, context));
    }
    let check = sqlx::raw_sql(AssertSqlSafe(own.check()));
    check.execute(connection).await.doing(context)?;
    Ok(())
}
