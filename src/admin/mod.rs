//! The operator's commands on stored state; http.

pub mod as_of;
pub mod explain;
pub mod http;
pub mod letters;
pub mod plan;
mod progress;
pub mod rebuild;
pub mod screen;
pub mod status;
pub mod text;
pub mod verify;

use crate::error::Failure;
use crate::settings::Settings;
use crate::store::{ConnectSettings, Store, StoreError};

/// Connects once; a command does not wait for a server.
///
/// # Errors
/// As the server's.
pub async fn connect(settings: &Settings) -> Result<Store, Failure> {
    let connect = ConnectSettings::new(settings, 2);
    Store::connect(&connect).await.map_err(failed)
}

/// Connections for lanes too.
///
/// # Errors
/// As the server's; another deployment works on this control schema.
pub async fn connect_as_worker(settings: &Settings) -> Result<Store, Failure> {
    let connect = ConnectSettings::new(settings, settings.postgres.max_connections);
    let store = Store::connect(&connect).await.map_err(failed)?;
    let group = &settings.kafka.group;
    store.claim_deployment(group).await.map_err(failed)?;
    Ok(store)
}

/// What the store says, as a command's one message.
pub fn failed(error: StoreError) -> Failure {
    Failure::new(error.to_string())
}
