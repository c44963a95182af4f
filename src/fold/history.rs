//! Every state that rows of a table have had, one per event that changed them: kept in memory until it is written. Knows nothing of
//! where.

use crate::definition::projection::Table;
use crate::event::Event;
use crate::expression::cell::Cell;
use crate::expression::value::Value;

/// States that the database does not have yet, in the order of events.
#[derive(Debug, Default)]
pub(super) struct History {
    states: Vec<RowState>,
    bytes: usize,
}

/// A row as an event left it.
#[derive(Debug)]
pub struct RowState {
    /// The checkpoint slot that owns the row; -1 in a shared table.
    pub owner: i32,
    /// As [`Table::states`] has them.
    pub cells: Box<[Cell]>,
}

impl History {
    /// Takes in a row that the event made or changed (its named columns), or, with `deleted`, removed.
    pub(super) fn push(
        &mut self,
        table: &Table,
        named_columns: usize,
        (owner, row): (i32, &[Cell]),
        event: &Event<'_>,
        deleted: bool,
    ) {
        let value = |value: Value<'_>| Cell::from_value(value);
        let cause = [
            value(Value::TimestampTz(event.time)),
            event.id.map_or(Cell::NULL, |id| value(Value::Text(id))),
            value(Value::Text(event.event_type)),
            value(Value::Text(event.topic_name)),
            value(Value::Int32(event.partition)),
            value(Value::Int64(event.offset)),
            value(Value::Bool(deleted)),
        ];
        let named = row[..named_columns].iter().enumerate();
        let named = named.map(|(column, cell)| match deleted && column >= table.key_len {
            true => Cell::NULL,
            false => cell.clone(),
        });
        let cells: Box<[Cell]> = named.chain(cause).collect();
        let heap: usize = cells.iter().map(Cell::heap_bytes).sum();
        self.bytes += size_of::<RowState>() + size_of_val(&*cells) + heap;
        self.states.push(RowState { owner, cells });
    }

    pub(super) fn states(&self) -> &[RowState] {
        &self.states
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn clear(&mut self) {
        *self = History::default();
    }

    pub(super) fn forget_slot(&mut self, slot: i32) {
        // Between batches there is nothing, but for a load that is given back.
        self.states.retain(|state| state.owner != slot);
    }
}
