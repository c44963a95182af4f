//! `plan`: the definition files against the database. What would change, what that needs, and whether the log still has it. Changes
//! nothing.

use std::collections::BTreeSet;

use serde_json::json;

use super::{connect, failed};
use crate::definition::Projection;
use crate::definition::projection::{Action, Rule, Table};
use crate::error::Failure;
use crate::rebuild::{LogEnds, Logs};
use crate::settings::Settings;
use crate::store::{Generation, State, Store};
use crate::worker;

/// What one projection needs.
#[derive(Debug)]
struct Item {
    name: String,
    /// One word: `new`, `nothing`, `in place`, `rebuild`, `rollback`, `under way`, `orphaned`.
    needs: &'static str,
    /// What it is, in a sentence.
    says: String,
    changes: Vec<String>,
    notes: Vec<String>,
}

/// One text per projection, in the order of names.
///
/// # Errors
/// The definitions or the database are not fine.
pub async fn plan(settings: &Settings, as_json: bool) -> Result<Vec<String>, Failure> {
    let mut files = worker::definitions(settings)?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let store = connect(settings).await?;
    let logs = Logs::new(&settings.kafka);
    let mut items = Vec::new();
    for projection in &files {
        items.push(item(&store, &logs, projection).await?);
    }
    for name in store.projection_names().await.map_err(failed)? {
        if files.iter().all(|projection| projection.name != name) {
            items.push(Item {
                says: "there is no file any more; it is folded on by its stored definition"
                    .to_owned(),
                needs: "orphaned",
                changes: Vec::new(),
                notes: vec![format!("`consolidator drop {name}` drops it")],
                name,
            });
        }
    }
    Ok(items.iter().map(|item| item.text(as_json)).collect())
}

async fn item(store: &Store, logs: &Logs, wanted: &Projection) -> Result<Item, Failure> {
    let name = wanted.name.clone();
    let item = |needs, says: String| Item {
        name: name.clone(),
        needs,
        says,
        changes: Vec::new(),
        notes: Vec::new(),
    };
    let Some(visible) = store.visible_generation(&name).await.map_err(failed)? else {
        let history = history(logs, store, wanted, None).await?;
        return Ok(Item {
            notes: history,
            ..item("new", "`consolidator run` builds it".to_owned())
        });
    };
    let live = store.generation(visible).await.map_err(failed)?;
    let holes = store.holes(visible).await.map_err(failed)?;
    let lacks = holes
        .iter()
        .map(|hole| format!("generation {visible} lacks {hole}, which Kafka no longer held"));
    if live.definition == wanted.text {
        let says = format!(
            "generation {visible} is {}, by this very definition",
            live.state
        );
        return Ok(Item {
            notes: lacks.collect(),
            ..item("nothing", says)
        });
    }
    let changes = match live.meant() {
        Ok(before) => differences(&before, wanted),
        Err(_) => vec!["the live definition does not load in this version".to_owned()],
    };
    if live.fingerprint == wanted.fold_fingerprint {
        let says = "needs no rebuild: `consolidator run` applies it in place".to_owned();
        return Ok(Item {
            changes,
            ..item("in place", says)
        });
    }
    let generations = store.generations(&name).await.map_err(failed)?;
    let same = |known: &&Generation| {
        known.fingerprint == wanted.fold_fingerprint && known.state != State::Frozen
    };
    let (needs, says) = match generations.iter().rfind(same) {
        None => (
            "rebuild",
            format!("needs a rebuild; generation {visible} is served meanwhile"),
        ),
        Some(known) => known_before(&name, known),
    };
    let mut notes = history(logs, store, wanted, Some(&live)).await?;
    notes.extend(lacks);
    Ok(Item {
        changes,
        notes,
        ..item(needs, says)
    })
}

/// A definition that some generation has already, or had.
fn known_before(name: &str, known: &Generation) -> (&'static str, String) {
    let id = known.id;
    match known.state {
        State::Building | State::CaughtUp => {
            ("under way", format!("generation {id} is built by it"))
        }
        State::Held => (
            "under way",
            format!("generation {id} is held: `consolidator switch {name}`"),
        ),
        State::Grace => (
            "rollback",
            format!("generation {id} is that: `consolidator rollback {name}`"),
        ),
        State::Retired | State::Failed | State::Live | State::Frozen => (
            "rebuild",
            format!(
                "generation {id} was that ({}), so it is not built by itself: `consolidator rebuild {name}`",
                known.state
            ),
        ),
    }
}

/// What the logs still have, against what the live generation was built from.
async fn history(
    logs: &Logs,
    store: &Store,
    wanted: &Projection,
    live: Option<&Generation>,
) -> Result<Vec<String>, Failure> {
    let topics: Vec<String> = wanted
        .topics
        .iter()
        .map(|topic| topic.name.clone())
        .collect();
    let ends = match logs.ends(&topics).await {
        Ok(ends) => ends,
        Err(error) => {
            return Ok(vec![format!(
                "Kafka does not say how far back its logs reach: {error}"
            )]);
        }
    };
    let mut notes = vec![format!("up to {} events to fold", ends.offsets())];
    notes.extend(
        ends.missing
            .iter()
            .map(|topic| format!("topic {topic} does not exist")),
    );
    let Some(live) = live else {
        return Ok(notes);
    };
    let began = store.positions(live.id).await.map_err(failed)?;
    let holes: Vec<String> = began
        .iter()
        .filter(|at| topics.contains(&at.topic) && at.next_offset > at.begin_offset)
        .filter_map(|at| hole(&ends, &at.topic, at.partition, at.begin_offset))
        .collect();
    if holes.is_empty() {
        notes.push("the logs reach as far back as when the live one began".to_owned());
    } else {
        notes.extend(holes);
        notes.push(format!(
            "it would be held until `consolidator switch {} --accept-hole`",
            wanted.name
        ));
    }
    Ok(notes)
}

fn hole(ends: &LogEnds, topic: &str, partition: i32, began: i64) -> Option<String> {
    match ends.partitions.get(&(topic.to_owned(), partition)) {
        None => Some(format!("{topic} [{partition}] is gone from Kafka")),
        Some((begin, _)) if *begin > began => Some(format!(
            "{topic} [{partition}]: the live one began at offset {began}, the log now begins at {begin}"
        )),
        Some(_) => None,
    }
}

/// What differs between two definitions, for people.
fn differences(before: &Projection, after: &Projection) -> Vec<String> {
    let mut changes = Vec::new();
    let topics = |projection: &Projection| -> BTreeSet<String> {
        projection
            .topics
            .iter()
            .map(|topic| topic.name.clone())
            .collect()
    };
    changes.extend(
        topics(after)
            .difference(&topics(before))
            .map(|topic| format!("reads topic {topic} too")),
    );
    changes.extend(
        topics(before)
            .difference(&topics(after))
            .map(|topic| format!("reads topic {topic} no longer")),
    );
    for table in &after.tables {
        match before.tables.iter().find(|old| old.name == table.name) {
            None => changes.push(format!("table {} is new", table.name)),
            Some(old) => changes.extend(table_differences(old, table)),
        }
    }
    let gone = before
        .tables
        .iter()
        .filter(|old| after.tables.iter().all(|table| table.name != old.name));
    changes.extend(gone.map(|old| format!("table {} is no longer there", old.name)));
    if before.views != after.views {
        changes.push("views".to_owned());
    }
    if changes.is_empty() {
        changes.push("descriptions, comments or tests".to_owned());
    }
    changes
}

fn table_differences(old: &Table, new: &Table) -> Vec<String> {
    let mut changes = Vec::new();
    let name = &new.name;
    for column in &new.columns {
        match old.columns.iter().find(|known| known.name == column.name) {
            None => changes.push(format!("column {name}.{} is new", column.name)),
            Some(known) if known.column_type != column.column_type => changes.push(format!(
                "column {name}.{} becomes {} instead of {}",
                column.name, column.column_type, known.column_type
            )),
            Some(known)
                if known.default_sql != column.default_sql || known.not_null != column.not_null =>
            {
                changes.push(format!("default or not null of {name}.{}", column.name));
            }
            Some(_) => {}
        }
    }
    let gone = old
        .columns
        .iter()
        .filter(|known| new.columns.iter().all(|column| column.name != known.name));
    changes.extend(gone.map(|known| format!("column {name}.{} is no longer there", known.name)));
    if old.key_len != new.key_len {
        changes.push(format!("the key of {name}"));
    }
    let rules = |table: &Table| -> BTreeSet<(String, String)> {
        table
            .rules
            .iter()
            .map(|rule| (rule.label.clone(), meaning(rule)))
            .collect()
    };
    let (before, after) = (rules(old), rules(new));
    let changed: BTreeSet<&String> = before
        .symmetric_difference(&after)
        .map(|(label, _)| label)
        .collect();
    changes.extend(
        changed
            .into_iter()
            .map(|label| format!("rule {label} of {name}")),
    );
    if old.indexes != new.indexes {
        changes.push(format!("indexes of {name}"));
    }
    changes
}

/// Equal for rules that do the same, as far as their texts go.
fn meaning(rule: &Rule) -> String {
    let action = match &rule.action {
        Action::Set(assignments) => {
            let one = |assignment: &crate::definition::projection::Assignment| {
                format!("{}={}", assignment.column, assignment.text)
            };
            assignments.iter().map(one).collect::<Vec<_>>().join(",")
        }
        Action::Delete => "delete".to_owned(),
    };
    format!(
        "{:?} {:?} {:?} {:?} {:?} {action}",
        rule.topic, rule.when, rule.key, rule.each, rule.if_missing
    )
}

impl Item {
    fn text(&self, as_json: bool) -> String {
        if as_json {
            return json!({ "projection": self.name, "needs": self.needs, "says": self.says, "changes": self.changes, "notes": self.notes })
                .to_string();
        }
        let mut lines = vec![format!("{}: {}: {}", self.name, self.needs, self.says)];
        lines.extend(
            self.changes
                .iter()
                .map(|change| format!("  changed: {change}")),
        );
        lines.extend(self.notes.iter().map(|note| format!("  {note}")));
        lines.join("\n")
    }
}
