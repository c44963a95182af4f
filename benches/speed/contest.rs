//! The worker beside the programs written by hand: a rebuild, and a backlog on rows that exist. Knows nobody's insides.

use crate::measure::{Run, median};
use crate::report::{Bar, Table};
use crate::run::{hand, rebuild, worker, write};
use crate::support::oracle::assert_same;
use crate::support::space::Space;
use crate::support::topic::Record;
use crate::{Size, orders};

/// Whole rows: what two contestants must agree on.
pub const COLUMNS: &str = "order_id, events, quantity, amount, carrier, tracking, status, version";

/// What `cells` gives of a contestant.
pub const HEAD: [&str; 7] = [
    "",
    "thousand events/s",
    "lowest–highest",
    "after its first commit",
    "CPU µs/event",
    "Postgres µs/event",
    "peak MiB",
];

/// Whom a row of the table is about.
#[derive(Clone, Copy, PartialEq)]
enum Contestant {
    Consume,
    Hand,
    /// `run`, until the first generation has everything.
    FirstBuild,
    Worker,
}

const ALL: [Contestant; 4] = [
    Contestant::Consume,
    Contestant::Hand,
    Contestant::FirstBuild,
    Contestant::Worker,
];

impl Contestant {
    fn name(self) -> &'static str {
        match self {
            Contestant::Consume => "plain consume",
            Contestant::Hand => "written by hand",
            Contestant::FirstBuild => "consolidator, first build",
            Contestant::Worker => "consolidator",
        }
    }
}

/// From the beginning of the topic into empty tables.
pub fn build(size: &Size) -> Table {
    let space = Space::alone("build");
    let topic = space.topic("orders", orders::PARTITIONS);
    write_orders(&space, &topic, 0, size.events, size.keys);
    let definition = orders::DEFINITION.replace("TOPIC", &topic);
    space.definition("orders", &definition);
    let first = worker(&space, "orders", &topic, size.events);
    let zeros = vec![0; orders::PARTITIONS as usize];
    let mut runs = vec![(Contestant::FirstBuild, first)];
    for _ in 0..size.rounds {
        runs.push((Contestant::Consume, hand(&space, "consume", &topic, &zeros)));
        runs.push((Contestant::Hand, hand(&space, "rebuild", &topic, &zeros)));
        runs.push((Contestant::Worker, rebuild(&space)));
        compare(&space);
    }
    report("Rebuild", size, &runs)
}

/// A backlog on rows that exist.
pub fn live(size: &Size) -> Table {
    let space = Space::alone("live");
    let topic = space.topic("orders", orders::PARTITIONS);
    write_orders(&space, &topic, 0, size.keys, size.keys);
    let definition = orders::DEFINITION.replace("TOPIC", &topic);
    space.definition("orders", &definition);
    worker(&space, "orders", &topic, size.keys);
    let zeros = vec![0; orders::PARTITIONS as usize];
    hand(&space, "rebuild", &topic, &zeros);
    space.database.execute(
        "create table hand_checkpoint as select partition, next_offset from consolidator.checkpoint;
         alter table hand_checkpoint add primary key (partition);
         grant select, update on hand_checkpoint to public;
         create table begin_offset as select partition, next_offset from consolidator.checkpoint",
    );
    let ends = space.kafka.offsets(&topic);
    let from: Vec<i64> = ends.iter().map(|ends| ends.1).collect();
    let end = size.keys + size.events;
    write_orders(&space, &topic, size.keys, end, size.keys);
    let mut runs = Vec::new();
    for _ in 0..size.rounds {
        rewind(&space);
        runs.push((Contestant::Hand, hand(&space, "live", &topic, &from)));
        rewind(&space);
        let run = worker(&space, "orders", &topic, size.events);
        runs.push((Contestant::Worker, run));
        compare(&space);
    }
    report("Live: catching up on existing rows", size, &runs)
}

pub fn write_orders(space: &Space, topic: &str, from: u64, to: u64, keys: u64) {
    write(space, topic, from, to, &|n| {
        let (key, value) = orders::event(n, keys);
        Record::new(&key, value)
    });
}

fn compare(space: &Space) {
    let product = format!("select {COLUMNS} from read_model.orders");
    let by_hand = format!("select {COLUMNS} from hand_orders");
    assert_same(&space.database, "orders", &product, &by_hand);
}

/// Both have the same backlog again: a measurement may do what nobody else may, fold the same events another time.
fn rewind(space: &Space) {
    space.database.execute(
        "update hand_checkpoint c set next_offset = b.next_offset from begin_offset b where b.partition = c.partition;
         update consolidator.checkpoint c set next_offset = b.next_offset, last_offset = null, last_epoch = null, last_fingerprint = null
         from begin_offset b where b.partition = c.partition",
    );
    space.database.execute("checkpoint");
}

fn report(title: &str, size: &Size, runs: &[(Contestant, Run)]) -> Table {
    let Size {
        events,
        keys,
        rounds,
        ..
    } = size;
    let mut table = Table::new(title, "thousand events a second", &HEAD);
    for who in ALL {
        let of = runs_of(who, runs);
        if !of.is_empty() {
            let row = cells(&mut table, who.name(), &of, *events);
            table.row(row);
        }
    }
    table.note(format!(
        "consolidator / written by hand, round by round: {}",
        ratio(
            &runs_of(Contestant::Worker, runs),
            &runs_of(Contestant::Hand, runs)
        )
    ));
    table.note(format!(
        "{events} events of about 220 bytes, {keys} keys, {} partitions, {rounds} rounds in turn; medians; whole rows compared after each",
        orders::PARTITIONS
    ));
    table
}

pub fn runs_of<W: Copy + PartialEq>(who: W, runs: &[(W, Run)]) -> Vec<Run> {
    let of = runs.iter().filter(|(one, _)| *one == who);
    of.map(|(_, run)| *run).collect()
}

/// How many times as fast as theirs our runs are, round by round: the median, and the lowest and highest.
pub fn ratio(ours: &[Run], theirs: &[Run]) -> String {
    let each = ours.iter().zip(theirs);
    let mut ratios: Vec<f64> = each
        .map(|(ours, theirs)| theirs.wall.as_secs_f64() / ours.wall.as_secs_f64())
        .collect();
    ratios.sort_by(f64::total_cmp);
    let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
    format!("{:.2} ({low:.2}–{high:.2})", median(ratios))
}

/// The cells of a contestant's row under `HEAD`, whose bar is added to the plot.
pub fn cells(table: &mut Table, name: &str, of: &[Run], events: u64) -> Vec<String> {
    let mut rates: Vec<f64> = of
        .iter()
        .map(|run| events as f64 / run.wall.as_secs_f64() / 1e3)
        .collect();
    rates.sort_by(f64::total_cmp);
    let (low, high) = (rates[0], rates[rates.len() - 1]);
    let per_event = |time: fn(&Run) -> std::time::Duration| {
        let times = of.iter().map(|run| time(run).as_secs_f64() * 1e6);
        median(times.map(|micros| micros / events as f64).collect())
    };
    let warm: Vec<f64> = of
        .iter()
        .filter_map(|run| run.warm)
        .map(|(events, time)| events as f64 / time.as_secs_f64() / 1e3)
        .collect();
    let warm = match warm.is_empty() {
        true => "–".to_owned(),
        false => format!("{:.0}", median(warm)),
    };
    let peak = of.iter().map(|run| run.peak_bytes).max().unwrap_or(0);
    table.bar(Bar {
        name: name.to_owned(),
        value: median(rates),
        low,
        high,
    });
    let rate = table.last_value();
    vec![
        name.to_owned(),
        format!("{rate:.0}"),
        format!("{low:.0}–{high:.0}"),
        warm,
        format!("{:.2}", per_event(|run| run.cpu)),
        format!("{:.2}", per_event(|run| run.postgres_cpu)),
        format!("{:.0}", peak as f64 / 1_048_576.0),
    ]
}
