//! Types and values of the fold language: PostgreSQL's, held so that evaluation copies and never allocates.
//! Knows nothing of expressions, JSON, Kafka or SQL statements.

use std::fmt;

/// A base type of the language, named as PostgreSQL names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Scalar {
    Boolean,
    SmallInt,
    Integer,
    BigInt,
    Real,
    Double,
    Numeric,
    Text,
    Varchar,
    Uuid,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    Jsonb,
    Bytea,
}

/// What stands in parentheses behind a type name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Modifier {
    None,
    /// `numeric(precision, scale)`.
    Numeric {
        precision: u16,
        scale: i16,
    },
    /// `varchar(n)`, in characters.
    Length(u32),
}

/// A full type: scalar, modifier, and whether it is a one-dimensional array of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Type {
    pub scalar: Scalar,
    pub modifier: Modifier,
    pub array: bool,
}

/// A value during evaluation. `Copy`: texts, big numbers and arrays live in the record's bytes, in the row cache or in
/// the batch's arena. The variant always agrees with the static [`Type`] of the expression, or is `Null`.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int16(i16),
    Int32(i32),
    Int64(i64),
    Float32(f32),
    Float64(f64),
    Numeric(super::numeric::Numeric<'a>),
    /// text and varchar
    Text(&'a str),
    Uuid(&'a [u8; 16]),
    /// Days since 2000-01-01; `i32::MIN`/`MAX` are the infinities (PostgreSQL's own representation).
    Date(i32),
    /// Microseconds since midnight, 24:00:00 included.
    Time(i64),
    /// Microseconds since 2000-01-01; `i64::MIN`/`MAX` are the infinities.
    Timestamp(i64),
    /// As `Timestamp`, in UTC.
    TimestampTz(i64),
    Interval(Interval),
    /// Canonical text, exactly as PostgreSQL prints a jsonb.
    Jsonb(&'a str),
    Bytea(&'a [u8]),
    Array(&'a [Value<'a>]),
}

/// PostgreSQL's interval: three fields that do not convert into each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interval {
    pub months: i32,
    pub days: i32,
    pub micros: i64,
}

impl fmt::Display for Type {
    /// As in a column definition: `numeric(12,2)`, `text[]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.scalar {
            Scalar::Boolean => "boolean",
            Scalar::SmallInt => "smallint",
            Scalar::Integer => "integer",
            Scalar::BigInt => "bigint",
            Scalar::Real => "real",
            Scalar::Double => "double precision",
            Scalar::Numeric => "numeric",
            Scalar::Text => "text",
            Scalar::Varchar => "varchar",
            Scalar::Uuid => "uuid",
            Scalar::Date => "date",
            Scalar::Time => "time",
            Scalar::Timestamp => "timestamp",
            Scalar::TimestampTz => "timestamptz",
            Scalar::Interval => "interval",
            Scalar::Jsonb => "jsonb",
            Scalar::Bytea => "bytea",
        };
        f.write_str(name)?;
        match self.modifier {
            Modifier::None => {}
            Modifier::Numeric { precision, scale } => write!(f, "({precision},{scale})")?,
            Modifier::Length(characters) => write!(f, "({characters})")?,
        }
        if self.array {
            f.write_str("[]")
        } else {
            Ok(())
        }
    }
}
