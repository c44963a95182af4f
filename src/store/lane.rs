//! A lane's connection and its one transaction: claim, load or lock, write, commit. Knows nothing of events.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Postgres};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use super::checkpoint::{self, Checkpoint, Claim, Known, Partition, TakeOver};
use super::connect::{LaneConnections, Store};
use super::encode::{CopyEncoder, EncodedChanges, EncodedKeys, EncodedRows, EncodedTable};
use super::error::{Context, ErrorKind, Result, StoreError};
use super::layout::{Layout, PLACEHOLDER, TableLayout};
use super::load::{self, Loaded, Wanted};
use super::rows::{self, Rows};
use super::seen;
use crate::expression::cell::Cell;

/// Plans for a lane's statements: parameters are small sets of keys, tables are large, statistics may be missing. Always by index,
/// planned once.
const LANE_SESSION: &str = "set plan_cache_mode = force_generic_plan; set enable_hashjoin = off; \
     set enable_mergejoin = off; set enable_seqscan = off; set max_parallel_workers_per_gather = 0";

/// One connection, for one lane, as long as it lives.
#[derive(Debug)]
pub struct LaneStore {
    connections: LaneConnections,
    _permit: OwnedSemaphorePermit,
    /// Always there, but while it is dropped.
    connection: Option<PgConnection>,
    /// Begins a transaction, in the session that is the connection's own or not at all.
    begin: String,
    /// A connection can only be dropped inside of a runtime; a lane may be dropped anywhere.
    runtime: Handle,
    /// `host/pid/lane`, for people who look for the owner of a partition.
    name: String,
    /// How long a rival's open transaction is waited for before its session is ended.
    rival_wait: Duration,
}

impl LaneStore {
    /// Opens a connection that is the lane's alone.
    ///
    /// # Errors
    /// As the server's; `Disconnected` if as many lanes as may have a connection have one.
    pub async fn connect(store: &Store, name: &str, rival_wait: Duration) -> Result<LaneStore> {
        let permit = store.lanes.permit()?;
        let (connection, begin) = open(&store.lanes).await?;
        Ok(LaneStore {
            connections: store.lanes.clone(),
            _permit: permit,
            connection: Some(connection),
            begin,
            runtime: Handle::current(),
            name: name.to_owned(),
            rival_wait,
        })
    }

    /// Throws the connection away, with whatever it had open, and gets a new one. Partitions have to be taken over again: the
    /// checkpoints name the old session as their owner.
    ///
    /// # Errors
    /// As the server's.
    pub async fn reconnect(&mut self) -> Result<()> {
        let (fresh, begin) = open(&self.connections).await?;
        (self.connection, self.begin) = (Some(fresh), begin);
        Ok(())
    }

    pub(super) fn session(&mut self) -> &mut PgConnection {
        self.connection
            .as_mut()
            .expect("a lane has a connection while it lives")
    }

    /// Raises the epochs of these partitions, so that nobody else can commit for them any more, and reads where they stand. A rival's
    /// open transaction is waited for, then its session is ended. Partitions without a checkpoint begin at their `begin_offset`.
    /// Also the way to learn the outcome of a COMMIT that did not answer.
    ///
    /// # Errors
    /// `Contention` if somebody unknown keeps the checkpoints locked.
    pub async fn take_over(&mut self, generation: i64, parts: &[Partition]) -> Result<TakeOver> {
        checkpoint::ensure(self.session(), generation, parts).await?;
        let (name, rival_wait) = (self.name.clone(), self.rival_wait);
        checkpoint::take_over(self.session(), generation, parts, &name, rival_wait).await
    }

    /// The partitions of which a generation has a checkpoint.
    ///
    /// # Errors
    /// As the server's.
    pub async fn known_partitions(&mut self, generation: i64) -> Result<Vec<Known>> {
        checkpoint::known(self.session(), generation).await
    }

    /// Keeps the id of a topic with the checkpoints that have none yet.
    ///
    /// # Errors
    /// As the server's.
    pub async fn note_topic_id(&mut self, generation: i64, topic: &str, id: &str) -> Result<()> {
        checkpoint::note_topic_id(self.session(), generation, topic, id).await
    }

    /// Checkpoints as they are once nobody has an open transaction on them. Only reads; epochs stay.
    ///
    /// # Errors
    /// As the server's.
    pub async fn reread(&mut self, generation: i64, slots: &[i32]) -> Result<Vec<Checkpoint>> {
        checkpoint::reread(self.session(), generation, slots).await
    }

    /// Gives partitions (slot, epoch) up in good order.
    ///
    /// # Errors
    /// As the server's.
    pub async fn release(&mut self, generation: i64, held: &[(i32, i64)]) -> Result<()> {
        checkpoint::release(self.session(), generation, held).await
    }

    /// The table goes over to the locked way for good, and every lane of the generation is fenced once, this one too. False if
    /// it had gone over already.
    ///
    /// # Errors
    /// `Contention` if somebody unknown keeps the checkpoints locked.
    pub async fn give_up_ownership(&mut self, layout: &Layout, table: usize) -> Result<bool> {
        let name = &layout.tables[table].name;
        let rival_wait = self.rival_wait;
        checkpoint::give_up_ownership(self.session(), layout.generation, name, rival_wait).await
    }

    /// Rows of an owned table, those that are there, ahead of the transaction that will claim their partitions: who took a
    /// partition over waited for its former owner's last commit, so they stay true for as long as the epoch does.
    ///
    /// # Errors
    /// As the server's.
    pub async fn load_ahead(
        &mut self,
        layout: &Layout,
        table: usize,
        wanted: &Wanted,
    ) -> Result<Loaded> {
        let layout = &layout.tables[table];
        debug_assert!(!layout.shared, "rows of a shared table are locked");
        load::load(self.session(), layout, wanted).await
    }

    /// Begins the transaction of one batch by claiming its partitions.
    ///
    /// # Errors
    /// `Fenced` if any of the claims does not hold; nothing is open then.
    pub async fn begin<'l>(
        &'l mut self,
        layout: &'l Layout,
        claims: &[Claim],
    ) -> Result<Transaction<'l>> {
        fail::fail_point!("batch-ready");
        let begin = AssertSqlSafe(self.begin.clone());
        let mut tx = self
            .session()
            .begin_with(begin)
            .await
            .doing("beginning a batch")?;
        if let Err(error) = checkpoint::claim(&mut tx, layout.generation, claims).await {
            // Now, not before the next statement: whoever fenced us may wait for the other checkpoints. The claim's error counts.
            let _ = tx.rollback().await;
            return Err(error);
        }
        fail::fail_point!("batch-claimed");
        Ok(Transaction {
            tx,
            layout,
            placeholders: Vec::new(),
            guards: Vec::new(),
        })
    }
}

impl Drop for LaneStore {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        self.connection = None;
    }
}

/// The transaction of one batch; claimed. Dropped without [`commit`](Transaction::commit), it is rolled back, but only before the
/// session's next statement: until then its locks stay. [`rollback`](Transaction::rollback) does it at once.
#[must_use = "a batch that is not committed is rolled back"]
#[derive(Debug)]
pub struct Transaction<'l> {
    pub(super) tx: sqlx::Transaction<'l, Postgres>,
    layout: &'l Layout,
    /// Keys that were locked, by table, and how many of them hold only a placeholder.
    placeholders: Vec<(usize, EncodedKeys, u64)>,
    /// Prefixes that were locked, by table, and whether some of them were not there before.
    guards: Vec<(usize, EncodedKeys, bool)>,
}

impl Transaction<'_> {
    /// All that a batch wants of a table: locked if it is shared. Shared tables come before owned ones, each kind in the order of
    /// their index: everybody locks in the same order, and what is read without a lock is read when all locks are held.
    ///
    /// # Errors
    /// As the server's; `Contention` if somebody holds a row for too long.
    pub async fn load(&mut self, table: usize, wanted: Wanted) -> Result<Loaded> {
        let layout = self.table(table);
        if !layout.shared {
            return load::load(&mut self.tx, layout, &wanted).await;
        }
        if wanted.guards.rows() > 0 {
            let added = load::lock_guards(&mut self.tx, layout, &wanted.guards).await?;
            self.guards.push((table, wanted.guards, added));
        }
        let prefixes = wanted.prefixes;
        let by_key = self.lock_shared(table, wanted.keys).await?;
        let by_prefix = load::by_prefix(&mut self.tx, layout, &prefixes).await?;
        Ok(Loaded { by_key, by_prefix })
    }

    /// Rows of an owned table, those that are there. The caller compares owners.
    ///
    /// # Errors
    /// As the server's.
    pub async fn load_owned(&mut self, table: usize, keys: &EncodedKeys) -> Result<Rows> {
        let layout = self.table(table);
        debug_assert!(!layout.shared, "rows of a shared table are locked");
        load::by_key(&mut self.tx, layout, keys, None).await
    }

    /// Rows of a shared table, those that are there, locked until the end of the transaction; the missing ones are claimed too, so that
    /// nobody else can create them meanwhile. Keys must be sorted, and tables locked in the order of their index: everybody
    /// locks in the same order.
    ///
    /// # Errors
    /// As the server's; `Contention` if somebody holds a row for too long.
    pub async fn lock_shared(&mut self, table: usize, keys: EncodedKeys) -> Result<Rows> {
        let layout = self.table(table);
        debug_assert!(layout.shared, "rows of an owned table are not locked");
        let mut missing = 0;
        let lock = if locks_rows() {
            &layout.sql.lock
        } else {
            &layout.sql.claim_missing
        };
        for chunk in &keys.chunks {
            missing += rows::execute(&mut self.tx, lock, chunk)
                .await
                .context(|| format!("locking rows of table {}", layout.name))
                .map_err(StoreError::blames_the_table)?;
        }
        // A statement of its own: it sees what those committed whom the locking waited for.
        let rows = if missing == keys.rows() as u64 {
            Rows::default()
        } else {
            load::by_key(&mut self.tx, layout, &keys, Some(PLACEHOLDER)).await?
        };
        if missing > 0 {
            self.placeholders.push((table, keys, missing));
        }
        Ok(rows)
    }

    /// Writes everything that the batch changes; once per batch, also if that is nothing.
    ///
    /// # Errors
    /// `OwnershipConflict`: a row belongs to another partition than the fold thought. `EventFault`: a value that a table does not take.
    pub async fn write(&mut self, changes: &EncodedChanges) -> Result<()> {
        for change in &changes.tables {
            let layout = self.table(change.table);
            if layout.shared {
                self.write_shared(layout, change).await?;
            } else {
                self.write_owned(layout, change).await?;
            }
            if let Some(states) = &layout.states {
                self.insert(states, &change.states).await?;
            }
        }
        if !changes.seen.is_empty() {
            seen::write(&mut self.tx, self.layout.generation, &changes.seen).await?;
        }
        self.drop_placeholders(changes).await?;
        self.drop_idle_guards(changes).await?;
        fail::fail_point!("batch-written");
        Ok(())
    }

    /// Writes new rows of an owned table (cells and owner), and states of rows, each encoded when its turn comes: all together they would
    /// take as much memory as where they come from.
    ///
    /// # Errors
    /// As [`write`](Transaction::write).
    pub async fn copy_in<'c>(
        &mut self,
        table: usize,
        rows: impl Iterator<Item = (&'c [Cell], i32)>,
        states: impl Iterator<Item = (&'c [Cell], i32)>,
    ) -> Result<()> {
        let layout = self.table(table);
        debug_assert!(!layout.shared, "whoever copies in has the table alone");
        copy_in(&mut self.tx, layout, rows)
            .await
            .map_err(|error| error.into_ownership_conflict(layout, table))?;
        if let Some(states_layout) = &layout.states {
            copy_in(&mut self.tx, states_layout, states).await?;
        }
        Ok(())
    }

    /// Rows and checkpoints become visible and durable together.
    ///
    /// # Errors
    /// Always `CommitUnknown`: only the checkpoints tell whether it took effect.
    pub async fn commit(self) -> Result<()> {
        assert!(
            self.placeholders.is_empty(),
            "what was locked is written before the commit"
        );
        self.tx
            .commit()
            .await
            .map_err(|error| StoreError::from_commit(&error))?;
        fail::fail_point!("batch-committed");
        Ok(())
    }

    /// Undoes the batch, and waits until the locks are gone.
    ///
    /// # Errors
    /// As the server's; the transaction is gone in any case.
    pub async fn rollback(self) -> Result<()> {
        self.tx.rollback().await.doing("rolling back a batch")
    }
}

impl<'l> Transaction<'l> {
    fn table(&self, table: usize) -> &'l TableLayout {
        &self.layout.tables[table]
    }

    /// Without `on conflict`: a key that is there already belongs to somebody else, and that must be noticed.
    async fn write_owned(&mut self, layout: &TableLayout, change: &EncodedTable) -> Result<()> {
        let table = change.table;
        let conflict = |error: StoreError| error.into_ownership_conflict(layout, table);
        self.insert(layout, &change.inserts)
            .await
            .map_err(conflict)?;
        let updated = self.update(layout, &change.updates).await?;
        let deleted = self.delete(layout, &change.deletes).await?;
        if updated == change.updates.rows() as u64 && deleted == change.deletes.rows() as u64 {
            return Ok(());
        }
        Err(StoreError::new(
            ErrorKind::OwnershipConflict { table },
            format!("writing table {}", layout.name),
            "rows belong to another partition than the one their events came from",
        ))
    }

    /// Every row is locked by now, new ones by their placeholder: all is an update.
    async fn write_shared(&mut self, layout: &TableLayout, change: &EncodedTable) -> Result<()> {
        let written = self.update(layout, &change.inserts).await?
            + self.update(layout, &change.updates).await?
            + self.delete(layout, &change.deletes).await?;
        let expected = change.inserts.rows() + change.updates.rows() + change.deletes.rows();
        if written == expected as u64 {
            return Ok(());
        }
        Err(StoreError::new(
            ErrorKind::Unexpected,
            format!("writing table {}", layout.name),
            format!("{written} of {expected} locked rows were there"),
        ))
    }

    /// Keys that were locked for events that then made no row of them.
    async fn drop_placeholders(&mut self, changes: &EncodedChanges) -> Result<()> {
        for (table, keys, missing) in std::mem::take(&mut self.placeholders) {
            let layout = self.table(table);
            let filled = changes.tables.iter().filter(|change| change.table == table);
            if filled
                .map(|change| change.inserts.rows() as u64)
                .sum::<u64>()
                == missing
            {
                continue;
            }
            for chunk in &keys.chunks {
                rows::execute(&mut self.tx, &layout.sql.drop_placeholders, chunk)
                    .await
                    .context(|| format!("writing table {}", layout.name))?;
            }
        }
        Ok(())
    }

    async fn drop_idle_guards(&mut self, changes: &EncodedChanges) -> Result<()> {
        for (table, guards, added) in std::mem::take(&mut self.guards) {
            let mut changes = changes.tables.iter();
            let deletes = changes.any(|change| change.table == table && change.deletes.rows() > 0);
            if added || deletes {
                let layout = self.table(table);
                load::drop_idle_guards(&mut self.tx, layout, &guards).await?;
            }
        }
        Ok(())
    }

    async fn insert(&mut self, layout: &TableLayout, inserts: &EncodedRows) -> Result<u64> {
        let context = || format!("writing table {}", layout.name);
        match inserts {
            EncodedRows::Columns(chunks) => {
                let mut inserted = 0;
                for chunk in chunks {
                    inserted += rows::execute(&mut self.tx, &layout.sql.insert, chunk)
                        .await
                        .context(context)?;
                }
                Ok(inserted)
            }
            EncodedRows::Copy { pieces, .. } => copy(&mut self.tx, &layout.sql.copy, pieces)
                .await
                .context(context),
        }
    }

    async fn update(&mut self, layout: &TableLayout, updates: &EncodedRows) -> Result<u64> {
        let context = || format!("writing table {}", layout.name);
        match updates {
            EncodedRows::Columns(chunks) => {
                let mut updated = 0;
                for chunk in chunks {
                    updated += rows::execute(&mut self.tx, &layout.sql.update, chunk)
                        .await
                        .context(context)?;
                }
                Ok(updated)
            }
            EncodedRows::Copy { pieces, .. } => {
                let create = AssertSqlSafe(layout.sql.create_stage.as_str());
                sqlx::query(create)
                    .execute(&mut *self.tx)
                    .await
                    .context(context)?;
                copy(&mut self.tx, &layout.sql.copy_stage, pieces)
                    .await
                    .context(context)?;
                let merge = AssertSqlSafe(layout.sql.update_from_stage.as_str());
                let updated = sqlx::query(merge)
                    .execute(&mut *self.tx)
                    .await
                    .context(context)?;
                if layout.shared {
                    // New rows and changed rows go through the stage one after the other.
                    sqlx::query(AssertSqlSafe(layout.sql.clear_stage.as_str()))
                        .execute(&mut *self.tx)
                        .await
                        .context(context)?;
                }
                Ok(updated.rows_affected())
            }
        }
    }

    async fn delete(&mut self, layout: &TableLayout, deletes: &EncodedKeys) -> Result<u64> {
        let mut deleted = 0;
        for chunk in &deletes.chunks {
            deleted += rows::execute(&mut self.tx, &layout.sql.delete, chunk)
                .await
                .context(|| format!("writing table {}", layout.name))?;
        }
        Ok(deleted)
    }
}

/// False only where a test takes this defence away to see that it is found out.
fn locks_rows() -> bool {
    fail::fail_point!("shared-rows-without-lock", |_| false);
    true
}

/// A connection, and what begins a transaction on it.
async fn open(connections: &LaneConnections) -> Result<(PgConnection, String)> {
    let (mut connection, own) = connections.open().await?;
    sqlx::raw_sql(LANE_SESSION)
        .execute(&mut connection)
        .await
        .doing("connecting a lane to Postgres")?;
    let begin = format!("begin isolation level read committed; {}", own.check());
    Ok((connection, begin))
}

async fn copy_in<'c>(
    connection: &mut PgConnection,
    layout: &TableLayout,
    rows: impl Iterator<Item = (&'c [Cell], i32)>,
) -> Result<()> {
    let mut encoder = CopyEncoder::new(layout);
    let copied = async {
        let mut copy = connection.copy_in_raw(&layout.sql.copy).await?;
        for (cells, owner) in rows {
            encoder.push(cells, owner);
            if let Some(piece) = encoder.piece() {
                copy.send(piece).await?;
                encoder.was_sent();
                // A server that is never waited for must not keep the lane from what else it has to do.
                tokio::task::yield_now().await;
            }
        }
        copy.send(encoder.end()).await?;
        copy.finish().await
    };
    copied
        .await
        .map(drop)
        .context(|| format!("writing table {}", layout.name))
}

async fn copy(
    connection: &mut PgConnection,
    sql: &str,
    pieces: &[Vec<u8>],
) -> std::result::Result<u64, sqlx::Error> {
    let mut copy = connection.copy_in_raw(sql).await?;
    for piece in pieces {
        copy.send(piece.as_slice()).await?;
    }
    copy.finish().await
}
