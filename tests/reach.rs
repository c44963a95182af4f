//! Rules that reach beyond one row: every row with a prefix, rows of other tables. Real Kafka and Postgres, two workers, random
//! batches, against statements in plain SQL that replay the dump of the topics.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::oracle::assert_same;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record, dump};

const IN_TIME: Duration = Duration::from_secs(180);
const EVENTS: usize = 30_000;
const ORDERS: usize = 400;

const LINES: &str = "
projection: orders
from: [TOPIC]
tables:
  lines:
    key:
      order_id: text = event.key
      line: integer = item.line
    columns:
      n: bigint not null default 0
      state: text
      was: text
      chain: text not null default ''
    rules:
      Placed:
        each: data.lines
        set: n = n + item.n, state = 'placed', chain = md5(chain || event.id)
      Shipped:
        key: order_id = event.key
        when: n % 3 <> 0
        set: state = 'shipped', was = old.state, chain = md5(chain || event.id)
      Raised:
        key: order_id = event.key
        set: n = (n * 7 + data.by) % 1000003, chain = md5(chain || event.id)
      Returned:
        each: data.lines
        delete: true
      Cancelled:
        key: order_id = event.key
        delete: true
";

/// Each event does to the oracle's table what the definition says, one after the other.
const REPLAY: &str = "
    create table lines (order_id text, line integer, n bigint not null default 0, state text, was text,
        chain text not null default '', primary key (order_id, line));
    create function apply(e event) returns void language plpgsql as $$
    declare item jsonb;
    begin
        case e.type
        when 'Placed' then
            for item in select * from jsonb_array_elements(e.data->'lines') loop
                insert into lines (order_id, line) values (e.key, (item->>'line')::integer) on conflict do nothing;
                update lines set n = n + (item->>'n')::bigint, state = 'placed', chain = md5(chain || e.id)
                where order_id = e.key and line = (item->>'line')::integer;
            end loop;
        when 'Shipped' then
            update lines set state = 'shipped', was = state, chain = md5(chain || e.id)
            where order_id = e.key and n % 3 <> 0;
        when 'Raised' then
            update lines set n = (n * 7 + (e.data->>'by')::bigint) % 1000003, chain = md5(chain || e.id)
            where order_id = e.key;
        when 'Returned' then
            delete from lines where order_id = e.key and line in
                (select (i->>'line')::integer from jsonb_array_elements(e.data->'lines') i);
        when 'Cancelled' then
            delete from lines where order_id = e.key;
        end case;
    end $$;
";

/// The dump as events.
const EVENT: &str = "
    create table event as
    select partition, \"offset\", key, v->>'type' as type, v->>'id' as id, v->'data' as data
    from (select partition, \"offset\", key, value::jsonb as v from raw) r;
";

#[test]
fn an_order_s_events_reach_all_its_lines() {
    let mut space = Space::new("prefix");
    space.settings.worker = vec!["lanes: 2".to_owned(), "batch_events: 300".to_owned()];
    let topic = space.topic("orders", 6);
    space.definition("orders", &LINES.replace("TOPIC", &topic));
    run(&space, "orders", &topic, |_, event| event);
    space.database.execute(EVENT);
    space.database.execute(REPLAY);
    space.database.execute(
        "do $$ declare e event; begin
            for e in select * from event order by partition, \"offset\" loop perform apply(e); end loop;
        end $$",
    );
    assert_lines(&space);
    let shared = space
        .database
        .query("select count(*) from consolidator.generation where shared_tables <> '{}'");
    assert_eq!(shared[0][0].as_deref(), Some("0"), "the table stays owned");
}

fn assert_lines(space: &Space) {
    let many = space.database.query("select count(*) > 100 from lines");
    assert_eq!(many[0][0].as_deref(), Some("t"), "the oracle has rows");
    assert_same(
        &space.database,
        "lines",
        "select order_id, line, n, state, was, chain from read_model.lines",
        "select order_id, line, n, state, was, chain from lines",
    );
}

/// Writes events in chunks of random size, some before the workers start, and waits until all are applied.
fn run(space: &Space, name: &str, topic: &str, place: impl Fn(&mut StdRng, Record) -> Record) {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let producer = Producer::new(space.kafka);
    let mut workers = Vec::new();
    let mut written = 0;
    while written < EVENTS {
        let chunk = random.random_range(1..1_500).min(EVENTS - written);
        let records: Vec<Record> = (written..written + chunk)
            .map(|number| {
                let event = event(number, &mut random);
                place(&mut random, event)
            })
            .collect();
        producer.write(topic, &records);
        written += chunk;
        if workers.len() < 2 && written > EVENTS / 4 * (workers.len() + 1) {
            workers.push(space.start_worker(&format!("worker-{}", workers.len())));
            space.wait_offset(name, topic, 0, 0, IN_TIME);
        }
    }
    space.wait_applied(name, &[topic], IN_TIME);
    let events = dump(space.kafka, &[topic], &space.database);
    assert_eq!(events, EVENTS as u64);
}

fn event(number: usize, random: &mut StdRng) -> Record {
    let order = random.random_range(0..ORDERS);
    let (kind, data) = match random.random_range(0..100) {
        0..45 => ("Placed", lines(random)),
        45..60 => ("Shipped", "{}".to_owned()),
        60..80 => (
            "Raised",
            format!(r#"{{"by":{}}}"#, random.random_range(0..1000)),
        ),
        80..90 => ("Returned", lines(random)),
        _ => ("Cancelled", "{}".to_owned()),
    };
    let value = format!(r#"{{"type":"{kind}","id":"e{number}","data":{data}}}"#);
    Record::new(&format!("o{order}"), value)
}

fn lines(random: &mut StdRng) -> String {
    let count = random.random_range(0..4);
    let line = |_| {
        let (line, n) = (random.random_range(0..8), random.random_range(0..100));
        format!(r#"{{"line":{line},"n":{n}}}"#)
    };
    let lines: Vec<String> = (0..count).map(line).collect();
    format!(r#"{{"lines":[{}]}}"#, lines.join(","))
}
