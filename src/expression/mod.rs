//! SQL scalar expressions: parse, check types, compile, evaluate; values. Pure.
//!
//! The value side, in reading order: [`value`] and [`numeric`] say what a value is, [`cell`] how a row owns one,
//! [`cast`] what its texts are and what it converts into, [`binary`] its wire format; the rest are the operators and
//! functions of each kind of type.
//!
//! The language side, in reading order: `lex`, `parse` and `ast` are its syntax, `catalog` and `resolve` PostgreSQL's
//! operators and how one is chosen, `check` gives names and types, `simplify` computes constants, `emit` makes flat
//! code of it, which `machine` runs; [`program`] is what others hold.

pub mod error;
pub mod value;

mod decimal;
pub mod numeric;
mod numeric_convert;
mod numeric_power;
mod numeric_rules;
mod numeric_series;

pub mod cell;
pub(crate) mod owned;

mod array_text;
pub mod binary;
mod bytes_text;
pub mod cast;
mod number_text;

pub mod arithmetic;
pub mod compare;

pub mod calendar;
pub mod datetime;
pub mod datetime_extract;
mod datetime_fields;
mod datetime_make;
mod datetime_parse;
mod datetime_text;
mod datetime_tokens;
pub mod interval;
mod interval_text;
pub mod interval_units;
pub mod timezone;

pub mod json_member;
pub mod jsonb;
pub mod jsonb_access;
pub mod jsonb_build;
mod jsonb_cast;
mod jsonb_compare;
pub mod jsonb_edit;
mod jsonb_shape;
pub mod jsonb_walk;

pub mod array;
pub mod like;
pub mod text;

mod ast;
mod escape;
mod keywords;
mod lex;
mod parse;
mod parse_call;
mod parse_definition;
mod parse_primary;
mod parse_token;
mod parse_type;

mod catalog;
mod problem;
pub mod reference;
mod resolve;
mod scope;

mod builtin;
mod builtin_array;
mod builtin_bytes;
mod builtin_jsonb;
mod builtin_number;
mod builtin_text;
mod builtin_time;
mod check;
mod check_call;
mod check_choice;
mod check_compare;
mod check_name;
mod check_place;
mod refused;
mod simplify;
mod typed;

mod emit;
mod machine;
mod member;
pub mod program;
pub mod quick;
mod substitute;

#[cfg(test)]
mod table_tests;

pub use ast::{EXPRESSION_DEPTH_MAX, Expr, Kind, Special};
pub use keywords::is_reserved_word;
pub use lex::EXPRESSION_BYTES_MAX;
pub use load::{compile, compile_tree};
pub use parse::parse;
pub use parse_definition::{AssignmentText, ColumnText, parse_assignments, parse_column};
pub use parse_type::parse_type;
pub use problem::Problem;
pub use program::{Env, Machine, Program};
pub use scope::{Lookup, Names, Paths, Scope};

#[cfg(test)]
mod language_tests;
mod load;
#[cfg(test)]
mod robustness_tests;
