//! Damaged definitions and damaged records, as many as the time allows: whatever is in them, the program says what is wrong and goes
//! on. And values of every kind through COPY, read back by Postgres. (Expressions, and JSON against serde and jsonb, have generators
//! of their own: `src/expression/robustness_tests.rs`, `src/event/json/tests.rs`, `tests/expressions/`.)
//!
//! `CONSOLIDATOR_TEST_FUZZ` says how many seconds each takes, `CONSOLIDATOR_TEST_SEED` repeats a run.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use consolidator::definition::testing::OwnedRecord;
use consolidator::definition::testing::replay::{Memory, replay};
use consolidator::definition::trial::Trial;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::space::Space;
use crate::support::topic::{Producer, Record, dump};
use crate::support::{root, setting};

const SECONDS: u64 = 3;
/// Nothing that is damaged may take longer, on a machine that does other things too.
const LONGEST: Duration = Duration::from_secs(5);
const ROWS: usize = 3_000;
const IN_TIME: Duration = Duration::from_secs(60);

/// What breaks parsers, put anywhere.
const SPLINTERS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "\\",
    ":",
    ": ",
    ",",
    "- ",
    "? ",
    "&a ",
    "*a",
    "!!",
    "|\n",
    ">-\n",
    "#",
    "---\n",
    "\t",
    "\r",
    "\n",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "\u{202e}",
    "ß",
    "😀",
    "e\u{301}",
    "%",
    "$$",
    "::",
    "->>",
    "(",
    ")",
    "--",
    "/*",
    "*/",
    "null",
    "~",
    "\\u0000",
    "\\ud800",
    "\\udc00",
    "1e99999",
    "-0",
    "0x",
    "1_0",
    "NaN",
    "-infinity",
    "9223372036854775808",
    "data.",
    "event.",
    "old.",
    "item.",
    "each",
    "lookup",
    "case when ",
    " end",
    "coalesce(",
    "array[",
    "interval '",
    "::numeric(1000,1000)",
    "::bytea",
    "\0",
];

/// One change at random, a few times.
fn damage(random: &mut StdRng, text: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=text.len());
        let to = (at + random.random_range(0..40)).min(text.len());
        match random.random_range(0..7) {
            0 => drop(text.drain(at..to)),
            1 => {
                let piece = text[at..to].to_vec();
                let times = random.random_range(1..30);
                text.splice(at..at, piece.repeat(times));
            }
            2 if at < text.len() => text[at] = random.random(),
            3 => {
                let other = &others[random.random_range(0..others.len())];
                let from = random.random_range(0..=other.len());
                let end = (from + random.random_range(0..80)).min(other.len());
                text.splice(at..to, other[from..end].iter().copied());
            }
            4 => text.truncate(at.max(1)),
            _ => {
                let splinter = SPLINTERS[random.random_range(0..SPLINTERS.len())];
                text.splice(at..at, splinter.bytes());
            }
        }
    }
    text.truncate(200_000);
}

/// As many rounds as the time allows. A round that panics, or takes long, names the seed and shows what it was given.
fn rounds(corpus: &[Vec<u8>], mut each: impl FnMut(&[u8])) -> usize {
    let seed =
        setting("CONSOLIDATOR_TEST_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let time = Duration::from_secs(setting("CONSOLIDATOR_TEST_FUZZ").unwrap_or(SECONDS));
    let mut random = StdRng::seed_from_u64(seed);
    let started = Instant::now();
    let mut rounds = 0;
    while started.elapsed() < time {
        let mut text = corpus[random.random_range(0..corpus.len())].clone();
        damage(&mut random, &mut text, corpus);
        let round = Instant::now();
        let panicked = catch_unwind(AssertUnwindSafe(|| each(&text))).is_err();
        let took = round.elapsed();
        assert!(
            !panicked && took < LONGEST,
            "round {rounds} took {took:.1?}, panicked: {panicked}; repeat with CONSOLIDATOR_TEST_SEED={seed}\n{}",
            String::from_utf8_lossy(&text)
        );
        rounds += 1;
    }
    rounds
}

fn definitions() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for folder in ["projections", "docs/cookbook", "tests/definitions"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                all.push(fs::read(path).unwrap());
            }
        }
    }
    all.sort();
    all
}

#[test]
fn damaged_definitions_are_read_to_their_end_or_refused() {
    let corpus = definitions();
    let mut accepted = 0;
    let rounds = rounds(&corpus, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let loaded = consolidator::definition::load("damaged.yaml", &text);
        let errors = loaded
            .diagnostics
            .iter()
            .map(|diagnostic| diagnostic.render(false));
        assert!(errors.count() > 0 || loaded.projection.is_some());
        if let Some(projection) = loaded.projection {
            accepted += 1;
            let projection = Arc::new(projection);
            for case in &loaded.tests {
                replay(&projection, case, 1, Memory::Forget);
            }
        }
    });
    assert!(accepted > 0 && accepted < rounds, "{accepted} of {rounds}");
}

/// Reads a record in every way there is.
const READING: &str = "
projection: reading
from:
  - plain
  - { topic: none, envelope: none }
  - topic: mapped
    envelope: { type: body.type, time: body.at, data: body.data, id: headers.id, version: body.v, subject: body.s, source: body.f }
on_error: skip
tables:
  seen:
    key:
      name: text = event.key
    columns:
      n: bigint not null default 0
      t: timestamptz
      v: bigint
      x: jsonb
      s: text
      d: numeric
      a: text[]
      b: boolean
    rules:
      '*':
        - set: n = n + 1, t = event.time, v = event.version, s = event.type || event.id
        - when: data.x is not null
          set: x = data.x, s = data.s, d = data.d::numeric, b = data.b::boolean
        - when: data.d is not null
          set: d = d + data.d::numeric, s = data.x.s, a = array[data.s, event.subject, event.source]
  lines:
    key:
      name: text = event.key
      place: bigint = index
    columns:
      what: jsonb
    rules:
      '*':
        each: data.lines
        set: what = item
";

fn records() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"type":"A","id":"1","subject":"s","source":"f","time":"2026-01-02T03:04:05.678Z","version":7,"data":{"x":{"s":"ü"},"s":"t","d":12.50,"b":true,"lines":[1,{"a":[]},"😀"]}}"#,
        r#"{"body":{"type":"B","at":"2026-01-02 03:04:05+01","v":"9","s":"x","f":"y","data":{"x":[1,2,[3]],"s":"A\n","d":"1e-5","b":"off","lines":[]}}}"#,
        r#"{"x":null,"s":"","d":-0.0,"b":false,"lines":[[[[]]]],"type":"tombstone"}"#,
        r#"[{"type":"A"},1.5e10,"x",null,true,{"a":{"a":{"a":1}},"a":2}]"#,
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

#[test]
fn damaged_records_are_folded_or_refused_under_any_envelope() {
    let loaded = consolidator::definition::load("reading.yaml", READING);
    let problems: Vec<String> = loaded
        .diagnostics
        .iter()
        .map(|diagnostic| diagnostic.render(false))
        .collect();
    let projection = Arc::new(loaded.projection.unwrap_or_else(|| panic!("{problems:?}")));
    let mut trial = Trial::new(&projection);
    let (mut folded, mut told, mut number) = (0, 0, 0);
    let rounds = rounds(&records(), |bytes| {
        number += 1;
        // Rows that were made are visible to all later events: not too many of them.
        if number % 100 == 0 {
            trial = Trial::new(&projection);
        }
        let topic = number % 3;
        let record = OwnedRecord {
            topic,
            partition: 0,
            offset: None,
            timestamp_ms: Some(1_700_000_000_000),
            key: Some(bytes[..bytes.len().min(number % 7)].to_vec()),
            value: Some(bytes.to_vec()),
            headers: vec![("id".to_owned(), Some(bytes[..bytes.len().min(9)].to_vec()))],
        };
        match trial.fold(&record).failure {
            None => folded += 1,
            Some(failure) => {
                told += 1;
                assert!(!failure.to_string().is_empty());
            }
        }
    });
    assert!(
        folded > 0 && told > 0,
        "{folded} folded, {told} refused of {rounds}"
    );
}

/// Every type that JSON has a spelling for, from the same member.
const COPIED: &str = "
projection: copied
from: [TOPIC]
tables:
  copied:
    key:
      name: text = event.key
    columns:
      t: text
      j: jsonb
      n: numeric
      i: bigint
      f: double precision
      b: boolean
      at: timestamptz
      day: date
      l: text[]
    rules:
      A:
        set: t = data.t, j = data.j, n = data.n::numeric, i = data.i::bigint, f = data.f::double precision, b = data.b::boolean,
          at = data.at::timestamptz, day = data.day::date, l = array[data.t, null, data.j::text]
";

fn random_text(random: &mut StdRng) -> String {
    let length = random.random_range(0..12);
    let piece = |random: &mut StdRng| match random.random_range(0..4) {
        0 => SPLINTERS[random.random_range(0..SPLINTERS.len())].replace('\0', ""),
        1 => char::from_u32(random.random_range(1..0x11_0000)).map_or(String::new(), String::from),
        _ => String::from(char::from(random.random_range(32..127_u8))),
    };
    (0..length).map(|_| piece(random)).collect()
}

fn random_json(random: &mut StdRng, depth: u32) -> serde_json::Value {
    use serde_json::{Value, json};
    match random.random_range(0..if depth == 0 { 4 } else { 6 }) {
        0 => Value::Null,
        1 => json!(random.random::<bool>()),
        2 => json!(random.random::<i64>()),
        3 => json!(random_text(random)),
        4 => (0..random.random_range(0..4))
            .map(|_| random_json(random, depth - 1))
            .collect(),
        _ => {
            let member =
                |random: &mut StdRng| (random_text(random), random_json(random, depth - 1));
            Value::Object(
                (0..random.random_range(0..4))
                    .map(|_| member(random))
                    .collect(),
            )
        }
    }
}

#[test]
fn values_that_were_copied_are_what_postgres_itself_makes_of_the_records() {
    let seed =
        setting("CONSOLIDATOR_TEST_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let mut random = StdRng::seed_from_u64(seed);
    let space = Space::new("copied");
    let topic = space.topic("events", 2);
    space.definition("copied", &COPIED.replace("TOPIC", &topic));
    let mut records = Vec::new();
    for number in 0..ROWS {
        let data = serde_json::json!({
            "t": random_text(&mut random),
            "j": random_json(&mut random, 4),
            "n": format!("{}e{}", random.random::<i64>(), random.random_range(-200..200)),
            "i": random.random::<i64>(),
            "f": f64::from_bits(random.random::<u64>()),
            "b": random.random::<bool>(),
            "at": format!("{}-01-{:02}T{:02}:00:00.{:06}Z", random.random_range(1..9999), random.random_range(1..29), random.random_range(0..24), random.random_range(0..1_000_000)),
            "day": format!("{:04}-02-{:02}", random.random_range(1..9999), random.random_range(1..29)),
        });
        let value = serde_json::json!({ "type": "A", "data": data }).to_string();
        records.push(Record::new(&format!("k{number}"), value).in_partition((number % 2) as i32));
    }
    Producer::new(space.kafka).write(&topic, &records);
    let _worker = space.start_worker("worker");
    space.wait_applied("copied", &[&topic], IN_TIME);
    dump(space.kafka, &[&topic], &space.database);
    let differing = "
        with read as (select key, value::jsonb -> 'data' as d from raw)
        select key, d::text, c::text from read left join read_model.copied c on c.name = key
        where (t, j, n, i, f, b, at, day, l) is distinct from
            (d->>'t', nullif(d->'j', 'null'), (d->>'n')::numeric, (d->>'i')::bigint, (d->>'f')::double precision, (d->>'b')::boolean,
             (d->>'at')::timestamptz, (d->>'day')::date, array[d->>'t', null, d->>'j'])
        limit 3";
    let differing = space.database.query(differing);
    assert!(
        differing.is_empty(),
        "repeat with CONSOLIDATOR_TEST_SEED={seed}\n{differing:?}"
    );
    assert_eq!(
        space
            .database
            .number("select count(*) from read_model.copied"),
        ROWS as i64
    );
}
