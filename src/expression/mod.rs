//! SQL scalar expressions: parse, check types, compile, evaluate; values. Pure.
//!
//! The value side, in reading order: [`value`] and [`numeric`] say what a value is, [`cell`] how a row owns one,
//! [`cast`] what its texts are and what it converts into, [`binary`] its wire format; the rest are the operators and
//! functions of each kind of type.

pub mod error;
pub mod value;

mod decimal;
pub mod numeric;
mod numeric_convert;
mod numeric_rules;

pub mod cell;
mod owned;

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
pub mod jsonb_walk;

pub mod array;
pub mod like;
pub mod text;

pub mod program;

#[cfg(test)]
mod table_tests;
