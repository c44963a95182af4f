//! The table of all states of a table's rows, and the view that says from when to when each was. States are only ever appended; what
//! an event's place among the others means (until when, whether it was late) is computed by the view, so that no write depends on
//! an earlier one.

use super::quote::{identifier, identifiers, qualified};
use super::schema::OWNER;
use crate::definition::projection::{GHOST, Table};

/// Counts the states of a table in the order of their writing: for one row, that in which events were applied.
const SEQUENCE: &str = "$seq";

/// The tables and views that a table with a history has besides.
pub(super) fn create_statements(schema: &str, table: &Table) -> Vec<String> {
    let (Some(states), Some(view)) = (table.states(), &table.history) else {
        return Vec::new();
    };
    let place = qualified(schema, &states.name);
    let mut lines: Vec<String> = states
        .columns
        .iter()
        .map(|column| {
            let not_null = if column.not_null { " not null" } else { "" };
            format!(
                "{} {}{not_null}",
                identifier(&column.name),
                column.column_type
            )
        })
        .collect();
    lines.push(format!("{} integer not null", identifier(OWNER)));
    lines.push(format!(
        "{} bigint not null generated always as identity",
        identifier(SEQUENCE)
    ));
    lines.push(format!("primary key ({})", key(&states)));
    let named = table
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .filter(|name| !name.starts_with('$'));
    let named = identifiers(named);
    vec![
        format!("create table {place} (\n  {}\n)", lines.join(",\n  ")),
        format!(
            "create view {} as select {named}, valid_from, valid_to, late, event_id, event_type, event_topic, event_partition, \
               event_offset \
             from (select {named}, max(\"$time\") over so_far as valid_from, \
                 case when lead(\"$time\") over so_far is not null then max(\"$time\") over and_next end as valid_to, \
                 \"$time\" < max(\"$time\") over so_far as late, \"$id\" as event_id, \"$type\" as event_type, \
                 \"$topic\" as event_topic, \"$partition\" as event_partition, \"$offset\" as event_offset, {ghost} as gone \
               from {place} \
               window so_far as (partition by {keys} order by {SEQ}), \
                 and_next as (partition by {keys} order by {SEQ} rows between unbounded preceding and 1 following)) states \
             where not gone",
            qualified(schema, view),
            ghost = identifier(GHOST),
            keys = key_columns(&states),
            SEQ = identifier(SEQUENCE),
        ),
    ]
}

/// What gives a loaded table of states its key.
pub(super) fn key_statement(schema: &str, table: &Table) -> Option<(String, String)> {
    let states = table.states()?;
    let place = qualified(schema, &states.name);
    let sql = format!("alter table {place} add primary key ({})", key(&states));
    Some((place, sql))
}

fn key_columns(states: &Table) -> String {
    let columns = states.columns[..states.key_len].iter();
    identifiers(columns.map(|column| column.name.as_str()))
}

fn key(states: &Table) -> String {
    format!("{}, {}", key_columns(states), identifier(SEQUENCE))
}
