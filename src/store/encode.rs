//! Rows and keys as PostgreSQL reads them fastest: arrays per column (for `unnest`) or binary COPY. Plain bytes, so that they
//! may cross threads while the cells they came from stay in the lane. Knows nothing of connections.

use crate::expression::binary;
use crate::expression::cell::Cell;
use crate::expression::value::{Modifier, Scalar, Type, Value};
use crate::fold::NewlySeen;

use super::layout::TableLayout;

/// Rows of one statement at most: bounds the memory that a statement takes on both sides.
pub(crate) const STATEMENT_ROWS_MAX: usize = 10_000;
/// Bytes of one statement at most, but for a single larger row.
const STATEMENT_BYTES_MAX: usize = 16 << 20;
/// New rows from here on go by binary COPY straight into the table. Measured on two cores (`tests/store/speed.rs`): the same up to
/// 500 rows, 1.2 times as fast at 2,000, 1.35 times at 10,000. Changed rows always come as arrays: COPY into a staging table and
/// merging from there took as long at every size, from 10 rows to 100,000, and twice as long for one.
const COPY_INSERT_ROWS_MIN: usize = 1_000;

pub(crate) const INTEGER: Type = Type {
    scalar: Scalar::Integer,
    modifier: Modifier::None,
    array: false,
};

/// A one-dimensional array in the binary format of PostgreSQL's `array_recv`.
#[derive(Clone, Debug)]
pub struct RawArray {
    element: Type,
    rows: usize,
    bytes: Vec<u8>,
}

/// Dimensions, has-null flag, element type, length, lower bound.
const HEADER_BYTES: usize = 20;

impl RawArray {
    pub(crate) fn new(element: Type) -> RawArray {
        debug_assert!(!element.array, "an array of arrays does not unnest to rows");
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&1_i32.to_be_bytes());
        bytes.extend_from_slice(&0_i32.to_be_bytes());
        bytes.extend_from_slice(&binary::oid(&element).to_be_bytes());
        bytes.extend_from_slice(&0_i32.to_be_bytes());
        bytes.extend_from_slice(&1_i32.to_be_bytes());
        debug_assert_eq!(bytes.len(), HEADER_BYTES);
        RawArray {
            element,
            rows: 0,
            bytes,
        }
    }

    pub(crate) fn push(&mut self, value: Value<'_>) {
        if matches!(value, Value::Null) {
            self.bytes[7] = 1;
        }
        binary::encode_field(value, &self.element, &mut self.bytes);
        self.count_row();
    }

    /// A field that is encoded already, length word first; not null.
    fn push_field(&mut self, field: &[u8]) {
        self.bytes.extend_from_slice(field);
        self.count_row();
    }

    fn count_row(&mut self) {
        self.rows += 1;
        let rows = i32::try_from(self.rows).expect("a statement has few rows");
        self.bytes[12..16].copy_from_slice(&rows.to_be_bytes());
    }

    /// Never empty when sent: PostgreSQL wants zero dimensions then.
    pub(crate) fn bytes(&self) -> &[u8] {
        debug_assert!(self.rows > 0);
        &self.bytes
    }

    pub(crate) fn array_oid(&self) -> u32 {
        binary::array_oid(&self.element)
    }
}

/// Some rows as one array per column.
#[derive(Clone, Debug)]
pub struct Columns {
    pub(crate) rows: usize,
    pub(crate) arrays: Vec<RawArray>,
}

impl Columns {
    fn new(types: &[Type]) -> Columns {
        Columns {
            rows: 0,
            arrays: types.iter().map(|ty| RawArray::new(*ty)).collect(),
        }
    }

    fn is_full(&self) -> bool {
        self.rows >= STATEMENT_ROWS_MAX
            || self
                .arrays
                .iter()
                .map(|array| array.bytes.len())
                .sum::<usize>()
                >= STATEMENT_BYTES_MAX
    }
}

/// Rows to write, in one of the two forms.
#[derive(Debug)]
pub enum EncodedRows {
    /// One statement each.
    Columns(Vec<Columns>),
    /// Binary COPY, header and trailer included, in pieces: one long text would be copied, again and again, while it grows.
    Copy { rows: usize, pieces: Vec<Vec<u8>> },
}

impl EncodedRows {
    pub fn none() -> EncodedRows {
        EncodedRows::Columns(Vec::new())
    }

    pub fn rows(&self) -> usize {
        match self {
            EncodedRows::Columns(chunks) => chunks.iter().map(|chunk| chunk.rows).sum(),
            EncodedRows::Copy { rows, .. } => *rows,
        }
    }
}

/// Keys, in the order they were pushed.
#[derive(Debug, Default)]
pub struct EncodedKeys {
    pub(crate) chunks: Vec<Columns>,
}

impl EncodedKeys {
    pub fn rows(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.rows).sum()
    }
}

/// All that one batch changes in one table. Within each list rows are sorted by key and no key stands in two lists.
#[derive(Debug)]
pub struct EncodedTable {
    /// Index into the projection's tables.
    pub table: usize,
    pub inserts: EncodedRows,
    pub updates: EncodedRows,
    /// Key columns, then `"$owner"`.
    pub deletes: EncodedKeys,
    /// States of rows, in the order of events.
    pub states: EncodedRows,
}

impl EncodedTable {
    pub fn rows(&self) -> usize {
        self.inserts.rows() + self.updates.rows() + self.deletes.rows()
    }
}

/// All that one batch changes.
#[derive(Debug, Default)]
pub struct EncodedChanges {
    pub tables: Vec<EncodedTable>,
    /// Ids of events, of a projection that deduplicates.
    pub seen: NewlySeen,
}

impl EncodedChanges {
    pub fn rows(&self) -> usize {
        self.tables.iter().map(EncodedTable::rows).sum()
    }
}

/// What will be done with encoded rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    Insert,
    Update,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
/// How rows travel.
pub enum Form {
    Columns,
    Copy,
}

impl Form {
    /// In a shared table a new row has a placeholder already, so that inserting is updating there.
    fn choose(layout: &TableLayout, purpose: Purpose, rows: usize) -> Form {
        let copy_from = match purpose {
            _ if layout.has_arrays => 0,
            Purpose::Insert if !layout.shared => COPY_INSERT_ROWS_MIN,
            Purpose::Insert | Purpose::Update => return Form::Columns,
        };
        if rows >= copy_from {
            Form::Copy
        } else {
            Form::Columns
        }
    }
}

/// Encodes rows of one table, all columns of each and its owner.
pub struct RowsEncoder<'l> {
    layout: &'l TableLayout,
    rows: EncodedRows,
}

/// <https://www.postgresql.org/docs/15/sql-copy.html>, "Binary Format": signature, flags, header extension length.
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// A piece is full at this size; the row that fills it may go beyond.
const COPY_PIECE_BYTES: usize = 1 << 20;
/// What a COPY under way sends at once: as much as stays in the processor's cache.
const COPY_SENT_BYTES: usize = 256 << 10;
const COPY_TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

impl<'l> RowsEncoder<'l> {
    /// `rows` decides the form; it may be an estimate.
    pub fn new(layout: &'l TableLayout, purpose: Purpose, rows: usize) -> RowsEncoder<'l> {
        RowsEncoder::with_form(layout, Form::choose(layout, purpose, rows))
    }

    /// In a given form, whatever is faster.
    pub fn with_form(layout: &'l TableLayout, form: Form) -> RowsEncoder<'l> {
        let rows = match form {
            Form::Columns => EncodedRows::none(),
            Form::Copy => EncodedRows::Copy {
                rows: 0,
                pieces: vec![COPY_HEADER.to_vec()],
            },
        };
        RowsEncoder { layout, rows }
    }

    /// A row: its cells in the order of the table's columns, and the slot that owns it.
    pub fn push<'c>(&mut self, cells: impl IntoIterator<Item = &'c Cell>, owner: i32) {
        let types = &self.layout.row_types;
        let values = cells
            .into_iter()
            .map(Cell::value)
            .chain([Value::Int32(owner)]);
        match &mut self.rows {
            EncodedRows::Columns(chunks) => push_columns(chunks, types, values),
            EncodedRows::Copy { rows, pieces } => {
                push_copy(piece(pieces), types, values);
                *rows += 1;
            }
        }
    }

    pub fn finish(mut self) -> EncodedRows {
        match &mut self.rows {
            EncodedRows::Copy { rows: 0, .. } => return EncodedRows::none(),
            EncodedRows::Copy { pieces, .. } => piece(pieces).extend_from_slice(&COPY_TRAILER),
            EncodedRows::Columns(_) => {}
        }
        self.rows
    }
}

/// Encodes rows for a COPY that is under way: what was sent makes room for what comes.
pub(crate) struct CopyEncoder<'l> {
    types: &'l [Type],
    bytes: Vec<u8>,
}

impl<'l> CopyEncoder<'l> {
    pub(crate) fn new(layout: &'l TableLayout) -> CopyEncoder<'l> {
        CopyEncoder {
            types: &layout.row_types,
            bytes: COPY_HEADER.to_vec(),
        }
    }

    /// As [`RowsEncoder::push`].
    pub(crate) fn push<'c>(&mut self, cells: impl IntoIterator<Item = &'c Cell>, owner: i32) {
        let values = cells.into_iter().map(Cell::value);
        let values = values.chain([Value::Int32(owner)]);
        push_copy(&mut self.bytes, self.types, values);
    }

    /// Enough to be sent, if there is.
    pub(crate) fn piece(&self) -> Option<&[u8]> {
        (self.bytes.len() >= COPY_SENT_BYTES).then_some(&self.bytes)
    }

    pub(crate) fn was_sent(&mut self) {
        self.bytes.clear();
    }

    /// The rest, with COPY's end.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&COPY_TRAILER);
        self.bytes
    }
}

fn push_copy<'v>(bytes: &mut Vec<u8>, types: &[Type], values: impl Iterator<Item = Value<'v>>) {
    let fields = i16::try_from(types.len()).expect("PostgreSQL has at most 1600 columns");
    bytes.extend_from_slice(&fields.to_be_bytes());
    for (value, ty) in values.zip(types) {
        binary::encode_field(value, ty, bytes);
    }
}

/// The piece that is being filled: the last one, or a new one if that is full.
fn piece(pieces: &mut Vec<Vec<u8>>) -> &mut Vec<u8> {
    if pieces
        .last()
        .is_none_or(|last| last.len() >= COPY_PIECE_BYTES)
    {
        // The row that fills it may be a long one.
        pieces.push(Vec::with_capacity(COPY_PIECE_BYTES + COPY_PIECE_BYTES / 8));
    }
    pieces.last_mut().expect("a piece was just made sure of")
}

/// Encodes keys of one table, to load, lock or delete rows by.
pub struct KeysEncoder<'l> {
    types: &'l [Type],
    keys: EncodedKeys,
}

impl<'l> KeysEncoder<'l> {
    /// To load or lock.
    pub fn new(layout: &'l TableLayout) -> KeysEncoder<'l> {
        KeysEncoder {
            types: &layout.delete_types[..layout.key_len],
            keys: EncodedKeys::default(),
        }
    }

    /// To load all rows by their first key columns, or to lock those.
    pub fn for_prefixes(layout: &'l TableLayout, columns: usize) -> KeysEncoder<'l> {
        KeysEncoder {
            types: &layout.delete_types[..columns],
            keys: EncodedKeys::default(),
        }
    }

    /// To delete: [`push_owned`](KeysEncoder::push_owned) the keys.
    pub fn for_deletes(layout: &'l TableLayout) -> KeysEncoder<'l> {
        KeysEncoder {
            types: &layout.delete_types,
            keys: EncodedKeys::default(),
        }
    }

    pub fn push<'c>(&mut self, key: impl IntoIterator<Item = &'c Cell>) {
        push_columns(
            &mut self.keys.chunks,
            self.types,
            key.into_iter().map(Cell::value),
        );
    }

    /// A key whose columns are encoded already, each with its length word.
    pub fn push_fields<'c>(&mut self, key: impl Iterator<Item = &'c [u8]>) {
        let chunk = writable(&mut self.keys.chunks, self.types);
        for (field, array) in key.zip(&mut chunk.arrays) {
            array.push_field(field);
        }
        chunk.rows += 1;
    }

    pub fn push_owned<'c>(&mut self, key: impl IntoIterator<Item = &'c Cell>, owner: i32) {
        let values = key
            .into_iter()
            .map(Cell::value)
            .chain([Value::Int32(owner)]);
        push_columns(&mut self.keys.chunks, self.types, values);
    }

    pub fn finish(self) -> EncodedKeys {
        self.keys
    }
}

fn push_columns<'v>(
    chunks: &mut Vec<Columns>,
    types: &[Type],
    values: impl Iterator<Item = Value<'v>>,
) {
    let chunk = writable(chunks, types);
    let mut pushed = 0;
    for (value, array) in values.zip(&mut chunk.arrays) {
        array.push(value);
        pushed += 1;
    }
    assert_eq!(pushed, types.len(), "a row has a cell for every column");
    chunk.rows += 1;
}

/// The last chunk, or a new one if that is full.
fn writable<'c>(chunks: &'c mut Vec<Columns>, types: &[Type]) -> &'c mut Columns {
    if chunks.last().is_none_or(Columns::is_full) {
        chunks.push(Columns::new(types));
    }
    chunks.last_mut().expect("a chunk was just made sure of")
}
