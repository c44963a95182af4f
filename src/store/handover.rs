//! Between the fold and the store: keys that the fold needs, rows that the store loaded, changes that it writes. The one
//! place that knows both shapes.

use super::encode::{
    EncodedChanges, EncodedKeys, EncodedRows, EncodedTable, KeysEncoder, Purpose, RowsEncoder,
};
use super::error::StoreError;
use super::lane::Transaction;
use super::layout::{Layout, TableLayout};
use super::load::{Loaded, Wanted};
use crate::fold::{self, Changes, Folder, LoadedRow, Needs, OwnershipConflict, Prefixes};

/// What a table needs, sorted as the fold sorts it: the order in which everybody locks.
pub fn wanted(layout: &Layout, table: usize, needs: &Needs<'_>) -> Wanted {
    let layout = &layout.tables[table];
    let mut keys = KeysEncoder::new(layout);
    for n in 0..needs.rows.len() {
        keys.push_fields(needs.rows.key_fields(n));
    }
    let of = |prefixes: &Prefixes<'_>| {
        let mut encoder = KeysEncoder::for_prefixes(layout, prefixes.columns);
        for prefix in prefixes.keys() {
            encoder.push_fields(fold::key_fields(prefix));
        }
        encoder.finish()
    };
    let prefixes = needs.prefixes.iter();
    Wanted {
        keys: keys.finish(),
        prefixes: prefixes
            .map(|prefixes| (prefixes.columns, of(prefixes)))
            .collect(),
        guards: needs.guards.as_ref().map(of).unwrap_or_default(),
    }
}

/// Gives loaded rows to the fold.
///
/// # Errors
/// A row is owned by another partition than the one whose event asked for it.
pub fn supply(
    folder: &mut Folder,
    table: usize,
    loaded: &mut Loaded,
) -> Result<(), OwnershipConflict> {
    let some = |owner: i32| (owner >= 0).then_some(owner);
    for (owner, cells) in loaded.by_key.drain() {
        let owner = some(owner);
        folder.supply(table, LoadedRow { cells, owner })?;
    }
    for (columns, rows) in &mut loaded.by_prefix {
        for (owner, cells) in rows.drain() {
            let owner = some(owner);
            folder.supply_of_prefix(table, *columns, LoadedRow { cells, owner })?;
        }
    }
    Ok(())
}

/// Everything that a batch did, encoded to be written by another thread.
pub fn changes(layout: &Layout, changes: &Changes<'_>) -> EncodedChanges {
    let tables = layout.tables.iter().zip(&changes.tables).enumerate();
    let changed = tables.filter(|(_, (_, change))| !change.is_empty());
    EncodedChanges {
        tables: changed
            .map(|(table, (layout, change))| EncodedTable {
                table,
                inserts: rows(layout, Purpose::Insert, &change.inserts),
                updates: rows(layout, Purpose::Update, &change.updates),
                deletes: deletes(layout, &change.deletes),
                states: states(layout, change.states),
            })
            .collect(),
        ..EncodedChanges::default()
    }
}

/// Writes what a load did, which is new rows alone.
///
/// # Errors
/// As [`Transaction::write`].
pub async fn load(
    transaction: &mut Transaction<'_>,
    changes: &Changes<'_>,
) -> Result<(), StoreError> {
    for (table, change) in changes.tables.iter().enumerate() {
        let known = change.updates.len() + change.deletes.len();
        assert_eq!(known, 0, "a load meets no row that is stored already");
        let inserts = &change.inserts;
        let rows = (0..inserts.len()).map(|n| (inserts.cells(n), inserts.owner(n)));
        let states = change.states.iter();
        let states = states.map(|state| (&*state.cells, state.owner));
        if !change.is_empty() {
            transaction.copy_in(table, rows, states).await?;
        }
    }
    fail::fail_point!("batch-written");
    Ok(())
}

fn rows(layout: &TableLayout, purpose: Purpose, rows: &fold::Rows<'_>) -> EncodedRows {
    let mut encoder = RowsEncoder::new(layout, purpose, rows.len());
    for n in 0..rows.len() {
        encoder.push(rows.cells(n), rows.owner(n));
    }
    encoder.finish()
}

fn states(layout: &TableLayout, states: &[fold::RowState]) -> EncodedRows {
    let Some(layout) = &layout.states else {
        return EncodedRows::none();
    };
    let mut encoder = RowsEncoder::new(layout, Purpose::Insert, states.len());
    for state in states {
        encoder.push(&*state.cells, state.owner);
    }
    encoder.finish()
}

fn deletes(layout: &TableLayout, rows: &fold::Rows<'_>) -> EncodedKeys {
    let mut encoder = KeysEncoder::for_deletes(layout);
    for n in 0..rows.len() {
        encoder.push_owned(&rows.cells(n)[..layout.key_len], rows.owner(n));
    }
    encoder.finish()
}
