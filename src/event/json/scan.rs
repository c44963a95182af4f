//! The pass over the text. Follows the trie recursively (no deeper than its paths are long) and everything else iteratively,
//! so that hostile nesting costs no stack. Where it stands is passed from function to function, never stored: that keeps it in
//! a register.

use super::number::end_of_number;
use super::plan::{Found, Node, Plan, ROOT};
use super::text::{end_of_string, next_interruption, unescape};
use super::{Fault, MAX_DEPTH};
use crate::event::Member;

pub(super) struct Scanner<'a, 'p> {
    text: &'a str,
    depth: usize,
    plan: &'p Plan,
    members: &'p mut [Member<'a>],
    watched: bool,
    fault: (Fault, usize),
}

/// The text is refused; the scanner's `fault` says why.
pub(super) struct Refused;

/// Where the scan stands.
type At = Result<usize, Refused>;

impl<'a, 'p> Scanner<'a, 'p> {
    pub(super) fn new(text: &'a str, plan: &'p Plan, members: &'p mut [Member<'a>]) -> Self {
        Scanner {
            text,
            depth: 0,
            plan,
            members,
            watched: false,
            fault: (Fault::Ended, 0),
        }
    }

    pub(super) fn watched(&self) -> bool {
        self.watched
    }

    pub(super) fn fault(&self) -> (Fault, usize) {
        self.fault
    }

    /// One value and nothing behind it.
    pub(super) fn document(&mut self) -> Result<(), Refused> {
        let at = self.skip_whitespace(0);
        let at = self.value(at, ROOT)?;
        self.end(at)
    }

    /// Hands over each element of the array that the text is. False: it is something else.
    pub(super) fn elements(&mut self, each: &mut dyn FnMut(&'a str)) -> Result<bool, Refused> {
        let mut at = self.skip_whitespace(0);
        if self.peek(at) != Some(b'[') {
            return Ok(false);
        }
        at = self.open(at)?;
        if self.peek(at) == Some(b']') {
            self.end(at + 1)?;
            return Ok(true);
        }
        loop {
            let end = self.skip(at)?;
            each(&self.text[at..end]);
            at = self.skip_whitespace(end);
            match self.peek(at) {
                Some(b',') => at = self.skip_whitespace(at + 1),
                Some(b']') => break,
                _ => return Err(self.refuse(Fault::ExpectedCommaOrBracket, at)),
            }
        }
        self.end(at + 1)?;
        Ok(true)
    }

    fn end(&mut self, at: usize) -> Result<(), Refused> {
        let at = self.skip_whitespace(at);
        match self.peek(at) {
            None => Ok(()),
            Some(_) => Err(self.refuse(Fault::TrailingText, at)),
        }
    }

    /// Over the value at `at`, which is `node` of the trie.
    fn value(&mut self, at: usize, node: u32) -> At {
        let plan: &'p Plan = self.plan;
        let node = plan.node(node);
        self.watched |= node.watched;
        let end = match self.peek(at) {
            Some(b'"') => return self.text_value(at, node),
            Some(b'{') if node.has_members() => self.object(at, node)?,
            Some(b'[') if !node.elements.is_empty() => self.array(at, node)?,
            _ => self.skip(at)?,
        };
        let text = self.text;
        self.fill(node, || match text.as_bytes()[at] {
            b'n' => Member::Missing,
            _ => Member::Json(&text[at..end]),
        });
        Ok(end)
    }

    /// The same for the member of an object, most of which are strings and numbers.
    #[inline(always)]
    fn member(&mut self, at: usize, node: u32) -> At {
        let plan: &'p Plan = self.plan;
        let child = plan.node(node);
        match self.peek(at) {
            Some(b'"') => {
                self.watched |= child.watched;
                self.text_value(at, child)
            }
            Some(b'0'..=b'9') => {
                self.watched |= child.watched;
                let end = match end_of_number(self.text.as_bytes(), at) {
                    Ok(end) => end,
                    Err(fault) => return Err(self.refuse(fault, at)),
                };
                let text = self.text;
                self.fill(child, || Member::Json(&text[at..end]));
                Ok(end)
            }
            _ => self.value(at, node),
        }
    }

    /// Over the string at `at`. Whoever finds its end knows whether it has escapes, and nobody need look again.
    #[inline]
    fn text_value(&mut self, at: usize, node: &'p Node) -> At {
        let quote = next_interruption(self.text.as_bytes(), at + 1);
        if self.peek(quote) == Some(b'"') {
            let text = self.text;
            self.fill(node, || Member::Text(&text[at + 1..quote]));
            return Ok(quote + 1);
        }
        let end = self.rest_of_string(quote)?;
        let raw = &self.text[at..end];
        self.fill(node, || Member::Json(raw));
        Ok(end)
    }

    #[inline(always)]
    fn fill(&mut self, node: &'p Node, member: impl FnOnce() -> Member<'a>) {
        if let [first, more @ ..] = &node.slots[..] {
            let member = member();
            self.members[*first as usize] = member;
            for slot in more {
                self.members[*slot as usize] = member;
            }
        }
    }

    fn object(&mut self, at: usize, node: &'p Node) -> At {
        let mut at = self.open(at)?;
        if self.peek(at) == Some(b'}') {
            self.depth -= 1;
            return Ok(at + 1);
        }
        let mut seen = 0u64;
        let mut previous = None;
        loop {
            let child = match node.expected(self.text.as_bytes(), at, previous) {
                Some((child, end)) => {
                    at = self.skip_whitespace(end);
                    Some(child)
                }
                None => {
                    let end_of_name = self.string(at)?;
                    let child = self.child(node, at + 1, end_of_name - 1, previous);
                    at = self.colon(end_of_name)?;
                    child
                }
            };
            at = match child {
                None => self.skip(at)?,
                Some(found) => {
                    // jsonb keeps the last of duplicate members: nothing may stay of an earlier one.
                    let bit = 1u64.checked_shl(u32::from(found.ordinal)).unwrap_or(0);
                    if bit == 0 || seen & bit != 0 {
                        self.clear_below(found.node);
                    }
                    seen |= bit;
                    previous = child;
                    self.member(at, found.node)?
                }
            };
            at = self.skip_whitespace(at);
            match self.peek(at) {
                Some(b',') => at = self.name_at(at + 1)?,
                Some(b'}') => break,
                _ => return Err(self.refuse(Fault::ExpectedCommaOrBrace, at)),
            }
        }
        self.depth -= 1;
        Ok(at + 1)
    }

    fn array(&mut self, at: usize, node: &'p Node) -> At {
        let len = if node.from_end {
            self.count_elements(at)?
        } else {
            0
        };
        let mut at = self.open(at)?;
        if self.peek(at) == Some(b']') {
            self.depth -= 1;
            return Ok(at + 1);
        }
        let mut index = 0i64;
        loop {
            let mut end = None;
            for &(wanted, child) in &node.elements {
                if i64::from(wanted) == index || i64::from(wanted) == index - len {
                    end = Some(self.value(at, child)?);
                }
            }
            at = match end {
                Some(end) => end,
                None => self.skip(at)?,
            };
            index += 1;
            at = self.skip_whitespace(at);
            match self.peek(at) {
                Some(b',') => at = self.skip_whitespace(at + 1),
                Some(b']') => break,
                _ => return Err(self.refuse(Fault::ExpectedCommaOrBracket, at)),
            }
        }
        self.depth -= 1;
        Ok(at + 1)
    }

    fn count_elements(&mut self, at: usize) -> Result<i64, Refused> {
        let mut counter = Scanner::new(&self.text[at..], self.plan, &mut []);
        counter.depth = self.depth;
        let mut len = 0;
        let end = counter.skip(0);
        if end.is_err() {
            let (fault, offset) = counter.fault;
            return Err(self.refuse(fault, at + offset));
        }
        if let Ok(end) = end {
            let array = &self.text[at..at + end];
            let mut counter = Scanner::new(array, self.plan, &mut []);
            counter.depth = self.depth;
            // Checked just now, so it is an array.
            counter.elements(&mut |_| len += 1)?;
        }
        Ok(len)
    }

    fn clear_below(&mut self, node: u32) {
        let plan: &'p Plan = self.plan;
        for &slot in &plan.node(node).below {
            self.members[slot as usize] = Member::Missing;
        }
    }

    /// The child of `node` for the member name between its quotes.
    #[inline(always)]
    fn child(
        &self,
        node: &'p Node,
        start: usize,
        end: usize,
        previous: Option<Found>,
    ) -> Option<Found> {
        let bytes = self.text.as_bytes();
        let child = node.member(bytes, start, end, previous);
        if child.is_none() {
            return self.unescaped_child(node, start, end);
        }
        child
    }

    fn unescaped_child(&self, node: &'p Node, start: usize, end: usize) -> Option<Found> {
        if next_interruption(self.text.as_bytes(), start) == end {
            return None;
        }
        let mut name = String::with_capacity(end - start);
        unescape(&self.text[start..end], |part| name.push_str(part));
        node.member(name.as_bytes(), 0, name.len(), None)
    }

    /// Goes into the container at `at`, to its first name, its first element or its end.
    #[inline]
    fn open(&mut self, at: usize) -> At {
        if self.depth == MAX_DEPTH {
            return Err(self.refuse(Fault::TooDeep, at));
        }
        self.depth += 1;
        Ok(self.skip_whitespace(at + 1))
    }

    /// Behind a comma in an object: to the name.
    #[inline]
    fn name_at(&mut self, at: usize) -> At {
        let at = self.skip_whitespace(at);
        match self.peek(at) {
            Some(b'"') => Ok(at),
            _ => Err(self.refuse(Fault::ExpectedName, at)),
        }
    }

    /// Behind a name: over the colon to the value.
    #[inline]
    fn colon(&mut self, at: usize) -> At {
        let at = self.skip_whitespace(at);
        match self.peek(at) {
            Some(b':') => Ok(self.skip_whitespace(at + 1)),
            _ => Err(self.refuse(Fault::ExpectedColon, at)),
        }
    }

    /// Over the string at `at`; where there is none, a name was expected.
    #[inline]
    fn string(&mut self, at: usize) -> At {
        if self.peek(at) != Some(b'"') {
            return Err(self.refuse(Fault::ExpectedName, at));
        }
        let end = next_interruption(self.text.as_bytes(), at + 1);
        if self.peek(end) == Some(b'"') {
            return Ok(end + 1);
        }
        self.rest_of_string(end)
    }

    #[cold]
    fn rest_of_string(&mut self, at: usize) -> At {
        match end_of_string(self.text.as_bytes(), at) {
            Ok(end) => Ok(end + 1),
            Err((fault, at)) => Err(self.refuse(fault, at)),
        }
    }

    /// Over the value at `at`, checking it.
    #[inline]
    fn skip(&mut self, at: usize) -> At {
        match self.peek(at) {
            Some(b'{' | b'[') => self.skip_container(at),
            _ => self.scalar(at),
        }
    }

    #[inline]
    fn scalar(&mut self, at: usize) -> At {
        match self.peek(at) {
            Some(b'"') => self.string(at),
            Some(b'-' | b'0'..=b'9') => match end_of_number(self.text.as_bytes(), at) {
                Ok(end) => Ok(end),
                Err(fault) => Err(self.refuse(fault, at)),
            },
            Some(b't') => self.word(at, b"true"),
            Some(b'f') => self.word(at, b"false"),
            Some(b'n') => self.word(at, b"null"),
            _ => Err(self.refuse(Fault::ExpectedValue, at)),
        }
    }

    #[inline]
    fn word(&mut self, at: usize, word: &[u8]) -> At {
        let end = at + word.len();
        if self.text.as_bytes().get(at..end) == Some(word) {
            return Ok(end);
        }
        Err(self.refuse(Fault::ExpectedValue, at))
    }

    fn skip_container(&mut self, start: usize) -> At {
        let floor = self.depth;
        let mut at = start;
        // By depth: whether the open container is an object.
        let mut objects = [0u64; MAX_DEPTH.div_ceil(64)];
        loop {
            at = match self.peek(at) {
                Some(open @ (b'{' | b'[')) => {
                    let object = open == b'{';
                    let inside = self.open(at)?;
                    let (word, bit) = ((self.depth - 1) / 64, (self.depth - 1) % 64);
                    objects[word] = objects[word] & !(1 << bit) | u64::from(object) << bit;
                    match self.peek(inside) {
                        Some(b'}') if object => self.leave(inside),
                        Some(b']') if !object => self.leave(inside),
                        _ if object => {
                            let end_of_name = self.string(inside)?;
                            at = self.colon(end_of_name)?;
                            continue;
                        }
                        _ => {
                            at = inside;
                            continue;
                        }
                    }
                }
                _ => self.scalar(at)?,
            };
            while self.depth > floor {
                let object = objects[(self.depth - 1) / 64] >> ((self.depth - 1) % 64) & 1 == 1;
                at = self.skip_whitespace(at);
                match self.peek(at) {
                    Some(b',') if object => {
                        let name = self.name_at(at + 1)?;
                        let end_of_name = self.string(name)?;
                        at = self.colon(end_of_name)?;
                        break;
                    }
                    Some(b',') => {
                        at = self.skip_whitespace(at + 1);
                        break;
                    }
                    Some(b'}') if object => at = self.leave(at),
                    Some(b']') if !object => at = self.leave(at),
                    _ if object => return Err(self.refuse(Fault::ExpectedCommaOrBrace, at)),
                    _ => return Err(self.refuse(Fault::ExpectedCommaOrBracket, at)),
                }
            }
            if self.depth == floor {
                return Ok(at);
            }
        }
    }

    /// Over the closing brace or bracket at `at`.
    #[inline(always)]
    fn leave(&mut self, at: usize) -> usize {
        self.depth -= 1;
        at + 1
    }

    #[inline(always)]
    fn peek(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    #[inline(always)]
    fn skip_whitespace(&self, at: usize) -> usize {
        match self.peek(at) {
            Some(byte) if byte <= b' ' => self.skip_some_whitespace(at),
            _ => at,
        }
    }

    fn skip_some_whitespace(&self, mut at: usize) -> usize {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek(at) {
            at += 1;
        }
        at
    }

    #[cold]
    fn refuse(&mut self, fault: Fault, at: usize) -> Refused {
        let fault = if at >= self.text.len() {
            Fault::Ended
        } else {
            fault
        };
        self.fault = (fault, at);
        Refused
    }
}
