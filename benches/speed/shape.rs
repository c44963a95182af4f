//! What else than the usual work costs: `rebuild` over other numbers of events, keys, partitions, rules and workers, over wide events,
//! over more keys than memory holds, and over a table whose rows partitions share.

use crate::report::{Bar, Table};
use crate::run::{LIMIT, hand, rebuild, worker, write};
use crate::support::space::Space;
use crate::support::topic::Record;
use crate::{Size, orders};

/// Events that are there when the live generation is made, which is then rebuilt with all the others.
const FIRST_EVENTS: u64 = 1_000;

#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    events: u64,
    keys: u64,
    partitions: i32,
    rules: usize,
    /// Beside the key, in equal parts for the rules; 0: the usual ones.
    columns: usize,
    /// Bytes that no rule reads, in each event.
    padding: usize,
    /// Each key comes in every partition.
    shared: bool,
    /// `worker.memory_limit`, where it is not the default.
    memory_limit: Option<&'static str>,
    /// `run` processes that help.
    helpers: usize,
}

const USUAL: Shape = Shape {
    name: "1 M events, 100 k keys, 6 partitions, 1 rule",
    events: 1_000_000,
    keys: 100_000,
    partitions: orders::PARTITIONS,
    rules: 1,
    columns: 0,
    padding: 0,
    shared: false,
    memory_limit: None,
    helpers: 0,
};

const SHAPES: [Shape; 17] = [
    USUAL,
    Shape {
        name: "3 M events",
        events: 3_000_000,
        ..USUAL
    },
    Shape {
        name: "10 M events",
        events: 10_000_000,
        ..USUAL
    },
    Shape {
        name: "30 M events",
        events: 30_000_000,
        ..USUAL
    },
    Shape {
        name: "10 k keys",
        keys: 10_000,
        ..USUAL
    },
    Shape {
        name: "1 M keys",
        keys: 1_000_000,
        ..USUAL
    },
    Shape {
        name: "12 M events, 10 M keys, memory limit 512 MiB",
        events: 12_000_000,
        keys: 10_000_000,
        memory_limit: Some("512MiB"),
        ..USUAL
    },
    Shape {
        name: "12 M events, 10 M keys, memory limit 8 GiB",
        events: 12_000_000,
        keys: 10_000_000,
        memory_limit: Some("8GiB"),
        ..USUAL
    },
    Shape {
        name: "1 partition",
        partitions: 1,
        ..USUAL
    },
    Shape {
        name: "64 partitions",
        partitions: 64,
        ..USUAL
    },
    Shape {
        name: "3 M events, with 1 worker beside",
        events: 3_000_000,
        helpers: 1,
        ..USUAL
    },
    Shape {
        name: "3 M events, with 2 workers beside",
        events: 3_000_000,
        helpers: 2,
        ..USUAL
    },
    Shape {
        name: "20 rules, one column each",
        rules: 20,
        columns: 20,
        ..USUAL
    },
    Shape {
        name: "5 columns",
        columns: 5,
        ..USUAL
    },
    Shape {
        name: "50 columns",
        columns: 50,
        ..USUAL
    },
    Shape {
        name: "2 M events of 2 KB",
        events: 2_000_000,
        padding: 1_800,
        ..USUAL
    },
    Shape {
        name: "3 M events, rows shared by partitions",
        events: 3_000_000,
        shared: true,
        ..USUAL
    },
];

/// One rebuild of each shape.
pub fn shapes(size: &Size) -> Table {
    let head = [
        "",
        "thousand events/s",
        "MB/s",
        "of plain consume",
        "CPU µs/event",
        "Postgres µs/event",
        "peak MiB",
    ];
    let mut table = Table::new("Rebuild by shape", "thousand events a second", &head);
    let small = |shape: Shape| Shape {
        events: shape.events / 50,
        keys: shape.keys / 50,
        ..shape
    };
    let is_asked_for = |shape: &Shape| {
        let is_other_way = shape.columns > 0 || shape.padding > 0 || shape.shared;
        (!size.smoke || is_other_way) && shape.name.contains(&size.named)
    };
    // In small only what takes other ways through the program: many rules, wide events, shared rows.
    for shape in SHAPES.into_iter().filter(is_asked_for) {
        add(&mut table, if size.smoke { small(shape) } else { shape });
    }
    table.note("One rebuild of each shape; what is not named is as in the first row. CPU and memory are those of the command; workers beside it help.".to_owned());
    table.note("Of plain consume: the rate of the same two consumers that do nothing with the records, in the same run, is 1.".to_owned());
    table
}

fn add(table: &mut Table, shape: Shape) {
    let mut space = Space::alone("shape");
    let limit = shape.memory_limit;
    let limit = limit.map(|limit| format!("memory_limit: {limit}"));
    space.settings.worker.extend(limit);
    let topic = space.topic("orders", shape.partitions);
    space.definition("orders", &definition(shape).replace("TOPIC", &topic));
    let record = |n| {
        let (key, value) = event(shape, n);
        let record = Record::new(&key, value);
        match shape.shared {
            true => record.in_partition((n % shape.partitions as u64) as i32),
            false => record,
        }
    };
    write(&space, &topic, 0, FIRST_EVENTS, &record);
    worker(&space, "orders", &topic, FIRST_EVENTS);
    write(&space, &topic, FIRST_EVENTS, shape.events, &record);
    let zeros = vec![0; shape.partitions as usize];
    let consume = hand(&space, "consume", &topic, &zeros);
    let helpers: Vec<_> = (0..shape.helpers)
        .map(|n| space.start_worker(&format!("helper{n}")))
        .collect();
    if !helpers.is_empty() {
        space.wait_applied("orders", &[&topic], LIMIT);
    }
    let run = rebuild(&space);
    drop(helpers);
    let count = space
        .database
        .number("select count(*) from read_model.orders");
    assert_eq!(count as u64, shape.keys.min(shape.events), "{}", shape.name);
    let rate = shape.events as f64 / run.wall.as_secs_f64();
    let (_, sample) = event(shape, FIRST_EVENTS);
    let per_event = |time: std::time::Duration| time.as_secs_f64() * 1e6 / shape.events as f64;
    table.row(vec![
        shape.name.to_owned(),
        format!("{:.0}", rate / 1e3),
        format!("{:.0}", rate * sample.len() as f64 / 1e6),
        format!("{:.2}", consume.wall.as_secs_f64() / run.wall.as_secs_f64()),
        format!("{:.2}", per_event(run.cpu)),
        format!("{:.2}", per_event(run.postgres_cpu)),
        format!("{:.0}", run.peak_bytes as f64 / 1_048_576.0),
    ]);
    table.bar(Bar {
        name: shape.name.to_owned(),
        value: rate / 1e3,
        low: rate / 1e3,
        high: rate / 1e3,
    });
}

fn event(shape: Shape, n: u64) -> (String, String) {
    let (key, mut value) = orders::event(n, shape.keys);
    if shape.padding > 0 {
        value.truncate(value.len() - 2);
        let note = "left at the door ".repeat(shape.padding / 17);
        value.push_str(&format!(r#","note":"{note}"}}}}"#));
    }
    (key, value)
}

fn definition(shape: Shape) -> String {
    let mut text = orders::DEFINITION.to_owned();
    if shape.shared {
        // Any expression but the event's key itself may give one key in two partitions.
        text = text.replace(
            "key: { order_id: text }",
            "key: { order_id: \"text = lower(event.key)\" }",
        );
    }
    if shape.columns > 0 {
        let added: Vec<String> = (0..shape.columns)
            .map(|n| format!("c{n} = c{n} + data.quantity"))
            .collect();
        let rules: String = added
            .chunks(shape.columns / shape.rules)
            .map(|added| format!("        - set: {}\n", added.join(", ")))
            .collect();
        let columns: String = (0..shape.columns)
            .map(|n| format!("      c{n}: bigint not null default 0\n"))
            .collect();
        text = format!(
            "\nprojection: orders\nfrom: [TOPIC]\ntables:\n  orders:\n    key: {{ order_id: text }}\n    columns:\n{columns}    rules:\n      '*':\n{rules}"
        );
    }
    text
}
