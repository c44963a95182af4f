//! Nulls that are probably not meant.

use super::covers;
use super::syntax::{conjuncts, is_column, operator_on_itself};
use crate::definition::diagnostic::Report;
use crate::definition::file::{RuleFile, TableFile};
use crate::definition::projection::{Action, IfMissing, Rule, Table};
use crate::definition::source::Text;
use crate::definition::sql::Assigned;
use crate::expression::program::Program;
use crate::expression::value::Value;
use crate::expression::{Expr, Kind};

/// A column that must not be null, and a rule that creates a row without giving it a value.
pub fn not_null_unset(report: &mut Report<'_>, file: &TableFile, table: &Table) {
    let unset = |rule: &Rule, column: usize| match &rule.action {
        Action::Set(assignments) => !assignments
            .iter()
            .any(|assignment| assignment.column == column),
        Action::Delete => false,
    };
    for (index, column) in table.columns.iter().enumerate().skip(table.key_len) {
        if !column.not_null || !column.default.is_null() {
            continue;
        }
        for (file, rule) in file.rules.iter().zip(&table.rules) {
            let creates = rule.if_missing == IfMissing::Create && unset(rule, index);
            let set_elsewhere = table.rules.iter().any(|other| {
                covers(&other.types, &rule.types)
                    && matches!(other.action, Action::Set(_))
                    && !unset(other, index)
            });
            if creates && !set_elsewhere {
                report
                    .warning(
                        file.types.span.clone(),
                        "not-null-unset",
                        format!(
                            "a row that `{}` creates has no value for `{}`, which must not be null",
                            rule.label, column.name
                        ),
                    )
                    .hint("give the column a default, set it here, or say `if_missing: skip` or `fail`");
            }
        }
    }
}

/// `x = x + e` where x begins as null, and so stays null.
pub fn null_arithmetic(report: &mut Report<'_>, table: &Table, set: &[Assigned]) {
    for written in set {
        let name = &written.column.text;
        let Some(column) = table.columns.iter().find(|column| column.name == *name) else {
            continue;
        };
        if column.not_null || !column.default.is_null() {
            continue;
        }
        if operator_on_itself(written).is_some() {
            report
                .warning(
                    written.sql.text.span.clone(),
                    "null-arithmetic",
                    format!("`{name}` is null in a new row, and stays null under this assignment"),
                )
                .hint("give the column a default, or write coalesce(…)");
        }
    }
}

/// A condition that compares a column of which a new row has nothing: it is never true there.
pub fn null_condition(report: &mut Report<'_>, table: &Table, file: &RuleFile, rule: &Rule) {
    let (Some(sql), IfMissing::Create) = (&file.when, rule.if_missing) else {
        return;
    };
    let Ok(condition) = sql.tree() else {
        return;
    };
    let columns = &table.columns[table.key_len..];
    let null = columns.iter().filter(|column| column.default.is_null());
    let null: Vec<&str> = null.map(|column| column.name.as_str()).collect();
    let compared = |expression: &Expr| match &expression.kind {
        Kind::Binary(op, left, right) if is_comparison(op) => {
            let is = |name: &&&str| is_column(left, name) || is_column(right, name);
            null.iter().find(is).copied()
        }
        _ => None,
    };
    if let Some(name) = conjuncts(condition).iter().find_map(compared) {
        report
            .warning(
                sql.text.span.clone(),
                "null-condition",
                format!("`{name}` is null in a new row, so this is never true for one"),
            )
            .hint("if the rule is for rows that are there, say `if_missing: skip`; else coalesce(…), or give the column a default");
    }
}

fn is_comparison(op: &str) -> bool {
    matches!(op, "=" | "<>" | "<" | "<=" | ">" | ">=")
}

/// Expressions that come to null, or conditions to false, whatever the event.
pub fn always_null(report: &mut Report<'_>, file: &RuleFile, set: &[Assigned], rule: &Rule) {
    let constant = |program: &Program| match program.constant()?.value() {
        Value::Null => Some("null"),
        Value::Bool(false) => Some("false"),
        _ => None,
    };
    if let (Some(sql), Some(when)) = (&file.when, &rule.when)
        && let Some(value) = constant(when)
    {
        let message = format!("this is always {value}, so the rule never applies");
        report.warning(sql.text.span.clone(), "never-true", message);
    }
    let Action::Set(assignments) = &rule.action else {
        return;
    };
    for (written, assignment) in set.iter().zip(assignments) {
        if constant(&assignment.program) == Some("null") && !is_written_null(&written.sql.text) {
            report
                .warning(written.sql.text.span.clone(), "always-null", "this is null whatever the event")
                .hint("an operator with a null operand gives null; `is null` and `is distinct from` compare with null");
        }
    }
}

/// `null`, or `null::text`, says what it means.
fn is_written_null(text: &Text) -> bool {
    let word = text.as_str().split("::").next().unwrap_or_default();
    word.trim().eq_ignore_ascii_case("null")
}
