//! Rules that take something away from each other, or from what the log still holds.

use std::collections::HashMap;

use super::syntax::{mentions, operator_on_itself};
use crate::definition::diagnostic::Report;
use crate::definition::file::{RuleFile, TableFile};
use crate::definition::projection::{Projection, Rule, Table, TypeMatch};
use crate::definition::sql::{Assigned, Written};
use crate::event::TOMBSTONE;

/// How many rules for one column are compared with a later one.
const RULES_COMPARED_MAX: usize = 64;

/// What a rule sets is set again by a later one for the same event, without a look at it.
pub fn lost_assignments(
    report: &mut Report<'_>,
    file: &TableFile,
    sets: &[&[Assigned]],
    table: &Table,
) {
    // By column: the rules, in their order, that set it.
    let mut setters: HashMap<&str, Vec<usize>> = HashMap::new();
    for (later, set) in sets.iter().enumerate() {
        for written in *set {
            let name = &written.column;
            let known = setters.entry(&name.text).or_default();
            let reads_it = || {
                let tree = written.sql.tree();
                tree.map_or(true, |tree| mentions(tree, &name.text))
            };
            let mut earlier = known.iter().rev().take(RULES_COMPARED_MAX);
            let lost = earlier.find(|earlier| always_follows(file, table, **earlier, later));
            if let Some(earlier) = lost.filter(|_| !reads_it()) {
                report
                    .warning(
                        name.span.clone(),
                        "lost-assignment",
                        format!(
                            "`{}` is set by `{}` (line {}) for the same event, and this takes its place",
                            name.text, table.rules[*earlier].label, table.rules[*earlier].line
                        ),
                    )
                    .hint("rules apply in the file's order: `when`, or a type in only one of them, keeps them apart");
            }
            known.push(later);
        }
    }
}

/// For some type of event the later rule reaches every row that the earlier one reaches.
fn always_follows(file: &TableFile, table: &Table, earlier: usize, later: usize) -> bool {
    let (one, other) = (&table.rules[earlier], &table.rules[later]);
    let (one_file, other_file) = (&file.rules[earlier], &file.rules[later]);
    // Most rules are for other types, so that is asked first.
    meet(&other.types, &one.types)
        && (other.topic.is_none() || one.topic == other.topic)
        && other.when.is_none()
        && key_text(one_file) == key_text(other_file)
        && each_text(one_file) == each_text(other_file)
}

fn meet(one: &TypeMatch, other: &TypeMatch) -> bool {
    match (one, other) {
        (TypeMatch::OneOf(one), TypeMatch::OneOf(other)) => {
            one.iter().any(|name| other.contains(name))
        }
        (TypeMatch::Any, _) | (_, TypeMatch::Any) => true,
    }
}

fn each_text(file: &RuleFile) -> Option<&str> {
    file.each.as_ref().map(|sql| sql.text.as_str())
}

fn key_text(file: &RuleFile) -> Vec<(String, String)> {
    match file.key.as_ref().map(|key| &key.written) {
        None => Vec::new(),
        Some(Written::Sql(text)) => vec![(String::new(), text.text.clone())],
        Some(Written::Map(pairs)) => {
            let texts = pairs
                .iter()
                .map(|(column, text)| (column.text.clone(), text.text.clone()));
            texts.collect()
        }
    }
}

/// A topic with tombstones is compacted as a rule: of each key only the last record stays, and what was summed up from the
/// others cannot be summed up again.
pub fn deltas_of_compacted(
    report: &mut Report<'_>,
    sets: &[&[Assigned]],
    projection: &Projection,
    table: &Table,
) {
    let of_topic = |rule: &Rule, topic: usize| rule.topic.is_none_or(|only| only == topic);
    let takes_tombstones = |rule: &Rule| match &rule.types {
        TypeMatch::Any => false,
        TypeMatch::OneOf(names) => names.iter().any(|name| name == TOMBSTONE),
    };
    let rules = || projection.tables.iter().flat_map(|table| &table.rules);
    let compacted: Vec<usize> = (0..projection.topics.len())
        .filter(|topic| rules().any(|rule| takes_tombstones(rule) && of_topic(rule, *topic)))
        .collect();
    for (set, rule) in sets.iter().zip(&table.rules) {
        // Of a rule for any topic nobody knows where its events come from, unless all are compacted.
        let topic = match rule.topic {
            None if compacted.len() < projection.topics.len() => None,
            None => compacted.first(),
            Some(only) => compacted.iter().find(|topic| **topic == only),
        };
        if let Some(topic) = topic.filter(|_| !takes_tombstones(rule)) {
            delta(report, &projection.topics[*topic].name, set);
        }
    }
}

fn delta(report: &mut Report<'_>, topic: &str, set: &[Assigned]) {
    for written in set {
        if matches!(operator_on_itself(written), Some("+" | "-")) {
            report
                .warning(
                    written.sql.text.span.clone(),
                    "delta-of-compacted",
                    format!("`{topic}` has tombstones, so it is probably compacted: a rebuild would not find all of these events"),
                )
                .hint("of a compacted topic only the last record of each key is sure to stay: set columns from what it holds");
        }
    }
}
