//! The file's tree to a definition as written: which keys there are, and what shape each has. Knows nothing of types and
//! expressions.

use std::ops::Range;

use super::diagnostic::Report;
use super::file::{
    ColumnFile, DeduplicateFile, EnvelopeFile, EventFile, IndexFile, LookupFile, MemberFile,
    MemberValue, ProjectionFile, RuleFile, TableFile, TopicFile, ViewFile,
};
use super::shape::{self, Fields};
use super::source::Text;
use super::sql::{Assignments, Sql, Written};
use super::testing::{self, TestCase};
use super::yaml::{Entry, Kind, Node};

pub(super) const PROJECTION_KEYS: &[&str] = &[
    "projection",
    "description",
    "from",
    "tables",
    "views",
    "on_error",
    "deduplicate",
    "tests",
];
pub(super) const TOPIC_KEYS: &[&str] = &["topic", "format", "envelope", "ignore", "events"];
pub(super) const TABLE_KEYS: &[&str] = &[
    "comment", "key", "columns", "rules", "indexes", "history", "version",
];
pub(super) const RULE_KEYS: &[&str] = &[
    "topic",
    "when",
    "key",
    "each",
    "set",
    "delete",
    "if_missing",
    "version",
    "lookup",
];

pub fn read(report: &mut Report<'_>, root: &Node) -> ProjectionFile {
    let mut file = ProjectionFile::default();
    let start = root.span.start..root.span.start;
    let Some(fields) = shape::fields(report, root, &start, "a definition", PROJECTION_KEYS) else {
        return file;
    };
    file.name = required(report, &fields, "projection", "a definition")
        .and_then(|(node, span)| shape::text(report, node, &span, "`projection`"));
    file.description = optional_text(report, &fields, "description");
    if let Some((node, span)) = required(report, &fields, "from", "a definition") {
        file.topics = shape::one_or_list(node)
            .iter()
            .filter_map(|node| topic(report, node, &span))
            .collect();
    }
    if let Some((node, span)) = required(report, &fields, "tables", "a definition")
        && let Some(entries) = shape::map(report, node, &span, "`tables`")
    {
        file.tables = entries
            .iter()
            .filter_map(|entry| table(report, entry))
            .collect();
    }
    if let Some((node, span)) = optional(&fields, "views")
        && let Some(entries) = shape::map(report, node, &span, "`views`")
    {
        file.views = entries
            .iter()
            .filter_map(|entry| view(report, entry))
            .collect();
    }
    file.on_error = optional_text(report, &fields, "on_error");
    file.deduplicate =
        optional(&fields, "deduplicate").and_then(|(node, span)| deduplicate(report, node, span));
    file
}

/// What stands under `tests:`. Apart from the rest, so that a mistake there hides none of the others.
pub fn tests(report: &mut Report<'_>, root: &Node) -> Vec<TestCase> {
    let Kind::Map(entries) = &root.kind else {
        return Vec::new();
    };
    let Some(entry) = entries.iter().find(|entry| entry.key.text.text == "tests") else {
        return Vec::new();
    };
    let owner = &entry.key.text.span;
    let nodes = shape::list(report, &entry.value, owner, "`tests`").unwrap_or_default();
    nodes
        .iter()
        .filter_map(|node| testing::read::test_case(report, node, owner))
        .collect()
}

fn topic(report: &mut Report<'_>, node: &Node, owner: &Range<usize>) -> Option<TopicFile> {
    if let Kind::Scalar(_) = node.kind {
        let name = shape::text(report, node, owner, "`from`")?;
        return Some(TopicFile {
            name,
            format: None,
            envelope: None,
            ignore: Vec::new(),
            events: Vec::new(),
        });
    }
    let fields = shape::fields(report, node, owner, "an entry of `from`", TOPIC_KEYS)?;
    let ignore = optional(&fields, "ignore").map_or_else(Vec::new, |(node, span)| {
        shape::texts(report, node, &span, "`ignore`")
    });
    let envelope = optional(&fields, "envelope").and_then(|(node, span)| match node.kind {
        Kind::Scalar(_) => shape::text(report, node, &span, "`envelope`").map(EnvelopeFile::Word),
        _ => envelope_mapping(report, node, &span),
    });
    let (name, span) = required(report, &fields, "topic", "an entry of `from`")?;
    Some(TopicFile {
        name: shape::text(report, name, &span, "`topic`")?,
        format: optional_text(report, &fields, "format"),
        envelope,
        ignore,
        events: optional(&fields, "events")
            .and_then(|(node, span)| shape::map(report, node, &span, "`events`"))
            .unwrap_or_default()
            .iter()
            .filter_map(|entry| event(report, entry))
            .collect(),
    })
}

/// `Sold: { units: int, note: text?, lines: [{ sku: text }] }`.
fn event(report: &mut Report<'_>, entry: &Entry) -> Option<EventFile> {
    let name = entry.key.text.clone();
    let entries = shape::map(report, &entry.value, &name.span, "a declared event")?;
    Some(EventFile {
        members: members(report, entries),
        name,
    })
}

fn members(report: &mut Report<'_>, entries: &[Entry]) -> Vec<MemberFile> {
    let entries = entries.iter();
    entries
        .filter_map(|entry| {
            let name = entry.key.text.clone();
            let value = member(report, &entry.value, &name.span)?;
            Some(MemberFile { name, value })
        })
        .collect()
}

fn member(report: &mut Report<'_>, node: &Node, owner: &Range<usize>) -> Option<MemberValue> {
    match &node.kind {
        Kind::Map(entries) => Some(MemberValue::Object(members(report, entries))),
        Kind::List(nodes) => match nodes.as_slice() {
            [element] => member(report, element, owner).map(|of| MemberValue::Array(Box::new(of))),
            _ => {
                let message = "a declared array has one element: what every element of it is";
                report.error(owner.clone(), "wrong-shape", message);
                None
            }
        },
        Kind::Scalar(_) => {
            shape::text(report, node, owner, "a declared member").map(MemberValue::Type)
        }
    }
}

fn envelope_mapping(
    report: &mut Report<'_>,
    node: &Node,
    owner: &Range<usize>,
) -> Option<EnvelopeFile> {
    const KEYS: &[&str] = &["type", "id", "subject", "source", "time", "version", "data"];
    let fields = shape::fields(report, node, owner, "`envelope`", KEYS)?;
    let mut mapping = Vec::new();
    for key in KEYS {
        if let Some((node, span)) = optional(&fields, key)
            && let Some(place) = shape::text(report, node, &span, "a part of `envelope`")
        {
            mapping.push((Text::verbatim(key, span.start), place));
        }
    }
    Some(EnvelopeFile::Mapping(mapping))
}

fn table(report: &mut Report<'_>, entry: &Entry) -> Option<TableFile> {
    let name = entry.key.text.clone();
    let fields = shape::fields(report, &entry.value, &name.span, "a table", TABLE_KEYS)?;
    let mut table = TableFile {
        name,
        comment: optional_text(report, &fields, "comment").map(|text| text.text),
        key: Vec::new(),
        columns: Vec::new(),
        rules: Vec::new(),
        indexes: Vec::new(),
        history: optional_text(report, &fields, "history"),
        version: optional_sql(report, &fields, "version").map(Sql::new),
    };
    if let Some((node, span)) = required(report, &fields, "key", "a table")
        && let Some(entries) = shape::map(report, node, &span, "`key` of a table")
    {
        table.key = entries
            .iter()
            .filter_map(|entry| column(report, entry))
            .collect();
    }
    if let Some((node, span)) = optional(&fields, "columns")
        && let Some(entries) = shape::map(report, node, &span, "`columns`")
    {
        table.columns = entries
            .iter()
            .filter_map(|entry| column(report, entry))
            .collect();
    }
    if let Some((node, span)) = required(report, &fields, "rules", "a table")
        && let Some(entries) = shape::map(report, node, &span, "`rules`")
    {
        for entry in entries {
            if report.is_full() {
                break;
            }
            let rules = shape::one_or_list(&entry.value).iter();
            table
                .rules
                .extend(rules.filter_map(|node| rule(report, &entry.key.text, node)));
        }
    }
    if let Some((node, span)) = optional(&fields, "indexes")
        && let Some(nodes) = shape::list(report, node, &span, "`indexes`")
    {
        table.indexes = nodes
            .iter()
            .filter_map(|node| index(report, node, &span))
            .collect();
    }
    Some(table)
}

/// `name: bigint not null` or `name: { type: bigint not null, comment: … }`.
fn column(report: &mut Report<'_>, entry: &Entry) -> Option<ColumnFile> {
    let name = entry.key.text.clone();
    if !matches!(entry.value.kind, Kind::Map(_)) {
        let definition = shape::column(report, &entry.value, &name.span, "a column")?;
        return Some(ColumnFile {
            name,
            definition,
            comment: None,
        });
    }
    let fields = shape::fields(
        report,
        &entry.value,
        &name.span,
        "a column",
        &["type", "comment"],
    )?;
    let comment = optional_text(report, &fields, "comment").map(|text| text.text);
    let (node, span) = required(report, &fields, "type", "a column")?;
    Some(ColumnFile {
        name,
        definition: shape::column(report, node, &span, "`type`")?,
        comment,
    })
}

fn rule(report: &mut Report<'_>, types: &Text, node: &Node) -> Option<RuleFile> {
    let fields = shape::fields(report, node, &types.span, "a rule", RULE_KEYS)?;
    Some(RuleFile {
        types: types.clone(),
        span: match node.span.start > types.span.start {
            true => node.span.start..node.span.start,
            false => types.span.clone(),
        },
        topic: optional_text(report, &fields, "topic"),
        when: optional_sql(report, &fields, "when").map(Sql::new),
        key: optional(&fields, "key")
            .and_then(|(node, span)| assignments(report, node, &span, "`key`")),
        each: optional_sql(report, &fields, "each").map(Sql::new),
        set: optional(&fields, "set")
            .and_then(|(node, span)| assignments(report, node, &span, "`set`")),
        delete: optional_text(report, &fields, "delete"),
        if_missing: optional_text(report, &fields, "if_missing"),
        version: optional_sql(report, &fields, "version").map(Sql::new),
        lookups: optional(&fields, "lookup")
            .and_then(|(node, span)| shape::map(report, node, &span, "`lookup`"))
            .unwrap_or_default()
            .iter()
            .filter_map(|entry| lookup(report, entry))
            .collect(),
    })
}

/// `sub: { table: subscriptions, key: { id: data.subscription } }`.
fn lookup(report: &mut Report<'_>, entry: &Entry) -> Option<LookupFile> {
    let name = entry.key.text.clone();
    let fields = shape::fields(
        report,
        &entry.value,
        &name.span,
        "a lookup",
        &["table", "key"],
    )?;
    let (table, span) = required(report, &fields, "table", "a lookup")?;
    Some(LookupFile {
        name,
        table: shape::text(report, table, &span, "`table`")?,
        key: optional(&fields, "key")
            .and_then(|(node, span)| assignments(report, node, &span, "`key`")),
    })
}

fn assignments(
    report: &mut Report<'_>,
    node: &Node,
    owner: &Range<usize>,
    what: &str,
) -> Option<Assignments> {
    let written = match node.kind {
        Kind::Map(_) => shape::sql_map(report, node, owner, what).map(Written::Map),
        _ => shape::sql(report, node, owner, what).map(Written::Sql),
    };
    written.map(Assignments::new)
}

fn index(report: &mut Report<'_>, node: &Node, owner: &Range<usize>) -> Option<IndexFile> {
    let fields = shape::fields(report, node, owner, "an index", &["columns", "where"])?;
    let (columns, span) = required(report, &fields, "columns", "an index")?;
    Some(IndexFile {
        columns: shape::texts(report, columns, &span, "`columns` of an index"),
        where_sql: optional_sql(report, &fields, "where"),
    })
}

fn view(report: &mut Report<'_>, entry: &Entry) -> Option<ViewFile> {
    let name = entry.key.text.clone();
    if !matches!(entry.value.kind, Kind::Map(_)) {
        let sql = shape::sql(report, &entry.value, &name.span, "a view")?;
        return Some(ViewFile {
            name,
            sql,
            comment: None,
        });
    }
    let fields = shape::fields(
        report,
        &entry.value,
        &name.span,
        "a view",
        &["sql", "comment"],
    )?;
    let comment = optional_text(report, &fields, "comment").map(|text| text.text);
    let (node, span) = required(report, &fields, "sql", "a view")?;
    Some(ViewFile {
        name,
        sql: shape::sql(report, node, &span, "`sql`")?,
        comment,
    })
}

fn deduplicate(
    report: &mut Report<'_>,
    node: &Node,
    span: Range<usize>,
) -> Option<DeduplicateFile> {
    let fields = shape::fields(report, node, &span, "`deduplicate`", &["by", "keep"])?;
    let mut part = |key| {
        let (node, span) = required(report, &fields, key, "`deduplicate`")?;
        shape::sql(report, node, &span, "a part of `deduplicate`")
    };
    let (by, keep) = (part("by").map(Sql::new), part("keep"));
    Some(DeduplicateFile { by, keep })
}

fn optional<'n>(fields: &Fields<'n>, key: &str) -> Option<(&'n Node, Range<usize>)> {
    Some((fields.get(key)?, fields.key_span(key)?))
}

fn required<'n>(
    report: &mut Report<'_>,
    fields: &Fields<'n>,
    key: &str,
    what: &str,
) -> Option<(&'n Node, Range<usize>)> {
    let found = optional(fields, key);
    if found.is_none() {
        report.error(
            fields.span.clone(),
            "missing-key",
            format!("{what} needs the key `{key}`"),
        );
    }
    found
}

fn optional_text(report: &mut Report<'_>, fields: &Fields<'_>, key: &str) -> Option<Text> {
    let (node, span) = optional(fields, key)?;
    shape::text(report, node, &span, &format!("`{key}`"))
}

fn optional_sql(report: &mut Report<'_>, fields: &Fields<'_>, key: &str) -> Option<Text> {
    let (node, span) = optional(fields, key)?;
    shape::sql(report, node, &span, &format!("`{key}`"))
}
