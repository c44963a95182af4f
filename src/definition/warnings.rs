//! What is allowed and probably not meant. Cheap looks at a definition that has no errors. Knows nothing of how it is folded.

use std::collections::BTreeSet;

use sqlparser::ast::{BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::check::pairs;
use super::diagnostic::Report;
use super::file::{ProjectionFile, RuleFile, TableFile};
use super::projection::{Action, IfMissing, Projection, Rule, Table, TypeMatch};
use super::source::Text;
use super::testing::{Given, Payload, TestCase};

/// Deepest expression that is looked at.
const DEPTH_MAX: usize = 50;

pub fn warn(
    report: &mut Report<'_>,
    file: &ProjectionFile,
    projection: &Projection,
    tests: &[TestCase],
) {
    for (file, table) in file.tables.iter().zip(&projection.tables) {
        not_null_unset(report, file, table);
        for (file, rule) in file.rules.iter().zip(&table.rules) {
            null_arithmetic(report, table, file);
            without_effect(report, file, rule);
        }
        if !table.owned {
            shared(report, file, table);
        }
    }
    ignored_with_rule(report, file, projection);
    untested(report, file, tests);
}

/// A column that must not be null, and a rule that creates a row without giving it a value.
fn not_null_unset(report: &mut Report<'_>, file: &TableFile, table: &Table) {
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

fn covers(wide: &TypeMatch, narrow: &TypeMatch) -> bool {
    match (wide, narrow) {
        (TypeMatch::Any, _) => true,
        (TypeMatch::OneOf(_), TypeMatch::Any) => false,
        (TypeMatch::OneOf(wide), TypeMatch::OneOf(narrow)) => {
            narrow.iter().all(|name| wide.contains(name))
        }
    }
}

/// `x = x + e` where x begins as null, and so stays null.
fn null_arithmetic(report: &mut Report<'_>, table: &Table, file: &RuleFile) {
    for (name, expression) in assignments(file) {
        let Some(column) = table.columns.iter().find(|column| column.name == name.text) else {
            continue;
        };
        if column.not_null || !column.default.is_null() {
            continue;
        }
        if let Some(Expr::BinaryOp { left, right, .. }) = parse(&expression)
            && (is_column(&left, &name.text) || is_column(&right, &name.text))
        {
            report
                .warning(
                    expression.span.clone(),
                    "null-arithmetic",
                    format!(
                        "`{}` is null in a new row, and stays null under this assignment",
                        name.text
                    ),
                )
                .hint("give the column a default, or write coalesce(…)");
        }
    }
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

/// Rows that several partitions reach: slower, and what depends on order between partitions is not settled by the log.
fn shared(report: &mut Report<'_>, file: &TableFile, table: &Table) {
    report
        .warning(
            file.name.span.clone(),
            "shared-key",
            format!(
                "rows of `{}` are shared by partitions, which is exact but slower",
                table.name
            ),
        )
        .hint("the key has no `event.key` in it; leave it so if that is what the table is for");
    for (file, rule) in file.rules.iter().zip(&table.rules) {
        if matches!(rule.action, Action::Delete) {
            order_dependent(report, &file.types, "deleting a row");
        }
        for (name, expression) in assignments(file) {
            if !parse(&expression).is_some_and(|parsed| is_order_free(&parsed, &name.text, table)) {
                order_dependent(
                    report,
                    &expression,
                    &format!("this assignment to `{}`", name.text),
                );
            }
        }
    }
}

fn order_dependent(report: &mut Report<'_>, text: &Text, what: &str) {
    report
        .warning(
            text.span.clone(),
            "order-dependent",
            format!("{what} depends on the order of events, and between partitions there is none"),
        )
        .hint("sums, `greatest`, `least` and constants come out the same in any order");
}

/// `x + e`, `x - e`, `greatest(x, e)`, `least(x, e)` with an `e` that does not read the row, and constants.
fn is_order_free(expression: &Expr, name: &str, table: &Table) -> bool {
    let reads_row = |expression: &Expr| {
        table
            .columns
            .iter()
            .any(|column| mentions(expression, &column.name))
    };
    match expression {
        Expr::Nested(inner) => is_order_free(inner, name, table),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::Plus,
            right,
        } => {
            // A sum of many parts leans to the left: `x + a + b`.
            (is_own(left, name) || is_order_free_sum(left, name, table)) && !reads_row(right)
                || is_own(right, name) && !reads_row(left)
        }
        Expr::BinaryOp {
            left,
            op: BinaryOperator::Minus,
            right,
        } => (is_own(left, name) || is_order_free_sum(left, name, table)) && !reads_row(right),
        Expr::Function(function) => {
            let called = function.name.to_string().to_lowercase();
            let FunctionArguments::List(list) = &function.args else {
                return false;
            };
            ["greatest", "least"].contains(&called.as_str())
                && list.args.iter().all(|argument| match argument {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => {
                        is_own(argument, name) || !reads_row(argument)
                    }
                    _ => false,
                })
        }
        constant => is_constant(constant),
    }
}

fn is_order_free_sum(expression: &Expr, name: &str, table: &Table) -> bool {
    let sum = matches!(
        expression,
        Expr::BinaryOp {
            op: BinaryOperator::Plus | BinaryOperator::Minus,
            ..
        }
    );
    sum && is_order_free(expression, name, table)
}

/// The column itself, also behind `coalesce(x, constant)`.
fn is_own(expression: &Expr, name: &str) -> bool {
    match expression {
        Expr::Nested(inner) => is_own(inner, name),
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("coalesce") => {
            let FunctionArguments::List(list) = &function.args else {
                return false;
            };
            match list.args.as_slice() {
                [
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(first)),
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(second)),
                ] => is_column(first, name) && is_constant(second),
                _ => false,
            }
        }
        other => is_column(other, name),
    }
}

fn is_constant(expression: &Expr) -> bool {
    match expression {
        Expr::Nested(inner)
        | Expr::Cast { expr: inner, .. }
        | Expr::UnaryOp { expr: inner, .. } => is_constant(inner),
        Expr::Value(_) | Expr::TypedString(_) => true,
        _ => false,
    }
}

fn is_column(expression: &Expr, name: &str) -> bool {
    match expression {
        Expr::Nested(inner) => is_column(inner, name),
        Expr::Identifier(identifier) => identifier.value.eq_ignore_ascii_case(name),
        _ => false,
    }
}

/// Whether a column's name stands anywhere as a bare name, or as `old.<name>`.
fn mentions(expression: &Expr, name: &str) -> bool {
    let text = expression.to_string();
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, &text).tokenize() else {
        return true;
    };
    let word = |at: usize, wanted: &str| matches!(&tokens[at], Token::Word(word) if word.value.eq_ignore_ascii_case(wanted));
    (0..tokens.len()).any(|at| {
        let below_another = at >= 2 && tokens[at - 1] == Token::Period && !word(at - 2, "old");
        word(at, name) && !below_another
    })
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

fn assignments(file: &RuleFile) -> Vec<(Text, Text)> {
    file.set
        .as_ref()
        .and_then(|set| pairs(set).ok())
        .unwrap_or_default()
}

/// Whatever sqlparser does not read gets no warning that needs its tree.
fn parse(text: &Text) -> Option<Expr> {
    Parser::new(&PostgreSqlDialect {})
        .with_recursion_limit(DEPTH_MAX)
        .try_with_sql(text.as_str())
        .and_then(|mut parser| parser.parse_expr())
        .ok()
}
