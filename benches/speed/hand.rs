//! The limit: what a good engineer would write by hand for this one topic and this one table, as fast as it goes. Two threads, each
//! with its share of the partitions; the batch call of librdkafka; a parse of just the needed fields; a hash map.
//!
//! It trusts its producer: anything unforeseen is a panic.

use std::ffi::c_void;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_sys as sys;
use sqlx::{Connection, Executor, PgConnection};
use tokio::runtime::Runtime;

use crate::orders::PARTITIONS;

/// As the worker's own table.
const TABLE: &str = "(order_id text not null, events bigint not null, quantity bigint not null, \
     amount numeric(14,2) not null, carrier text, tracking text, status text, version bigint)";
const THREADS: i32 = 2;
const BATCH_RECORDS: usize = 10_000;
/// Events in one transaction of the live form: a longer one saves commits and makes readers wait.
const TRANSACTION_EVENTS: usize = 200_000;

/// A short text without a heap of its own.
#[derive(Clone, Copy, Default)]
struct Text {
    bytes: [u8; 23],
    len: u8,
}

impl Text {
    fn set(&mut self, text: &[u8]) {
        self.bytes[..text.len()].copy_from_slice(text);
        self.len = text.len() as u8;
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn str(&self) -> &str {
        std::str::from_utf8(self.bytes()).expect("JSON is UTF-8")
    }
}

#[derive(Clone, Copy, Default)]
struct Row {
    events: i64,
    quantity: i64,
    cents: i64,
    version: i64,
    carrier: Text,
    tracking: Text,
    status: Text,
    changed: bool,
}

type Rows = HashMap<[u8; 14], Row, FixedState>;

/// The fields of one event.
#[derive(Default)]
struct Fields<'a> {
    quantity: i64,
    cents: i64,
    version: i64,
    carrier: &'a [u8],
    tracking: &'a [u8],
    status: &'a [u8],
}

/// One pass over the bytes, from quote to quote.
fn parse(value: &[u8]) -> Fields<'_> {
    let mut fields = Fields::default();
    let mut at = 0;
    while let Some(quote) = memchr::memchr(b'"', &value[at..]) {
        let name_start = at + quote + 1;
        let name_end =
            name_start + memchr::memchr(b'"', &value[name_start..]).expect("a name ends");
        let rest = name_end + 2;
        match &value[name_start..name_end] {
            b"quantity" => (fields.quantity, at) = number(value, rest),
            b"version" => (fields.version, at) = number(value, rest),
            b"amount" => {
                let (whole, dot) = number(value, rest);
                let (cents, end) = number(value, dot + 1);
                (fields.cents, at) = (whole * 100 + cents, end);
            }
            b"data" => at = rest,
            name => {
                let end = rest + 1 + memchr::memchr(b'"', &value[rest + 1..]).expect("a text ends");
                let text = &value[rest + 1..end];
                assert!(!text.contains(&b'\\'), "no escapes are expected");
                match name {
                    b"carrier" => fields.carrier = text,
                    b"tracking" => fields.tracking = text,
                    b"status" => fields.status = text,
                    _ => {}
                }
                at = end + 1;
            }
        }
    }
    fields
}

fn number(value: &[u8], mut at: usize) -> (i64, usize) {
    let mut number = 0;
    while value[at].is_ascii_digit() {
        number = number * 10 + i64::from(value[at] - b'0');
        at += 1;
    }
    (number, at)
}

fn apply(row: &mut Row, value: &[u8]) {
    let fields = parse(value);
    row.events += 1;
    row.quantity += fields.quantity;
    row.cents += fields.cents;
    row.version = fields.version;
    row.carrier.set(fields.carrier);
    row.tracking.set(fields.tracking);
    row.status.set(fields.status);
}

/// A share of the partitions, read by the batch call.
struct Share {
    consumer: BaseConsumer,
    queue: *mut sys::rd_kafka_queue_t,
    messages: Vec<*mut sys::rd_kafka_message_t>,
    /// By partition: how many records are still to come.
    next: Vec<i64>,
    ends: Vec<i64>,
    partitions: Vec<i32>,
}

impl Share {
    fn open(brokers: &str, topic: &str, thread: i32, from: &[i64]) -> Share {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "hand")
            .set("enable.auto.commit", "false")
            .set("queued.max.messages.kbytes", "65536")
            .set("fetch.queue.backoff.ms", "2")
            .set("fetch.max.bytes", "8388608")
            .set("max.partition.fetch.bytes", "1048576")
            .set("check.crcs", "false")
            .create()
            .expect("a consumer");
        let partitions: Vec<i32> = (0..from.len() as i32)
            .filter(|p| p % THREADS == thread)
            .collect();
        let mut list = TopicPartitionList::new();
        let mut ends = vec![0; from.len()];
        for partition in &partitions {
            let start = Offset::Offset(from[*partition as usize]);
            list.add_partition_offset(topic, *partition, start)
                .expect("a partition");
            let watermarks = consumer.fetch_watermarks(topic, *partition, Duration::from_secs(10));
            ends[*partition as usize] = watermarks.expect("the broker answers").1;
        }
        consumer.assign(&list).expect("an assignment");
        // SAFETY: the client outlives the queue, which is destroyed in `drop`.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        Share {
            consumer,
            queue,
            messages: vec![std::ptr::null_mut(); BATCH_RECORDS],
            next: from.to_vec(),
            ends,
            partitions,
        }
    }

    fn is_done(&self) -> bool {
        self.partitions.iter().all(|p| {
            let p = *p as usize;
            self.next[p] >= self.ends[p]
        })
    }

    /// Some records, in order by partition; `each` gets key and value.
    fn poll(&mut self, mut each: impl FnMut(&[u8], &[u8])) -> usize {
        // SAFETY: the buffer has BATCH_RECORDS places; each message is read before it is destroyed.
        unsafe {
            let count = sys::rd_kafka_consume_batch_queue(
                self.queue,
                100,
                self.messages.as_mut_ptr(),
                BATCH_RECORDS,
            );
            let count = usize::try_from(count).expect("the batch call works");
            for message in &self.messages[..count] {
                let record = &**message;
                assert_eq!(record.err as i32, 0, "a record");
                let bytes = |start: *mut c_void, len: usize| {
                    std::slice::from_raw_parts(start.cast::<u8>().cast_const(), len)
                };
                each(
                    bytes(record.key, record.key_len),
                    bytes(record.payload, record.len),
                );
                self.next[record.partition as usize] = record.offset + 1;
                sys::rd_kafka_message_destroy(*message);
            }
            count
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // SAFETY: got from the client, which `self.consumer` still holds.
        unsafe { sys::rd_kafka_queue_destroy(self.queue) };
        let _ = &self.consumer;
    }
}

fn on_every_thread(work: impl Fn(i32) + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let work = &work;
            scope.spawn(move || work(thread));
        }
    });
}

/// Reads everything and does nothing with it: the ceiling.
pub fn consume(brokers: &str, topic: &str, from: &[i64]) {
    on_every_thread(|thread| {
        let mut share = Share::open(brokers, topic, thread, from);
        let mut bytes = 0;
        while !share.is_done() {
            share.poll(|key, value| bytes += key.len() + value.len());
        }
        assert!(bytes > 0 || share.partitions.is_empty());
    });
}

fn key(bytes: &[u8]) -> [u8; 14] {
    bytes.try_into().expect("keys are order-00000000")
}

/// Everything from the beginning into a new table: COPY, and the key afterwards.
pub fn rebuild(brokers: &str, topic: &str, postgres: &str) {
    let runtime = runtime();
    let mut connection = connect(&runtime, postgres);
    run(
        &runtime,
        &mut connection,
        "drop table if exists hand_orders",
    );
    run(
        &runtime,
        &mut connection,
        &format!("create table hand_orders {TABLE}"),
    );
    on_every_thread(|thread| {
        let mut share = Share::open(brokers, topic, thread, &[0; PARTITIONS as usize]);
        let mut rows = Rows::default();
        while !share.is_done() {
            share.poll(|name, value| apply(rows.entry(key(name)).or_default(), value));
        }
        copy(postgres, &rows);
    });
    run(
        &runtime,
        &mut connection,
        "alter table hand_orders add primary key (order_id)",
    );
}

/// One thread's rows as binary COPY.
fn copy(postgres: &str, rows: &Rows) {
    let runtime = runtime();
    let mut connection = connect(&runtime, postgres);
    runtime.block_on(async {
        let mut sink = connection
            .copy_in_raw("copy hand_orders from stdin (format binary)")
            .await
            .expect("COPY begins");
        let mut out = Vec::with_capacity(1 << 20);
        out.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        for (key, row) in rows {
            encode(key, row, &mut out);
            if out.len() > (1 << 20) - 1024 {
                sink.send(&out[..]).await.expect("COPY goes on");
                out.clear();
            }
        }
        out.extend_from_slice(&(-1i16).to_be_bytes());
        sink.send(&out[..]).await.expect("COPY goes on");
        sink.finish().await.expect("COPY ends");
    });
}

fn encode(key: &[u8], row: &Row, out: &mut Vec<u8>) {
    let field = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
        out.extend_from_slice(bytes);
    };
    out.extend_from_slice(&8i16.to_be_bytes());
    field(out, key);
    field(out, &row.events.to_be_bytes());
    field(out, &row.quantity.to_be_bytes());
    numeric(row.cents, out);
    field(out, row.carrier.bytes());
    field(out, row.tracking.bytes());
    field(out, row.status.bytes());
    field(out, &row.version.to_be_bytes());
}

/// Cents as `numeric` with a scale of two: digits to the base of 10,000.
fn numeric(cents: i64, out: &mut Vec<u8>) {
    let mut groups = [0i16; 6];
    let (mut whole, fraction) = (cents / 100, (cents % 100 * 100) as i16);
    groups[5] = fraction;
    let mut first = 5;
    while whole > 0 {
        first -= 1;
        groups[first] = (whole % 10_000) as i16;
        whole /= 10_000;
    }
    let end = if fraction == 0 { 5 } else { 6 };
    let first = first.min(end);
    let weight = if first == end { 0 } else { 4 - first as i16 };
    let count = end - first;
    out.extend_from_slice(&(8 + 2 * count as i32).to_be_bytes());
    for word in [count as i16, weight, 0, 2] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    for group in &groups[first..end] {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

/// Goes on from its checkpoints into a table that has rows, each batch with its checkpoints in one transaction.
pub fn live(brokers: &str, topic: &str, postgres: &str, from: &[i64]) {
    on_every_thread(|thread| {
        let runtime = runtime();
        let mut connection = connect(&runtime, postgres);
        let mut share = Share::open(brokers, topic, thread, from);
        let mut rows = Rows::default();
        let mut batch: Vec<([u8; 14], Vec<u8>)> = Vec::new();
        while !share.is_done() {
            batch.clear();
            let start = Instant::now();
            while batch.len() < TRANSACTION_EVENTS
                && !share.is_done()
                && start.elapsed() < Duration::from_secs(2)
            {
                share.poll(|name, value| batch.push((key(name), value.to_vec())));
            }
            runtime.block_on(transaction(&mut connection, &mut rows, &batch, &share));
        }
    });
}

async fn transaction(
    connection: &mut PgConnection,
    rows: &mut Rows,
    batch: &[([u8; 14], Vec<u8>)],
    share: &Share,
) {
    let mut tx = connection.begin().await.expect("a transaction");
    let mut missing: Vec<&str> = batch
        .iter()
        .filter(|(key, _)| !rows.contains_key(key))
        .map(|(key, _)| std::str::from_utf8(key).expect("keys are ASCII"))
        .collect();
    missing.sort_unstable();
    missing.dedup();
    load(&mut tx, rows, &missing).await;
    let mut changed = Vec::new();
    for (key, value) in batch {
        let row = rows.entry(*key).or_default();
        if !row.changed {
            row.changed = true;
            changed.push(*key);
        }
        apply(row, value);
    }
    changed.sort_unstable();
    write(&mut tx, rows, &changed).await;
    for partition in &share.partitions {
        sqlx::query("update hand_checkpoint set next_offset = $2 where partition = $1")
            .bind(partition)
            .bind(share.next[*partition as usize])
            .execute(&mut *tx)
            .await
            .expect("the checkpoint moves");
    }
    tx.commit().await.expect("the batch is committed");
    for key in &changed {
        rows.get_mut(key).expect("it was just written").changed = false;
    }
}

async fn load(tx: &mut PgConnection, rows: &mut Rows, keys: &[&str]) {
    type Loaded = (String, i64, i64, i64, String, String, String, i64);
    let loaded: Vec<Loaded> = sqlx::query_as(
        "select order_id, events, quantity, (amount * 100)::bigint, carrier, tracking, status, version \
         from hand_orders where order_id = any($1)",
    )
    .bind(keys)
    .fetch_all(tx)
    .await
    .expect("rows are loaded");
    for (name, events, quantity, cents, carrier, tracking, status, version) in loaded {
        let mut row = Row {
            events,
            quantity,
            cents,
            version,
            ..Row::default()
        };
        row.carrier.set(carrier.as_bytes());
        row.tracking.set(tracking.as_bytes());
        row.status.set(status.as_bytes());
        rows.insert(key(name.as_bytes()), row);
    }
}

async fn write(tx: &mut PgConnection, rows: &Rows, changed: &[[u8; 14]]) {
    let numbers =
        |get: fn(&Row) -> i64| -> Vec<i64> { changed.iter().map(|key| get(&rows[key])).collect() };
    let texts = |get: fn(&Row) -> &Text| -> Vec<&str> {
        changed.iter().map(|key| get(&rows[key]).str()).collect()
    };
    let names: Vec<&str> = changed
        .iter()
        .map(|key| std::str::from_utf8(key).expect("keys are ASCII"))
        .collect();
    sqlx::query(
        "insert into hand_orders select k, e, q, c::numeric / 100, a, t, s, v from unnest($1::text[], $2::bigint[], \
         $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[]) as u (k, e, q, c, a, t, s, v) \
         on conflict (order_id) do update set events = excluded.events, quantity = excluded.quantity, \
         amount = excluded.amount, carrier = excluded.carrier, tracking = excluded.tracking, \
         status = excluded.status, version = excluded.version",
    )
    .bind(names)
    .bind(numbers(|row| row.events))
    .bind(numbers(|row| row.quantity))
    .bind(numbers(|row| row.cents))
    .bind(texts(|row| &row.carrier))
    .bind(texts(|row| &row.tracking))
    .bind(texts(|row| &row.status))
    .bind(numbers(|row| row.version))
    .execute(tx)
    .await
    .expect("rows are written");
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn connect(runtime: &Runtime, postgres: &str) -> PgConnection {
    runtime
        .block_on(PgConnection::connect(postgres))
        .expect("Postgres answers")
}

fn run(runtime: &Runtime, connection: &mut PgConnection, sql: &str) {
    let done = runtime.block_on(connection.execute(sqlx::AssertSqlSafe(sql)));
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}
