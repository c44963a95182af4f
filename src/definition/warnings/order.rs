//! What comes out differently in another order of events, where there is none: rows that partitions share.

use std::collections::BTreeSet;

use super::syntax::{is_column, is_constant, mentions};
use crate::definition::diagnostic::Report;
use crate::definition::file::{RuleFile, TableFile};
use crate::definition::projection::{Action, Projection, Rule, Table};
use crate::definition::source::Text;
use crate::definition::sql::Assigned;
use crate::expression::program::Program;
use crate::expression::value::Scalar;
use crate::expression::{self, Expr, Kind, Special};

/// Rows that several partitions reach: slower, and what depends on order between partitions is not settled by the log.
pub fn shared(report: &mut Report<'_>, file: &TableFile, sets: &[&[Assigned]], table: &Table) {
    let own = table.has_own_rules();
    report
        .warning(
            file.name.span.clone(),
            "shared-key",
            format!(
                "rows of `{}` are shared by partitions, which is exact but slower",
                table.name
            ),
        )
        .hint(match own {
            true => "rules of other tables look up its rows by keys without `event.key`; leave it so if that is what they need",
            false => "the key has no `event.key` in it; leave it so if that is what the table is for",
        });
    if own {
        // Each row still changes in the order of its own partition.
        return;
    }
    for ((file, set), rule) in file.rules.iter().zip(sets).zip(&table.rules) {
        // Of guarded events the newest wins, whichever comes first.
        let guarded = table.version.is_some() || rule.version.is_some();
        if matches!(rule.action, Action::Delete) && !guarded {
            order_dependent(report, &file.types, "deleting a row");
        }
        for written in *set {
            let name = &written.column.text;
            let settled = |tree: &Expr| {
                guarded && !reads_row(tree, table) || is_order_free(tree, name, table)
            };
            if !written.sql.tree().is_ok_and(settled) {
                order_dependent(
                    report,
                    &written.sql.text,
                    &format!("this assignment to `{name}`"),
                );
            }
        }
    }
}

fn order_dependent(report: &mut Report<'_>, text: &Text, what: &str) {
    let hint = "sums of whole and exact numbers, `greatest`, `least` and constants come out the same in any order";
    order_warning(report, text, what, hint);
}

fn order_warning(report: &mut Report<'_>, text: &Text, what: &str, hint: &str) {
    report
        .warning(
            text.span.clone(),
            "order-dependent",
            format!("{what} depends on the order of events, and between partitions there is none"),
        )
        .hint(hint);
}

/// What of a table the logs do not settle, because they have no order between partitions.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OrderDependence {
    /// Whether there is a row.
    pub rows: bool,
    /// Indexes into [`Table::columns`].
    pub columns: BTreeSet<usize>,
}

/// What may come out either way. `shared[n]`: rows of table `n` are met from several partitions.
pub fn order_dependence(projection: &Projection, table: usize, shared: &[bool]) -> OrderDependence {
    let mut found = OrderDependence::default();
    let definition = &projection.tables[table];
    for rule in &definition.rules {
        let looks_at_shared = rule.lookups.iter().any(|lookup| shared[lookup.table]);
        let guarded = definition.version.is_some() || rule.version.is_some();
        let when = rule.when.as_ref();
        let chosen = when.is_some_and(|when| {
            (shared[table] && when.reads_row()) || (looks_at_shared && when.reads_lookup())
        });
        let Action::Set(assignments) = &rule.action else {
            found.rows |= shared[table] && !guarded || chosen;
            continue;
        };
        for assignment in assignments {
            let name = &definition.columns[assignment.column].name;
            let program = &assignment.program;
            let settled = match guarded {
                // The highest version is applied last, or alone.
                true => !program.reads_row() && !program.reads_old(),
                false => expression::parse(&assignment.text)
                    .is_ok_and(|tree| is_order_free(&tree, name, definition)),
            };
            let looked_up = looks_at_shared && program.reads_lookup();
            if chosen || looked_up || (shared[table] && !settled) {
                found.columns.insert(assignment.column);
            }
        }
    }
    found
}

/// `x + e`, `x - e`, `greatest(x, e)`, `least(x, e)` with an `e` that does not read the row, and constants.
fn is_order_free(expression: &Expr, name: &str, table: &Table) -> bool {
    let reads_row = |expression: &Expr| reads_row(expression, table);
    // A sum of many parts leans to the left: `x + a + b`.
    let sums = |side: &Expr| is_own(side, name) || is_sum(side) && is_order_free(side, name, table);
    match &expression.kind {
        Kind::Binary(op, left, right) if sums_exactly(name, table) => match op.as_str() {
            "+" => sums(left) && !reads_row(right) || is_own(right, name) && !reads_row(left),
            "-" => sums(left) && !reads_row(right),
            _ => false,
        },
        Kind::Special(Special::Greatest | Special::Least, arguments) => arguments
            .iter()
            .all(|argument| is_own(argument, name) || !reads_row(argument)),
        _ => is_constant(expression),
    }
}

fn reads_row(expression: &Expr, table: &Table) -> bool {
    let mut columns = table.columns.iter();
    columns.any(|column| mentions(expression, &column.name))
}

/// Not where every sum is rounded, nor where a month is as long as the one that it is added to.
fn sums_exactly(name: &str, table: &Table) -> bool {
    let column = table.columns.iter().find(|column| column.name == name);
    column.is_some_and(|column| {
        use Scalar::{Double, Real, Timestamp, TimestampTz};
        !matches!(
            column.column_type.scalar,
            Real | Double | Timestamp | TimestampTz
        )
    })
}

fn is_sum(expression: &Expr) -> bool {
    matches!(&expression.kind, Kind::Binary(op, ..) if op == "+" || op == "-")
}

/// The column itself, also behind `coalesce(x, constant)`.
fn is_own(expression: &Expr, name: &str) -> bool {
    match &expression.kind {
        Kind::Special(Special::Coalesce, arguments) => match arguments.as_slice() {
            [first, second] => is_column(first, name) && is_constant(second),
            _ => false,
        },
        _ => is_column(expression, name),
    }
}

/// What a lookup finds of a row that other partitions change.
pub fn of_lookups(
    report: &mut Report<'_>,
    projection: &Projection,
    file: &RuleFile,
    set: &[Assigned],
    rule: &Rule,
) {
    let foreign = rule.lookups.iter().zip(&file.lookups);
    let foreign: Vec<&str> = foreign
        .filter(|(lookup, _)| {
            let table = &projection.tables[lookup.table];
            !(table.has_own_rules() && table.is_own_key(&lookup.key))
        })
        .map(|(_, file)| file.name.as_str())
        .collect();
    if foreign.is_empty() {
        return;
    }
    let programs: Vec<&Program> = match &rule.action {
        Action::Set(set) => set.iter().map(|assignment| &assignment.program).collect(),
        Action::Delete => Vec::new(),
    };
    let set = set.iter().map(|written| &written.sql.text).zip(programs);
    let when = file.when.iter().map(|sql| &sql.text).zip(&rule.when);
    let reads = when
        .chain(set)
        .filter(|(_, program)| program.reads_lookup());
    for (text, _) in reads {
        let named = |name: &&&str| text.as_str().contains(&format!("{name}."));
        if let Some(name) = foreign.iter().find(named) {
            let what = format!("what `{name}` holds");
            let hint = "a rebuild may see another state of that row: fine if it never changes, or was there long before";
            order_warning(report, text, &what, hint);
        }
    }
}
