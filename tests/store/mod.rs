//! The store against a real Postgres, without Kafka and without events.

mod folding;
mod generations;
mod lanes;
mod prefixes;
mod readers;
mod shared_rows;
mod speed;
mod status;
mod takeover;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use consolidator::definition::projection::{Column, OnError, Projection, Table, Topic, View};
use consolidator::definition::projection::{Envelope, Format};
use consolidator::expression::cell::Cell;
use consolidator::expression::value::{Modifier, Scalar, Type, Value};
use consolidator::settings::Secret;
use consolidator::store::encode::{EncodedChanges, EncodedKeys, EncodedRows, EncodedTable};
use consolidator::store::encode::{KeysEncoder, Purpose, RowsEncoder};
use consolidator::store::{
    Checkpoint, Claim, ConnectSettings, Generation, LaneStore, Layout, Partition, ReadSettings,
    Store, TableLayout,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::support;

pub const RIVAL_WAIT: Duration = Duration::from_millis(300);

/// A database of the test's own, with the control schema in it.
pub struct Base {
    pub url: String,
    pub store: Store,
}

pub async fn base() -> Base {
    let url = empty_database().await;
    let store = Store::connect(&settings(&url)).await.unwrap();
    Base { url, store }
}

pub async fn empty_database() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "store_{}_{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let mut admin = PgConnection::connect(&support::postgres_url("postgres"))
        .await
        .unwrap();
    execute(&mut admin, &format!("drop database if exists {name}")).await;
    execute(&mut admin, &format!("create database {name}")).await;
    support::postgres_url(&name)
}

pub const PASSWORD: &str = "of-a-role";

/// The url for a role that was made with [`PASSWORD`].
pub fn as_role(url: &str, role: &str) -> String {
    let (_, place) = url.rsplit_once('@').unwrap();
    format!("postgres://{role}:{PASSWORD}@{place}")
}

pub fn settings(url: &str) -> ConnectSettings {
    ConnectSettings {
        url: Secret::new(url),
        url_file: None,
        max_connections: 20,
    }
}

pub fn read() -> ReadSettings {
    ReadSettings {
        schema: "read_model".to_owned(),
        readers: Vec::new(),
    }
}

impl Base {
    pub async fn sql(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    pub async fn generation(&self, projection: &Projection) -> Generation {
        self.store
            .ensure_generation(projection, "f1", "group", &read())
            .await
            .unwrap()
    }

    pub async fn lane(&self, name: &str) -> LaneStore {
        LaneStore::connect(&self.store, name, RIVAL_WAIT)
            .await
            .unwrap()
    }
}

pub async fn execute(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{error}\nin: {sql}"));
}

/// All values as text, a row per line.
pub async fn rows(connection: &mut PgConnection, sql: &str) -> Vec<String> {
    let rows = sqlx::raw_sql(AssertSqlSafe(sql))
        .fetch_all(connection)
        .await
        .unwrap_or_else(|error| panic!("{error}\nin: {sql}"));
    let text = |row: &sqlx::postgres::PgRow| {
        let field = |index| row.try_get_unchecked::<Option<String>, _>(index).unwrap();
        let fields: Vec<String> = (0..row.len())
            .map(|index| field(index).unwrap_or("null".to_owned()))
            .collect();
        fields.join("|")
    };
    rows.iter().map(text).collect()
}

/// The SQLSTATE and message with which a statement fails.
pub async fn failure(connection: &mut PgConnection, sql: &str) -> (String, String) {
    let error = sqlx::raw_sql(AssertSqlSafe(sql))
        .fetch_all(connection)
        .await
        .expect_err(sql);
    let error = error.into_database_error().unwrap();
    (
        error.code().unwrap().into_owned(),
        error.message().to_owned(),
    )
}

pub fn ty(scalar: Scalar) -> Type {
    Type {
        scalar,
        modifier: Modifier::None,
        array: false,
    }
}

pub fn column(name: &str, column_type: Type) -> Column {
    Column {
        name: name.to_owned(),
        column_type,
        not_null: false,
        default: Cell::NULL,
        default_sql: None,
        comment: None,
    }
}

pub fn table(name: &str, columns: Vec<Column>) -> Table {
    Table {
        name: name.to_owned(),
        comment: None,
        columns,
        key_len: 1,
        rules: Vec::new(),
        owned: true,
        indexes: Vec::new(),
        history: None,
        version: None,
        ghost: None,
    }
}

pub fn projection(name: &str, tables: Vec<Table>) -> Projection {
    Projection {
        name: name.to_owned(),
        description: None,
        text: format!("projection: {name}"),
        fold_fingerprint: "f1".to_owned(),
        text_fingerprint: "t1".to_owned(),
        topics: vec![Topic {
            name: "events".to_owned(),
            format: Format::Json,
            envelope: Envelope::Plain,
            ignore: Vec::new(),
        }],
        tables,
        views: Vec::new(),
        on_error: OnError::Stop,
        deduplicate: None,
        paths: Vec::new(),
        header_names: Vec::new(),
    }
}

pub fn view(name: &str, sql: &str) -> View {
    View {
        name: name.to_owned(),
        sql: sql.to_owned(),
        comment: Some(format!("what {name} says")),
    }
}

/// One row per key, with a counter that must be there.
pub fn counters(owned: bool) -> Projection {
    let n = Column {
        not_null: true,
        default_sql: Some("0".to_owned()),
        ..column("n", ty(Scalar::BigInt))
    };
    let columns = vec![
        column("id", ty(Scalar::Text)),
        n,
        column("note", ty(Scalar::Text)),
    ];
    projection(
        "counters",
        vec![Table {
            owned,
            ..table("counter", columns)
        }],
    )
}

pub fn counter(id: &str, n: i64) -> [Cell; 3] {
    [text(id), Cell::from_value(Value::Int64(n)), Cell::NULL]
}

pub fn text(value: &str) -> Cell {
    Cell::from_value(Value::Text(value))
}

pub fn partitions(numbers: &[i32]) -> Vec<Partition> {
    let partition = |partition: &i32| Partition {
        topic: "events".to_owned(),
        partition: *partition,
        begin_offset: 0,
    };
    numbers.iter().map(partition).collect()
}

/// Moves a checkpoint by some events.
pub fn claim(checkpoint: &Checkpoint, events: i64) -> Claim {
    Claim {
        last: None,
        slot: checkpoint.slot,
        expected: checkpoint.next_offset,
        next: checkpoint.next_offset + events,
        epoch: checkpoint.epoch,
        end_offset: Some(checkpoint.next_offset + events),
        as_of: Some(0),
        events,
    }
}

pub fn keys(layout: &TableLayout, keys: &[&str]) -> EncodedKeys {
    let mut encoder = KeysEncoder::new(layout);
    for key in keys {
        encoder.push(&[text(key)]);
    }
    encoder.finish()
}

pub fn encoded(
    layout: &TableLayout,
    purpose: Purpose,
    owner: i32,
    rows: &[[Cell; 3]],
) -> EncodedRows {
    let mut encoder = RowsEncoder::new(layout, purpose, rows.len());
    for row in rows {
        encoder.push(row, owner);
    }
    encoder.finish()
}

/// Changes of the first table.
pub fn changes(
    layout: &Layout,
    owner: i32,
    inserts: &[[Cell; 3]],
    updates: &[[Cell; 3]],
) -> EncodedChanges {
    let table = &layout.tables[0];
    EncodedChanges {
        tables: vec![EncodedTable {
            states: EncodedRows::none(),
            table: 0,
            inserts: encoded(table, Purpose::Insert, owner, inserts),
            updates: encoded(table, Purpose::Update, owner, updates),
            deletes: EncodedKeys::default(),
        }],
        ..EncodedChanges::default()
    }
}

/// A generation of [`counters`] with its layout.
pub async fn counters_in(base: &Base, owned: bool) -> (Generation, Arc<Layout>) {
    let projection = counters(owned);
    let generation = base.generation(&projection).await;
    let layout = Layout::new(&projection, generation.id, &generation.shared_tables).unwrap();
    (generation, Arc::new(layout))
}
