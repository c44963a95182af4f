//! The only code that names sqlx: the control schema, generations' tables, readers' views, and the one transaction that moves
//! rows and checkpoints together. Knows nothing of Kafka or of what rules mean.
//!
//! One file per control table (`projection`, `generation`, `pointer`, `checkpoint`, `stop`, `waiting`, `letters`), `schema` for a generation's
//! tables, `begin`, `freeze`, `life`, `switch`, `repair` and `retire` for the moves in a generation's life, `readers` and `views` for what analysts see,
//! `lane` for the transaction of a batch, `load` for what it reads, `encode`/`layout`/`rows` for the bytes it moves.

mod adopt;
mod begin;
mod checkpoint;
mod connect;
pub mod encode;
mod error;
mod evaluate;
mod freeze;
mod generation;
pub mod handover;
mod history;
mod hole;
mod lane;
mod layout;
mod letters;
mod life;
mod load;
mod migrate;
mod pointer;
mod pooled;
mod progress;
mod projection;
mod quote;
mod readers;
mod repair;
mod requests;
mod retire;
mod rows;
mod schema;
mod seen;
mod socket;
mod status;
mod stop;
mod switch;
mod tls;
mod verify;
mod views;
mod waiting;

pub use begin::{Begun, BuildOrder};
pub use checkpoint::{Checkpoint, Claim, Known, Partition, TakeOver};
pub use connect::{CONTROL_CONNECTIONS, ConnectSettings, Store};
pub use error::{ErrorKind, Result, StoreError};
pub use evaluate::{Evaluated, Evaluator};
pub use freeze::FreezeOrder;
pub use generation::{Fed, Generation, Goal, Phase, State};
pub use hole::Hole;
pub use lane::{LaneStore, Transaction};
pub use layout::{Layout, TableLayout};
pub use letters::{Fault, LETTERS_AT_ONCE, LetterChanges, NewLetter, Requested, SetAside};
pub use life::{LEASE, Led, LoadState, Position};
pub use load::{Loaded, Wanted};
pub use progress::{BuildStatus, TopicProgress};
pub use readers::ReadSettings;
pub use repair::{Damage, Repaired};
pub use requests::{Idle, Letter, LetterFilter, Payload, Request, Requested as RequestedLetters};
pub use retire::Gone;
pub use rows::{LoadedRow, Rows};
pub use schema::SHARED;
pub use status::{
    BLOCKED_KEYS_SHOWN, BlockedKey, Blocker, GenerationStatus, PartitionStatus, ProjectionStatus,
    TableStatus,
};
pub use stop::{Stop, hint_of_other_log};
pub use switch::{Prepared, SwitchOrder, Switched};
pub use verify::{Comparison, Difference, Offsets, Snapshot, offsets_of};
pub use waiting::Waiting;
