//! Connections: how every session of ours is set up, the small pool for control, and the hard limit on those of lanes.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use super::error::{Context, ErrorKind, Result, StoreError};
use super::pooled::{self, OwnSession};
use super::{migrate, socket, tls};
use crate::settings::{Secret, Settings};

/// Nobody waits longer than this for a connection of the pool; beyond it the caller decides.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that no lane can take: for control, and for the answer to whether the server is there.
pub const CONTROL_CONNECTIONS: u32 = 3;
/// A lane uses about ten statements per table and session.
const STATEMENTS_KEPT: usize = 1_000;

/// Sent after connecting, not as start-up parameters, so that poolers in session mode take it.
const SESSION: &str = "set client_min_messages = warning; \
     set extra_float_digits = 1; \
     set search_path = pg_catalog, pg_temp; \
     set default_transaction_isolation = 'read committed'; \
     set jit = off; \
     set lock_timeout = '30s'; \
     set statement_timeout = 0; \
     set idle_in_transaction_session_timeout = '60s'";

/// Everything that names Postgres in the settings.
#[derive(Clone, Debug)]
pub struct ConnectSettings {
    /// `postgres://user:password@host:port/database?sslmode=…`
    pub url: Secret,
    /// Where the url came from, if from a file: read again for every connection, so that a password may change under a
    /// running worker.
    pub url_file: Option<PathBuf>,
    /// Of this process, lanes included; [`CONTROL_CONNECTIONS`] of them are not for lanes.
    pub max_connections: u32,
}

impl ConnectSettings {
    /// As the settings say, with this many connections.
    pub fn new(settings: &Settings, max_connections: u32) -> ConnectSettings {
        ConnectSettings {
            url: settings.postgres.url.clone(),
            url_file: settings.secret_files.get("postgres.url").cloned(),
            max_connections,
        }
    }
}

/// The database: control schema, generations, views. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) pool: PgPool,
    pub(super) lanes: LaneConnections,
}

/// Where the server is, and as whom we log in.
#[derive(Clone, Debug)]
struct Address {
    url: Secret,
    file: Option<Arc<Path>>,
}

impl Address {
    /// As the file says now; while it cannot be read, or holds no url, as it said before.
    fn options(&self) -> Result<PgConnectOptions> {
        let read = self
            .file
            .as_ref()
            .and_then(|file| std::fs::read_to_string(file).ok());
        match read.and_then(|text| options(text.trim()).ok()) {
            Some(options) => Ok(options),
            None => options(self.url.expose()),
        }
    }
}

/// The connections that lanes may open.
#[derive(Clone, Debug)]
pub(super) struct LaneConnections {
    address: Address,
    permits: Arc<Semaphore>,
    max: u32,
}

impl LaneConnections {
    fn new(address: Address, max: u32) -> LaneConnections {
        LaneConnections {
            address,
            permits: Arc::new(Semaphore::new(max as usize)),
            max,
        }
    }

    /// A permit to be held for as long as the lane has a connection.
    pub(super) fn permit(&self) -> Result<OwnedSemaphorePermit> {
        let free = Arc::clone(&self.permits).try_acquire_owned();
        free.map_err(|_| {
            let max = self.max;
            StoreError::new(
                ErrorKind::Disconnected,
                "connecting a lane to Postgres",
                format!(
                    "all {max} connections that postgres.max_connections leaves to lanes are taken"
                ),
            )
        })
    }

    pub(super) async fn open(&self) -> Result<(PgConnection, OwnSession)> {
        let context = "connecting a lane to Postgres";
        let options = self.address.options()?;
        let mut connection = options.connect().await.doing(context)?;
        socket::set(options.get_port());
        let own = set_up(&mut connection).await.doing(context)?;
        Ok((connection, own))
    }
}

impl Store {
    /// Connects once, brings the control schema up to date, and opens the pool.
    ///
    /// # Errors
    /// `Refused` (the URL, a pooler of transactions), `Disconnected` (nobody answers), `Authentication`, `NoDatabase`, `Permission` (no schema yet and
    /// no right to create it), each with the server's own words.
    pub async fn connect(settings: &ConnectSettings) -> Result<Store> {
        let address = Address {
            url: settings.url.clone(),
            file: settings.url_file.clone().map(Arc::from),
        };
        let options = address.options()?;
        let place = place(&options);
        if let Some(open) = tls::left_open(&options) {
            warn!("Postgres at {place}: {open}; sslmode=verify-full verifies the server");
        }
        let mut first = options
            .connect()
            .await
            .context(|| format!("connecting to Postgres at {place}"))?;
        pooled::refuse_shared_sessions(&mut first, &options).await?;
        refuse_other_encodings(&mut first).await?;
        migrate::migrate(&mut first).await?;
        first.close().await.doing("closing a connection")?;

        let port = options.get_port();
        let pool = PgPoolOptions::new()
            .max_connections(CONTROL_CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(Duration::from_secs(60))
            .max_lifetime(None)
            .after_connect(move |connection, _| {
                socket::set(port);
                Box::pin(async { set_up(connection).await.map(drop) })
            })
            .connect_lazy_with(options);
        let lanes_max = settings
            .max_connections
            .saturating_sub(CONTROL_CONNECTIONS)
            .max(1);
        Ok(Store {
            pool,
            lanes: LaneConnections::new(address, lanes_max),
        })
    }

    /// Reads the url's file again for the connections of the pool, after the server has refused one.
    pub fn read_address_again(&self) {
        if let Ok(options) = self.lanes.address.options() {
            self.pool.set_connect_options(options);
        }
    }

    /// Closes the pool; connections that lanes still hold end with them.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

pub(super) fn options(url: &str) -> Result<PgConnectOptions> {
    if !["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
    {
        // The url may hold a password: it is not repeated.
        return Err(StoreError::refused(
            "reading postgres.url",
            "it does not begin with postgres://",
        ));
    }
    refuse_unknown_parameters(url)?;
    let options = PgConnectOptions::from_str(url)
        .map(tls::without_fallback)
        .map_err(|error| StoreError::from_sqlx(&error, "reading postgres.url"))?;
    let application = match options.get_application_name() {
        Some(name) => name.to_owned(),
        None => "consolidator".to_owned(),
    };
    Ok(options
        .application_name(&application)
        // sqlx would send it as a start-up parameter, which pgbouncer refuses.
        .extra_float_digits(None)
        .statement_cache_capacity(STATEMENTS_KEPT)
        .disable_statement_logging())
}

/// What sqlx reads; it would log any other parameter with its value, which may be a secret.
const PARAMETERS: [&str; 12] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

const FILES: [&str; 3] = ["sslrootcert", "sslcert", "sslkey"];

fn refuse_missing(files: &[(&str, &str)]) -> Result<()> {
    for (name, file) in files {
        if let Err(error) = std::fs::File::open(file) {
            let told = format!("cannot read the {name} {file}: {error}");
            return Err(StoreError::refused("reading postgres.url", told));
        }
    }
    Ok(())
}

/// Files that cannot be read are named here, as sqlx does not.
fn refuse_unknown_parameters(url: &str) -> Result<()> {
    let mut files = Vec::new();
    let query = url.split('#').next().and_then(|url| url.split_once('?'));
    let parameters = query.map_or("", |(_, query)| query).split('&');
    let mut parameters = parameters.filter_map(|one| match one.split_once('=') {
        None if one.is_empty() => None,
        None => Some((one, "")),
        Some(both) => Some(both),
    });
    let known = parameters.all(|(name, value)| {
        if FILES.contains(&name) && value.starts_with('/') && !value.contains('%') {
            files.push((name, value));
        }
        PARAMETERS.contains(&name)
    });
    match known {
        true => refuse_missing(&files),
        // Not named: it may be part of a password with a `?` that was not written as %3F.
        false => Err(StoreError::refused(
            "reading postgres.url",
            format!(
                "after its `?` stands what is none of: {}",
                PARAMETERS.join(", ")
            ),
        )),
    }
}

/// Host, port and database, never a secret.
pub(super) fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("{}, database {database}", socket.display()),
        None => format!(
            "{}:{}, database {database}",
            options.get_host(),
            options.get_port()
        ),
    }
}

/// Events hold any text; in another encoding some of it could be neither written nor looked up.
async fn refuse_other_encodings(connection: &mut PgConnection) -> Result<()> {
    let encoding: String = sqlx::query_scalar("select current_setting('server_encoding')")
        .fetch_one(connection)
        .await
        .doing("asking for the database's encoding")?;
    if encoding == "UTF8" {
        return Ok(());
    }
    let refused = StoreError::refused(
        "connecting to Postgres",
        format!("the database's encoding is {encoding}, and events may hold any text"),
    );
    Err(refused
        .hint("Use a database made with: create database … encoding 'UTF8' template template0"))
}

pub(super) async fn set_up(
    connection: &mut PgConnection,
) -> std::result::Result<OwnSession, sqlx::Error> {
    let own = OwnSession::mark(connection).await?;
    sqlx::raw_sql(SESSION).execute(connection).await?;
    Ok(own)
}
