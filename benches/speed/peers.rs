//! The worker beside what others would take for the job, each pinned by version: their programs and settings are in benches/peers/.
//! Knows how a peer is fetched, started and found to be done, nothing of what it does inside.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use consolidator::demo::postgres::free_port;
use serde_json::{Value, json};

use crate::contest::{COLUMNS, HEAD, cells, ratio, runs_of, write_orders};
use crate::measure::{self, Run};
use crate::report::Table;
use crate::run::{LIMIT, postmaster, rebuild, worker, write};
use crate::support::download::{fetch_all, parse_list};
use crate::support::oracle::assert_same;
use crate::support::root;
use crate::support::space::Space;
use crate::support::topic::Record;
use crate::support::wait::wait_until;
use crate::support::worker::Worker;
use crate::{Size, orders};

const FLINK_JARS: &str = include_str!("../peers/flink-2.2.0.jars");
const DEBEZIUM_JARS: &str = include_str!("../peers/debezium-3.5.0.jars");
const CONNECT: &str = include_str!("../peers/connect.properties");
const DEBEZIUM: &str = include_str!("../peers/debezium.properties");
/// What Flink reaches into by reflection.
const FLINK_OPENS: [&str; 7] = [
    "java.lang",
    "java.net",
    "java.nio",
    "java.text",
    "java.time",
    "java.util",
    "java.util.concurrent",
];
/// As the worker's own table.
const TABLE: &str = "create table peer_orders (order_id text primary key, events bigint not null, quantity bigint not null, \
     amount numeric(14,2) not null, carrier text, tracking text, status text, version bigint); \
     grant all on peer_orders to public";
/// So many rows that the last event of every partition is among them.
const LAST_ROWS: i64 = 100;

/// Whom a row of the table is about.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    Rebuild,
    Live,
    FlinkBatch,
    FlinkStreaming,
    Debezium,
    Python,
}

const ALL: [Who; 6] = [
    Who::Rebuild,
    Who::FlinkBatch,
    Who::Live,
    Who::FlinkStreaming,
    Who::Debezium,
    Who::Python,
];

impl Who {
    fn name(self) -> &'static str {
        match self {
            Who::Rebuild => "consolidator, rebuild",
            Who::Live => "consolidator, live",
            Who::FlinkBatch => "Flink SQL, batch",
            Who::FlinkStreaming => "Flink SQL, streaming",
            Who::Debezium => "Debezium JDBC sink, row images",
            Who::Python => "Python, executemany",
        }
    }

    /// What of the worker does the same.
    fn counterpart(self) -> Option<Who> {
        match self {
            Who::Rebuild | Who::Live => None,
            Who::FlinkBatch => Some(Who::Rebuild),
            Who::FlinkStreaming | Who::Debezium | Who::Python => Some(Who::Live),
        }
    }

    /// Batch mode keeps no order before the aggregate: it has no last values.
    fn columns(self) -> &'static str {
        match self {
            Who::FlinkBatch => "order_id, events, quantity, amount, version",
            _ => COLUMNS,
        }
    }
}

/// From the beginning of the topic; the peers into empty tables, `run` onto rows that exist.
pub fn peers(size: &Size) -> Table {
    let programs = Programs::install();
    let space = Space::alone("peers");
    let topic = space.topic("orders", orders::PARTITIONS);
    write_orders(&space, &topic, 0, size.events, size.keys);
    let images = space.topic("images", orders::PARTITIONS);
    write_images(&space, &images, size);
    space.definition("orders", &orders::DEFINITION.replace("TOPIC", &topic));
    worker(&space, "orders", &topic, size.events);
    space.database.execute(TABLE);
    let mut runs = Vec::new();
    for round in 0..size.rounds {
        runs.push((Who::Rebuild, rebuild(&space)));
        for who in ALL.into_iter().filter(|who| who.counterpart().is_some()) {
            let topic = match who {
                Who::Debezium => &images,
                _ => &topic,
            };
            runs.push((who, run(&space, &programs, who, topic, round, size.events)));
            compare(&space, who.columns(), who.columns());
        }
        rewind(&space);
        runs.push((Who::Live, worker(&space, "orders", &topic, size.events)));
        // The same events another time, onto the rows that they had made.
        let twice =
            "order_id, 2 * events, 2 * quantity, 2 * amount, carrier, tracking, status, version";
        compare(&space, Who::Live.columns(), twice);
    }
    report(size, &runs)
}

/// What was fetched and made ready before anything is measured.
struct Programs {
    python: PathBuf,
    flink: String,
    debezium: String,
}

impl Programs {
    fn install() -> Programs {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
        let peers = target.expect("the target folder").join("peers");
        let ours = root().join("benches/peers");
        let python = peers.join("python");
        must(Command::new("python3").args(["-m", "venv"]).arg(&python));
        let mut pip = Command::new(python.join("bin/pip"));
        pip.args(["install", "--quiet", "--requirement"]);
        must(pip.arg(ours.join("requirements.txt")));
        let classes = peers.join("flink-classes");
        let flink = class_path(FLINK_JARS, &peers.join("flink-2.2.0"));
        let mut javac = Command::new("javac");
        javac.args(["-cp", &flink, "-d"]).arg(&classes);
        must(javac.arg(ours.join("Flink.java")));
        Programs {
            python: python.join("bin/python"),
            flink: format!("{}:{flink}", classes.display()),
            debezium: class_path(DEBEZIUM_JARS, &peers.join("debezium-3.5.0")),
        }
    }

    fn command(&self, space: &Space, who: Who, topic: &str, round: usize) -> Command {
        let brokers = &space.kafka.brokers;
        let postgres = &space.settings.postgres_url;
        let mut command = Command::new("java");
        match who {
            Who::Python => {
                command = Command::new(&self.python);
                command.arg(root().join("benches/peers/consumer.py"));
                command.args([brokers, topic, &format!("python-{round}"), postgres]);
            }
            Who::FlinkBatch | Who::FlinkStreaming => {
                let [url, user, password] = jdbc(postgres);
                for package in FLINK_OPENS {
                    command.arg(format!("--add-opens=java.base/{package}=ALL-UNNAMED"));
                }
                command.arg(format!("-Djava.io.tmpdir={}", space.dir().display()));
                let mode = match who {
                    Who::FlinkBatch => "batch",
                    _ => "streaming",
                };
                command.args(["-Xmx4g", "-cp", &self.flink, "Flink", mode, brokers, topic]);
                command
                    .args([url, user, password])
                    .arg(space.dir().join("flink"));
            }
            Who::Debezium => {
                let main = "org.apache.kafka.connect.cli.ConnectStandalone";
                command.args(["-Xmx2g", "-cp", &self.debezium, main]);
                command.args(connect_files(space, topic, round));
            }
            Who::Rebuild | Who::Live => unreachable!("no peer"),
        }
        command
    }
}

fn must(command: &mut Command) {
    let status = command.status();
    let done = status.as_ref().is_ok_and(|status| status.success());
    assert!(done, "{command:?}: {status:?}");
}

fn class_path(list: &str, cache: &Path) -> String {
    let jars = fetch_all(&parse_list(list), cache);
    let jars: Vec<String> = jars.iter().map(|jar| jar.display().to_string()).collect();
    jars.join(":")
}

/// Url, user and password as JDBC has them, of `postgres://USER:PASSWORD@PLACE`.
fn jdbc(postgres: &str) -> [String; 3] {
    let rest = postgres.trim_start_matches("postgres://");
    let (who, place) = rest.split_once('@').expect("a url with a user");
    let (user, password) = who.split_once(':').expect("a url with a password");
    let url = format!("jdbc:postgresql://{place}?reWriteBatchedInserts=true");
    [url, user.to_owned(), password.to_owned()]
}

/// The settings of Connect and of the sink in it.
fn connect_files(space: &Space, topic: &str, round: usize) -> [PathBuf; 2] {
    let [url, user, password] = jdbc(&space.settings.postgres_url);
    let file = |name: &str, text: String| {
        let file = space.dir().join(name);
        fs::write(&file, text).expect("a file can be written");
        file
    };
    let port = free_port().expect("a free port").to_string();
    let offsets = space.dir().join("connect.offsets").display().to_string();
    let connect = CONNECT.replace("BROKERS", &space.kafka.brokers);
    let connect = connect.replace("PORT", &port).replace("OFFSETS", &offsets);
    let sink = DEBEZIUM.replace("NAME", &format!("sink-{round}"));
    let sink = sink.replace("TOPIC", topic).replace("JDBC", &url);
    let sink = sink.replace("USER", &user).replace("PASSWORD", &password);
    [
        file("connect.properties", connect),
        file("sink.properties", sink),
    ]
}

/// A peer from its start to its end, into an empty table. Debezium has no end: it is over when the rows are there that change last.
fn run(
    space: &Space,
    programs: &Programs,
    who: Who,
    topic: &str,
    round: usize,
    events: u64,
) -> Run {
    let last = format!(
        "select order_id, version from read_model.orders order by version desc limit {LAST_ROWS}"
    );
    space.database.execute(&format!(
        "truncate peer_orders; drop table if exists peer_last; create table peer_last as {last}; checkpoint"
    ));
    let rows = space.database.number("select count(*) from peer_last");
    let arrived = "select count(*) from peer_last l join peer_orders o on o.order_id = l.order_id and o.version = l.version";
    let command = programs.command(space, who, topic, round);
    let before = measure::postgres_cpu(postmaster());
    let start = Instant::now();
    let process = Worker::start_command(who.name(), space.dir(), command, &[]);
    let (mut cpu, mut peak_bytes, mut first) = (Duration::ZERO, 0, None);
    wait_until(who.name(), LIMIT, || {
        // Of a process that has ended there is nothing to read.
        cpu = cpu.max(measure::cpu_with_ended_children(process.pid()));
        peak_bytes = peak_bytes.max(measure::peak_bytes(process.pid()));
        if first.is_none() {
            let visible = space
                .database
                .number("select coalesce(sum(events), 0)::bigint from peer_orders");
            first = (visible > 0).then(|| (visible as u64, start.elapsed()));
        }
        let is_done = who == Who::Debezium && space.database.number(arrived) == rows;
        is_done || !process.is_running()
    });
    let wall = start.elapsed();
    let is_well = who == Who::Debezium || process.wait(Duration::ZERO).success();
    assert!(is_well, "{} failed", who.name());
    // Batch mode has nothing to show before its end.
    let first = first.filter(|_| who != Who::FlinkBatch);
    Run {
        wall,
        warm: first.map(|(visible, after)| (events.saturating_sub(visible), wall - after)),
        cpu,
        postgres_cpu: measure::postgres_cpu(postmaster()) - before,
        peak_bytes,
    }
}

fn compare(space: &Space, columns: &str, expected: &str) {
    let product = format!("select {columns} from read_model.orders");
    let peer = format!("select {expected} from peer_orders");
    assert_same(&space.database, "orders", &product, &peer);
}

/// The live generation has everything before it again, and no other one is fed beside it.
fn rewind(space: &Space) {
    let over =
        "update consolidator.generation set grace_until = clock_timestamp() where state = 'grace'";
    space.database.execute(over);
    let worker = space.start_worker("retire");
    let fed = "select count(distinct generation) from consolidator.checkpoint";
    wait_until("the old generation to go", LIMIT, || {
        space.database.number(fed) == 1
    });
    assert!(worker.terminate(Duration::from_secs(60)).success());
    space.database.execute(
        "update consolidator.checkpoint
         set next_offset = begin_offset, last_offset = null, last_epoch = null, last_fingerprint = null",
    );
    space.database.execute("checkpoint");
}

/// The row after each event, with its schema, as change data capture of the finished table would give it.
fn write_images(space: &Space, topic: &str, size: &Size) {
    let field = |name: &str, kind: &str| json!({"field": name, "type": kind, "optional": false});
    let amount = json!({
        "field": "amount", "type": "bytes", "optional": false, "version": 1,
        "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "2"}
    });
    let mut fields = vec![
        field("order_id", "string"),
        field("events", "int64"),
        field("quantity", "int64"),
        amount,
    ];
    fields.extend(["carrier", "tracking", "status"].map(|name| field(name, "string")));
    fields.push(field("version", "int64"));
    let schema = json!({"type": "struct", "name": "orders", "optional": false, "fields": fields})
        .to_string();
    let sums: RefCell<HashMap<String, [i64; 3]>> = RefCell::default();
    write(space, topic, 0, size.events, &|n| {
        let (key, value) = orders::event(n, size.keys);
        let event: Value = serde_json::from_str(&value).expect("JSON");
        let data = &event["data"];
        let cents = (data["amount"].as_f64().expect("a number") * 100.0).round() as i64;
        let mut sums = sums.borrow_mut();
        let [events, quantity, amount] = sums.entry(key.clone()).or_default();
        *events += 1;
        *quantity += data["quantity"].as_i64().expect("a number");
        *amount += cents;
        let payload = json!({
            "order_id": key, "events": events, "quantity": quantity,
            "amount": base64::engine::general_purpose::STANDARD.encode(amount.to_be_bytes()),
            "carrier": data["carrier"], "tracking": data["tracking"], "status": data["status"], "version": n,
        });
        Record::new(
            &key,
            format!("{{\"schema\":{schema},\"payload\":{payload}}}"),
        )
    });
}

fn report(size: &Size, runs: &[(Who, Run)]) -> Table {
    let of = |who: Who| runs_of(who, runs);
    let head: Vec<&str> = HEAD.into_iter().chain(["consolidator / it"]).collect();
    let mut table = Table::new("Peers", "thousand events a second", &head);
    for who in ALL {
        let mut row = cells(&mut table, who.name(), &of(who), size.events);
        row.push(
            who.counterpart()
                .map_or("–".to_owned(), |ours| ratio(&of(ours), &of(who))),
        );
        table.row(row);
    }
    table.note(format!(
        "{} events of about 220 bytes, {} keys, {} partitions, {} rounds in turn; medians; rows compared after each",
        size.events,
        size.keys,
        orders::PARTITIONS,
        size.rounds
    ));
    table.note(
        "consolidator / it: rates from the start of the process, round by round; `rebuild` beside batch mode, `run` beside the others"
            .to_owned(),
    );
    table
}
