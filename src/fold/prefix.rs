//! Which rows in memory have their first key columns in common, and whether they are all that there are. Knows nothing of
//! events and rules.

use super::key::prefix_bytes;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Rows of one table, grouped by their first key columns.
#[derive(Debug)]
pub(super) struct PrefixIndex {
    /// How many of the key columns.
    columns: usize,
    hasher: RandomState,
    index: HashTable<u32>,
    /// Places ever given out; those not in use are in `free`.
    groups: Vec<Group>,
    free: Vec<u32>,
    /// By row: where it stands.
    places: Vec<Place>,
    /// Groups that rules have reached since the last commit.
    reached: Vec<u32>,
    /// Of them, those whose rows must be loaded.
    needed: Vec<u32>,
    heap_bytes: usize,
    /// Rows that a rule reaches together belong to different owners.
    mixed: bool,
}

#[derive(Debug, Default)]
struct Group {
    key: Box<[u8]>,
    rows: Vec<u32>,
    /// The owner whose rules have reached it since the last commit.
    reached_by: Option<i32>,
    /// All rows with this prefix are in memory. Holds until the next commit at most: what is not there is not remembered for
    /// longer, another worker may have made it since.
    complete: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    group: u32,
    at: u32,
}

/// What the lists take for one row.
const ROW_BYTES: usize = size_of::<u32>() + size_of::<Place>();

impl PrefixIndex {
    pub(super) fn new(columns: usize) -> PrefixIndex {
        PrefixIndex {
            columns,
            hasher: RandomState::default(),
            index: HashTable::new(),
            groups: Vec::new(),
            free: Vec::new(),
            places: Vec::new(),
            reached: Vec::new(),
            needed: Vec::new(),
            heap_bytes: 0,
            mixed: false,
        }
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// The packed first key columns of a group.
    pub(super) fn key(&self, group: u32) -> &[u8] {
        &self.groups[group as usize].key
    }

    /// Takes in a row by its whole key; true if all rows with its prefix were known before it, so that this one does not exist.
    pub(super) fn insert(&mut self, row: u32, owner: i32, key: &[u8]) -> bool {
        let number = self.group_of(&key[..prefix_bytes(key, self.columns)]);
        let group = &mut self.groups[number as usize];
        self.mixed |= group.reached_by.is_some_and(|slot| slot != owner);
        let place = Place {
            group: number,
            at: group.rows.len() as u32,
        };
        group.rows.push(row);
        if self.places.len() <= row as usize {
            self.places.resize(row as usize + 1, Place::default());
        }
        self.places[row as usize] = place;
        self.heap_bytes += ROW_BYTES;
        self.groups[number as usize].complete
    }

    pub(super) fn remove(&mut self, row: u32) {
        let place = self.places[row as usize];
        let group = &mut self.groups[place.group as usize];
        group.rows.swap_remove(place.at as usize);
        if let Some(moved) = group.rows.get(place.at as usize) {
            self.places[*moved as usize].at = place.at;
        }
        self.heap_bytes -= ROW_BYTES;
        self.drop_if_idle(place.group);
    }

    /// A rule reaches all rows with this prefix. `complete`: there are no others than those in memory.
    pub(super) fn reach(
        &mut self,
        prefix: &[u8],
        owner: i32,
        complete: bool,
        owner_of: impl Fn(u32) -> i32,
    ) -> u32 {
        let number = self.group_of(prefix);
        let group = &mut self.groups[number as usize];
        match group.reached_by {
            Some(slot) => self.mixed |= slot != owner,
            None => {
                group.reached_by = Some(owner);
                self.mixed |= group.rows.iter().any(|row| owner_of(*row) != owner);
                self.reached.push(number);
                group.complete |= complete;
                if !group.complete {
                    self.needed.push(number);
                }
            }
        }
        number
    }

    pub(super) fn rows(&self, group: u32) -> &[u32] {
        &self.groups[group as usize].rows
    }

    /// The owner whose rule reached this prefix.
    pub(super) fn reached_by(&self, prefix: &[u8]) -> Option<i32> {
        let number = self.find(prefix)?;
        self.groups[number as usize].reached_by
    }

    /// Prefixes whose rows must be loaded.
    pub(super) fn needed(&self) -> impl Iterator<Item = &[u8]> {
        let groups = self.needed.iter();
        groups.map(|group| &*self.groups[*group as usize].key)
    }

    /// All rows that were needed are in memory. False if rows that are reached together belong to different owners.
    pub(super) fn needed_are_complete(&mut self) -> bool {
        for group in std::mem::take(&mut self.needed) {
            self.groups[group as usize].complete = true;
        }
        !self.mixed
    }

    /// The batch is over, either way.
    pub(super) fn end_batch(&mut self) {
        self.needed.clear();
        self.mixed = false;
        for number in std::mem::take(&mut self.reached) {
            let group = &mut self.groups[number as usize];
            group.reached_by = None;
            group.complete = false;
            self.drop_if_idle(number);
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.heap_bytes
    }

    fn hash(&self, prefix: &[u8]) -> u64 {
        self.hasher.hash_one(prefix)
    }

    fn find(&self, prefix: &[u8]) -> Option<u32> {
        let same = |group: &u32| *self.groups[*group as usize].key == *prefix;
        self.index.find(self.hash(prefix), same).copied()
    }

    fn group_of(&mut self, prefix: &[u8]) -> u32 {
        if let Some(number) = self.find(prefix) {
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.groups.push(Group::default());
            self.groups.len() as u32 - 1
        });
        self.heap_bytes += group_bytes(prefix);
        self.groups[number as usize].key = prefix.into();
        let (groups, hasher) = (&self.groups, &self.hasher);
        let hash_of = |group: &u32| hasher.hash_one(&*groups[*group as usize].key);
        self.index.insert_unique(self.hash(prefix), number, hash_of);
        number
    }

    fn drop_if_idle(&mut self, number: u32) {
        let group = &self.groups[number as usize];
        if !group.rows.is_empty() || group.reached_by.is_some() {
            return;
        }
        let hash = self.hash(&group.key);
        if let Ok(entry) = self.index.find_entry(hash, |group| *group == number) {
            entry.remove();
        }
        let group = std::mem::take(&mut self.groups[number as usize]);
        self.heap_bytes -= group_bytes(&group.key);
        self.free.push(number);
    }
}

/// What a group takes beside its rows.
fn group_bytes(prefix: &[u8]) -> usize {
    size_of::<Group>() + 2 * size_of::<u32>() + prefix.len()
}
