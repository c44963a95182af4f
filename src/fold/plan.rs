//! The first pass over a batch: which rows each event touches. Evaluates what does not read rows (keys, arrays of `each`, most
//! conditions), so that rows can be loaded before the fold and nothing is hashed twice.

use super::Folder;
use super::cache::{SHARED_SLOT, mark};
use super::dispatch::{Dispatch, Matching, RuleRef};
use super::failure::{At, EventFailure, Reason, RulePart};
use super::key::{pack, pack_text};
use super::table::{RuleState, TableState};
use super::trace::{TraceStep, Tracer};
use crate::definition::projection::{Each, Projection, Rule};
use crate::event::{Event, Member, json};
use crate::expression::cell::Cell;
use crate::expression::error::EvalError;
use crate::expression::program::{Env, Machine, Program};
use crate::expression::value::Value;
use bumpalo::Bump;

/// Events with the rows they touch. Belongs to the folder that planned it, until that plans again.
#[derive(Debug)]
pub struct Batch<'b> {
    pub(super) events: &'b [Event<'b>],
    /// In the order of events, rules and elements.
    pub(super) touches: Vec<Touch>,
    pub(super) elements: Vec<Element<'b>>,
    /// Events that failed already, in their order.
    pub(super) failures: Vec<EventFailure>,
    /// Events of types that nobody has heard of.
    pub(super) unheard: Vec<u32>,
}

/// One rule on one row, or on all rows with a prefix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touch {
    pub(super) event: u32,
    /// Of a rule that reaches all rows with a prefix: the number of their group.
    pub(super) row: u32,
    /// Index into [`Batch::elements`], or [`NO_ELEMENT`].
    pub(super) element: u32,
    pub(super) table: u16,
    pub(super) rule: u16,
}

/// How many steps before its use a row is fetched: enough for memory to answer, few enough for it to be still there.
pub(super) const AHEAD: usize = 8;
/// Events that are looked at ahead of their turn together.
const BLOCK: usize = 16;

pub(super) const NO_ELEMENT: u32 = u32::MAX;

/// One element of an array that `each` runs over, and the rows that the rule looks up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'b> {
    pub(super) members: &'b [Member<'b>],
    pub(super) index: i64,
    /// In the order of the rule's lookups: rows of their tables, or [`NO_ROW`].
    pub(super) lookups: &'b [u32],
}

/// A lookup by a key that is null.
pub(super) const NO_ROW: u32 = u32::MAX;

const NO_ITEM: Element<'static> = Element {
    members: &[],
    index: 0,
    lookups: &[],
};

impl<'b> Batch<'b> {
    pub(super) fn new(events: &'b [Event<'b>]) -> Batch<'b> {
        Batch {
            events,
            touches: Vec::with_capacity(events.len()),
            elements: Vec::new(),
            failures: Vec::new(),
            unheard: Vec::new(),
        }
    }

    pub fn events(&self) -> &'b [Event<'b>] {
        self.events
    }

    pub(super) fn element(&self, touch: &Touch) -> Element<'b> {
        match touch.element {
            NO_ELEMENT => NO_ITEM,
            element => self.elements[element as usize],
        }
    }
}

impl Folder {
    /// The events of a batch just planned that touch the row of a table with this packed key, each once.
    pub fn touching(&self, batch: &Batch<'_>, table: usize, key: &[u8]) -> Vec<usize> {
        let state = &self.tables[table];
        let touches = batch.touches.iter().filter(|touch| {
            usize::from(touch.table) == table
                && match state.rules[usize::from(touch.rule)].prefix {
                    Some(prefix) => key.starts_with(state.cache.prefixes[prefix].key(touch.row)),
                    None => state.cache.head(touch.row).key() == key,
                }
        });
        let mut events: Vec<usize> = touches.map(|touch| touch.event as usize).collect();
        events.dedup();
        events
    }
}

/// What the first pass works with.
pub(super) struct Planner<'f, 'b> {
    pub(super) projection: &'f Projection,
    pub(super) dispatch: &'f Dispatch,
    pub(super) tables: &'f mut [TableState],
    pub(super) machine: &'f mut Machine,
    pub(super) scratch: &'f mut Bump,
    pub(super) key: &'f mut Vec<u8>,
    /// Keys that were evaluated ahead of their turn, packed.
    pub(super) ahead: Vec<u8>,
    /// The owner slots that occur.
    pub(super) slots: &'f mut Vec<i32>,
    pub(super) tracer: &'f mut Tracer,
    /// Rows not in the cache are absent, unless some have been evicted.
    pub(super) bulk: bool,
    pub(super) arena: &'b Bump,
    pub(super) batch: Batch<'b>,
}

/// The event and rule at hand.
#[derive(Clone, Copy)]
struct Step<'b> {
    event: &'b Event<'b>,
    event_index: u32,
    slot: i32,
    rule: RuleRef,
    place: Option<Place>,
}

/// What is known of an event before its turn.
#[derive(Clone, Copy)]
struct Ahead<'f> {
    slot: i32,
    matching: &'f Matching,
    place: Option<Place>,
}

/// Where the row of the event's first rule is.
#[derive(Clone, Copy)]
struct Place {
    rule: RuleRef,
    /// Where the packed key stands in [`Planner::ahead`], unless it is the event key itself.
    packed: Option<(usize, usize)>,
    hash: u64,
    /// Most likely.
    row: Option<u32>,
}

impl<'f, 'b> Planner<'f, 'b> {
    pub(super) fn plan(mut self, slot_of: &dyn Fn(usize, i32) -> i32) -> Batch<'b> {
        let mut partition = None;
        let mut slot = SHARED_SLOT;
        let mut event_index = 0;
        let mut block: Vec<Ahead<'f>> = Vec::with_capacity(BLOCK);
        for events in self.batch.events.chunks(BLOCK) {
            for event in events {
                if partition != Some((event.topic, event.partition)) {
                    partition = Some((event.topic, event.partition));
                    slot = slot_of(event.topic, event.partition);
                    if !self.slots.contains(&slot) {
                        self.slots.push(slot);
                    }
                }
                block.push(self.look_ahead(event, slot));
            }
            // By itself, so that the processor waits for several of them at a time.
            for place in block.iter_mut().filter_map(|ahead| ahead.place.as_mut()) {
                let cache = &self.tables[usize::from(place.rule.table)].cache;
                place.row = cache.likely(place.hash);
            }
            for (event, ahead) in events.iter().zip(block.drain(..)) {
                self.event(event, event_index, ahead);
                event_index += 1;
            }
            self.ahead.clear();
            self.scratch.reset();
        }
        self.batch
    }

    /// Finds the event's rules, and the hash of the first one's key.
    fn look_ahead(&mut self, event: &Event<'_>, slot: i32) -> Ahead<'f> {
        let matching = self.dispatch.matching(event.topic, event.event_type);
        let place = matching.rules.first().and_then(|rule| {
            let packed = match event.key {
                Some(key) if rule.text_key => {
                    self.key.clear();
                    pack_text(key, self.key);
                    None
                }
                _ if rule.sure_key && !self.tracer.is_telling() => {
                    self.pack_ahead(event, *rule)?;
                    let start = self.ahead.len();
                    self.ahead.extend_from_slice(self.key);
                    Some((start, self.ahead.len()))
                }
                _ => return None,
            };
            let state = &self.tables[usize::from(rule.table)];
            let hash = state.cache.hash_of(state.slot(slot), self.key);
            state.cache.prefetch_place(hash);
            Some(Place {
                rule: *rule,
                packed,
                hash,
                row: None,
            })
        });
        Ahead {
            slot,
            matching,
            place,
        }
    }

    /// The rule's key, packed. `None`: the event has none, or an error that its turn will tell.
    fn pack_ahead(&mut self, event: &Event<'_>, rule: RuleRef) -> Option<()> {
        let table = &self.projection.tables[usize::from(rule.table)];
        let env = Env {
            row: &[],
            old: &[],
            lookups: &[],
            event,
            item: NO_ITEM.members,
            index: NO_ITEM.index,
            arena: self.scratch,
        };
        self.key.clear();
        let key = &table.rules[usize::from(rule.rule)].key;
        for (program, column) in key.iter().zip(&table.columns) {
            match program.evaluate(&env, self.machine) {
                Ok(Value::Null) | Err(_) => return None,
                Ok(value) => pack(value, &column.column_type, self.key),
            }
        }
        Some(())
    }

    fn event(&mut self, event: &'b Event<'b>, event_index: u32, ahead: Ahead<'f>) {
        let touches = self.batch.touches.len();
        if ahead.matching.unheard {
            self.batch.unheard.push(event_index);
        }
        for &rule in &ahead.matching.rules {
            let step = Step {
                event,
                event_index,
                slot: ahead.slot,
                rule,
                place: ahead.place,
            };
            if let Err(failure) = self.rule(step) {
                self.batch.touches.truncate(touches);
                self.batch.failures.push(failure);
                return;
            }
        }
    }

    fn rule(&mut self, step: Step<'b>) -> Result<(), EventFailure> {
        let projection = self.projection;
        let table = &projection.tables[usize::from(step.rule.table)];
        let rule = &table.rules[usize::from(step.rule.rule)];
        self.tracer.note(self.machine, || TraceStep::Rule {
            table: usize::from(step.rule.table),
            rule: usize::from(step.rule.rule),
        });
        match &rule.each {
            None => self.element(step, rule, NO_ITEM, NO_ELEMENT),
            Some(each) => self.each(step, rule, each),
        }
    }

    fn each(&mut self, step: Step<'b>, rule: &Rule, each: &Each) -> Result<(), EventFailure> {
        let text = match evaluate(&each.array, self.scratch, self.machine, step, NO_ITEM) {
            Ok(Value::Null) => return Ok(()),
            Ok(Value::Jsonb(text)) => Some(&*self.arena.alloc_str(text)),
            Ok(_) => None,
            Err(error) => {
                let reason = Reason::Expression(error);
                return Err(self.failure(step, RulePart::Each, None, reason));
            }
        };
        let mut elements = Vec::new();
        let is_array = text.is_some_and(|text| {
            json::elements(text, |element| elements.push(element)).unwrap_or(false)
        });
        if !is_array {
            return Err(self.failure(step, RulePart::Each, None, Reason::NotAnArray));
        }
        for (index, text) in elements.into_iter().enumerate() {
            let plan = &self.rule_state(step).item_plan;
            let members = self
                .arena
                .alloc_slice_fill_copy(plan.slots(), Member::Missing);
            if json::extract(text, plan, members).is_err() {
                return Err(self.failure(step, RulePart::Each, None, Reason::NotAnArray));
            }
            let element = Element {
                members,
                index: index as i64,
                lookups: &[],
            };
            let at = self.batch.elements.len() as u32;
            self.batch.elements.push(element);
            let index = element.index;
            self.tracer
                .note(self.machine, || TraceStep::Element { index });
            self.element(step, rule, element, at)?;
        }
        Ok(())
    }

    /// One rule for one element of its `each`, or for the event.
    fn element(
        &mut self,
        step: Step<'b>,
        rule: &Rule,
        element: Element<'b>,
        element_index: u32,
    ) -> Result<(), EventFailure> {
        if let (Some(when), false) = (&rule.when, self.rule_state(step).when_reads_row) {
            match evaluate(when, self.scratch, self.machine, step, element) {
                Ok(Value::Bool(true)) => {}
                Ok(_) => return Ok(()),
                Err(error) => {
                    let reason = Reason::Expression(error);
                    return Err(self.failure(step, RulePart::When, None, reason));
                }
            }
        }
        let element_index = match rule.lookups.is_empty() {
            true => element_index,
            false => self.look_up(step, rule, element, element_index)?,
        };
        let row = match step.event.key {
            Some(key) if step.rule.text_key && !self.tracer.is_telling() => {
                self.touch_by_text(step, key)
            }
            _ => self.evaluated_key(step, rule, element)?,
        };
        self.tracer.note(self.machine, || TraceStep::Planned);
        self.batch.touches.push(Touch {
            event: step.event_index,
            row,
            element: element_index,
            table: step.rule.table,
            rule: step.rule.rule,
        });
        Ok(())
    }

    /// Brings the rows that a rule looks up into the cache; gives the number of the element that knows them.
    fn look_up(
        &mut self,
        step: Step<'b>,
        rule: &Rule,
        element: Element<'b>,
        element_index: u32,
    ) -> Result<u32, EventFailure> {
        let found = self.arena.alloc_slice_fill_copy(rule.lookups.len(), NO_ROW);
        for (at, lookup) in rule.lookups.iter().enumerate() {
            self.key.clear();
            let columns = &self.projection.tables[lookup.table].columns;
            let scratch: &Bump = self.scratch;
            let values = scratch.alloc_slice_fill_copy(lookup.key.len(), Value::Null);
            for (column, program) in lookup.key.iter().enumerate() {
                match evaluate(program, scratch, self.machine, step, element) {
                    Ok(Value::Null) => break,
                    Ok(value) => {
                        pack(value, &columns[column].column_type, self.key);
                        values[column] = value;
                    }
                    Err(error) => {
                        let reason = Reason::Expression(error);
                        return Err(self.failure(step, RulePart::Lookup, None, reason));
                    }
                }
            }
            if !values.iter().any(|value| matches!(value, Value::Null)) {
                let state = &mut self.tables[lookup.table];
                let slot = state.slot(step.slot);
                let hash = state.cache.hash_of(slot, self.key);
                found[at] = touch(state, hash, self.bulk, slot, self.key, values);
            }
        }
        let element = Element {
            lookups: found,
            ..element
        };
        if let Some(known) = self.batch.elements.get_mut(element_index as usize) {
            *known = element;
            return Ok(element_index);
        }
        self.batch.elements.push(element);
        Ok(self.batch.elements.len() as u32 - 1)
    }

    fn evaluated_key(
        &mut self,
        step: Step<'b>,
        rule: &Rule,
        element: Element<'b>,
    ) -> Result<u32, EventFailure> {
        if let Some(row) = self.met_ahead(step) {
            return Ok(row);
        }
        let table = &self.projection.tables[usize::from(step.rule.table)];
        self.key.clear();
        let scratch: &Bump = self.scratch;
        let values = scratch.alloc_slice_fill_copy(rule.key.len(), Value::Null);
        for (column, program) in rule.key.iter().enumerate() {
            let reason = match evaluate(program, scratch, self.machine, step, element) {
                Ok(Value::Null) => Reason::KeyNull,
                Ok(value) => {
                    pack(value, &table.columns[column].column_type, self.key);
                    values[column] = value;
                    continue;
                }
                Err(error) => Reason::Expression(error),
            };
            return Err(self.failure(step, RulePart::Key, Some(column), reason));
        }
        let state = &mut self.tables[usize::from(step.rule.table)];
        let slot = state.slot(step.slot);
        if let Some(prefix) = state.rules[usize::from(step.rule.rule)].prefix {
            let complete = self.bulk && !state.cache.evicted;
            return Ok(state.cache.reach(prefix, slot, self.key, complete));
        }
        let ahead = step.place.filter(|place| place.rule == step.rule);
        let hash = match ahead {
            Some(place) if place.packed.is_some() => place.hash,
            _ => state.cache.hash_of(slot, self.key),
        };
        Ok(touch(state, hash, self.bulk, slot, self.key, values))
    }

    /// The row whose key was evaluated ahead, if it has its place.
    #[inline]
    fn met_ahead(&mut self, step: Step<'b>) -> Option<u32> {
        let place = step.place.filter(|place| place.rule == step.rule)?;
        let (start, end) = place.packed?;
        let state = &mut self.tables[usize::from(step.rule.table)];
        let row = state
            .cache
            .find(place.hash, state.slot(step.slot), &self.ahead[start..end])?;
        Some(state.met(row))
    }

    /// The row for the event key, whose hash is known where a look ahead was made for its table.
    #[inline]
    fn touch_by_text(&mut self, step: Step<'b>, key: &str) -> u32 {
        let state = &mut self.tables[usize::from(step.rule.table)];
        let of_table = |place: &Place| place.rule.table == step.rule.table;
        let place = step.place.filter(of_table);
        let place = place.filter(|place| place.packed.is_none());
        let slot = state.slot(step.slot);
        if let Some(row) = place.and_then(|place| place.row)
            && state.cache.has_text_key(row, slot, key)
        {
            return state.met(row);
        }
        self.key.clear();
        pack_text(key, self.key);
        let hash = place.map_or_else(|| state.cache.hash_of(slot, self.key), |place| place.hash);
        let values = &[Value::Text(key)];
        touch(state, hash, self.bulk, slot, self.key, values)
    }

    fn rule_state(&self, step: Step<'b>) -> &RuleState {
        &self.tables[usize::from(step.rule.table)].rules[usize::from(step.rule.rule)]
    }

    #[cold]
    fn failure(
        &self,
        step: Step<'b>,
        part: RulePart,
        column: Option<usize>,
        reason: Reason,
    ) -> EventFailure {
        let at = At {
            table: step.rule.table,
            rule: step.rule.rule,
            part,
            column,
        };
        EventFailure::new(self.projection, step.event_index as usize, at, reason)
    }
}

fn evaluate<'s>(
    program: &'s Program,
    scratch: &'s Bump,
    machine: &mut Machine,
    step: Step<'s>,
    element: Element<'s>,
) -> Result<Value<'s>, EvalError> {
    let env = Env {
        row: &[],
        old: &[],
        lookups: &[],
        event: step.event,
        item: element.members,
        index: element.index,
        arena: scratch,
    };
    program.evaluate(&env, machine)
}

/// The row for a packed key with its hash, brought into the cache if need be.
fn touch(
    state: &mut TableState,
    hash: u64,
    bulk: bool,
    slot: i32,
    packed: &[u8],
    key: &[Value<'_>],
) -> u32 {
    if let Some(row) = state.cache.find(hash, slot, packed) {
        return state.met(row);
    }
    state.misses += 1;
    let known = bulk && !state.cache.evicted;
    let row = state.cache.insert_needed(hash, slot, packed, known);
    for (column, value) in key.iter().enumerate() {
        state.cache.replace(row, column, Cell::from_value(*value));
    }
    state.cache.head_mut(row).marks |= mark::REFERENCED;
    row
}
