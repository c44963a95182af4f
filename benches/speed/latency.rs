//! How soon an acknowledged event is visible to readers, at steady rates.

use std::time::Duration;

use crate::report::{Bar, Table};
use crate::run::{LIMIT, write};
use crate::support::database::Database;
use crate::support::space::Space;
use crate::support::steady::{Probe, steady_load};
use crate::support::topic::Record;
use crate::support::wait::wait_until;
use crate::{Size, orders};

/// Keys that exist before anything is measured, so that it is live work.
const KEYS: u64 = 10_000;

/// Acknowledgement to visible at several rates.
pub fn latency(size: &Size) -> Table {
    // Events a second, and `worker.batch_linger_ms`.
    let (rates, seconds): (&[(u64, u64)], u64) = match size.smoke {
        true => (&[(500, 3)], 3),
        false => (
            &[(1_000, 3), (5_000, 3), (20_000, 3), (5_000, 5), (5_000, 10)],
            20,
        ),
    };
    let head = [
        "events/s, linger ms",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "longest ms",
        "worker's CPU µs/event",
        "probes",
    ];
    let mut table = Table::new(
        "Acknowledged to visible",
        "p50 and p99 in milliseconds",
        &head,
    );
    if !size.smoke {
        // The broker compiles itself while it serves small requests: none of that is the worker's.
        let mut uncounted = Table::new("Not counted", "", &head);
        at_rate(&mut uncounted, 20_000, 3, seconds);
    }
    for (rate, linger_ms) in rates {
        at_rate(&mut table, *rate, *linger_ms, seconds);
    }
    table.note(format!(
        "{seconds} s at each rate over {KEYS} keys that exist; probes of their own keys among the load are looked for once a millisecond, \
         through the view that readers use; broker, Postgres, producer and the looking share the machine's cores; the broker served 20000 events/s for as long before"
    ));
    table
}

fn at_rate(table: &mut Table, rate: u64, linger_ms: u64, seconds: u64) {
    let name = format!("{rate}, {linger_ms}");
    let mut space = Space::alone("latency");
    let linger = format!("batch_linger_ms: {linger_ms}");
    space.settings.worker.push(linger);
    let topic = space.topic("orders", orders::PARTITIONS);
    space.definition("orders", &orders::DEFINITION.replace("TOPIC", &topic));
    let event = |seq: u64, key: &str| Record::new(key, orders::event(seq, KEYS).1);
    write(&space, &topic, 0, KEYS, &|n| event(n, &format!("k{n}")));
    let worker = space.start_worker("worker");
    space.wait_applied("orders", &[&topic], LIMIT);
    // Its lanes share the partitions: what moves stands still meanwhile.
    let sharing = "select count(distinct owner_name) from consolidator.checkpoint";
    wait_until("both lanes to have partitions", LIMIT, || {
        space.database.number(sharing) == 2
    });
    let watch = Database::at(&space.settings.postgres_url);
    let select =
        "select order_id, version from read_model.orders where order_id = any(array[PROBES])";
    let before = worker.cpu_time();
    let probes = steady_load(
        space.kafka,
        &topic,
        orders::PARTITIONS,
        rate,
        Duration::from_secs(seconds),
        &event,
        &watch,
        select,
    );
    let cpu = worker.cpu_time() - before;
    let mut latencies: Vec<f64> = probes
        .iter()
        .filter_map(Probe::latency)
        .map(|latency| latency.as_secs_f64() * 1e3)
        .collect();
    assert_eq!(latencies.len(), probes.len(), "every probe becomes visible");
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    table.row(vec![
        name.clone(),
        format!("{:.1}", at(0.5)),
        format!("{:.1}", at(0.95)),
        format!("{:.1}", at(0.99)),
        format!("{:.1}", at(1.0)),
        format!("{:.1}", cpu.as_secs_f64() * 1e6 / (rate * seconds) as f64),
        latencies.len().to_string(),
    ]);
    for (quantile, share) in [("p50", 0.5), ("p99", 0.99)] {
        let value = at(share);
        table.bar(Bar {
            name: format!("{name}: {quantile}"),
            value,
            low: value,
            high: value,
        });
    }
}
