//! The steps of an explanation, for people and as JSON.

use bumpalo::Bump;
use serde_json::{Map, Value as Json, json};

use super::fold::Step;
use crate::definition::projection::Table;
use crate::expression::cast::to_text;
use crate::expression::cell::Cell;
use crate::expression::value::Value;

pub(super) struct Show {
    /// Columns that a definition names.
    columns: Vec<String>,
    json: bool,
    events: u64,
}

impl Show {
    pub(super) fn new(table: &Table, json: bool) -> Show {
        let names = table.columns.iter().map(|column| column.name.clone());
        Show {
            columns: names.filter(|name| !name.starts_with('$')).collect(),
            json,
            events: 0,
        }
    }

    pub(super) fn step(&mut self, step: &Step) -> String {
        self.events += 1;
        let time = text(&Cell::from_value(Value::TimestampTz(step.time)));
        if self.json {
            let rule = |(label, line): &(String, usize)| json!({ "rule": label, "line": line });
            return json!({
                "topic": step.topic, "partition": step.partition, "offset": step.offset, "time": time, "type": step.event_type,
                "id": step.id, "key": step.key, "rules": step.rules.iter().map(rule).collect::<Vec<_>>(),
                "before": self.row_json(step.before.as_deref()), "after": self.row_json(step.after.as_deref()),
                "not_applied": step.failure,
            })
            .to_string();
        }
        let rules = step
            .rules
            .iter()
            .map(|(label, line)| format!("rule {label} (line {line})"));
        let rules = match step.rules.is_empty() {
            true => "no rule applied".to_owned(),
            false => rules.collect::<Vec<_>>().join(", "),
        };
        let id = step.id.as_ref().map(|id| format!(" {id}"));
        let change = match (&step.failure, &step.before, &step.after) {
            (Some(failure), ..) => format!("not applied: {failure}"),
            (None, None, Some(after)) => format!("new: {}", self.row_text(after)),
            (None, Some(_), None) => "deleted".to_owned(),
            (None, None, None) => "no row".to_owned(),
            (None, Some(before), Some(after)) => self.changes(before, after, " -> "),
        };
        format!(
            "{time}  {}{}  {} [{}] @ {}\n  {rules}\n  {change}",
            step.event_type,
            id.unwrap_or_default(),
            step.topic,
            step.partition,
            step.offset,
        )
    }

    /// The row by its events against the one in the table; true if they are the same.
    pub(super) fn end(
        &self,
        folded: Option<Vec<Cell>>,
        stored: Option<&[Cell]>,
        merged: bool,
    ) -> (String, bool) {
        let same = match (&folded, stored) {
            (None, None) => true,
            (Some(folded), Some(stored)) => {
                (0..self.columns.len()).all(|column| folded[column].same(&stored[column]))
            }
            _ => false,
        };
        if self.json {
            let summary = json!({
                "events": self.events, "row": self.row_json(folded.as_deref()), "table": self.row_json(stored), "same": same,
                "order_known": !merged,
            });
            return (summary.to_string(), same);
        }
        let mut text = match (&folded, stored) {
            (None, None) => {
                "there is no such row, neither in the table nor by its events".to_owned()
            }
            (Some(folded), None) => format!(
                "the table has no such row; by its events: {}",
                self.row_text(folded)
            ),
            (None, Some(stored)) => format!(
                "by its events there is no such row; the table has {}",
                self.row_text(stored)
            ),
            (Some(_), Some(_)) if same => "the table has the row that its events make".to_owned(),
            (Some(folded), Some(stored)) => format!(
                "the table has another row than its events make: {}",
                self.changes(folded, stored, " by its events, in the table ")
            ),
        };
        if merged && self.events > 1 {
            text.push_str("\nevents of several partitions are shown in the order of Kafka's timestamps; in which order they were applied is not known");
        }
        (text, same)
    }

    fn changes(&self, before: &[Cell], after: &[Cell], between: &str) -> String {
        let pairs = self.columns.iter().zip(before.iter().zip(after));
        let changed = pairs.filter(|(_, (before, after))| !before.same(after));
        let changed: Vec<String> = changed
            .map(|(name, (before, after))| {
                format!("{name}: {}{between}{}", text(before), text(after))
            })
            .collect();
        match changed.is_empty() {
            true => "unchanged".to_owned(),
            false => changed.join(", "),
        }
    }

    fn row_text(&self, cells: &[Cell]) -> String {
        let cells = self.columns.iter().zip(cells);
        let cells = cells.map(|(name, cell)| format!("{name}: {}", text(cell)));
        cells.collect::<Vec<_>>().join(", ")
    }

    fn row_json(&self, cells: Option<&[Cell]>) -> Json {
        let Some(cells) = cells else {
            return Json::Null;
        };
        let cells = self.columns.iter().zip(cells);
        let members: Map<String, Json> = cells
            .map(|(name, cell)| (name.clone(), as_json(cell)))
            .collect();
        Json::Object(members)
    }
}

/// Numbers that JSON readers keep exactly, and texts.
fn as_json(cell: &Cell) -> Json {
    match cell.value() {
        Value::Null => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Int16(value) => json!(value),
        Value::Int32(value) => json!(value),
        Value::Int64(value) => json!(value),
        _ => json!(text(cell)),
    }
}

fn text(cell: &Cell) -> String {
    let arena = Bump::new();
    to_text(cell.value(), &arena).unwrap_or("null").to_owned()
}
