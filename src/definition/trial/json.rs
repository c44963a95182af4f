//! The account of an event as JSON, for programs. Knows nothing of how it came about.

use serde_json::{Map, Value as Json, json};

use super::text::{outcome, outcome_without_row, part_word};
use super::{Account, Evaluated, Meets, RowChange, RuleAccount, StepAccount, shown};
use crate::definition::projection::{Projection, Table};
use crate::expression::cell::Cell;
use crate::expression::value::Value;
use crate::fold::EventFailure;

/// One object. Values are texts as PostgreSQL writes them; null, booleans and integers are JSON's.
pub fn to_json(projection: &Projection, account: &Account) -> Json {
    let event = account.event.as_ref().map(|event| {
        json!({
            "type": event.event_type, "key": event.key, "id": event.id, "time": event.time,
            "offset": event.offset, "ignored": event.ignored,
        })
    });
    let rules = account.rules.iter().map(|rule| rule_json(projection, rule));
    let rows: &[RowChange] = match account.failure {
        Some(_) => &[],
        None => &account.rows,
    };
    let rows = rows.iter().map(|row| row_json(projection, row));
    json!({
        "number": account.number, "topic": account.topic, "partition": account.partition,
        "event": event, "applied": account.failure.is_none() && !account.duplicate, "duplicate": account.duplicate,
        "error": account.failure.as_ref().map(failure_json),
        "rules": rules.collect::<Vec<_>>(), "rows": rows.collect::<Vec<_>>(),
    })
}

fn rule_json(projection: &Projection, account: &RuleAccount) -> Json {
    let table = &projection.tables[account.table];
    let rule = &table.rules[account.rule];
    let meets = match account.meets {
        Meets::Yes => "yes",
        Meets::OtherType => "other_type",
        Meets::OtherTopic => "other_topic",
        Meets::NotAsked => "not_asked",
    };
    let array = account.array.iter().map(evaluated_json);
    let steps = account.steps.iter().map(|step| {
        let without_row = outcome_without_row(step, rule.if_missing);
        step_json(table, step, without_row)
    });
    json!({
        "table": table.name, "rule": rule.label, "line": rule.line, "meets": meets,
        "each": array.collect::<Vec<_>>(), "steps": steps.collect::<Vec<_>>(),
    })
}

fn step_json(table: &Table, step: &StepAccount, without_row: Option<&str>) -> Json {
    let rows = step.rows.iter().map(|row| {
        let key = row.did.as_ref().map(|(key, _)| cells_json(table, key));
        let outcome = row.did.as_ref().map(|(_, did)| outcome(*did));
        let expressions = row.evaluated.iter().map(evaluated_json);
        json!({ "key": key, "outcome": outcome, "expressions": expressions.collect::<Vec<_>>() })
    });
    let expressions = step.evaluated.iter().map(evaluated_json);
    json!({
        "index": step.index, "outcome": without_row,
        "expressions": expressions.collect::<Vec<_>>(), "rows": rows.collect::<Vec<_>>(),
    })
}

fn evaluated_json(one: &Evaluated) -> Json {
    let (value, error) = match &one.value {
        Ok(cell) => (value_json(cell), None),
        Err(error) => (Json::Null, Some(error.message())),
    };
    json!({
        "part": part_word(one.part), "column": one.column, "expression": one.text,
        "type": one.value_type.to_string(), "value": value, "error": error,
    })
}

fn row_json(projection: &Projection, row: &RowChange) -> Json {
    let table = &projection.tables[row.table];
    let side = |cells: &Option<Vec<Cell>>| cells.as_ref().map(|cells| cells_json(table, cells));
    json!({
        "table": table.name, "key": cells_json(table, &row.key),
        "before": side(&row.before), "after": side(&row.after),
    })
}

/// Without hidden columns.
fn cells_json(table: &Table, cells: &[Cell]) -> Json {
    let named = table.columns.iter().zip(cells);
    let named = named.filter(|(column, _)| !column.name.starts_with('$'));
    let members = named.map(|(column, cell)| (column.name.clone(), value_json(cell)));
    Json::Object(members.collect::<Map<_, _>>())
}

fn value_json(cell: &Cell) -> Json {
    match cell.value() {
        Value::Null => Json::Null,
        Value::Bool(value) => value.into(),
        Value::Int16(value) => value.into(),
        Value::Int32(value) => value.into(),
        Value::Int64(value) => value.into(),
        value => shown(value).into(),
    }
}

fn failure_json(failure: &EventFailure) -> Json {
    let place = failure.rule();
    json!({
        "message": failure.reason().to_string(),
        "table": place.map(|place| &place.table), "rule": place.map(|place| &place.rule),
        "line": place.map(|place| place.line), "part": place.map(|place| part_word(place.part)),
        "column": place.and_then(|place| place.column.as_deref()),
    })
}
