//! Owned values: what a row holds between batches. Small, because a cache holds millions of them.

use super::numeric::{BigNumeric, Numeric};
use super::owned::{OwnedArray, SHORT_TEXT_BYTES_MAX, ShortText};
use super::quick::Told;
use super::value::{Interval, Value};

/// A value of a row. Texts of up to 22 bytes stand inside it.
#[derive(Clone, Debug)]
pub struct Cell(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Null,
    Bool(bool),
    Int16(i16),
    Int32(i32),
    Int64(i64),
    Float32(f32),
    Float64(f64),
    SmallNumeric { scale: u8, mantissa: i64 },
    BigNumeric(Box<BigNumeric<'static>>),
    NaN,
    Infinity,
    NegativeInfinity,
    ShortText(ShortText),
    LongText(Box<str>),
    Uuid([u8; 16]),
    Date(i32),
    Time(i64),
    Timestamp(i64),
    TimestampTz(i64),
    Interval(Interval),
    Jsonb(Box<str>),
    Bytea(Box<[u8]>),
    Array(Box<OwnedArray>),
}

impl Cell {
    pub const NULL: Cell = Cell(Repr::Null);

    #[inline]
    pub fn from_value(value: Value<'_>) -> Cell {
        Cell(match value {
            Value::Null => Repr::Null,
            Value::Bool(v) => Repr::Bool(v),
            Value::Int16(v) => Repr::Int16(v),
            Value::Int32(v) => Repr::Int32(v),
            Value::Int64(v) => Repr::Int64(v),
            Value::Float32(v) => Repr::Float32(v),
            Value::Float64(v) => Repr::Float64(v),
            Value::Numeric(Numeric::Small { mantissa, scale }) => {
                Repr::SmallNumeric { mantissa, scale }
            }
            Value::Numeric(Numeric::Big(big)) => Repr::BigNumeric(Box::new(big.to_owned())),
            Value::Numeric(Numeric::NaN) => Repr::NaN,
            Value::Numeric(Numeric::Infinity) => Repr::Infinity,
            Value::Numeric(Numeric::NegativeInfinity) => Repr::NegativeInfinity,
            Value::Text(v) => match ShortText::new(v) {
                Some(short) => Repr::ShortText(short),
                None => Repr::LongText(v.into()),
            },
            Value::Uuid(v) => Repr::Uuid(*v),
            Value::Date(v) => Repr::Date(v),
            Value::Time(v) => Repr::Time(v),
            Value::Timestamp(v) => Repr::Timestamp(v),
            Value::TimestampTz(v) => Repr::TimestampTz(v),
            Value::Interval(v) => Repr::Interval(v),
            Value::Jsonb(v) => Repr::Jsonb(v.into()),
            Value::Bytea(v) => Repr::Bytea(v.into()),
            Value::Array(v) => Repr::Array(Box::new(OwnedArray::new(v))),
        })
    }

    #[inline]
    pub fn value(&self) -> Value<'_> {
        match &self.0 {
            Repr::Null => Value::Null,
            Repr::Bool(v) => Value::Bool(*v),
            Repr::Int16(v) => Value::Int16(*v),
            Repr::Int32(v) => Value::Int32(*v),
            Repr::Int64(v) => Value::Int64(*v),
            Repr::Float32(v) => Value::Float32(*v),
            Repr::Float64(v) => Value::Float64(*v),
            Repr::SmallNumeric { mantissa, scale } => Value::Numeric(Numeric::Small {
                mantissa: *mantissa,
                scale: *scale,
            }),
            Repr::BigNumeric(v) => Value::Numeric(Numeric::Big(v)),
            Repr::NaN => Value::Numeric(Numeric::NaN),
            Repr::Infinity => Value::Numeric(Numeric::Infinity),
            Repr::NegativeInfinity => Value::Numeric(Numeric::NegativeInfinity),
            Repr::ShortText(v) => Value::Text(v.as_str()),
            Repr::LongText(v) => Value::Text(v),
            Repr::Uuid(v) => Value::Uuid(v),
            Repr::Date(v) => Value::Date(*v),
            Repr::Time(v) => Value::Time(*v),
            Repr::Timestamp(v) => Value::Timestamp(*v),
            Repr::TimestampTz(v) => Value::TimestampTz(*v),
            Repr::Interval(v) => Value::Interval(*v),
            Repr::Jsonb(v) => Value::Jsonb(v),
            Repr::Bytea(v) => Value::Bytea(v),
            Repr::Array(v) => Value::Array(v.values()),
        }
    }

    /// Makes it what was told: most kinds in their place, without a copy on the way.
    #[inline(always)]
    pub fn set(&mut self, told: Told<'_>) {
        match (&mut self.0, told) {
            (Repr::Int64(own), Told::BigInt(value)) => *own = value,
            (Repr::ShortText(own), Told::Text(text)) if text.len() <= SHORT_TEXT_BYTES_MAX => {
                own.set(text);
            }
            (
                Repr::SmallNumeric {
                    scale: to,
                    mantissa: own,
                },
                Told::Numeric { mantissa, scale },
            ) => {
                *own = mantissa;
                *to = scale as u8;
            }
            (Repr::TimestampTz(own), Told::Time(time)) => *own = time,
            _ => self.set_other(told),
        }
    }

    #[inline(never)]
    fn set_other(&mut self, told: Told<'_>) {
        *self = Cell::from_value(told.value());
    }

    /// [`same`] as what was told; most kinds without a call.
    #[inline(always)]
    pub fn is(&self, told: Told<'_>) -> bool {
        match (&self.0, told) {
            (Repr::Int64(own), Told::BigInt(value)) => *own == value,
            (Repr::ShortText(own), Told::Text(text)) => own.is(text),
            (
                Repr::SmallNumeric {
                    scale: to,
                    mantissa: own,
                },
                Told::Numeric { mantissa, scale },
            ) => *own == mantissa && u64::from(*to) == scale,
            (Repr::TimestampTz(own), Told::Time(time)) => *own == time,
            (Repr::Null, Told::Null) => true,
            _ => self.is_other(told),
        }
    }

    #[inline(never)]
    fn is_other(&self, told: Told<'_>) -> bool {
        same(self.value(), told.value())
    }

    #[inline(always)]
    pub(super) fn bigint(&self) -> Option<i64> {
        match self.0 {
            Repr::Int64(value) => Some(value),
            _ => None,
        }
    }

    /// Mantissa and scale.
    #[inline(always)]
    pub(super) fn small_numeric(&self) -> Option<(i64, u8)> {
        match self.0 {
            Repr::SmallNumeric { scale, mantissa } => Some((mantissa, scale)),
            _ => None,
        }
    }

    #[inline]
    pub fn is_null(&self) -> bool {
        matches!(self.0, Repr::Null)
    }

    /// Bytes allocated outside of the cell.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::BigNumeric(v) => size_of::<BigNumeric<'_>>() + size_of_val(v.limbs()),
            Repr::LongText(v) | Repr::Jsonb(v) => v.len(),
            Repr::Bytea(v) => v.len(),
            Repr::Array(v) => v.heap_bytes(),
            _ => 0,
        }
    }

    /// Whether writing one over the other would change nothing: also the scale of a numeric and the sign of a zero agree.
    #[inline]
    pub fn same(&self, other: &Cell) -> bool {
        same(self.value(), other.value())
    }
}

/// Identical as stored; see [`Cell::same`].
#[inline]
pub fn same(left: Value<'_>, right: Value<'_>) -> bool {
    match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int16(a), Value::Int16(b)) => a == b,
        (Value::Int32(a), Value::Int32(b)) | (Value::Date(a), Value::Date(b)) => a == b,
        (Value::Int64(a), Value::Int64(b))
        | (Value::Time(a), Value::Time(b))
        | (Value::Timestamp(a), Value::Timestamp(b))
        | (Value::TimestampTz(a), Value::TimestampTz(b)) => a == b,
        (Value::Float32(a), Value::Float32(b)) => a.to_bits() == b.to_bits(),
        (Value::Float64(a), Value::Float64(b)) => a.to_bits() == b.to_bits(),
        (Value::Numeric(a), Value::Numeric(b)) => a.same(b),
        (Value::Text(a), Value::Text(b)) | (Value::Jsonb(a), Value::Jsonb(b)) => a == b,
        (Value::Uuid(a), Value::Uuid(b)) => a == b,
        (Value::Interval(a), Value::Interval(b)) => a == b,
        (Value::Bytea(a), Value::Bytea(b)) => a == b,
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(*a, *b))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_takes_three_words_and_gives_back_what_it_was_made_of() {
        assert_eq!(size_of::<Cell>(), 24);
        assert_eq!(size_of::<Value<'_>>(), 24);
        let texts = [
            "",
            "short",
            "twenty-two bytes long!",
            "longer than twenty-two bytes",
        ];
        let elements: Vec<Value<'_>> = texts.iter().map(|text| Value::Text(text)).collect();
        let mut values = elements.clone();
        values.extend([
            Value::Null,
            Value::Array(&elements),
            Value::Uuid(&[7; 16]),
            Value::Jsonb("{}"),
            Value::Bytea(&[1, 2]),
            Value::Float64(-0.0),
        ]);
        for value in values {
            let cell = Cell::from_value(value);
            let moved = Box::new(cell.clone());
            drop(cell);
            assert!(same(moved.value(), value), "{value:?}");
        }
    }
}
