//! Which members to take out of a JSON text: paths compiled once into a trie. Knows nothing of the text.

use crate::event::Path;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering::Relaxed;

/// Paths as a trie. A path's slot is where its member is put. By default: no paths.
#[derive(Debug)]
pub struct Plan {
    nodes: Vec<Node>,
    slots: usize,
}

pub(super) const ROOT: u32 = 0;
const NO_CHILD: u16 = u16::MAX;

#[derive(Debug, Default)]
pub(super) struct Node {
    /// Slots that take the value at this node.
    pub(super) slots: Vec<u32>,
    /// Slots of the nodes below, without this node's own.
    pub(super) below: Vec<u32>,
    pub(super) watched: bool,
    children: Vec<Child>,
    /// The child that the last record had first, and [`Child::follower`]: records of a topic mostly have their members in one
    /// order, which spares the search. A wrong guess costs time and nothing else.
    first: AtomicU16,
    /// By hash of the name: the first child of the bucket, [`NO_CHILD`] for none. A power of two long.
    buckets: Vec<u16>,
    /// Array elements with the child for each, where the path element is an integer as PostgreSQL's `#>>` reads it.
    pub(super) elements: Vec<(i32, u32)>,
    /// Some element is counted from the end.
    pub(super) from_end: bool,
}

#[derive(Debug)]
struct Child {
    name: Box<[u8]>,
    word: u64,
    /// The name as records mostly write it: between quotes, and a colon behind it; none that needs escapes.
    written: Option<Written>,
    node: u32,
    /// The next child in the same bucket, or [`NO_CHILD`].
    next: u16,
    /// The child that came next in the last record.
    follower: AtomicU16,
}

/// Some bytes, to be found at a place without a search.
#[derive(Debug)]
struct Written {
    bytes: Box<[u8]>,
    /// The first eight; of fewer, zeros behind them.
    first: u64,
    /// Those of the first eight that count.
    mask: u64,
    /// The last eight, if there are as many.
    last: Option<u64>,
}

/// A member name found in a node.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// Its place among the node's children.
    pub(super) ordinal: u16,
    pub(super) node: u32,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan::new([])
    }
}

impl Plan {
    /// A plan whose slot `n` is the `n`th path. Paths may repeat.
    pub fn new<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Plan {
        let mut plan = Plan {
            nodes: vec![Node::default()],
            slots: 0,
        };
        for path in paths {
            let node = plan.node_at(&path.0);
            plan.nodes[node].slots.push(plan.slots as u32);
            plan.slots += 1;
        }
        plan.finish();
        plan
    }

    /// Has the scan tell whether the top-level member `name` is there, be it null.
    pub fn watch(mut self, name: &str) -> Plan {
        let node = self.node_at(&[name.to_owned()]);
        self.nodes[node].watched = true;
        self.finish();
        self
    }

    /// How many slots the plan fills.
    pub fn slots(&self) -> usize {
        self.slots
    }

    #[inline]
    pub(super) fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    fn node_at(&mut self, path: &[String]) -> usize {
        let mut at = 0;
        for element in path {
            let known = self.nodes[at]
                .children
                .iter()
                .find(|child| *child.name == *element.as_bytes());
            at = match known {
                Some(child) => child.node as usize,
                None => {
                    let node = self.nodes.len();
                    self.nodes.push(Node::default());
                    self.nodes[at].children.push(Child {
                        name: element.as_bytes().into(),
                        word: word_of(element.as_bytes(), 0, element.len()),
                        written: Written::new(element),
                        node: node as u32,
                        next: NO_CHILD,
                        follower: AtomicU16::new(0),
                    });
                    node
                }
            };
        }
        at
    }

    fn finish(&mut self) {
        // Children come after their parents, so that from the back every child is done before its parent.
        for at in (0..self.nodes.len()).rev() {
            let mut node = std::mem::take(&mut self.nodes[at]);
            node.below.clear();
            node.elements.clear();
            for child in &node.children {
                let below = &self.nodes[child.node as usize];
                node.below.extend(below.slots.iter().chain(&below.below));
                if let Some(index) = array_index(&child.name) {
                    node.elements.push((index, child.node));
                }
            }
            node.from_end = node.elements.iter().any(|&(index, _)| index < 0);
            node.hash_children();
            self.nodes[at] = node;
        }
    }
}

impl Node {
    /// The child that is expected after `previous`, if its name and colon stand at `bytes[at..]`; and where they end.
    #[inline(always)]
    pub(super) fn expected(
        &self,
        bytes: &[u8],
        at: usize,
        previous: Option<Found>,
    ) -> Option<(Found, usize)> {
        let ordinal = self.follower(previous).load(Relaxed);
        let child = self.children.get(usize::from(ordinal))?;
        let end = child.written.as_ref()?.end_at(bytes, at)?;
        let node = child.node;
        Some((Found { ordinal, node }, end))
    }

    #[inline(always)]
    fn follower(&self, previous: Option<Found>) -> &AtomicU16 {
        match previous {
            None => &self.first,
            Some(previous) => &self.children[usize::from(previous.ordinal)].follower,
        }
    }

    /// The child for the member name at `bytes[start..end]`. `previous` is the one found before it in this object.
    #[inline(always)]
    pub(super) fn member(
        &self,
        bytes: &[u8],
        start: usize,
        end: usize,
        previous: Option<Found>,
    ) -> Option<Found> {
        let len = end - start;
        let word = word_of(bytes, start, end);
        let expected = self.follower(previous);
        let ordinal = expected.load(Relaxed);
        let child = self.children.get(usize::from(ordinal))?;
        if child.word == word && child.is_named(bytes, start, len) {
            let node = child.node;
            return Some(Found { ordinal, node });
        }
        let found = self.search(bytes, start, len, word)?;
        expected.store(found.ordinal, Relaxed);
        Some(found)
    }

    #[inline(never)]
    fn search(&self, bytes: &[u8], start: usize, len: usize, word: u64) -> Option<Found> {
        let mut ordinal = self.buckets[bucket_of(word, len, self.buckets.len())];
        while ordinal != NO_CHILD {
            let child = &self.children[usize::from(ordinal)];
            if child.word == word && child.is_named(bytes, start, len) {
                let node = child.node;
                return Some(Found { ordinal, node });
            }
            ordinal = child.next;
        }
        None
    }

    pub(super) fn has_members(&self) -> bool {
        !self.children.is_empty()
    }

    fn hash_children(&mut self) {
        if self.children.is_empty() {
            return;
        }
        let buckets = (self.children.len() * 4).next_power_of_two();
        self.buckets = vec![NO_CHILD; buckets];
        let children = self.children.len();
        for at in 0..children {
            let child = &mut self.children[at];
            let bucket = bucket_of(child.word, child.name.len(), buckets);
            child.follower = AtomicU16::new(((at + 1) % children) as u16);
            child.next = self.buckets[bucket];
            self.buckets[bucket] = at as u16;
        }
    }
}

impl Written {
    fn new(name: &str) -> Option<Written> {
        let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
        let bytes = format!("\"{name}\":").into_bytes();
        let last = bytes.last_chunk().copied();
        name.bytes().all(plain).then(|| Written {
            mask: u64::MAX >> (8 * 8_usize.saturating_sub(bytes.len())),
            first: word_of(&bytes, 0, bytes.len().min(8)),
            last: last.map(u64::from_le_bytes),
            bytes: bytes.into(),
        })
    }

    /// Where they end, if they begin at `at`.
    #[inline(always)]
    fn end_at(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let end = at + self.bytes.len();
        let is_it = eight(bytes, at)? & self.mask == self.first
            && self
                .last
                .is_none_or(|last| eight(bytes, end - 8) == Some(last))
            && (end - at <= 16 || bytes.get(at..end) == Some(&*self.bytes));
        is_it.then_some(end)
    }
}

impl Child {
    /// Whether it is the name whose word agrees already.
    #[inline(always)]
    fn is_named(&self, bytes: &[u8], start: usize, len: usize) -> bool {
        self.name.len() == len && (len <= 8 || *self.name == bytes[start..start + len])
    }
}

/// The eight bytes at a place, if there are as many.
#[inline(always)]
fn eight(bytes: &[u8], at: usize) -> Option<u64> {
    let chunk = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*chunk))
}

/// Up to 8 bytes: all of the name. Longer: its first eight mixed with its last eight.
#[inline]
fn word_of(bytes: &[u8], start: usize, end: usize) -> u64 {
    let len = end - start;
    match eight(bytes, start) {
        Some(word) if len < 8 => word & ((1 << (8 * len)) - 1),
        Some(word) if len == 8 => word,
        Some(word) => word ^ eight(bytes, end - 8).unwrap_or(0).rotate_left(29),
        None => {
            let mut chunk = [0; 8];
            chunk[..len].copy_from_slice(&bytes[start..end]);
            u64::from_le_bytes(chunk)
        }
    }
}

/// `buckets` is a power of two, at least 4.
#[inline]
fn bucket_of(word: u64, len: usize, buckets: usize) -> usize {
    let mixed = (word ^ len as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 40) as usize & (buckets - 1)
}

/// A path element as an array index, as PostgreSQL reads it (`strtol`): leading white space and a sign are allowed, negative
/// counts from the end. `None`: it can only be a member name.
fn array_index(element: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(element).ok()?;
    let text = text.trim_start_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
    text.parse().ok()
}
