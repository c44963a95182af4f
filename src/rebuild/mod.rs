//! The life of a generation: what its leader does in each [`State`](crate::store::State) and
//! [`Phase`](crate::store::Phase). The lanes that fold it are the worker's; how each move is stored is the store's.

pub mod compare;
mod leader;
mod logs;
pub mod repair;
mod switch;

pub use leader::Leader;
pub use logs::{LogEnds, Logs};
pub use switch::switch_to;
