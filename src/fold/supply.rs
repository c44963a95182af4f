//! Between the two passes: which rows memory lacks, and what the database holds of them. Knows nothing of rules.

use super::cache::mark;
use super::{Folder, Needs, SHARED_SLOT, key};
use crate::expression::cell::Cell;

/// A row as the database holds it.
#[derive(Debug)]
pub struct LoadedRow<'r> {
    /// In the order of the table's columns; they are taken out.
    pub cells: &'r mut [Cell],
    /// The checkpoint slot that owns it; of no meaning in a shared table.
    pub owner: Option<i32>,
}

/// Two partitions meet one row of a table that was to be owned by one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnershipConflict {
    /// Index into [`Projection::tables`].
    pub table: usize,
}

impl Folder {
    /// Rows of a table that must be loaded, or locked and loaded, before the batch is folded.
    pub fn needs(&self, table: usize) -> Needs<'_> {
        let state = &self.tables[table];
        Needs::of(&state.cache, state.shared)
    }

    /// Takes a row that [`Folder::needs`] asked for by its key. On a conflict the batch cannot be folded.
    pub fn supply(&mut self, table: usize, row: LoadedRow<'_>) -> Result<(), OwnershipConflict> {
        let conflict = OwnershipConflict { table };
        let (_, place) = self.place_of(table, &row)?;
        self.tables[table].take(place.ok_or(conflict)?, row.cells);
        Ok(())
    }

    /// Takes a row that [`Folder::needs`] asked for by its first key columns, and how many those were. What memory knows of the
    /// row counts for more: it is ahead of the database. On a conflict the batch cannot be folded.
    pub fn supply_of_prefix(
        &mut self,
        table: usize,
        columns: usize,
        row: LoadedRow<'_>,
    ) -> Result<(), OwnershipConflict> {
        let (slot, place) = self.place_of(table, &row)?;
        let state = &mut self.tables[table];
        let index = state.cache.prefixes.iter();
        let mut index = index.filter(|index| index.columns() == columns);
        let prefix = &self.key[..key::prefix_bytes(&self.key, columns)];
        let reached_by = index.next().and_then(|index| index.reached_by(prefix));
        let slot = slot.filter(|slot| reached_by == Some(*slot));
        let slot = slot.ok_or(OwnershipConflict { table })?;
        let known = |place: &u32| !state.cache.head(*place).has(mark::NEEDED);
        if place.as_ref().is_some_and(known) {
            return Ok(());
        }
        let place = place.unwrap_or_else(|| {
            let hash = state.cache.hash_of(slot, &self.key);
            state.cache.insert(hash, slot, &self.key)
        });
        state.take(place, row.cells);
        Ok(())
    }

    /// The owner slot of a loaded row (none if nobody owns it), and its place, if memory has one for it. The row's key is left
    /// in `self.key`.
    fn place_of(
        &mut self,
        table: usize,
        row: &LoadedRow<'_>,
    ) -> Result<(Option<i32>, Option<u32>), OwnershipConflict> {
        let columns = &self.projection.tables[table].columns;
        let key_len = self.projection.tables[table].key_len;
        let state = &self.tables[table];
        self.key.clear();
        for (cell, column) in row.cells.iter().zip(columns).take(key_len) {
            key::pack(cell.value(), &column.column_type, &mut self.key);
        }
        let find = |slot| {
            let hash = state.cache.hash_of(slot, &self.key);
            state.cache.find(hash, slot, &self.key)
        };
        if state.shared {
            return Ok((Some(SHARED_SLOT), find(SHARED_SLOT)));
        }
        // Whoever else of this batch knows the key must not go on believing that the row is its own, or is not there.
        let foreign = |slot: &&i32| Some(**slot) != row.owner && find(**slot).is_some();
        match self.slots.iter().find(foreign) {
            Some(_) => Err(OwnershipConflict { table }),
            None => Ok((row.owner, row.owner.and_then(find))),
        }
    }

    /// Needed rows that were not supplied do not exist. On a conflict the batch cannot be folded.
    pub fn supply_missing_as_absent(&mut self) -> Result<(), OwnershipConflict> {
        let states = self.tables.iter_mut().enumerate();
        let conflicts = states.filter_map(|(table, state)| {
            let sound = state.cache.needed_are_absent();
            (!sound).then_some(OwnershipConflict { table })
        });
        // Of every table, also behind a conflict: what is left must be in order.
        conflicts.reduce(|first, _| first).map_or(Ok(()), Err)
    }
}
