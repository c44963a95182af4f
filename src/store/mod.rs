//! The only code that names sqlx: the control schema, generations' tables, readers' views, and the one transaction that moves
//! rows and checkpoints together. Knows nothing of Kafka or of what rules mean.
//!
//! One file per control table (`projection`, `generation`, `pointer`, `checkpoint`, `stop`, `waiting`), `schema` for a generation's tables,
//! `readers` for what analysts see, `lane` for the transaction of a batch, `load` for what it reads, `encode`/`layout`/`rows` for the bytes it moves.

mod checkpoint;
mod connect;
pub mod encode;
mod error;
mod generation;
pub mod handover;
mod lane;
mod layout;
mod load;
mod migrate;
mod pointer;
mod projection;
mod quote;
mod readers;
mod rows;
mod schema;
mod socket;
mod status;
mod stop;
mod waiting;

pub use checkpoint::{Checkpoint, Claim, Partition, TakeOver};
pub use connect::{CONTROL_CONNECTIONS, ConnectSettings, Store};
pub use error::{ErrorKind, Result, StoreError};
pub use generation::{BuildProgress, Generation, Orders, State};
pub use lane::{LaneStore, Transaction};
pub use layout::{Layout, TableLayout};
pub use load::{Loaded, Wanted};
pub use readers::ReadSettings;
pub use rows::{LoadedRow, Rows};
pub use schema::SHARED;
pub use status::{
    BLOCKED_KEYS_SHOWN, BlockedKey, Blocker, GenerationStatus, PartitionStatus, ProjectionStatus,
    TableStatus,
};
pub use stop::Stop;
pub use waiting::Waiting;
