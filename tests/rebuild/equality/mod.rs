//! Live equals rebuilt: random definitions, folded live by workers that are killed, rebuilt, rebuilt by three workers, and as of
//! now, all give the tables that PostgreSQL makes of the same rules, event by event.

mod definition;
mod oracle;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::IN_TIME;
use crate::support::oracle::assert_same;
use crate::support::setting;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record, dump};
use crate::support::wait::let_pass;
use crate::support::worker::run_command;
use definition::{Definition, TYPES, Table};

/// Unless `CONSOLIDATOR_TEST_DEFINITIONS` says otherwise.
const DEFINITIONS: u64 = 2;
/// Of one round: they read the same topics.
const AT_ONCE: u64 = 4;
const EVENTS: usize = 2_400;
/// So that logs are long enough to be loaded in bulk, without work for the oracle.
const PADS: usize = 20_000;
const CHUNKS: usize = 12;
const KILLS: usize = 2;
const PARTITIONS: i32 = 4;
const AS_OF: &str = "2030-01-01T00:00:00Z";

#[test]
fn random_definitions_give_the_same_tables_live_rebuilt_and_in_plain_sql() {
    let seed = setting("CONSOLIDATOR_TEST_SEED").unwrap_or_else(|| rand::random::<u32>().into());
    let count = setting("CONSOLIDATOR_TEST_DEFINITIONS").unwrap_or(DEFINITIONS);
    for (number, first) in (0..count).step_by(AT_ONCE as usize).enumerate() {
        let seed = seed + number as u64;
        println!("CONSOLIDATOR_TEST_SEED={seed}, round {number}");
        round(seed, (count - first).min(AT_ONCE));
    }
}

fn round(seed: u64, count: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let space = Space::new("equal");
    let (keyed, spread) = (space.topic("keyed", PARTITIONS), space.topic("spread", 3));
    let definitions: Vec<Definition> = (0..count)
        .map(|number| Definition::random(&format!("d{number}"), number % 2 == 0, &mut random))
        .collect();
    for definition in &definitions {
        space.definition(&definition.name, &definition.yaml(&keyed, &spread));
    }
    let topics = [keyed.as_str(), spread.as_str()];
    live(&space, topics, &mut random);
    let worker = space.start_worker("worker");
    applied(&space, &definitions, topics);
    dump(space.kafka, &topics, &space.database);
    space.database.execute(oracle::EVENTS);
    for definition in &definitions {
        let statements = oracle::statements(definition, &keyed);
        space.database.execute(&statements);
        check(&space, definition, topics, "live", "read_model");
    }
    let others = [space.start_worker("second"), space.start_worker("third")];
    std::thread::scope(|scope| {
        for definition in &definitions {
            scope.spawn(|| rebuilt(&space, definition, topics));
        }
    });
    for worker in others.iter().chain([&worker]) {
        assert!(worker.terminate(IN_TIME).success());
    }
}

/// Every way to fold the same events again, while three workers run.
fn rebuilt(space: &Space, definition: &Definition, topics: [&str; 2]) {
    let name = &definition.name;
    let run = |arguments: &[&str]| {
        // Settings of its own: others run commands at the same time.
        let settings = space.write_settings(name);
        let all = [arguments, &["--config", &settings]].concat();
        let output = run_command(space.dir(), &all);
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert!(output.status.success(), "{arguments:?}: {told}");
    };
    run(&["rebuild", name, "--hold"]);
    run(&["switch", name]);
    check(space, definition, topics, "rebuilt, held", "read_model");
    run(&["rebuild", name]);
    check(space, definition, topics, "rebuilt by three", "read_model");
    let schema = format!("{name}_as_of");
    run(&["rebuild", name, "--as-of", AS_OF, "--into", &schema]);
    check(space, definition, topics, "as of now", &schema);
    run(&["verify", name]);
    damage(space, definition);
    run(&["verify", name, "--repair"]);
    check(space, definition, topics, "put right", "read_model");
}

/// Writes all events while a worker is killed and started again.
fn live(space: &Space, [keyed, spread]: [&str; 2], random: &mut StdRng) {
    let kills: Vec<usize> = (0..KILLS).map(|_| random.random_range(1..CHUNKS)).collect();
    let producer = Producer::new(space.kafka);
    let mut worker = Some(space.start_worker("killed-0"));
    let mut events: Vec<Record> = Vec::new();
    for chunk in 0..CHUNKS {
        let mut of_keyed: Vec<Record> = Vec::new();
        let mut of_spread: Vec<Record> = Vec::new();
        for number in 0..EVENTS / CHUNKS {
            let again = random.random_bool(0.05) && !events.is_empty();
            let event = match again {
                true => events[random.random_range(0..events.len())].clone(),
                false => event(chunk * (EVENTS / CHUNKS) + number, random),
            };
            if !again {
                events.push(event.clone());
            }
            if random.random_bool(0.7) {
                of_keyed.push(event);
            } else if event.value.is_some() {
                of_spread.push(event.in_partition(random.random_range(0..3)));
            }
        }
        of_keyed.extend((0..PADS / CHUNKS).map(pad));
        producer.write(keyed, &of_keyed);
        producer.write(spread, &of_spread);
        if kills.contains(&chunk) {
            let_pass(Duration::from_millis(random.random_range(0..1_500)));
            worker.take().expect("one runs").kill();
            worker = Some(space.start_worker(&format!("killed-{chunk}")));
        }
    }
    worker.expect("one runs").kill();
}

/// Each partition has a key of its own: a prefix that a rule reaches from two of them would make the table a shared one.
fn pad(number: usize) -> Record {
    let partition = number as i32 % PARTITIONS;
    Record::new(&format!("pad{partition}"), r#"{"type":"Pad"}"#).in_partition(partition)
}

fn event(number: usize, random: &mut StdRng) -> Record {
    let key = format!("k{}", random.random_range(0..40));
    if random.random_bool(0.02) {
        return Record {
            value: None,
            ..Record::new(&key, "")
        };
    }
    let kind = TYPES[random.random_range(0..TYPES.len())];
    // Most are in order, some late.
    let second = number / 4 + random.random_range(0..600);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let item = |_| {
        let (no, q, s) = (
            random.random_range(0..4),
            random.random_range(-9..10),
            random.random_range(0..6),
        );
        format!(r#"{{"no":{no},"q":{q},"s":"s{s}"}}"#)
    };
    let items: Vec<String> = (0..random_len(number)).map(item).collect();
    let m = match random.random_bool(0.7) {
        true => format!(r#","m":{}"#, random.random_range(-99..100)),
        false => String::new(),
    };
    let t = match random.random_bool(0.5) {
        true => r#","t":"Straße""#,
        false => r#","t":null"#,
    };
    let data = format!(
        r#"{{"n":{},"x":{}.{:02},"s":"w{}","g":"g{}","ok":{}{m}{t},"items":[{}]}}"#,
        random.random_range(-20..40),
        random.random_range(-900..1000),
        random.random_range(0..100),
        random.random_range(0..30),
        random.random_range(0..8),
        random.random_bool(0.5),
        items.join(",")
    );
    let version = number * 7 % 10_007 + number;
    let value = format!(
        r#"{{"type":"{kind}","id":"e{number}","version":{version},"time":"2024-05-05T{hour:02}:{minute:02}:{second:02}Z","data":{data}}}"#
    );
    Record::new(&key, value)
}

fn random_len(number: usize) -> usize {
    number * 7919 % 4
}

fn applied(space: &Space, definitions: &[Definition], topics: [&str; 2]) {
    for definition in definitions {
        let read = match definition.reads_spread() {
            true => &topics[..],
            false => &topics[..1],
        };
        space.wait_applied(&definition.name, read, IN_TIME);
    }
}

/// By hand, in every table that readers see: rows gone, values of other rows, states gone.
fn damage(space: &Space, definition: &Definition) {
    let live = format!(
        "select generation from consolidator.pointer where projection = '{}'",
        definition.name
    );
    let live = space.database.number(&live);
    for table in &definition.tables {
        let place = format!("consolidator_g{live}.{}", table.name);
        let there = if table.version {
            "not \"$deleted\""
        } else {
            "true"
        };
        space.database.execute(&format!(
            "delete from {place} where ctid in (select ctid from {place} where {there} order by k1 limit 2);
             update {place} t set c0 = o.c0, c1 = o.c1 from (select c0, c1 from {place} where {there} order by k1 desc limit 1) o
             where t.k1 in ('k3', 'k17', 'g3', 's2')"
        ));
        if table.history {
            let states = format!(
                "delete from consolidator_g{live}.\"{}$history\" where \"$seq\" % 5 = 0",
                table.name
            );
            space.database.execute(&states);
        }
    }
}

/// Row by row.
fn check(space: &Space, definition: &Definition, topics: [&str; 2], what: &str, schema: &str) {
    applied(space, std::slice::from_ref(definition), topics);
    let explain = |table: &Table| {
        format!(
            "{what}: {} of\n{}",
            table.name,
            definition.yaml(topics[0], topics[1])
        )
    };
    for table in &definition.tables {
        let (name, columns) = (&table.name, oracle::columns(table).join(", "));
        assert_same(
            &space.database,
            &explain(table),
            &format!("select {columns} from {schema}.{name}"),
            &format!("select {columns} from oracle.{name}"),
        );
        if table.history {
            assert_same(
                &space.database,
                &explain(table),
                &format!("select {columns}, valid_from, valid_to, late, event_id, event_type, event_topic, event_partition, event_offset
                          from {schema}.{name}_history"),
                &oracle::history(table),
            );
        }
    }
}
