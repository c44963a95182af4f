//! SQL scalar expressions: parse, check types, compile, evaluate; values. Pure.

mod ast;
mod catalog;
mod escape;
mod keywords;
mod lex;
mod parse;
mod parse_definition;
mod parse_primary;
mod parse_type;
mod problem;
mod resolve;

pub mod cell;
pub mod error;
pub mod numeric;
pub mod program;
pub mod value;

pub use ast::EXPRESSION_DEPTH_MAX;
pub use keywords::is_reserved_word;
pub use lex::EXPRESSION_BYTES_MAX;
pub use parse_definition::{AssignmentText, ColumnText, parse_assignments, parse_column};
pub use parse_type::parse_type;
pub use problem::Problem;

fn constant(_e: &ast::Expr, _t: value::Type, _s: std::ops::Range<usize>) -> Result<cell::Cell, Vec<Problem>> {
    Err(vec![])
}
