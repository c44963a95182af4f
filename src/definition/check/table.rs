//! One table: its columns, key, rules and indexes. Knows nothing of other tables.

use std::collections::HashSet;

use super::compile::{Compiler, Reads, report_problems};
use super::{names, one_of, query, rule};
use crate::definition::diagnostic::{Report, did_you_mean};
use crate::definition::file::{ColumnFile, IndexFile, TableFile, TopicFile};
use crate::definition::projection::{Column, GHOST, Index, Lookup, Rule, Table, Version};
use crate::definition::source::Text;
use crate::definition::sql::Sql;
use crate::expression;
use crate::expression::cell::Cell;
use crate::expression::value::{Modifier, Scalar, Type, Value};

/// PostgreSQL's limit of columns in an index.
const KEY_COLUMNS_MAX: usize = 32;
/// PostgreSQL's limit of columns in a table is 1,600; some are ours.
const COLUMNS_MAX: usize = 1_500;

/// What the rules of a table need to know of it.
pub struct Layout<'f> {
    pub name: &'f str,
    /// Key columns first.
    pub columns: Vec<(String, Type)>,
    /// Per key column the expression under the table's `key:`.
    pub key: Vec<Option<Sql>>,
    pub topics: &'f [TopicFile],
}

/// A table whose columns are known, and its rules not yet.
pub struct Draft<'f> {
    file: &'f TableFile,
    pub layout: Layout<'f>,
    columns: Vec<Column>,
}

/// `None`: rules cannot be judged without knowing every column.
pub fn draft<'f>(
    report: &mut Report<'_>,
    topics: &'f [TopicFile],
    file: &'f TableFile,
) -> Option<Draft<'f>> {
    let (mut columns, mut key) = (Vec::new(), Vec::new());
    for column in &file.key {
        if let Some((column, expression)) = key_column(report, column) {
            columns.push(column);
            key.push(expression.map(Sql::new));
        }
    }
    if let ([only], [None]) = (file.key.as_slice(), key.as_slice()) {
        let place = only.definition.span.clone();
        let text = Text::mapped("event.key".to_owned(), place, Vec::new());
        key[0] = Some(Sql::new(text));
    }
    columns.extend(file.columns.iter().filter_map(|file| column(report, file)));
    check_columns(report, file);
    if columns.len() < file.key.len() + file.columns.len() {
        return None;
    }
    let layout = Layout {
        name: &file.name.text,
        columns: columns
            .iter()
            .map(|column| (column.name.clone(), column.column_type))
            .collect(),
        key,
        topics,
    };
    Some(Draft {
        file,
        layout,
        columns,
    })
}

/// `all`: every table of the definition, for rules that look up rows of others.
pub fn table(
    report: &mut Report<'_>,
    compiler: &mut Compiler,
    draft: &Draft<'_>,
    all: &[Option<Draft<'_>>],
) -> Table {
    let Draft {
        file,
        layout,
        columns,
    } = draft;
    let rules = file.rules.iter().take(super::RULES_MAX);
    let rules = rules.filter_map(|file| rule::rule(report, compiler, layout, all, file));
    let mut rules: Vec<Rule> = rules.collect();
    let mut columns = columns.clone();
    let guard = version(report, compiler, file.version.as_ref(), 0);
    let guard = guard.map(|guard| guard.in_column(&mut columns, "$version".to_owned()));
    for (number, rule) in rules.iter_mut().enumerate() {
        let guard = rule.version.take();
        let name = format!("$version{}", number + 1);
        rule.version = guard.map(|guard| guard.in_column(&mut columns, name));
    }
    let guarded = guard.is_some() || rules.iter().any(|rule| rule.version.is_some());
    let ghost = guarded.then_some(columns.len());
    if guarded {
        columns.push(ghost_column());
    }
    let mut table = Table {
        name: file.name.text.clone(),
        comment: file.comment.clone(),
        key_len: file.key.len(),
        owned: false,
        version: guard,
        ghost,
        history: history(report, file),
        indexes: file
            .indexes
            .iter()
            .filter_map(|file| index(report, &draft.columns, file))
            .collect(),
        columns,
        rules,
    };
    table.owned = table.has_own_rules();
    table
}

/// A row that is looked up from several partitions is shared by them.
pub fn share_looked_up(tables: &mut [Table]) {
    let mut shared = Vec::new();
    for rule in tables.iter().flat_map(|table| &table.rules) {
        let foreign = |lookup: &&Lookup| !tables[lookup.table].is_own_key(&lookup.key);
        shared.extend(
            rule.lookups
                .iter()
                .filter(foreign)
                .map(|lookup| lookup.table),
        );
    }
    for table in shared {
        tables[table].owned = false;
    }
}

/// A version guard; the column that it will have is not known yet.
pub(super) fn version(
    report: &mut Report<'_>,
    compiler: &mut Compiler,
    sql: Option<&Sql>,
    column: usize,
) -> Option<Version> {
    let sql = sql?;
    let program = compiler.compile(report, sql, Reads::EVENT, None)?;
    let ty = program.result();
    if ty.array || ty.scalar == Scalar::Jsonb {
        report
            .error(
                sql.text.span.clone(),
                "wrong-type",
                format!("a version of type {ty} has no order to rely on"),
            )
            .hint("usually it is `event.version` or `event.time`");
        return None;
    }
    Some(Version { program, column })
}

impl Version {
    /// Gives the guard its hidden column.
    fn in_column(self, columns: &mut Vec<Column>, name: String) -> Version {
        let column = columns.len();
        columns.push(Column {
            name,
            column_type: self.program.result(),
            not_null: false,
            default: Cell::NULL,
            default_sql: None,
            comment: None,
        });
        Version { column, ..self }
    }
}

fn ghost_column() -> Column {
    Column {
        name: GHOST.to_owned(),
        column_type: Type {
            scalar: Scalar::Boolean,
            modifier: Modifier::None,
            array: false,
        },
        not_null: true,
        default: Cell::from_value(Value::Bool(false)),
        default_sql: Some("false".to_owned()),
        comment: None,
    }
}

/// What the view of a history has besides the table's columns.
const HISTORY_COLUMNS: [&str; 8] = [
    "valid_from",
    "valid_to",
    "late",
    "event_id",
    "event_type",
    "event_topic",
    "event_partition",
    "event_offset",
];

/// The name of the history's view, if one is kept.
fn history(report: &mut Report<'_>, file: &TableFile) -> Option<String> {
    const WORDS: &[(&str, bool)] = &[("true", true), ("false", false)];
    let text = file.history.as_ref()?;
    if one_of(report, text, "value of `history`", WORDS) != Some(true) {
        return None;
    }
    for column in file.key.iter().chain(&file.columns) {
        if HISTORY_COLUMNS.contains(&column.name.as_str()) {
            let message = format!(
                "the history of `{}` has a column `{}` of its own",
                file.name.text, column.name.text
            );
            report
                .error(column.name.span.clone(), "duplicate-name", message)
                .hint("it says from when to when a state was, and which event caused it: rename the column");
        }
    }
    Some(format!("{}_history", file.name.text))
}

fn check_columns(report: &mut Report<'_>, file: &TableFile) {
    let mut names = HashSet::new();
    for column in file.key.iter().chain(&file.columns) {
        names::check(report, &column.name, "column");
        if !names.insert(column.name.as_str()) {
            let message = format!(
                "the column `{}` stands here a second time",
                column.name.text
            );
            report.error(column.name.span.clone(), "duplicate-name", message);
        }
    }
    if file.key.is_empty() && !report.has_errors() {
        report.error(
            file.name.span.clone(),
            "missing-key",
            "a table needs at least one key column",
        );
    }
    if file.key.len() > KEY_COLUMNS_MAX || file.key.len() + file.columns.len() > COLUMNS_MAX {
        report.error(
            file.name.span.clone(),
            "too-many-columns",
            format!("PostgreSQL takes at most {KEY_COLUMNS_MAX} key columns, and we at most {COLUMNS_MAX} columns"),
        );
    }
}

fn key_column(report: &mut Report<'_>, file: &ColumnFile) -> Option<(Column, Option<Text>)> {
    let parsed = expression::parse_column(file.definition.as_str())
        .map_err(|problems| report_problems(report, &file.definition, problems))
        .ok()?;
    if let Some(span) = parsed.default_span {
        report
            .error(
                file.definition.locate(span),
                "key-default",
                "a key column has no default",
            )
            .hint("a row's key comes from the event: write `type = expression`");
    }
    if parsed.ty.array || matches!(parsed.ty.scalar, Scalar::Interval | Scalar::Jsonb) {
        // Equal values of these are written in several ways ('1 day' and '24:00:00'); an array has no place in a key of ours.
        report
            .error(
                file.definition.locate(0..file.definition.as_str().len()),
                "key-type",
                format!("a key column cannot be of type {}", parsed.ty),
            )
            .hint("give the key a type whose equal values look alike, as text or bigint");
    }
    let expression = parsed.expr_span.map(|span| file.definition.slice(span));
    let column = Column {
        name: file.name.text.clone(),
        column_type: parsed.ty,
        not_null: true,
        default: Cell::NULL,
        default_sql: None,
        comment: file.comment.clone(),
    };
    Some((column, expression))
}

fn column(report: &mut Report<'_>, file: &ColumnFile) -> Option<Column> {
    let parsed = expression::parse_column(file.definition.as_str())
        .map_err(|problems| report_problems(report, &file.definition, problems))
        .ok()?;
    if let Some(span) = parsed.expr_span {
        report
            .error(
                file.definition.locate(span),
                "column-expression",
                "only key columns have an expression here",
            )
            .hint(
                "rules set the other columns; what a new row starts from is `default <constant>`",
            );
    }
    let (default, default_sql) = parsed
        .default
        .map_or((Cell::NULL, None), |(cell, sql)| (cell, Some(sql)));
    Some(Column {
        name: file.name.text.clone(),
        column_type: parsed.ty,
        not_null: parsed.not_null,
        default,
        default_sql,
        comment: file.comment.clone(),
    })
}

fn index(report: &mut Report<'_>, columns: &[Column], file: &IndexFile) -> Option<Index> {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    for column in &file.columns {
        if !names.contains(&column.as_str()) {
            let message = format!("unknown column `{}`", column.text);
            report
                .error(column.span.clone(), "unknown-column", message)
                .maybe_hint(did_you_mean(&column.text, &names));
        }
    }
    if let Some(sql) = &file.where_sql {
        query::check_predicate(report, sql)?;
    }
    Some(Index {
        columns: file.columns.iter().map(|text| text.text.clone()).collect(),
        where_sql: file.where_sql.as_ref().map(|text| text.text.clone()),
    })
}
