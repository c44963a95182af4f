//! What one event costs between the client's buffer and the rows: decode, first pass, second pass; beside a typed parse of the same
//! fields by serde_json, which folds nothing. Prints nanoseconds of the thread's own CPU time an event, the best of some rounds.
//!
//! `cargo bench --bench fold [-- EVENTS KEYS BATCH]`; events lie in memory one behind the other, as a client has them.

#[path = "speed/orders.rs"]
mod orders;

use bumpalo::Bump;
use consolidator::definition::projection::Action;
use consolidator::definition::{self, Projection};
use consolidator::event::{Decoder, Record, json};
use consolidator::expression::cell::Cell;
use consolidator::expression::{Env, Machine};
use consolidator::fold::{Folder, OnFailure};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 5;

/// The typical rule: five assignments, two of them arithmetic.
const TYPICAL: &str = "
projection: orders
from: [TOPIC]
tables:
  orders:
    key: { order_id: text }
    columns:
      quantity: bigint not null default 0
      amount: numeric(14,2) not null default 0
      carrier: text
      tracking: text
      status: text
    rules:
      '*':
        set: |
          quantity = quantity + data.quantity,
          amount = amount + data.amount,
          carrier = data.carrier,
          tracking = data.tracking,
          status = data.status
";

/// The fields that the definition reads, as a program for this one purpose would parse them.
#[derive(serde::Deserialize)]
#[allow(dead_code, reason = "parsed and not used")]
struct Typed<'a> {
    r#type: &'a str,
    id: &'a str,
    time: &'a str,
    version: i64,
    #[serde(borrow)]
    data: TypedData<'a>,
}

#[derive(serde::Deserialize)]
#[allow(dead_code, reason = "parsed and not used")]
struct TypedData<'a> {
    quantity: i64,
    amount: f64,
    carrier: &'a str,
    tracking: &'a str,
    status: &'a str,
}

/// Keys and values one behind the other, and where each begins and ends.
#[derive(Default)]
struct Log {
    bytes: Vec<u8>,
    ends: Vec<(usize, usize)>,
}

impl Log {
    fn new(events: usize, keys: u64) -> Log {
        let mut log = Log::default();
        for n in 0..events {
            let (key, value) = orders::event(n as u64, keys);
            log.bytes.extend_from_slice(key.as_bytes());
            let key_end = log.bytes.len();
            log.bytes.extend_from_slice(value.as_bytes());
            log.ends.push((key_end, log.bytes.len()));
        }
        log
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn record(&self, n: usize) -> Record<'_> {
        let start = if n == 0 { 0 } else { self.ends[n - 1].1 };
        let (key_end, end) = self.ends[n];
        Record {
            topic: 0,
            // A key's events are all of one partition.
            partition: self.bytes[start..key_end]
                .iter()
                .map(|byte| i32::from(*byte))
                .sum::<i32>()
                % orders::PARTITIONS,
            offset: n as i64,
            timestamp_ms: Some(1_700_000_000_000),
            key: Some(&self.bytes[start..key_end]),
            value: Some(&self.bytes[key_end..end]),
            headers: &[],
        }
    }
}

/// CPU time of this thread: a busy machine delays the measurement, but does not count into it.
fn now() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes the time into the struct that it is given.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "every Linux has this clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Nanoseconds an event by phase.
#[derive(Clone, Copy, Default)]
struct Phases {
    decode: f64,
    plan: f64,
    fold: f64,
    changes: f64,
    committed: f64,
}

impl Phases {
    fn total(&self) -> f64 {
        self.decode + self.plan + self.fold + self.changes + self.committed
    }
}

fn main() {
    let number = |n: usize, default: usize| {
        let numbers = std::env::args()
            .skip(1)
            .filter_map(|argument| argument.parse().ok());
        numbers.take(n + 1).nth(n).unwrap_or(default)
    };
    let (events, keys, batch) = (number(0, 1_000_000), number(1, 300_000), number(2, 2_000));
    let log = Log::new(events, keys as u64);
    println!(
        "{events} events of {} bytes, {keys} keys, batches of {batch}; ns an event",
        log.bytes.len() / log.len()
    );
    println!(
        "from_utf8    {:7.0}",
        fastest(&log, |value| std::str::from_utf8(value).is_ok())
    );
    println!("syntax       {:7.0}", fastest(&log, is_json));
    println!("serde typed  {:7.0}", fastest(&log, is_typed));
    println!("\nseven assignments, three of them arithmetic");
    phases(&log, orders::DEFINITION, batch);
    println!("\nfive assignments, two of them arithmetic");
    phases(&log, TYPICAL, batch);
}

/// Folds the log by a definition, and prints what each phase takes.
fn phases(log: &Log, text: &str, batch: usize) {
    let loaded = definition::load("bench.yaml", &text.replace("TOPIC", "orders"));
    let projection = Arc::new(loaded.projection.expect("the definition is sound"));
    let decoder = Decoder::new(&projection, 0);
    let mut best: Option<Phases> = None;
    for _ in 0..ROUNDS {
        let mut folder = Folder::new(Arc::clone(&projection), &[false], 1 << 30);
        folder.set_bulk(true);
        let phases = fold(log, &decoder, &mut folder, batch);
        if best.is_none_or(|best| phases.total() < best.total()) {
            best = Some(phases);
        }
    }
    let best = best.unwrap_or_default();
    println!(
        "evaluated    {:7.0} with decoding, and no row is kept",
        evaluated(log, &decoder, &projection)
    );
    println!("decode       {:7.0}", best.decode);
    println!("plan         {:7.0}", best.plan);
    println!("fold         {:7.0}", best.fold);
    println!("changes      {:7.0}", best.changes);
    println!("committed    {:7.0}", best.committed);
    println!("together     {:7.0}", best.total());
}

/// What it takes to decode an event and to compute what its rule assigns.
fn evaluated(log: &Log, decoder: &Decoder, projection: &Projection) -> f64 {
    let table = &projection.tables[0];
    let row: Vec<Cell> = table.columns.iter().map(|c| c.default.clone()).collect();
    let Action::Set(assignments) = &table.rules[0].action else {
        panic!("the rule sets columns");
    };
    let mut machine = Machine::new();
    let (mut decoded, mut scratch) = (Bump::new(), Bump::new());
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = now();
        for n in 0..log.len() {
            decoded.reset();
            scratch.reset();
            let event = decoder.decode(&log.record(n), &decoded);
            let env = Env {
                row: &row,
                old: &[],
                lookups: &[],
                event: &event.expect("a sound event"),
                item: &[],
                index: 0,
                arena: &scratch,
            };
            for assignment in assignments {
                let value = assignment.program.evaluate(&env, &mut machine);
                black_box(value.expect("a value"));
            }
        }
        best = best.min((now() - start).as_nanos() as f64 / log.len() as f64);
    }
    best
}

fn is_json(value: &[u8]) -> bool {
    let plan = json::Plan::default();
    json::text_of(value).is_ok_and(|text| json::extract(text, &plan, &mut []).is_ok())
}

fn is_typed(value: &[u8]) -> bool {
    serde_json::from_slice::<Typed<'_>>(value).is_ok_and(|typed| black_box(typed).version >= 0)
}

fn fastest(log: &Log, check: impl Fn(&[u8]) -> bool) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = now();
        for n in 0..log.len() {
            assert!(black_box(check(log.record(n).value.unwrap_or_default())));
        }
        best = best.min((now() - start).as_nanos() as f64 / log.len() as f64);
    }
    best
}

fn fold(log: &Log, decoder: &Decoder, folder: &mut Folder, batch: usize) -> Phases {
    let mut nanos = [0u128; 5];
    let mut arena = Bump::new();
    for from in (0..log.len()).step_by(batch) {
        arena.reset();
        let mut times = vec![now()];
        let numbers = from..(from + batch).min(log.len());
        let mut events = Vec::with_capacity(numbers.len());
        for n in numbers {
            events.push(
                decoder
                    .decode_in_place(&log.record(n), &arena)
                    .expect("a sound event"),
            );
        }
        times.push(now());
        let planned = folder.plan(&events, &|_, partition| partition, &arena);
        times.push(now());
        folder
            .supply_missing_as_absent()
            .expect("every key has one partition");
        let outcome = folder.fold(&planned, OnFailure::Stop);
        assert_eq!(outcome.folded, events.len());
        times.push(now());
        black_box(folder.changes());
        times.push(now());
        folder.committed();
        times.push(now());
        for (sum, pair) in nanos.iter_mut().zip(times.windows(2)) {
            *sum += (pair[1] - pair[0]).as_nanos();
        }
    }
    let each = nanos.map(|nanos| nanos as f64 / log.len() as f64);
    Phases {
        decode: each[0],
        plan: each[1],
        fold: each[2],
        changes: each[3],
        committed: each[4],
    }
}
