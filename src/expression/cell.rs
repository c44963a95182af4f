//! Owned values: what a row holds.
/// (to come)
#[derive(Debug)]
pub struct Cell;
