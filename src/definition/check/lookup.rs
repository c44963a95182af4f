//! Rows of other tables that a rule reads: which table, which row. Knows nothing of what is done with them.

use super::compile::{Compiler, Reads};
use super::names;
use super::rule::{own_key, row_column};
use super::table::{Draft, Layout};
use crate::definition::diagnostic::{Report, did_you_mean};
use crate::definition::file::{LookupFile, RuleFile};
use crate::definition::projection::Lookup;
use crate::definition::source::Text;
use crate::expression::{self, Paths};

/// A rule's lookups, and what expressions may call them. `layout` is the rule's own table, `all` are the definition's.
pub fn lookups(
    report: &mut Report<'_>,
    compiler: &mut Compiler,
    layout: &Layout<'_>,
    all: &[Option<Draft<'_>>],
    file: &RuleFile,
    mut item: Option<&mut Paths>,
) -> Option<(Vec<Lookup>, Vec<expression::Lookup>)> {
    let (mut found, mut scope) = (Vec::new(), Vec::new());
    for lookup in &file.lookups {
        names::check(report, &lookup.name, "lookup");
        let Some((table, target)) = target(report, layout, all, lookup) else {
            continue;
        };
        let key = key(
            report,
            compiler,
            (layout, target),
            lookup,
            item.as_deref_mut(),
        );
        scope.push(expression::Lookup {
            name: lookup.name.text.clone(),
            columns: target.columns.clone(),
        });
        found.extend(key.map(|key| Lookup { table, key }));
    }
    // Without one of them the others would stand at other places.
    (found.len() == file.lookups.len()).then_some((found, scope))
}

/// The table that is looked into.
fn target<'a>(
    report: &mut Report<'_>,
    layout: &Layout<'_>,
    all: &'a [Option<Draft<'_>>],
    file: &LookupFile,
) -> Option<(usize, &'a Layout<'a>)> {
    let name = file.table.as_str();
    if name == layout.name {
        report
            .error(
                file.table.span.clone(),
                "lookup-own-table",
                format!("a lookup reads a row of another table, and `{name}` is this one"),
            )
            .hint("the columns of the rule's own row are read by their names, and as old.<column>");
        return None;
    }
    let tables = all.iter().enumerate();
    let mut tables = tables.filter_map(|(index, draft)| Some((index, &draft.as_ref()?.layout)));
    if let Some(found) = tables.find(|(_, table)| table.name == name) {
        return Some(found);
    }
    if all.iter().all(Option::is_some) {
        let others = all.iter().flatten().map(|draft| draft.layout.name);
        let others: Vec<&str> = others.filter(|other| *other != layout.name).collect();
        let message = format!("the definition has no other table `{name}`");
        report
            .error(file.table.span.clone(), "unknown-table", message)
            .maybe_hint(did_you_mean(name, &others));
    }
    None
}

/// One program per key column of the table that is looked into: the lookup's own expression, else that table's.
fn key(
    report: &mut Report<'_>,
    compiler: &mut Compiler,
    (layout, target): (&Layout<'_>, &Layout<'_>),
    file: &LookupFile,
    mut item: Option<&mut Paths>,
) -> Option<Vec<expression::Program>> {
    let own = match &file.key {
        Some(assignments) => own_key(report, target, assignments)?,
        None => &[],
    };
    let mut programs = Vec::new();
    for ((name, column_type), default) in target.columns.iter().zip(&target.key) {
        let mut given = own.iter().filter(|pair| pair.column.text == *name);
        let default = default.as_ref();
        let default = default.filter(|sql| item.is_some() || !reads_item(sql.text.as_str()));
        let Some(expression) = given.next().map(|pair| &pair.sql).or(default) else {
            let message = format!("which row of `{}`? its `{name}` is not given", target.name);
            report
                .error(file.name.span.clone(), "missing-key-expression", message)
                .hint(format!("`key: {{ {name}: … }}`, from the event"));
            return None;
        };
        if reads_row(report, layout, &expression.text) {
            return None;
        }
        let reads = Reads {
            item: item.as_deref_mut(),
            ..Reads::EVENT
        };
        programs.push(compiler.compile(report, expression, reads, Some(*column_type)));
    }
    programs.into_iter().collect()
}

/// The table's own expression may be meant for rules with `each`.
fn reads_item(expression: &str) -> bool {
    let mut words = expression.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.any(|word| word == "item" || word == "index")
}

fn reads_row(report: &mut Report<'_>, layout: &Layout<'_>, expression: &Text) -> bool {
    let column = row_column(layout, expression);
    if let Some(column) = column {
        report
            .error(
                expression.span.clone(),
                "key-reads-row",
                format!("the key of a lookup cannot come from the column `{column}`"),
            )
            .hint("what is looked up is loaded before any event is folded, so its key comes from the event alone: data, event, headers, item");
    }
    column.is_some()
}
