//! Rows that are not the fold of their events are put right, live going on but for the moment that it takes. Knows nothing of who asks.

use super::compare::{Compared, KEYS_MAX, refused, until_at};
use crate::definition::Projection;
use crate::store::{Damage, Generation, Repaired, Store, StoreError, offsets_of};

/// How often the fold may fail to come level with live in the time that live waits.
const TRIES: usize = 20;

/// Puts right what was found by comparing live with `folded`, whose lanes go and stand still where they were told to.
///
/// # Errors
/// `Refused`: too much differs, or `folded` is not the whole truth.
pub async fn put_right(
    store: &Store,
    live: &Generation,
    folded: &Generation,
    compared: &[Compared],
) -> Result<(), StoreError> {
    let definition = live.meant()?;
    if let Some(full) = compared.iter().find(|table| table.keys.len() >= KEYS_MAX) {
        let message = format!("{KEYS_MAX} rows of {} and more differ", full.table);
        return Err(refused(message).hint("A rebuild makes the tables anew."));
    }
    if let Some(hole) = store.find_hole(folded.id).await? {
        let message = format!("the log does not hold all events any more: {hole}");
        return Err(refused(message)
            .hint("Rows that were made of what is gone cannot be told right or wrong."));
    }
    let damages = damages(&definition, compared);
    for _ in 0..TRIES {
        // Close behind live, so that live's lanes wait for little.
        let reached = offsets_of(&store.positions(live.id).await?);
        store.set_stop_at(folded.id, &reached).await?;
        until_at(store, folded.id, &reached).await?;
        match store.repair(live.id, folded.id, &damages).await? {
            Repaired::Done => return Ok(()),
            Repaired::NotLevel => {}
        }
    }
    Err(
        refused("the fold of the events did not come level with live")
            .hint("Nothing was changed. Try again when less is going on."),
    )
}

fn damages<'d>(definition: &'d Projection, compared: &'d [Compared]) -> Vec<Damage<'d>> {
    let keys_of = |name: Option<&String>| -> &'d [String] {
        let found = compared.iter().find(|table| Some(&table.table) == name);
        found.map_or(&[], |table| &table.keys)
    };
    let damages = definition.tables.iter().map(|table| Damage {
        table,
        rows: keys_of(Some(&table.name)),
        states: keys_of(table.history.as_ref()),
    });
    damages
        .filter(|damage| !(damage.rows.is_empty() && damage.states.is_empty()))
        .collect()
}
