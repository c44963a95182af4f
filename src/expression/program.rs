//! Compiled expressions.
/// (to come)
#[derive(Debug)]
pub struct Program;
