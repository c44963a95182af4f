//! Which rules an event type of a topic meets, found once per projection. Knows nothing of rows.

use crate::definition::projection::{Projection, TypeMatch};
use crate::event::TOMBSTONE;
use foldhash::fast::RandomState;
use std::collections::{HashMap, HashSet};

/// A rule by its place in the projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RuleRef {
    pub(super) table: u16,
    pub(super) rule: u16,
    /// The rule's key is the event key as it stands, in a column of type text.
    pub(super) text_key: bool,
    /// Whatever the event says, the rule touches exactly one row, and nothing is evaluated before its key.
    pub(super) sure_key: bool,
}

/// What meets an event, in the file's order: tables in order, and the rules of each in order.
#[derive(Debug, Default)]
pub(super) struct Matching {
    pub(super) rules: Vec<RuleRef>,
    /// Neither a rule nor `ignore` names the type.
    pub(super) unheard: bool,
}

#[derive(Debug)]
pub(super) struct Dispatch {
    topics: Vec<TopicDispatch>,
}

#[derive(Debug)]
struct TopicDispatch {
    by_type: HashMap<Box<str>, Matching, RandomState>,
    /// For every other type but a tombstone.
    other: Matching,
}

impl Dispatch {
    pub(super) fn new(projection: &Projection) -> Dispatch {
        let topics = 0..projection.topics.len();
        Dispatch {
            topics: topics
                .map(|topic| topic_dispatch(projection, topic))
                .collect(),
        }
    }

    #[inline]
    pub(super) fn matching(&self, topic: usize, event_type: &str) -> &Matching {
        let topic = &self.topics[topic];
        topic.by_type.get(event_type).unwrap_or(&topic.other)
    }
}

fn topic_dispatch(projection: &Projection, topic: usize) -> TopicDispatch {
    let ignore = &projection.topics[topic].ignore;
    let mut types: HashSet<&str> = ignore.iter().map(String::as_str).collect();
    types.insert(TOMBSTONE);
    for rule in projection.tables.iter().flat_map(|table| &table.rules) {
        if let TypeMatch::OneOf(named) = &rule.types {
            types.extend(named.iter().map(String::as_str));
        }
    }
    let matching = |event_type: Option<&str>| {
        let mut matching = matching(projection, topic, event_type);
        let ignored = event_type.is_some_and(|name| ignore.iter().any(|known| known == name));
        matching.unheard = matching.rules.is_empty() && !ignored;
        matching
    };
    TopicDispatch {
        by_type: types
            .iter()
            .map(|name| ((*name).into(), matching(Some(name))))
            .collect(),
        other: matching(None),
    }
}

/// `None`: a type that no rule names.
fn matching(projection: &Projection, topic: usize, event_type: Option<&str>) -> Matching {
    let mut matching = Matching::default();
    for (table_index, table) in projection.tables.iter().enumerate() {
        for (rule_index, rule) in table.rules.iter().enumerate() {
            let of_type = match (&rule.types, event_type) {
                (TypeMatch::Any, name) => name != Some(TOMBSTONE),
                (TypeMatch::OneOf(names), Some(name)) => names.iter().any(|known| known == name),
                (TypeMatch::OneOf(_), None) => false,
            };
            if of_type && rule.topic.is_none_or(|only| only == topic) {
                matching.rules.push(RuleRef {
                    table: table_index as u16,
                    rule: rule_index as u16,
                    text_key: super::key::is_text_key(table, rule),
                    sure_key: rule.each.is_none()
                        && rule.when.is_none()
                        && rule.lookups.is_empty()
                        && rule.key.len() == table.key_len,
                });
            }
        }
    }
    matching
}
