//! What an expression may name, and the slots that its payload members and headers get. Knows nothing of expressions.

use std::collections::HashMap;
use std::ops::Range;

use crate::event::Path;

use super::value::Type;

/// The names in scope of one expression. Paths and headers are collected over all expressions of a projection.
pub struct Scope<'s> {
    /// The row's columns, in the order of its cells; empty where the row may not be read.
    pub columns: &'s [(String, Type)],
    /// Whether `old.<column>` may be read.
    pub old: bool,
    /// Rows of other tables, each under its own name.
    pub lookups: &'s [Lookup],
    /// Below `each`: where `item.<path>` gets its slots; then `index` may be read too.
    pub item: Option<&'s mut Paths>,
    pub data: &'s mut Paths,
    pub headers: &'s mut Names,
}

/// A row of another table, as expressions name it.
#[derive(Debug)]
pub struct Lookup {
    pub name: String,
    /// In the order of its cells.
    pub columns: Vec<(String, Type)>,
}

/// Member paths, each once; its place is its slot.
#[derive(Debug, Default)]
pub struct Paths {
    list: Vec<Path>,
    slots: HashMap<Path, usize>,
    /// Slots, and where in the expression they are named; since they were last taken.
    named: Vec<(usize, Range<usize>)>,
}

impl Paths {
    pub fn new() -> Paths {
        Paths::default()
    }

    pub fn slot(&mut self, path: Path) -> usize {
        if let Some(slot) = self.slots.get(&path) {
            return *slot;
        }
        let slot = self.list.len();
        self.slots.insert(path.clone(), slot);
        self.list.push(path);
        slot
    }

    /// As [`Paths::slot`], and keeps where the path is named.
    pub(super) fn slot_at(&mut self, path: Path, span: Range<usize>) -> usize {
        let slot = self.slot(path);
        self.named.push((slot, span));
        slot
    }

    /// What has been named since the last time.
    pub fn take_named(&mut self) -> Vec<(usize, Range<usize>)> {
        std::mem::take(&mut self.named)
    }

    pub fn as_slice(&self) -> &[Path] {
        &self.list
    }

    pub fn into_vec(self) -> Vec<Path> {
        self.list
    }
}

/// Header names, each once; its place is its slot.
#[derive(Debug, Default)]
pub struct Names(Vec<String>);

impl Names {
    pub fn new() -> Names {
        Names::default()
    }

    pub fn slot(&mut self, name: &str) -> usize {
        let known = self.0.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        })
    }

    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    pub fn into_vec(self) -> Vec<String> {
        self.0
    }
}
