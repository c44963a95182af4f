//! What a batch reads and what it did, as the store wants it: rows by table, sorted by packed key.

use super::cache::{TableCache, mark};
use super::history::RowState;
use super::key::{key_fields, prefix_bytes};
use crate::expression::cell::Cell;

/// Rows of one table, sorted by packed key bytes.
#[derive(Debug)]
pub struct Rows<'f> {
    cache: &'f TableCache,
    rows: Vec<u32>,
}

/// Rows that must be read before the batch can be folded.
#[derive(Debug)]
pub struct Needs<'f> {
    /// The rows must be locked (and absent ones claimed) before they are read: partitions share the table.
    pub lock: bool,
    /// Only key, key cells and owner mean anything.
    pub rows: Rows<'f>,
    /// All rows with these prefixes are needed, those that are there.
    pub prefixes: Vec<Prefixes<'f>>,
    /// Where partitions share the table and rules reach rows by prefix: what has to be locked before any row, so that nobody
    /// adds rows to a prefix that somebody else reaches.
    pub guards: Option<Prefixes<'f>>,
}

/// First key columns that rows have in common, sorted by packed bytes, each once.
#[derive(Debug)]
pub struct Prefixes<'f> {
    /// How many of the key columns.
    pub columns: usize,
    keys: Vec<&'f [u8]>,
}

/// What a batch did to the tables: `changes.tables[n]` belongs to the projection's `n`th table.
#[derive(Debug)]
pub struct Changes<'f> {
    pub tables: Vec<TableChanges<'f>>,
}

/// What a batch did to one table. Of a deleted row only key, key cells and owner mean anything.
#[derive(Debug)]
pub struct TableChanges<'f> {
    /// Rows that the database did not have.
    pub inserts: Rows<'f>,
    pub updates: Rows<'f>,
    pub deletes: Rows<'f>,
    /// States that rows have had, in the order of events.
    pub states: &'f [RowState],
}

/// How many rows before its use a row is fetched.
const AHEAD: usize = 8;

impl<'f> Rows<'f> {
    pub(super) fn sorted(cache: &'f TableCache, mut rows: Vec<u32>) -> Rows<'f> {
        if rows.len() > 1 {
            // Most keys differ in their first bytes: those are compared without going back to the rows.
            let mut heads: Vec<([u64; 3], u32)> = rows
                .iter()
                .map(|&row| (prefix(cache.head(row).key()), row))
                .collect();
            heads.sort_unstable_by(|a, b| {
                let full = || cache.head(a.1).key().cmp(cache.head(b.1).key());
                a.0.cmp(&b.0).then_with(full)
            });
            rows.clear();
            rows.extend(heads.iter().map(|head| head.1));
        }
        Rows { cache, rows }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The key columns as PostgreSQL binary fields (length word and bytes), one after the other.
    pub fn key(&self, n: usize) -> &'f [u8] {
        self.cache.head(self.rows[n]).key()
    }

    /// The key column by column, each with its length word.
    pub fn key_fields(&self, n: usize) -> impl Iterator<Item = &'f [u8]> + use<'f> {
        key_fields(self.key(n))
    }

    /// In the order of the table's columns. Rows are mostly asked for one after the other, and those that come next are fetched: in
    /// the order of keys they lie anywhere.
    pub fn cells(&self, n: usize) -> &'f [Cell] {
        if let Some(soon) = self.rows.get(n + AHEAD) {
            self.cache.prefetch(*soon);
        }
        self.cache.cells(self.rows[n])
    }

    /// The checkpoint slot that owns the row; -1 in a shared table.
    pub fn owner(&self, n: usize) -> i32 {
        self.cache.head(self.rows[n]).slot()
    }
}

impl<'f> Needs<'f> {
    pub(super) fn of(cache: &'f TableCache, shared: bool) -> Needs<'f> {
        let rows = Rows::sorted(cache, cache.needed().collect());
        let prefixes: Vec<Prefixes<'f>> = cache
            .prefixes
            .iter()
            .map(|index| Prefixes::sorted(index.columns(), index.needed().collect()))
            .filter(|prefixes| !prefixes.is_empty())
            .collect();
        // The shortest prefix guards the longer ones too.
        let guards = cache.prefixes.first().filter(|_| shared).map(|index| {
            let keys = (0..rows.len()).map(|n| rows.key(n));
            let all = keys.chain(prefixes.iter().flat_map(|prefixes| prefixes.keys()));
            let first = |key: &'f [u8]| &key[..prefix_bytes(key, index.columns())];
            Prefixes::sorted(index.columns(), all.map(first).collect())
        });
        Needs {
            lock: shared,
            rows,
            prefixes,
            guards,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.prefixes.is_empty()
    }
}

impl<'f> Prefixes<'f> {
    fn sorted(columns: usize, mut keys: Vec<&'f [u8]>) -> Prefixes<'f> {
        keys.sort_unstable();
        keys.dedup();
        Prefixes { columns, keys }
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Each as PostgreSQL binary fields (length word and bytes), one after the other.
    pub fn keys(&self) -> impl Iterator<Item = &'f [u8]> {
        self.keys.iter().copied()
    }
}

impl<'f> TableChanges<'f> {
    pub(super) fn of(cache: &'f TableCache, states: &'f [RowState]) -> TableChanges<'f> {
        let (mut inserts, mut updates, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
        for &row in cache.dirty() {
            let head = cache.head(row);
            match (head.has(mark::STORED), head.has(mark::PRESENT)) {
                (false, true) => inserts.push(row),
                (true, true) => updates.push(row),
                (true, false) => deletes.push(row),
                (false, false) => {}
            }
        }
        TableChanges {
            inserts: Rows::sorted(cache, inserts),
            updates: Rows::sorted(cache, updates),
            deletes: Rows::sorted(cache, deletes),
            states,
        }
    }

    pub fn is_empty(&self) -> bool {
        let rows = [&self.inserts, &self.updates, &self.deletes];
        rows.iter().all(|rows| rows.is_empty()) && self.states.is_empty()
    }
}

impl Changes<'_> {
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(TableChanges::is_empty)
    }
}

/// The first 24 bytes, zeros behind a shorter key, in the order of bytes.
fn prefix(key: &[u8]) -> [u64; 3] {
    let mut bytes = [0; 24];
    let len = key.len().min(bytes.len());
    bytes[..len].copy_from_slice(&key[..len]);
    let (words, _) = bytes.as_chunks::<8>();
    [0, 1, 2].map(|at| u64::from_be_bytes(words[at]))
}
