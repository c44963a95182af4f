//! Owned values: what a row holds.
/// (to come)
#[derive(Debug, Clone)]
pub struct Cell;
