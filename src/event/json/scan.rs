//! The pass over the text. Follows the trie recursively (no deeper than its paths are long) and everything else iteratively,
//! so that hostile nesting costs no stack.

use super::number::end_of_number;
use super::plan::{Node, Plan, ROOT};
use super::text::{end_of_string, unescape};
use super::{Fault, MAX_DEPTH};
use crate::event::Member;

pub(super) struct Scanner<'a, 'p> {
    text: &'a str,
    at: usize,
    depth: usize,
    plan: &'p Plan,
    members: &'p mut [Member<'a>],
    watched: bool,
}

/// What ended a container or follows in it.
enum Next {
    More,
    Closed,
}

impl<'a, 'p> Scanner<'a, 'p> {
    pub(super) fn new(text: &'a str, plan: &'p Plan, members: &'p mut [Member<'a>]) -> Self {
        Scanner {
            text,
            at: 0,
            depth: 0,
            plan,
            members,
            watched: false,
        }
    }

    pub(super) fn watched(&self) -> bool {
        self.watched
    }

    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// One value and nothing behind it.
    pub(super) fn document(&mut self) -> Result<(), Fault> {
        self.whitespace();
        self.value(ROOT)?;
        self.end()
    }

    /// Hands over each element of the array that the text is. False: it is something else.
    pub(super) fn elements(&mut self, each: &mut dyn FnMut(&'a str)) -> Result<bool, Fault> {
        self.whitespace();
        if self.peek() != Some(b'[') {
            return Ok(false);
        }
        let mut next = self.open(b']')?;
        while let Next::More = next {
            let start = self.at;
            self.skip()?;
            each(&self.text[start..self.at]);
            next = self.comma_or(b']')?;
        }
        self.end()?;
        Ok(true)
    }

    fn end(&mut self) -> Result<(), Fault> {
        self.whitespace();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Fault::TrailingText),
        }
    }

    /// The value at `self.at`, which is `node` of the trie.
    fn value(&mut self, node: u32) -> Result<(), Fault> {
        let plan: &'p Plan = self.plan;
        let node = plan.node(node);
        self.watched |= node.watched;
        let start = self.at;
        match self.peek() {
            Some(b'{') if node.has_members() => self.object(node)?,
            Some(b'[') if !node.elements.is_empty() => self.array(node)?,
            _ => self.skip()?,
        }
        if !node.slots.is_empty() {
            let raw = &self.text[start..self.at];
            let member = if raw == "null" {
                Member::Missing
            } else {
                Member::Json(raw)
            };
            for &slot in &node.slots {
                self.members[slot as usize] = member;
            }
        }
        Ok(())
    }

    fn object(&mut self, node: &'p Node) -> Result<(), Fault> {
        let mut seen = 0u64;
        let mut next = self.open(b'}')?;
        while let Next::More = next {
            let child = self.name(Some(node))?;
            match child {
                None => self.skip()?,
                Some((ordinal, child)) => {
                    // jsonb keeps the last of duplicate members: nothing may stay of an earlier one.
                    let bit = 1u64.checked_shl(ordinal as u32).unwrap_or(0);
                    if bit == 0 || seen & bit != 0 {
                        self.clear_below(child);
                    }
                    seen |= bit;
                    self.value(child)?;
                }
            }
            next = self.comma_or(b'}')?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn array(&mut self, node: &'p Node) -> Result<(), Fault> {
        let len = if node.from_end {
            let start = (self.at, self.depth);
            let len = self.count_elements()?;
            (self.at, self.depth) = start;
            len
        } else {
            0
        };
        let mut index = 0i64;
        let mut next = self.open(b']')?;
        while let Next::More = next {
            let start = self.at;
            let mut scanned = false;
            for &(wanted, child) in &node.elements {
                if i64::from(wanted) == index || i64::from(wanted) == index - len {
                    self.at = start;
                    self.value(child)?;
                    scanned = true;
                }
            }
            if !scanned {
                self.skip()?;
            }
            index += 1;
            next = self.comma_or(b']')?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn count_elements(&mut self) -> Result<i64, Fault> {
        let mut len = 0;
        let mut next = self.open(b']')?;
        while let Next::More = next {
            self.skip()?;
            len += 1;
            next = self.comma_or(b']')?;
        }
        Ok(len)
    }

    fn clear_below(&mut self, node: u32) {
        let plan: &'p Plan = self.plan;
        for &slot in &plan.node(node).below {
            self.members[slot as usize] = Member::Missing;
        }
    }

    /// Goes into the container at `self.at`, to its first name or element.
    #[inline]
    fn open(&mut self, close: u8) -> Result<Next, Fault> {
        if self.depth == MAX_DEPTH {
            return Err(Fault::TooDeep);
        }
        self.depth += 1;
        self.at += 1;
        self.whitespace();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(Next::Closed);
        }
        Ok(Next::More)
    }

    /// Behind a member's value or an element: over the comma to what follows, or out of the container.
    #[inline]
    fn comma_or(&mut self, close: u8) -> Result<Next, Fault> {
        self.whitespace();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.whitespace();
                Ok(Next::More)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(Next::Closed)
            }
            None => Err(Fault::Ended),
            Some(_) if close == b'}' => Err(Fault::ExpectedCommaOrBrace),
            Some(_) => Err(Fault::ExpectedCommaOrBracket),
        }
    }

    /// A member's name and colon, up to its value. Looks the name up among the children of `node`.
    #[inline]
    fn name(&mut self, node: Option<&'p Node>) -> Result<Option<(usize, u32)>, Fault> {
        match self.peek() {
            Some(b'"') => {}
            None => return Err(Fault::Ended),
            Some(_) => return Err(Fault::ExpectedName),
        }
        let start = self.at + 1;
        let escaped = self.string()?;
        let end = self.at - 1;
        let child = match node {
            None => None,
            Some(node) if !escaped => node.member(self.text.as_bytes(), start, end),
            Some(node) => {
                let mut name = String::with_capacity(end - start);
                unescape(&self.text[start..end], |part| name.push_str(part));
                node.member(name.as_bytes(), 0, name.len())
            }
        };
        self.whitespace();
        match self.peek() {
            Some(b':') => self.at += 1,
            None => return Err(Fault::Ended),
            Some(_) => return Err(Fault::ExpectedColon),
        }
        self.whitespace();
        Ok(child)
    }

    /// Over the string at `self.at`; whether it holds escapes.
    #[inline]
    fn string(&mut self) -> Result<bool, Fault> {
        match end_of_string(self.text.as_bytes(), self.at + 1) {
            Ok((end, escaped)) => {
                self.at = end + 1;
                Ok(escaped)
            }
            Err((fault, at)) => {
                self.at = at;
                Err(fault)
            }
        }
    }

    /// Over the value at `self.at`, checking it.
    #[inline]
    fn skip(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'{' | b'[') => self.skip_container(),
            _ => self.scalar(),
        }
    }

    #[inline]
    fn scalar(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => match end_of_number(self.text.as_bytes(), self.at) {
                Ok(end) => {
                    self.at = end;
                    Ok(())
                }
                Err((fault, at)) => {
                    self.at = at;
                    Err(fault)
                }
            },
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            None => Err(Fault::Ended),
            Some(_) => Err(Fault::ExpectedValue),
        }
    }

    #[inline]
    fn word(&mut self, word: &str) -> Result<(), Fault> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(Fault::ExpectedValue)
        }
    }

    fn skip_container(&mut self) -> Result<(), Fault> {
        let floor = self.depth;
        // By depth: whether the open container is an object.
        let mut objects = [0u64; MAX_DEPTH.div_ceil(64)];
        'value: loop {
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    let object = open == b'{';
                    let next = self.open(if object { b'}' } else { b']' })?;
                    let (word, bit) = ((self.depth - 1) / 64, (self.depth - 1) % 64);
                    objects[word] = objects[word] & !(1 << bit) | u64::from(object) << bit;
                    if let Next::More = next {
                        if object {
                            self.name(None)?;
                        }
                        continue 'value;
                    }
                    self.depth -= 1;
                }
                _ => self.scalar()?,
            }
            while self.depth > floor {
                let object = objects[(self.depth - 1) / 64] >> ((self.depth - 1) % 64) & 1 == 1;
                match self.comma_or(if object { b'}' } else { b']' })? {
                    Next::More if object => {
                        self.name(None)?;
                        continue 'value;
                    }
                    Next::More => continue 'value,
                    Next::Closed => self.depth -= 1,
                }
            }
            return Ok(());
        }
    }

    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline(always)]
    fn whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }
}
