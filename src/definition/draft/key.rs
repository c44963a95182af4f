//! What a row stands for: the record's key, or what does as one. Knows nothing of other columns.

use std::collections::HashSet;

use super::Seen;
use super::json;

/// The key of the table.
#[derive(Debug)]
pub struct Key {
    /// Column, type, expression.
    pub columns: Vec<(String, &'static str, String)>,
    /// The member of the data that says the same.
    pub member: Option<String>,
    /// Why this and no other.
    pub comment: Vec<String>,
    /// Tombstones find their row.
    pub of_record: bool,
}

/// Ends of names that tell things apart.
const NAME_ENDS: &[&str] = &["id", "key", "sku", "code", "number", "no"];

pub fn choose(name: &str, events: &[Seen<'_>]) -> Key {
    let without = events.iter().filter(|event| event.key().is_none()).count();
    if without == 0 {
        return of_record(name, events);
    }
    let mut comment = match without == events.len() {
        true => vec!["The records of this topic have no key.".to_owned()],
        false => vec![format!(
            "{without} of {} records have no key that is text, so it cannot be the row's.",
            events.len()
        )],
    };
    match member(events) {
        Some(found) => {
            comment.push(format!(
                "Rows are keyed by a member that every event has. Is one row per {found} what is wanted?"
            ));
            comment.push("Events of one row may lie in several partitions: exact, but slower, and `lint` says so.".to_owned());
            let column = super::columns::column_name(&found);
            let value = super::columns::member(&found);
            Key {
                columns: vec![(column, "text", value)],
                member: Some(found),
                comment,
                of_record: false,
            }
        }
        None => {
            comment.push(
                "No member that every event has tells rows apart: this makes a row of every event."
                    .to_owned(),
            );
            let column = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            let [partition, offset] = [
                column("log_partition", "event.partition"),
                column("log_offset", "event.offset"),
            ];
            Key {
                columns: vec![
                    (partition.0, "integer", partition.1),
                    (offset.0, "bigint", offset.1),
                ],
                member: None,
                comment,
                of_record: false,
            }
        }
    }
}

fn of_record(name: &str, events: &[Seen<'_>]) -> Key {
    let same = candidates(events).into_iter().find(|candidate| {
        events.iter().all(|event| match event.data {
            None => true,
            Some(data) => scalar(data, candidate).as_deref() == event.key(),
        })
    });
    let column = match &same {
        Some(member) => super::columns::column_name(member),
        None => format!("{}_id", name.strip_suffix('s').unwrap_or(name)),
    };
    let column = match super::names::is_name(&column) {
        true => column,
        false => "row_id".to_owned(),
    };
    Key {
        columns: vec![(column, "text", "event.key".to_owned())],
        member: same,
        comment: Vec::new(),
        of_record: true,
    }
}

/// Present in every event, best name first; what repeats before what does not.
fn member(events: &[Seen<'_>]) -> Option<String> {
    let mut best: Option<(usize, String)> = None;
    for candidate in candidates(events) {
        let datas = events.iter().filter_map(|event| event.data);
        let values: Option<Vec<String>> = datas.map(|data| scalar(data, &candidate)).collect();
        let Some(values) = values else { continue };
        let lower = candidate.to_lowercase();
        let named = NAME_ENDS.iter().any(|end| lower.ends_with(end));
        if !named {
            continue;
        }
        let distinct: HashSet<&String> = values.iter().collect();
        let repeats = distinct.len() < values.len();
        let rank = usize::from(repeats);
        if best.as_ref().is_none_or(|(known, _)| rank > *known) {
            best = Some((rank, candidate));
        }
    }
    best.map(|(_, member)| member)
}

/// Members of the first event that has data.
fn candidates(events: &[Seen<'_>]) -> Vec<String> {
    let first = events.iter().find_map(|event| event.data);
    let members = first.map(json::object).unwrap_or_default();
    let names = members.into_iter().map(|(name, _)| name.into_owned());
    let simple = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    names
        .filter(|name| !name.is_empty() && name.chars().all(simple))
        .collect()
}

/// The text of a string or an integer.
fn scalar(data: &str, name: &str) -> Option<String> {
    let raw = json::at(data, &[name.to_owned()])?;
    match json::string(raw) {
        Some(text) => Some(text.into_owned()).filter(|text| !text.is_empty()),
        None => raw.parse::<i64>().ok().map(|_| raw.to_owned()),
    }
}
