//! How fast the worker is beside programs written by hand for the same job, in one run on one machine: real Kafka, real Postgres with
//! fsync on, contestants in turn; how soon an event is visible; what other shapes of work cost; and what others would take for the job.
//!
//! `cargo bench --bench speed [-- --only build|live|latency|shape|peers --events N --keys N --rounds N --named TEXT --smoke --write]`. The
//! full size is 3,000,000 events, 300,000 keys and 3 rounds; `--smoke` is a small one that takes less than a minute; `--named` measures
//! only those shapes whose name has the text in it. `--write` puts the results into
//! docs/performance.md, each between its marks, and its plots beside it. `peers` needs a JDK and Python 3 and fetches some hundred
//! megabytes under target/: the small one leaves it out, unless `--only` asks for it. `cargo test`, which runs this program without
//! `--bench`, has the small one, unless it is asked for some test by name.

#[path = "../../tests/support/mod.rs"]
mod support;

mod contest;
mod hand;
mod latency;
mod measure;
mod orders;
mod peers;
mod report;
mod run;
mod shape;

/// How much work is done.
pub struct Size {
    pub events: u64,
    pub keys: u64,
    pub rounds: usize,
    /// What the names of shapes have in them.
    pub named: String,
    /// Only that it works: shapes and rates in small.
    pub smoke: bool,
}

/// A part of the measurement.
type Part = fn(&Size) -> report::Table;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "hand") {
        return be_hand(&arguments[1..]);
    }
    let given = |name: &str| arguments.iter().position(|argument| argument == name);
    let value = |name: &str| arguments.get(given(name)? + 1);
    let measures = given("--bench").is_some();
    let smoke = given("--smoke").is_some() || !measures;
    if !measures && arguments.iter().any(|argument| !argument.starts_with('-')) {
        println!("nothing is measured: a test was asked for by name");
        return;
    }
    if !smoke {
        support::kafka::run_long();
    }
    let number = |name: &str, full: u64, small: u64| {
        let number = value(name).and_then(|text| text.parse().ok());
        number.unwrap_or(if smoke { small } else { full })
    };
    let size = Size {
        events: number("--events", 3_000_000, 60_000),
        keys: number("--keys", 300_000, 6_000),
        rounds: number("--rounds", 3, 1) as usize,
        named: value("--named").cloned().unwrap_or_default(),
        smoke,
    };
    let parts: [(&str, Part); 5] = [
        ("build", contest::build),
        ("live", contest::live),
        ("latency", latency::latency),
        ("shape", shape::shapes),
        ("peers", peers::peers),
    ];
    let write = given("--write").is_some();
    for (name, part) in parts {
        let is_asked_for = match value("--only") {
            Some(only) => only == name,
            None => !(smoke && name == "peers"),
        };
        if is_asked_for {
            let table = part(&size);
            table.print();
            if write {
                table.write(name);
            }
        }
    }
}

/// What a child of this process does: `hand WHAT BROKERS TOPIC POSTGRES FROM…`.
fn be_hand(arguments: &[String]) {
    let [what, brokers, topic, postgres, from @ ..] = arguments else {
        panic!("started by hand");
    };
    let from: Vec<i64> = from.iter().map(|n| n.parse().expect("offsets")).collect();
    match what.as_str() {
        "consume" => hand::consume(brokers, topic, &from),
        "rebuild" => hand::rebuild(brokers, topic, postgres),
        "live" => hand::live(brokers, topic, postgres, &from),
        other => panic!("{other}?"),
    }
}
