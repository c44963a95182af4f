//! SQL scalar expressions: parse, check types, compile, evaluate; values. Pure.

pub mod cell;
pub mod error;
pub mod numeric;
pub mod program;
pub mod value;
