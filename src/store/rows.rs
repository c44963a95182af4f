//! Raw bytes to and from statements: arrays that are already encoded go in, rows come back as cells.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgConnection, PgRow, PgTypeInfo};
use sqlx::{AssertSqlSafe, Encode, Postgres, Row, Type as SqlxType, ValueRef};

use super::encode::{Columns, RawArray};
use super::error::{ErrorKind, Result, StoreError};
use crate::expression::binary;
use crate::expression::cell::Cell;
use crate::expression::value::Type;

/// An encoded array as a statement's parameter.
pub(super) struct Bound<'a>(pub(super) &'a RawArray);

impl SqlxType<Postgres> for Bound<'_> {
    fn type_info() -> PgTypeInfo {
        // Never asked: `produces` says more.
        PgTypeInfo::with_name("anyarray")
    }
}

impl<'q> Encode<'q, Postgres> for Bound<'_> {
    fn encode_by_ref(
        &self,
        buffer: &mut PgArgumentBuffer,
    ) -> std::result::Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(self.0.bytes());
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(self.0.array_oid())))
    }

    fn size_hint(&self) -> usize {
        self.0.bytes().len()
    }
}

/// Rows of one table, as loaded.
#[derive(Debug, Default)]
pub struct Rows {
    width: usize,
    cells: Vec<Cell>,
    places: Vec<(u32, i32)>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct LoadedRow<'r> {
    /// Which of the keys asked for, from 0.
    pub key: usize,
    /// The slot that owns the row; [`super::SHARED`] if no partition does.
    pub owner: i32,
    /// All columns, in the table's order.
    pub cells: &'r [Cell],
}

impl Rows {
    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// In no particular order.
    pub fn iter(&self) -> impl Iterator<Item = LoadedRow<'_>> {
        self.places
            .iter()
            .zip(self.cells.chunks_exact(self.width.max(1)))
            .map(|(&(key, owner), cells)| LoadedRow {
                key: key as usize,
                owner,
                cells,
            })
    }

    /// Owner and cells of each row, to be moved out of.
    pub fn drain(&mut self) -> impl Iterator<Item = (i32, &mut [Cell])> {
        let owners = self.places.iter().map(|&(_, owner)| owner);
        owners.zip(self.cells.chunks_exact_mut(self.width.max(1)))
    }

    /// Takes what `load` answered; `first_key` is the number of keys before this statement's.
    pub(super) fn extend(
        &mut self,
        answer: &[PgRow],
        first_key: usize,
        types: &[Type],
        skip_owner: Option<i32>,
    ) -> Result<()> {
        self.width = types.len();
        self.cells.reserve(answer.len() * types.len());
        self.places.reserve(answer.len());
        for row in answer {
            let position: i32 = integer(row, 0)?;
            let owner = integer(row, 1)?;
            if skip_owner == Some(owner) {
                continue;
            }
            for (index, ty) in types.iter().enumerate() {
                self.cells.push(cell(row, index + 2, ty)?);
            }
            let key = first_key as u32 + position as u32 - 1;
            self.places.push((key, owner));
        }
        Ok(())
    }
}

/// Runs a statement whose parameters are these columns; the number of rows it touched.
pub(super) async fn execute(
    connection: &mut PgConnection,
    sql: &str,
    columns: &Columns,
) -> std::result::Result<u64, sqlx::Error> {
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for array in &columns.arrays {
        query = query.bind(Bound(array));
    }
    Ok(query.execute(connection).await?.rows_affected())
}

/// Runs a statement whose parameters are these columns; its rows.
pub(super) async fn fetch(
    connection: &mut PgConnection,
    sql: &str,
    columns: &Columns,
) -> std::result::Result<Vec<PgRow>, sqlx::Error> {
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for array in &columns.arrays {
        query = query.bind(Bound(array));
    }
    query.fetch_all(connection).await
}

fn integer(row: &PgRow, index: usize) -> Result<i32> {
    row.try_get(index)
        .map_err(|error| StoreError::from_sqlx(&error, "reading rows"))
}

fn cell(row: &PgRow, index: usize, ty: &Type) -> Result<Cell> {
    let field = row
        .try_get_raw(index)
        .map_err(|error| StoreError::from_sqlx(&error, "reading rows"))?;
    if field.is_null() {
        return Ok(Cell::NULL);
    }
    let bytes = field.as_bytes().map_err(|error| {
        StoreError::new(ErrorKind::Unexpected, "reading rows", error.to_string())
    })?;
    binary::decode_field(bytes, ty).map_err(|error| {
        let context = format!("reading a value of type {ty}");
        StoreError::new(ErrorKind::SchemaDiffers, context, error.message())
    })
}
