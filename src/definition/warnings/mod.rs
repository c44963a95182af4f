//! What is allowed and probably not meant. Cheap looks at a definition that has no errors. Knows nothing of how it is folded.

mod nulls;
mod order;
mod overlap;
mod syntax;

pub use order::{OrderDependence, order_dependence};

use std::collections::BTreeSet;

use super::diagnostic::Report;
use super::file::{ProjectionFile, RuleFile};
use super::projection::{Action, IfMissing, Projection, Rule, TypeMatch};
use super::sql::Assigned;
use super::testing::{Given, Payload, TestCase};
use syntax::assigned;

pub fn warn(
    report: &mut Report<'_>,
    file: &ProjectionFile,
    projection: &Projection,
    tests: &[TestCase],
) {
    for (table_file, table) in file.tables.iter().zip(&projection.tables) {
        let sets: Vec<&[Assigned]> = table_file.rules.iter().map(assigned).collect();
        nulls::not_null_unset(report, table_file, table);
        for ((file, set), rule) in table_file.rules.iter().zip(&sets).zip(&table.rules) {
            nulls::null_arithmetic(report, table, set);
            nulls::null_condition(report, table, file, rule);
            nulls::always_null(report, file, set, rule);
            without_effect(report, file, rule);
            order::of_lookups(report, projection, file, set, rule);
        }
        overlap::lost_assignments(report, table_file, &sets, table);
        if !table.owned {
            order::shared(report, table_file, &sets, table);
        }
        overlap::deltas_of_compacted(report, &sets, projection, table);
    }
    ignored_with_rule(report, file, projection);
    untested(report, file, tests);
}

/// A rule that sets nothing.
fn without_effect(report: &mut Report<'_>, file: &RuleFile, rule: &Rule) {
    let Action::Set(assignments) = &rule.action else {
        return;
    };
    if assignments.is_empty() && rule.if_missing == IfMissing::Skip {
        report.warning(
            file.types.span.clone(),
            "no-effect",
            "this rule changes nothing",
        );
    }
}

fn ignored_with_rule(report: &mut Report<'_>, file: &ProjectionFile, projection: &Projection) {
    let ruled = rule_types(projection);
    for ignored in file.topics.iter().flat_map(|topic| &topic.ignore) {
        if ruled.contains(ignored.as_str()) {
            report.warning(
                ignored.span.clone(),
                "ignored-with-rule",
                format!("`{}` is ignored here, yet a rule takes it", ignored.text),
            );
        }
    }
}

fn untested(report: &mut Report<'_>, file: &ProjectionFile, tests: &[TestCase]) {
    let Some(name) = &file.name else { return };
    if tests.is_empty() {
        report
            .warning(
                name.span.clone(),
                "no-tests",
                format!("`{}` has no tests", name.text),
            )
            .hint("`tests:` lists given events and the rows that must come of them");
        return;
    }
    let all = || tests.iter().flat_map(|test| &test.given);
    if all()
        .any(|given| given.event_type.is_none() && matches!(given.payload, Payload::Value(Some(_))))
    {
        // Which types stand in raw values only the decoder knows.
        return;
    }
    let given: BTreeSet<&str> = all().map(given_type).collect();
    for rule in file.tables.iter().flat_map(|table| &table.rules) {
        let missing: Vec<&str> = match rule.types.text.trim() {
            "*" => Vec::new(),
            types => types
                .split(',')
                .map(str::trim)
                .filter(|name| !given.contains(name))
                .collect(),
        };
        if !missing.is_empty() {
            let message = format!("no test gives an event of type {}", missing.join(", "));
            report.warning(rule.types.span.clone(), "untested", message);
        }
    }
}

fn given_type(given: &Given) -> &str {
    match (&given.event_type, &given.payload) {
        (Some(name), _) => name.as_str(),
        (None, Payload::Value(None)) => "tombstone",
        (None, _) => "record",
    }
}

fn rule_types(projection: &Projection) -> BTreeSet<&str> {
    let rules = projection.tables.iter().flat_map(|table| &table.rules);
    let named = rules.filter_map(|rule| match &rule.types {
        TypeMatch::OneOf(types) => Some(types),
        TypeMatch::Any => None,
    });
    named.flatten().map(String::as_str).collect()
}

fn covers(wide: &TypeMatch, narrow: &TypeMatch) -> bool {
    match (wide, narrow) {
        (TypeMatch::Any, _) => true,
        (TypeMatch::OneOf(_), TypeMatch::Any) => false,
        (TypeMatch::OneOf(wide), TypeMatch::OneOf(narrow)) => {
            narrow.iter().all(|name| wide.contains(name))
        }
    }
}
