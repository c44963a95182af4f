//! Row keys as bytes: the key columns in PostgreSQL's binary format, one after the other, so that keys that PostgreSQL holds
//! for equal are equal bytes.

use crate::definition::projection::{Rule, Table};
use crate::expression::binary::encode_field;
use crate::expression::cell::Cell;
use crate::expression::owned::{SHORT_TEXT_BYTES_MAX, short_bytes};
use crate::expression::value::{Scalar, Type, Value};

/// Whether the rule's key is `event.key` itself in a single column of type text.
pub(super) fn is_text_key(table: &Table, rule: &Rule) -> bool {
    match (&rule.key[..], &table.columns[..table.key_len]) {
        ([program], [column]) => {
            let ty = column.column_type;
            program.is_event_key() && ty.scalar == Scalar::Text && !ty.array
        }
        _ => false,
    }
}

/// A table's key as rows are found by.
pub fn packed_key(table: &Table, key: &[Cell]) -> Vec<u8> {
    let mut packed = Vec::new();
    for (cell, column) in key.iter().zip(&table.columns) {
        pack(cell.value(), &column.column_type, &mut packed);
    }
    packed
}

/// Appends one key column. The value is not null.
pub(super) fn pack(value: Value<'_>, ty: &Type, out: &mut Vec<u8>) {
    let start = out.len();
    match value {
        // The signs of zero are equal, and so are all NaNs.
        Value::Float32(v) => encode_field(Value::Float32(canonical_f32(v)), ty, out),
        Value::Float64(v) => encode_field(Value::Float64(canonical_f64(v)), ty, out),
        Value::Numeric(_) => {
            encode_field(value, ty, out);
            trim_scale(&mut out[start..]);
        }
        _ => encode_field(value, ty, out),
    }
}

/// Appends a text as [`pack`] would.
#[inline]
pub(super) fn pack_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as i32).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn canonical_f32(v: f32) -> f32 {
    if v.is_nan() { f32::NAN } else { v + 0.0 }
}

fn canonical_f64(v: f64) -> f64 {
    if v.is_nan() { f64::NAN } else { v + 0.0 }
}

/// 1.50 and 1.5 are equal: gives an encoded numeric the least display scale that holds its digits.
fn trim_scale(field: &mut [u8]) {
    let word = |field: &[u8], at: usize| match field.get(at..at + 2) {
        Some(&[high, low]) => i32::from(i16::from_be_bytes([high, low])),
        _ => 0,
    };
    // Length (4 bytes), number of digits to the base 10,000, weight of the first, sign, scale, digits.
    if field.len() < 12 {
        return;
    }
    let (digits, weight) = (word(field, 4), word(field, 6));
    let mut scale = 0;
    if digits > 0 && weight - digits + 1 < 0 {
        scale = (digits - 1 - weight) * 4;
        let mut last = word(field, field.len() - 2);
        while last != 0 && last % 10 == 0 {
            last /= 10;
            scale -= 1;
        }
    }
    field[10..12].copy_from_slice(&(scale as i16).to_be_bytes());
}

/// The columns of a packed key, each with its length word.
pub fn key_fields(mut packed: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let word = packed.first_chunk::<4>()?;
        let len = usize::try_from(i32::from_be_bytes(*word)).unwrap_or(0);
        let (field, rest) = packed.split_at_checked(4 + len)?;
        packed = rest;
        Some(field)
    })
}

/// How many bytes of a packed key its first columns take.
pub(super) fn prefix_bytes(packed: &[u8], columns: usize) -> usize {
    key_fields(packed).take(columns).map(<[u8]>::len).sum()
}

/// A packed key in a row: short ones without an allocation.
#[derive(Debug)]
pub(super) enum PackedKey {
    Inline {
        len: u8,
        bytes: [u8; INLINE_BYTES_MAX],
    },
    Heap(Box<[u8]>),
}

const INLINE_BYTES_MAX: usize = SHORT_TEXT_BYTES_MAX;

impl PackedKey {
    pub(super) const EMPTY: PackedKey = PackedKey::Inline {
        len: 0,
        bytes: [0; INLINE_BYTES_MAX],
    };

    pub(super) fn new(packed: &[u8]) -> PackedKey {
        let len = packed.len() as u8;
        match short_bytes(packed) {
            Some(bytes) => PackedKey::Inline { len, bytes },
            None => PackedKey::Heap(packed.into()),
        }
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            PackedKey::Inline { len, bytes } => &bytes[..usize::from(*len)],
            PackedKey::Heap(bytes) => bytes,
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            PackedKey::Inline { .. } => 0,
            PackedKey::Heap(bytes) => bytes.len(),
        }
    }
}
