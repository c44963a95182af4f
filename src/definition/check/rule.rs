//! One rule of a table: which events, which row, what becomes of it. Knows nothing of other rules.

use std::collections::HashSet;

use super::compile::{Compiler, Reads, report_problems};
use super::lookup::lookups;
use super::table::{Draft, Layout, version};
use super::{declared, one_of};
use crate::definition::diagnostic::{Report, did_you_mean};
use crate::definition::file::RuleFile;
use crate::definition::projection::{Action, Assignment, Each, IfMissing, Rule, TypeMatch};
use crate::definition::source::Text;
use crate::definition::sql::{Assigned, Assignments};
use crate::expression::program::Program;
use crate::expression::value::{Modifier, Scalar, Type};
use crate::expression::{Lookup, Paths};

const BOOLEAN: Type = Type {
    scalar: Scalar::Boolean,
    modifier: Modifier::None,
    array: false,
};
const JSONB: Type = Type {
    scalar: Scalar::Jsonb,
    modifier: Modifier::None,
    array: false,
};

pub fn rule(
    report: &mut Report<'_>,
    compiler: &mut Compiler,
    layout: &Layout<'_>,
    all: &[Option<Draft<'_>>],
    file: &RuleFile,
) -> Option<Rule> {
    // What other expressions have read by now is not this rule's.
    compiler.take_read();
    let guard = version(report, compiler, file.version.as_ref(), 0);
    let types = types(report, &file.types)?;
    let topic = file
        .topic
        .as_ref()
        .and_then(|topic| topic_index(report, layout, topic));
    let array = file
        .each
        .as_ref()
        .map(|sql| compiler.compile(report, sql, Reads::EVENT, Some(JSONB)));
    let mut item = file.each.as_ref().map(|_| Paths::default());
    let key = key(report, compiler, layout, file, item.as_mut());
    // Expressions cannot be judged without knowing every name.
    let (lookups, scope) = lookups(report, compiler, layout, all, file, item.as_mut())?;
    let when = file.when.as_ref().map(|sql| {
        let reads = Reads {
            columns: &layout.columns,
            old: true,
            lookups: &scope,
            item: item.as_mut(),
        };
        compiler.compile(report, sql, reads, Some(BOOLEAN))
    });
    let action = action(report, compiler, layout, &scope, file, item.as_mut());
    let of_prefix = key.as_ref().is_some_and(|key| key.len() < layout.key.len());
    let creates_nothing = match action {
        Some(Action::Delete) => Some("a rule that deletes creates no row"),
        _ if of_prefix => {
            Some("a rule that reaches every row with the first key columns creates no row")
        }
        _ => None,
    };
    let if_missing = if_missing(report, file, creates_nothing);
    declared::check_rule(report, layout.topics, file, &types, &compiler.take_read());
    let (when, action, key) = (flip(when)?, action?, key?);
    let each = match (flip(array)?, item) {
        (Some(array), Some(paths)) => Some(Each {
            array,
            paths: paths.into_vec(),
        }),
        _ => None,
    };
    let reads_old = when.iter().any(Program::reads_old)
        || matches!(&action, Action::Set(assignments) if assignments.iter().any(|a| a.program.reads_old()));
    Some(Rule {
        label: file.types.text.clone(),
        line: report.source.line(file.span.start),
        span: file.span.clone(),
        types,
        topic,
        when,
        key,
        each,
        lookups,
        action,
        if_missing,
        version: guard,
        reads_old,
    })
}

/// `A`, `A, B` or `*`.
fn types(report: &mut Report<'_>, text: &Text) -> Option<TypeMatch> {
    if text.text.trim() == "*" {
        return Some(TypeMatch::Any);
    }
    let mut types: Vec<String> = Vec::new();
    for part in text.text.split(',').map(str::trim) {
        let problem = match part {
            "" => Some("an event type is missing".to_owned()),
            "*" => Some("`*` stands alone: it is every type but `tombstone`".to_owned()),
            _ if types.iter().any(|known| known == part) => {
                Some(format!("the type `{part}` stands here twice"))
            }
            _ => None,
        };
        if let Some(problem) = problem {
            report.error(text.span.clone(), "bad-types", problem);
            return None;
        }
        types.push(part.to_owned());
    }
    Some(TypeMatch::OneOf(types))
}

fn topic_index(report: &mut Report<'_>, layout: &Layout<'_>, topic: &Text) -> Option<usize> {
    let names: Vec<&str> = layout
        .topics
        .iter()
        .map(|topic| topic.name.as_str())
        .collect();
    let index = names.iter().position(|name| *name == topic.text);
    if index.is_none() {
        report
            .error(
                topic.span.clone(),
                "unknown-topic",
                format!("the definition does not read `{}`", topic.text),
            )
            .maybe_hint(did_you_mean(&topic.text, &names));
    }
    index
}

/// One program per key column: the rule's own expression, else the table's. Fewer than there are key columns if the rule's own
/// key gives only the first of them: then it reaches every row with that prefix.
fn key(
    report: &mut Report<'_>,
    compiler: &mut Compiler,
    layout: &Layout<'_>,
    file: &RuleFile,
    mut item: Option<&mut Paths>,
) -> Option<Vec<Program>> {
    let own = match &file.key {
        Some(assignments) => own_key(report, layout, assignments)?,
        None => &[],
    };
    let given: Vec<bool> = layout.columns[..layout.key.len()]
        .iter()
        .map(|(name, _)| own.iter().any(|pair| pair.column.text == *name))
        .collect();
    let leading = given.iter().take_while(|given| **given).count();
    let of_prefix = !own.is_empty() && leading == own.len() && leading < given.len();
    let reached = if of_prefix { leading } else { given.len() };
    let mut programs = Vec::new();
    for ((name, column_type), default) in layout.columns.iter().zip(&layout.key).take(reached) {
        let of_rule = own
            .iter()
            .find(|pair| pair.column.text == *name)
            .map(|pair| &pair.sql);
        let Some(expression) = of_rule.or(default.as_ref()) else {
            report
                .error(file.types.span.clone(), "missing-key-expression", format!("what is `{name}` for this rule?"))
                .hint(format!("give it under the table's `key:` as `{name}: {column_type} = …`, or in the rule's `key:`"));
            return None;
        };
        if let Some(column) = row_column(layout, &expression.text) {
            report
                .error(expression.text.span.clone(), "key-reads-row", format!("a key cannot come from the column `{column}`"))
                .hint("a key is what finds the row, so it comes from the event alone: data, event, headers, item");
            return None;
        }
        let reads = Reads {
            item: item.as_deref_mut(),
            ..Reads::EVENT
        };
        programs.push(compiler.compile(report, expression, reads, Some(*column_type)));
    }
    let programs: Vec<Program> = programs.into_iter().collect::<Option<_>>()?;
    if of_prefix && !programs.iter().any(Program::is_event_key) {
        prefix_without_event_key(report, layout, own);
        return None;
    }
    Some(programs)
}

fn prefix_without_event_key(report: &mut Report<'_>, layout: &Layout<'_>, own: &[Assigned]) {
    let key = &layout.columns[..layout.key.len()];
    let names = |columns: &[(String, Type)]| {
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        names.join(", ")
    };
    let (given, left_out) = key.split_at(own.len());
    report
        .error(
            own[0].sql.text.span.clone(),
            "prefix-without-event-key",
            format!(
                "this key reaches every row with the same {}, which takes `event.key` among its columns",
                names(given)
            ),
        )
        .hint(format!(
            "to reach one row, give {} too; to reach all of an order's lines, let the order's events have its key",
            names(left_out)
        ));
}

pub fn own_key<'f>(
    report: &mut Report<'_>,
    layout: &Layout<'_>,
    file: &'f Assignments,
) -> Option<&'f [Assigned]> {
    let pairs = split(report, file)?;
    let key: Vec<&str> = layout.columns[..layout.key.len()]
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let mut sound = true;
    for (index, Assigned { column, .. }) in pairs.iter().enumerate() {
        if !key.contains(&column.as_str()) {
            let message = format!("`{}` has no key column `{}`", layout.name, column.text);
            report
                .error(column.span.clone(), "unknown-column", message)
                .maybe_hint(did_you_mean(&column.text, &key));
            sound = false;
        } else if pairs[..index]
            .iter()
            .any(|other| other.column.text == column.text)
        {
            report.error(
                column.span.clone(),
                "duplicate-column",
                format!("`{}` is given twice", column.text),
            );
            sound = false;
        }
    }
    sound.then_some(pairs)
}

/// The row's column that an expression consists of, or begins with.
pub fn row_column<'l>(layout: &'l Layout<'_>, expression: &Text) -> Option<&'l str> {
    let text = expression.as_str();
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    let calls = text[end..].trim_start().starts_with(['(', '\'', '.']);
    let mut names = layout.columns.iter().map(|(name, _)| name.as_str());
    names.find(|name| !calls && *name == &text[..end])
}

fn action(
    report: &mut Report<'_>,
    compiler: &mut Compiler,
    layout: &Layout<'_>,
    lookups: &[Lookup],
    file: &RuleFile,
    item: Option<&mut Paths>,
) -> Option<Action> {
    let delete = match &file.delete {
        Some(text) => one_of(
            report,
            text,
            "value of `delete`",
            &[("true", true), ("false", false)],
        )?,
        None => false,
    };
    match (&file.set, delete) {
        (Some(_), true) => {
            report.error(
                file.span.clone(),
                "wrong-shape",
                "a rule has `set` or `delete: true`, not both",
            );
            None
        }
        (None, true) => Some(Action::Delete),
        (None, false) => Some(Action::Set(Vec::new())),
        (Some(assignments), false) => {
            set(report, compiler, layout, lookups, assignments, item).map(Action::Set)
        }
    }
}

fn set(
    report: &mut Report<'_>,
    compiler: &mut Compiler,
    layout: &Layout<'_>,
    lookups: &[Lookup],
    file: &Assignments,
    mut item: Option<&mut Paths>,
) -> Option<Vec<Assignment>> {
    let pairs = split(report, file)?;
    let mut assignments: Vec<Option<Assignment>> = Vec::new();
    let mut names = HashSet::new();
    for Assigned { column: name, sql } in pairs {
        if report.is_full() {
            return None;
        }
        let column = assigned_column(report, layout, name);
        if !names.insert(name.as_str()) {
            report.error(
                name.span.clone(),
                "duplicate-column",
                format!("`{}` is set twice by this rule", name.text),
            );
        }
        let reads = Reads {
            columns: &layout.columns,
            old: true,
            lookups,
            item: item.as_deref_mut(),
        };
        // An unknown column's expression is compiled all the same: all problems are reported together.
        let target = column.map(|column| layout.columns[column].1);
        let program = match (column, target) {
            (None, _) => None,
            (Some(_), target) => compiler.compile(report, sql, reads, target),
        };
        assignments.push(match (column, program) {
            (Some(column), Some(program)) => Some(Assignment {
                column,
                program,
                text: sql.text.text.clone(),
            }),
            _ => None,
        });
    }
    assignments.into_iter().collect()
}

fn assigned_column(report: &mut Report<'_>, layout: &Layout<'_>, name: &Text) -> Option<usize> {
    let found = layout
        .columns
        .iter()
        .position(|(column, _)| *column == name.text);
    match found {
        Some(column) if column < layout.key.len() => {
            report
                .error(
                    name.span.clone(),
                    "set-key",
                    format!("`{}` is a key column and cannot be set", name.text),
                )
                .hint("a rule's `key:` says which row it reaches");
            None
        }
        Some(column) => Some(column),
        None => {
            let names: Vec<&str> = layout.columns[layout.key.len()..]
                .iter()
                .map(|(name, _)| name.as_str())
                .collect();
            report
                .error(
                    name.span.clone(),
                    "unknown-column",
                    format!("unknown column `{}`", name.text),
                )
                .maybe_hint(did_you_mean(&name.text, &names));
            None
        }
    }
}

/// `creates_nothing` says why a rule has no row to create.
fn if_missing(
    report: &mut Report<'_>,
    file: &RuleFile,
    creates_nothing: Option<&str>,
) -> IfMissing {
    const WORDS: &[(&str, IfMissing)] = &[
        ("create", IfMissing::Create),
        ("skip", IfMissing::Skip),
        ("fail", IfMissing::Fail),
    ];
    let default = match creates_nothing {
        Some(_) => IfMissing::Skip,
        None => IfMissing::Create,
    };
    let Some(text) = &file.if_missing else {
        return default;
    };
    let meaning = one_of(report, text, "value of `if_missing`", WORDS);
    if let (Some(why), Some(IfMissing::Create)) = (creates_nothing, meaning) {
        report
            .error(text.span.clone(), "wrong-value", why)
            .hint("`skip` (the default) or `fail`");
    }
    meaning.unwrap_or(default)
}

fn split<'f>(report: &mut Report<'_>, file: &'f Assignments) -> Option<&'f [Assigned]> {
    file.pairs()
        .map_err(|(text, problems)| report_problems(report, text, problems.iter().cloned()))
        .ok()
}

/// An expression that failed to compile fails its rule.
fn flip<T>(part: Option<Option<T>>) -> Option<Option<T>> {
    match part {
        None => Some(None),
        Some(None) => None,
        Some(some) => Some(some),
    }
}
