//! The fold against a database in a map: what rules do, what failures undo, and that neither batches nor memory change
//! anything.

mod lookups;
mod memory;
mod prefixes;
mod rules;
mod seen;
mod states;
mod versions;

use super::*;
use crate::definition::load;
use crate::event::{Decoder, Record};
use crate::expression::cast::to_text;
use crate::expression::cell::Cell;

/// Cells and owner.
type Row = (Vec<Cell>, i32);

/// Rows by table and packed key.
#[derive(Debug, Clone, Default)]
struct Database(Vec<BTreeMap<Vec<u8>, Row>>);

/// A folder, the decoders it needs, and the database it works on.
struct Lane {
    projection: Arc<Projection>,
    decoders: Vec<Decoder>,
    folder: Folder,
    database: Database,
    loaded_rows: usize,
    written_rows: usize,
    /// States of rows as they were written, by table, as text; the last column is whether the row is gone.
    states: Vec<Vec<String>>,
}

/// What a test sends: topic, partition, key, value.
type Sent<'t> = (usize, i32, Option<&'t str>, &'t str);

impl Lane {
    fn new(definition: &str, cache_bytes_max: usize) -> Lane {
        let loaded = load("test.yaml", definition);
        let projection = Arc::new(loaded.projection.unwrap_or_else(|| {
            panic!("{:?}", loaded.diagnostics);
        }));
        let shared: Vec<bool> = projection.tables.iter().map(|table| !table.owned).collect();
        Lane {
            decoders: (0..projection.topics.len())
                .map(|topic| Decoder::new(&projection, topic))
                .collect(),
            folder: Folder::new(Arc::clone(&projection), &shared, cache_bytes_max),
            database: Database(projection.tables.iter().map(|_| BTreeMap::new()).collect()),
            states: vec![Vec::new(); projection.tables.len()],
            projection,
            loaded_rows: 0,
            written_rows: 0,
        }
    }

    /// One batch, written and committed; a partition's number is its slot.
    fn batch(&mut self, sent: &[Sent<'_>], on_failure: OnFailure) -> FoldOutcome {
        let outcome = self.try_batch(sent, on_failure, true);
        outcome.expect("no row is met from two partitions")
    }

    fn try_batch(
        &mut self,
        sent: &[Sent<'_>],
        on_failure: OnFailure,
        commit: bool,
    ) -> Result<FoldOutcome, OwnershipConflict> {
        let arena = Bump::new();
        let decode = |(offset, &(topic, partition, key, value)): (usize, &Sent<'_>)| {
            let record = Record {
                topic,
                partition,
                offset: offset as i64,
                timestamp_ms: Some(946_684_800_000 + offset as i64),
                key: key.map(|key| arena.alloc_str(key).as_bytes()),
                value: Some(arena.alloc_str(value).as_bytes()),
                headers: &[],
            };
            self.decoders[topic]
                .decode(&record, &arena)
                .expect("a decodable record")
        };
        let events: Vec<Event<'_>> = sent.iter().enumerate().map(decode).collect();
        let batch = self.folder.plan(&events, &|_, partition| partition, &arena);
        for table in 0..self.projection.tables.len() {
            let needs = self.folder.needs(table);
            let keys: Vec<Vec<u8>> = (0..needs.rows.len())
                .map(|n| needs.rows.key(n).to_vec())
                .collect();
            assert!(keys.is_sorted());
            let prefixes: Vec<(usize, Vec<u8>)> = needs
                .prefixes
                .iter()
                .flat_map(|prefixes| {
                    let keys = prefixes.keys().map(<[u8]>::to_vec);
                    keys.map(|key| (prefixes.columns, key))
                })
                .collect();
            for key in keys {
                if let Some((cells, owner)) = self.database.0[table].get(&key) {
                    self.loaded_rows += 1;
                    let row = LoadedRow {
                        cells: &mut cells.clone(),
                        owner: Some(*owner),
                    };
                    self.folder.supply(table, row)?;
                }
            }
            for (columns, prefix) in prefixes {
                let rows = self.database.0[table].iter();
                for (_, (cells, owner)) in rows.filter(|(key, _)| key.starts_with(&prefix)) {
                    self.loaded_rows += 1;
                    let row = LoadedRow {
                        cells: &mut cells.clone(),
                        owner: Some(*owner),
                    };
                    self.folder.supply_of_prefix(table, columns, row)?;
                }
            }
        }
        self.folder.supply_missing_as_absent()?;
        let outcome = self.folder.fold(&batch, on_failure);
        if commit {
            self.write();
            self.folder.committed();
        } else {
            self.folder.discard();
        }
        Ok(outcome)
    }

    fn write(&mut self) {
        let changes = self.folder.changes();
        for (known, written) in self.states.iter_mut().zip(&changes.tables) {
            let arena = Bump::new();
            let text = |cell: &Cell| to_text(cell.value(), &arena).unwrap_or("-").to_owned();
            let states = written.states.iter();
            known.extend(
                states.map(|state| state.cells.iter().map(text).collect::<Vec<_>>().join(" ")),
            );
        }
        for (rows, written) in self.database.0.iter_mut().zip(&changes.tables) {
            let all = [&written.inserts, &written.updates, &written.deletes];
            self.written_rows += all.iter().map(|rows| rows.len()).sum::<usize>();
            let row = |rows: &Rows<'_>, n| (rows.cells(n).to_vec(), rows.owner(n));
            for n in 0..written.inserts.len() {
                let key = written.inserts.key(n).to_vec();
                assert!(
                    rows.insert(key, row(&written.inserts, n)).is_none(),
                    "inserted twice"
                );
            }
            for n in 0..written.updates.len() {
                let key = written.updates.key(n).to_vec();
                assert!(
                    rows.insert(key, row(&written.updates, n)).is_some(),
                    "nothing to update"
                );
            }
            for n in 0..written.deletes.len() {
                assert!(
                    rows.remove(written.deletes.key(n)).is_some(),
                    "nothing to delete"
                );
            }
        }
    }

    /// The rows of a table as text, columns divided by blanks.
    fn rows(&self, table: usize) -> Vec<String> {
        let arena = Bump::new();
        let text = |cell: &Cell| to_text(cell.value(), &arena).unwrap_or("-").to_owned();
        let rows = self.database.0[table].values();
        rows.map(|(cells, _)| cells.iter().map(text).collect::<Vec<_>>().join(" "))
            .collect()
    }
}

fn failed(outcome: &FoldOutcome) -> (usize, String) {
    let failure = outcome.failure.as_ref().expect("a failure");
    assert_eq!(failure.event(), outcome.folded);
    (outcome.folded, failure.to_string())
}

const COUNTER: &str = "
projection: p
from:
  - topic: t
    ignore: [Known]
tables:
  c:
    key: { id: text }
    columns:
      n: integer not null default 0
      note: text
      seen: integer not null default 0
    rules:
      Add: { set: 'n = n + data.by, seen = seen + 1' }
      Note: { set: note = data.note }
      NoNumber: { set: n = data.missing }
      Swap: { set: 'n = seen, seen = n' }
      Drop: { delete: true }
      Reset:
        - delete: true
        - set: n = 100
      Twice:
        - set: n = n + 1
        - set: 'n = n * 10 + old.n, seen = coalesce(old.seen, -1)'
      OnlyThere: { if_missing: skip, set: n = n + 1000 }
      MustBeThere: { if_missing: fail, set: n = n + 2000 }
      Big: { when: n > 5, set: note = 'big' }
      Flagged: { when: data.flag::boolean, set: note = 'flagged' }
";

/// `Add by=5` as a record's value.
fn event_text(event: &str) -> String {
    let (event_type, data) = event.split_once(' ').unwrap_or((event, ""));
    let members = data.split(' ').filter_map(|member| member.split_once('='));
    let members: Vec<String> = members
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!(
        r#"{{"type":"{event_type}","data":{{{}}}}}"#,
        members.join(",")
    )
}

const LINES: &str = "
projection: p
from: [t]
tables:
  lines:
    key:
      order_id: text = event.key
      line: numeric = item.line
    columns:
      sku: text not null
      at: bigint
      quantity: integer not null default 0
    rules:
      Placed:
        each: data.lines
        when: item.quantity::integer > 0
        set: 'sku = item.sku, at = index, quantity = quantity + item.quantity'
      Cancelled:
        each: data.lines
        key: line = item::numeric
        delete: true
  totals:
    key: { sku: text = item.sku }
    columns: { n: integer not null default 0 }
    rules:
      Placed: { each: data.lines, set: n = n + item.quantity }
";
