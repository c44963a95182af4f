//! The rows of one table that a lane holds in memory: an index by packed key and owner, rows in chunks that never move, and the
//! marks that tell what the batch did to them. Knows nothing of events and rules.

use super::index::RowIndex;
use super::key::PackedKey;
use super::prefetch;
use super::prefix::PrefixIndex;
use crate::expression::cell::Cell;
use crate::expression::quick::Told;
use foldhash::fast::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Rows per allocation.
const CHUNK_ROWS: usize = 512;

/// The owner slot of rows in tables whose rows partitions share.
pub const SHARED_SLOT: i32 = -1;

pub(super) mod mark {
    /// The place holds a row (be it one that is known to be absent).
    pub(crate) const USED: u8 = 1;
    /// There is such a row, as far as the fold has come.
    pub(crate) const PRESENT: u8 = 2;
    /// There was such a row in the database before the batch.
    pub(crate) const STORED: u8 = 4;
    /// Not yet known whether there is such a row: it must be loaded.
    pub(crate) const NEEDED: u8 = 8;
    /// Changed by the batch, and in the list of changed rows.
    pub(crate) const DIRTY: u8 = 16;
    /// Touched since eviction last came by.
    pub(crate) const REFERENCED: u8 = 32;
}

/// Rows of one table.
#[derive(Debug)]
pub(super) struct TableCache {
    stride: usize,
    index: RowIndex,
    hasher: RandomState,
    chunks: Vec<Chunk>,
    /// Places ever given out; those not in use are in `free`.
    places: u32,
    free: Vec<u32>,
    heap_bytes: usize,
    /// Rows the batch has changed.
    dirty: Vec<u32>,
    /// Rows that the batch brought in: absent ones do not outlive it.
    fresh: Vec<u32>,
    /// Those of them that were brought in `NEEDED`, until it is known what there is of them. A load brings in millions and needs none:
    /// nobody looks through `fresh` for them.
    needed: Vec<u32>,
    hand: u32,
    /// One per number of first key columns by which rules reach rows.
    pub(super) prefixes: Vec<PrefixIndex>,
    /// A row has been evicted: from then on an unknown row may be stored.
    pub(super) evicted: bool,
}

#[derive(Debug)]
struct Chunk {
    heads: Box<[Head]>,
    cells: Box<[Cell]>,
}

/// What is known of a row beside its cells.
#[derive(Debug)]
pub(super) struct Head {
    key: PackedKey,
    slot: i32,
    pub(super) marks: u8,
}

/// A row whose cells are changed, and the cache's account of what they hold outside of themselves.
pub(super) struct RowMut<'c> {
    cells: &'c mut [Cell],
    heap_bytes: &'c mut usize,
}

impl RowMut<'_> {
    /// Puts `cell` in place and hands out the one that was there.
    #[inline]
    pub(super) fn replace(&mut self, column: usize, cell: Cell) -> Cell {
        let old = &mut self.cells[column];
        *self.heap_bytes += cell.heap_bytes();
        *self.heap_bytes -= old.heap_bytes();
        std::mem::replace(old, cell)
    }

    /// Puts a value in place.
    #[inline(always)]
    pub(super) fn set(&mut self, column: usize, told: Told<'_>) {
        let cell = &mut self.cells[column];
        *self.heap_bytes -= cell.heap_bytes();
        cell.set(told);
        *self.heap_bytes += cell.heap_bytes();
    }
}

impl Head {
    const EMPTY: Head = Head {
        key: PackedKey::EMPTY,
        slot: SHARED_SLOT,
        marks: 0,
    };

    #[inline]
    pub(super) fn has(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    pub(super) fn key(&self) -> &[u8] {
        self.key.bytes()
    }

    pub(super) fn slot(&self) -> i32 {
        self.slot
    }
}

impl TableCache {
    pub(super) fn new(columns: usize, prefix_lens: &[usize]) -> TableCache {
        TableCache {
            stride: columns,
            index: RowIndex::default(),
            hasher: RandomState::default(),
            chunks: Vec::new(),
            places: 0,
            free: Vec::new(),
            heap_bytes: 0,
            dirty: Vec::new(),
            fresh: Vec::new(),
            needed: Vec::new(),
            hand: 0,
            prefixes: prefix_lens
                .iter()
                .map(|len| PrefixIndex::new(*len))
                .collect(),
            evicted: false,
        }
    }

    #[inline]
    pub(super) fn head(&self, row: u32) -> &Head {
        let (chunk, at) = place(row);
        &self.chunks[chunk].heads[at]
    }

    #[inline]
    pub(super) fn head_mut(&mut self, row: u32) -> &mut Head {
        let (chunk, at) = place(row);
        &mut self.chunks[chunk].heads[at]
    }

    #[inline]
    pub(super) fn cells(&self, row: u32) -> &[Cell] {
        let (chunk, at) = place(row);
        &self.chunks[chunk].cells[at * self.stride..(at + 1) * self.stride]
    }

    /// Puts `cell` in place and hands out the one that was there.
    #[inline]
    pub(super) fn replace(&mut self, row: u32, column: usize, cell: Cell) -> Cell {
        self.row_mut(row).replace(column, cell)
    }

    #[inline]
    pub(super) fn row_mut(&mut self, row: u32) -> RowMut<'_> {
        let (chunk, at) = place(row);
        RowMut {
            cells: &mut self.chunks[chunk].cells[at * self.stride..(at + 1) * self.stride],
            heap_bytes: &mut self.heap_bytes,
        }
    }

    /// What a key is found by.
    #[inline]
    pub(super) fn hash_of(&self, slot: i32, key: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_i32(slot);
        hasher.write(key);
        hasher.finish()
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, slot: i32, key: &[u8]) -> Option<u32> {
        self.index.find(hash, |row| {
            let head = self.head(row);
            head.slot == slot && head.key.bytes() == key
        })
    }

    /// Has the processor fetch a row that is soon asked for: it waits for memory longer than for anything else that a fold does.
    #[inline]
    pub(super) fn prefetch(&self, row: u32) {
        let (chunk, at) = place(row);
        if let Some(chunk) = self.chunks.get(chunk) {
            prefetch::lines_of(std::slice::from_ref(&chunk.heads[at]));
            prefetch::lines_of(&chunk.cells[at * self.stride..(at + 1) * self.stride]);
        }
    }

    /// The same of what [`TableCache::likely`] looks at.
    #[inline]
    pub(super) fn prefetch_place(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Whichever row is most likely the one with this hash. Its head is fetched, which tells whether it is.
    #[inline]
    pub(super) fn likely(&self, hash: u64) -> Option<u32> {
        let row = self.index.find(hash, |_| true)?;
        let (chunk, at) = place(row);
        prefetch::lines_of(&self.chunks[chunk].heads[at..=at]);
        Some(row)
    }

    /// Whether the row, which may be in use or not, is the one for this owner and key of one text.
    #[inline]
    pub(super) fn has_text_key(&self, row: u32, slot: i32, key: &str) -> bool {
        let head = self.head(row);
        // Behind the length word.
        let text = head.key.bytes().get(4..);
        head.has(mark::USED) && head.slot == slot && text == Some(key.as_bytes())
    }

    /// The key is not in the index. The new row's cells are null and its marks `USED` alone; also `NEEDED`, if `known` does not
    /// say otherwise, unless all rows with its prefix are known.
    pub(super) fn insert_needed(&mut self, hash: u64, slot: i32, key: &[u8], known: bool) -> u32 {
        let (row, known_by_prefix) = self.insert_known(hash, slot, key);
        if !known && !known_by_prefix {
            self.head_mut(row).marks |= mark::NEEDED;
            self.needed.push(row);
        }
        row
    }

    /// The key is not in the index. The new row's cells are null and its marks `USED` alone.
    pub(super) fn insert(&mut self, hash: u64, slot: i32, key: &[u8]) -> u32 {
        self.insert_known(hash, slot, key).0
    }

    fn insert_known(&mut self, hash: u64, slot: i32, key: &[u8]) -> (u32, bool) {
        let row = self.free.pop().unwrap_or_else(|| {
            if self.places as usize == self.chunks.len() * CHUNK_ROWS {
                self.chunks.push(Chunk {
                    heads: (0..CHUNK_ROWS).map(|_| Head::EMPTY).collect(),
                    cells: (0..CHUNK_ROWS * self.stride).map(|_| Cell::NULL).collect(),
                });
            }
            self.places += 1;
            self.places - 1
        });
        let mut known = false;
        for prefix in &mut self.prefixes {
            known |= prefix.insert(row, slot, key);
        }
        let key = PackedKey::new(key);
        self.heap_bytes += key.heap_bytes();
        *self.head_mut(row) = Head {
            key,
            slot,
            marks: mark::USED,
        };
        self.fresh.push(row);
        self.index.insert(hash, row);
        (row, known)
    }

    fn remove(&mut self, row: u32) {
        let head = std::mem::replace(self.head_mut(row), Head::EMPTY);
        debug_assert!(head.has(mark::USED));
        self.heap_bytes -= head.key.heap_bytes();
        let hash = self.hash_of(head.slot, head.key.bytes());
        let was_there = self.index.remove(hash, row);
        debug_assert!(was_there, "a row in use is in the index");
        for column in 0..self.stride {
            self.replace(row, column, Cell::NULL);
        }
        for prefix in &mut self.prefixes {
            prefix.remove(row);
        }
        self.free.push(row);
    }

    #[inline]
    pub(super) fn mark_dirty(&mut self, row: u32) {
        let head = self.head_mut(row);
        if !head.has(mark::DIRTY) {
            head.marks |= mark::DIRTY;
            self.dirty.push(row);
        }
    }

    pub(super) fn dirty(&self) -> &[u32] {
        &self.dirty
    }

    /// Rows that must be loaded.
    pub(super) fn needed(&self) -> impl Iterator<Item = u32> {
        let needed = self.needed.iter().copied();
        needed.filter(|row| self.head(*row).has(mark::NEEDED))
    }

    /// A rule reaches all rows with this prefix; gives the number of their group. `complete`: all of them are in memory.
    pub(super) fn reach(&mut self, prefix: usize, slot: i32, key: &[u8], complete: bool) -> u32 {
        let chunks = &self.chunks;
        let owner_of = |row| {
            let (chunk, at) = place(row);
            chunks[chunk].heads[at].slot
        };
        self.prefixes[prefix].reach(key, slot, complete, owner_of)
    }

    /// Rows that are still needed have been looked for, and are not there. False if rows that a rule reaches together belong to
    /// different owners.
    pub(super) fn needed_are_absent(&mut self) -> bool {
        for at in 0..self.needed.len() {
            let row = self.needed[at];
            self.head_mut(row).marks &= !mark::NEEDED;
        }
        self.needed.clear();
        // Each is told, also behind one that is not sound.
        let mut sound = true;
        for prefix in &mut self.prefixes {
            sound &= prefix.needed_are_complete();
        }
        sound
    }

    /// What the batch left is what the database holds: nothing is dirty any more, rows that are gone are forgotten, and of a
    /// shared table all.
    pub(super) fn committed(&mut self, keep: bool) {
        for row in std::mem::take(&mut self.dirty) {
            let head = self.head_mut(row);
            head.marks &= !mark::DIRTY;
            if head.has(mark::PRESENT) {
                head.marks |= mark::STORED;
            } else {
                head.marks &= !mark::STORED;
                self.fresh.push(row);
            }
        }
        for row in std::mem::take(&mut self.fresh) {
            let head = self.head(row);
            if head.has(mark::USED) && !(keep && head.has(mark::PRESENT)) {
                self.remove(row);
            }
        }
        self.end_batch();
    }

    fn end_batch(&mut self) {
        for prefix in &mut self.prefixes {
            prefix.end_batch();
        }
    }

    /// Forgets every row that the batch changed or brought in, so that memory tells again what the database did before it.
    pub(super) fn discard(&mut self) {
        self.needed.clear();
        let dirty = std::mem::take(&mut self.dirty);
        for row in dirty.into_iter().chain(std::mem::take(&mut self.fresh)) {
            if self.head(row).has(mark::USED) {
                self.remove(row);
            }
        }
        self.end_batch();
    }

    pub(super) fn clear(&mut self) {
        let prefix_lens: Vec<usize> = self.prefixes.iter().map(PrefixIndex::columns).collect();
        *self = TableCache {
            evicted: self.evicted,
            ..TableCache::new(self.stride, &prefix_lens)
        };
    }

    /// Forgets the rows of one owner, those that are not in the database yet too. Not while a batch is planned.
    pub(super) fn forget_slot(&mut self, slot: i32) {
        let mut lists = [
            std::mem::take(&mut self.dirty),
            std::mem::take(&mut self.fresh),
        ];
        for list in &mut lists {
            list.retain(|row| self.head(*row).slot != slot);
        }
        [self.dirty, self.fresh] = lists;
        for row in 0..self.places {
            let head = self.head(row);
            if head.has(mark::USED) && head.slot == slot {
                self.remove(row);
            }
        }
    }

    /// Looks at up to `rows` rows in turn and forgets those that are neither dirty nor touched since the last look.
    pub(super) fn evict(&mut self, rows: u32) {
        for _ in 0..rows.min(self.places) {
            self.hand = (self.hand + 1) % self.places;
            let head = self.head_mut(self.hand);
            if !head.has(mark::USED) || head.has(mark::DIRTY) {
                continue;
            }
            if head.has(mark::REFERENCED) {
                head.marks &= !mark::REFERENCED;
            } else {
                self.evicted = true;
                self.remove(self.hand);
            }
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.places as usize - self.free.len()
    }

    /// Memory that the rows in use take.
    pub(super) fn used_bytes(&self) -> usize {
        self.rows() * self.row_bytes() + self.heap_bytes + self.prefix_bytes()
    }

    fn prefix_bytes(&self) -> usize {
        self.prefixes.iter().map(PrefixIndex::heap_bytes).sum()
    }

    /// Memory that is allocated for rows, in use or not.
    pub(super) fn allocated_bytes(&self) -> usize {
        let lists = [&self.free, &self.dirty, &self.fresh, &self.needed];
        let lists: usize = lists.iter().map(|list| list.capacity()).sum();
        self.chunks.len() * CHUNK_ROWS * (size_of::<Head>() + self.stride * size_of::<Cell>())
            + self.index.bytes()
            + lists * size_of::<u32>()
            + self.heap_bytes
            + self.prefix_bytes()
    }

    fn row_bytes(&self) -> usize {
        // The index is between a third and two thirds full.
        size_of::<Head>() + self.stride * size_of::<Cell>() + 2 * size_of::<u64>()
    }
}

#[inline(always)]
fn place(row: u32) -> (usize, usize) {
    (row as usize / CHUNK_ROWS, row as usize % CHUNK_ROWS)
}
