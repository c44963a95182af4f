//! Poolers between us and the server. One that gives every transaction another session is found out and refused: what we prepare,
//! set and lock in a session would be somebody else's, and theirs ours. Knows nothing of what sessions are for.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Row};

use super::error::{Context, Result, StoreError};

/// Said wherever a session turns out not to be ours alone.
pub(super) const HINT: &str = "behind a pooler such as pgbouncer, its pool_mode must be session: \
     the worker prepares statements and sets parameters in its sessions";
/// How long a second connection is waited for. One that does not come in time proves nothing.
const SECOND_WAIT: Duration = Duration::from_secs(2);

/// Two connections, one statement each, then another on the first: nobody but a pooler gives both the same session, or one of them
/// two. Where others use the pooler at the same moment it may escape; then the first statement that is prepared finds it out.
///
/// # Errors
/// `Refused`; and as the server's.
pub(super) async fn refuse_shared_sessions(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
) -> Result<()> {
    let context = "connecting to Postgres";
    let mine = session(connection).await.doing(context)?;
    let second = async {
        let mut second = options.connect().await?;
        let its = session(&mut second).await?;
        second.close().await?;
        Ok::<_, sqlx::Error>(its)
    };
    // Where there is only one connection to be had, whoever needs more says so.
    let its = tokio::time::timeout(SECOND_WAIT, second).await;
    let again = session(connection).await.doing(context)?;
    if again == mine && !matches!(its, Ok(Ok(its)) if its == mine) {
        return Ok(());
    }
    let refused = "a pooler in between gives each transaction another session";
    Err(StoreError::refused(context, refused).hint(HINT))
}

/// The server's process behind the connection, asked without preparing a statement: pids are unique among those that are open.
async fn session(connection: &mut PgConnection) -> std::result::Result<i32, sqlx::Error> {
    let row = sqlx::raw_sql("select pg_catalog.pg_backend_pid()")
        .fetch_one(connection)
        .await?;
    row.try_get(0)
}
