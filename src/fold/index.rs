//! Where the row of a key is: numbers of rows by the hashes of their keys, in one array. A look at a key that is not in the
//! processor's caches costs one wait for memory, and can be asked for ahead of its turn, which libraries' tables do not offer.

use super::prefetch;

/// Places of an index that has no rows yet. A power of two.
const PLACES_MIN: usize = 16;

/// Linear probing: from the place that the hash gives on, rows stand in the next places that were free.
#[derive(Debug)]
pub(super) struct RowIndex {
    /// The row's number and, above it, 32 bits of its key's hash; or [`FREE`]. A power of two long.
    places: Box<[u64]>,
    /// From the 32 bits of a hash to its place.
    shift: u32,
    rows: usize,
}

/// No row has this number.
const FREE: u64 = u32::MAX as u64;

impl Default for RowIndex {
    fn default() -> RowIndex {
        RowIndex::with_places(PLACES_MIN)
    }
}

impl RowIndex {
    fn with_places(places: usize) -> RowIndex {
        RowIndex {
            places: vec![FREE; places].into(),
            shift: u32::BITS - places.trailing_zeros(),
            rows: 0,
        }
    }

    /// Has the processor fetch what [`RowIndex::find`] will look at.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        let at = self.home(bits_of(hash));
        prefetch::lines_of(&self.places[at..=at]);
    }

    /// The row with this hash that is the one.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let bits = bits_of(hash);
        let mut at = self.home(bits);
        loop {
            let place = self.places[at];
            if place == FREE {
                return None;
            }
            if place >> 32 == u64::from(bits) && is_it(place as u32) {
                return Some(place as u32);
            }
            at = self.next(at);
        }
    }

    /// The row is not in the index.
    pub(super) fn insert(&mut self, hash: u64, row: u32) {
        debug_assert!(u64::from(row) != FREE);
        // More than two thirds full, rows would stand far from where they are looked for.
        if (self.rows + 1) * 3 > self.places.len() * 2 {
            let mut larger = RowIndex::with_places(self.places.len() * 2);
            for place in self.places.iter().filter(|place| **place != FREE) {
                larger.put(*place);
            }
            *self = larger;
        }
        self.put(u64::from(bits_of(hash)) << 32 | u64::from(row));
    }

    fn put(&mut self, place: u64) {
        let mut at = self.home((place >> 32) as u32);
        while self.places[at] != FREE {
            at = self.next(at);
        }
        self.places[at] = place;
        self.rows += 1;
    }

    /// Forgets a row; false if it is not there.
    pub(super) fn remove(&mut self, hash: u64, row: u32) -> bool {
        let sought = u64::from(bits_of(hash)) << 32 | u64::from(row);
        let mut gap = self.home(bits_of(hash));
        while self.places[gap] != sought {
            if self.places[gap] == FREE {
                return false;
            }
            gap = self.next(gap);
        }
        // Rows behind it that would no longer be found move up.
        let mut at = self.next(gap);
        while self.places[at] != FREE {
            let home = self.home((self.places[at] >> 32) as u32);
            if self.distance(home, at) >= self.distance(gap, at) {
                self.places[gap] = self.places[at];
                gap = at;
            }
            at = self.next(at);
        }
        self.places[gap] = FREE;
        self.rows -= 1;
        true
    }

    /// Memory that is allocated.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.places)
    }

    #[inline(always)]
    fn home(&self, bits: u32) -> usize {
        (bits >> self.shift) as usize
    }

    #[inline(always)]
    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.places.len() - 1)
    }

    /// Steps from one place on to another.
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.places.len() - 1)
    }
}

/// Those of a hash that the index keeps: its place, and what tells most other keys of that place from it.
#[inline(always)]
fn bits_of(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use std::collections::BTreeMap;

    #[test]
    fn it_finds_what_was_put_in_and_not_taken_out() {
        let seed = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        // Few hashes meet at many places; with the upper bits set, at the last ones, behind which it goes on at the first.
        let kinds =
            [3, 40, 1 << 20].map(|hashes| [0, 0xE000, 0xFFFF].map(|upper| (hashes, upper << 48)));
        for (hashes, upper) in kinds.concat() {
            let hash_of = |n: u64| (n % hashes).wrapping_mul(0x9E37_79B9_7F4A_7C15) | upper;
            let mut index = RowIndex::default();
            let mut rows: BTreeMap<u32, u64> = BTreeMap::new();
            for _ in 0..3_000 {
                let row = random.random_range(0..400);
                match rows.remove(&row) {
                    Some(hash) => assert!(index.remove(hash, row)),
                    None => {
                        let hash = hash_of(random.random());
                        index.insert(hash, row);
                        rows.insert(row, hash);
                    }
                }
                let asked = random.random_range(0..400);
                let hash = rows.get(&asked).copied();
                let found = index.find(hash.unwrap_or(hash_of(7)), |row| row == asked);
                assert_eq!(found, hash.map(|_| asked));
                assert_eq!(index.rows, rows.len());
            }
            assert!(!index.remove(hash_of(1), 1_000));
            for (row, hash) in &rows {
                assert_eq!(index.find(*hash, |found| found == *row), Some(*row));
                assert!(index.remove(*hash, *row));
            }
            assert!(index.places.iter().all(|place| *place == FREE));
        }
    }
}
