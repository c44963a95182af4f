//! Rules that reach beyond one row: every row with a prefix, rows of other tables. Real Kafka and Postgres, two workers, random
//! batches, against statements in plain SQL that replay the dump of the topics.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::oracle::{assert_same, differences};
use crate::support::space::Space;
use crate::support::topic::{Producer, Record, dump};

const IN_TIME: Duration = Duration::from_secs(180);
const ORDERS: usize = 400;
const SKUS: usize = 20;
const PARTITIONS: i32 = 6;

/// How much is written.
#[derive(Clone, Copy)]
struct Load {
    events: usize,
    orders: usize,
    /// Written at once, at most.
    chunk: usize,
}

const LARGE: Load = Load {
    events: 30_000,
    orders: ORDERS,
    chunk: 1_500,
};
/// Small batches that meet at few orders.
const SMALL: Load = Load {
    events: 6_000,
    orders: 12,
    chunk: 12,
};

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
                update lines set n = n + (item->>'n')::bigint + coalesce((e.data->>'price')::bigint, 0), state = 'placed', chain = md5(chain || e.id)
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
        when 'Counted' then
            insert into lines (order_id, line) values (e.key, (e.data->>'line')::integer) on conflict do nothing;
            update lines set n = n + (e.data->>'by')::bigint, chain = md5(chain || e.id)
            where order_id = e.key and line = (e.data->>'line')::integer;
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
    let topic = space.topic("orders", PARTITIONS);
    space.definition("orders", &LINES.replace("TOPIC", &topic));
    run(&space, LARGE, &topic, |_, event| event);
    space.database.execute(EVENT);
    space.database.execute(REPLAY);
    space.database.execute(
        "do $$ declare e event; begin
            for e in select * from event order by partition, \"offset\" loop perform apply(e); end loop;
        end $$",
    );
    let many = space.database.query("select count(*) > 100 from lines");
    assert_eq!(many[0][0].as_deref(), Some("t"), "the oracle has rows");
    assert_same(&space.database, "lines", LINES_SEEN, LINES_EXPECTED);
    let shared = space
        .database
        .query("select count(*) from consolidator.generation where shared_tables <> '{}'");
    assert_eq!(shared[0][0].as_deref(), Some("0"), "the table stays owned");
}

/// Rows that are reached together are in memory together: a batch of few events, each of many rows, is taken in parts.
#[test]
fn an_event_that_reaches_too_many_rows_is_set_aside_and_others_are_not() {
    let space = Space::new("prefix_too_many");
    let topic = space.topic("orders", 1);
    space.definition("orders", &LINES.replace("TOPIC", &topic));
    let producer = Producer::new(space.kafka);
    let _worker = space.start_worker("worker-0");
    let orders = [
        ("small", 90_000),
        ("large", 100_001),
        ("medium", 90_000),
        ("limit", 100_000),
    ];
    let event = |order: &str, kind: &str, data: String| {
        let value = format!(r#"{{"type":"{kind}","id":"","data":{data}}}"#);
        Record::new(order, value).in_partition(0)
    };
    for (order, count) in orders {
        let numbers: Vec<usize> = (0..count).collect();
        let placed = numbers.chunks(2_000).map(|numbers| {
            let line = |number: &usize| format!(r#"{{"line":{number},"n":1}}"#);
            let lines = numbers.iter().map(line).collect::<Vec<_>>().join(",");
            event(order, "Placed", format!(r#"{{"lines":[{lines}]}}"#))
        });
        producer.write(&topic, &placed.collect::<Vec<_>>());
    }
    space.wait_applied("orders", &[&topic], IN_TIME);
    let raised = orders.map(|(order, _)| event(order, "Raised", r#"{"by":1}"#.to_owned()));
    producer.write(&topic, &raised);
    space.wait_applied("orders", &[&topic], IN_TIME);
    assert_same(
        &space.database,
        "lines",
        "select order_id, n, count(*) from read_model.lines group by 1, 2",
        "values ('small', 8::bigint, 90000::bigint), ('large', 1, 100001), ('medium', 8, 90000), ('limit', 8, 100000)",
    );
    let set_aside = space
        .database
        .query("select key, reason from consolidator.dead_letter");
    let [letter] = set_aside.as_slice() else {
        panic!("{set_aside:?}");
    };
    assert_eq!(letter[0].as_deref(), Some("large"));
    let reason = letter[1].as_deref().unwrap();
    assert!(
        reason.contains("more than 100000 rows begin with this key"),
        "{reason}"
    );
}

/// Without a shared table events are folded ahead of their commits. Within a phase the order of events does not matter, so
/// that what must come out is known although keys are spread over partitions.
#[test]
fn an_order_s_events_reach_all_its_lines_from_any_partition() {
    let mut space = Space::new("prefix_spread");
    space.settings.worker = vec!["lanes: 2".to_owned(), "batch_events: 300".to_owned()];
    let topic = space.topic("orders", PARTITIONS);
    space.definition("orders", &LINES.replace("TOPIC", &topic));
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let producer = Producer::new(space.kafka);
    let workers = [
        space.start_worker("worker-0"),
        space.start_worker("worker-1"),
    ];
    let mut phase = |kind: &str, data: &dyn Fn(&mut StdRng, usize) -> String, numbers: usize| {
        let numbers: Vec<usize> = (0..numbers).collect();
        for chunk in numbers.chunks(700) {
            let records = chunk.iter().map(|number| {
                let data = data(&mut random, *number);
                let value = format!(r#"{{"type":"{kind}","id":"","data":{data}}}"#);
                let partition = random.random_range(0..PARTITIONS);
                Record::new(&format!("o{}", number % ORDERS), value).in_partition(partition)
            });
            producer.write(&topic, &records.collect::<Vec<_>>());
        }
        space.wait_applied("orders", &[&topic], IN_TIME);
    };
    let line = |_: &mut StdRng, number: usize| {
        format!(r#"{{"lines":[{{"line":{},"n":1}}]}}"#, number / ORDERS)
    };
    phase("Placed", &line, ORDERS * 9);
    phase("Raised", &|_, _| r#"{"by":0}"#.to_owned(), ORDERS * 3);
    phase("Cancelled", &|_, _| "{}".to_owned(), ORDERS / 2);
    assert_same(
        &space.database,
        "lines",
        "select order_id, line, n, state from read_model.lines",
        "select 'o' || o, line, 343::bigint, 'placed' from generate_series(200, 399) o, generate_series(0, 8) line",
    );
    drop(workers);
}

/// The lines come first, so that nothing but the way they are locked keeps events of one order apart. Every event counts its
/// order's clock, and the log keeps where the clock stood before it: in which order the events of an
/// order were folded, whatever the partitions they came from. Prices are numbered, and the log keeps which one was seen.
const WITNESSED: &str = "
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
        lookup: { p: { table: prices, key: { sku: data.sku } } }
        set: n = n + item.n + coalesce(p.price, 0), state = 'placed', chain = md5(chain || event.id)
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
MORE  clock:
    key: { order_id: text = event.key }
    columns:
      n: bigint not null default 0
    rules:
      Placed, Shipped, Raised, Returned, Cancelled:
        set: n = n + 1
      Counted:
        key: order_id = data.order
        set: n = n + 1
  prices:
    key: { sku: text = event.key }
    columns:
      number: bigint not null default 0
      price: bigint not null default 0
    rules:
      Priced:
        set: number = number + 1, price = data.price
  log:
    key: { event_id: text = event.id }
    columns:
      clock: bigint
      number: bigint
      price: bigint
    rules:
      '*':
        lookup:
          c: { table: clock, key: { order_id: 'coalesce(data.order, event.key)' } }
          p: { table: prices, key: { sku: 'coalesce(data.sku, event.key)' } }
        set: clock = coalesce(c.n, 0), number = coalesce(p.number, 0), price = coalesce(p.price, 0)
";

/// Lines that are also reached under other keys than their order's.
const COUNTED: &str = "      Counted:
        key: order_id = data.order, line = data.line
        set: n = n + data.by, chain = md5(chain || event.id)
";

/// The log tells the order in which the events of each order are replayed, once it is found to be one.
const WITNESS: &str = "
    create table witnessed as
    select e.*, coalesce(e.data->>'order', e.key) as order_id, coalesce(e.data->>'sku', e.key) as sku,
           l.clock, l.number, l.price
    from event e join read_model.log l on l.event_id = e.id;
    create index on witnessed (order_id, clock);
    analyze witnessed;
";

/// Rows that say what is wrong with the log; there are none.
const UNSOUND: &str = "
    select 'an event is not in the log', e.id from event e left join witnessed w using (id) where w.id is null
    union all
    select 'the clock does not count', order_id from witnessed where type <> 'Priced'
    group by order_id having min(clock) <> 0 or max(clock) <> count(*) - 1 or count(distinct clock) <> count(*)
    union all
    select 'prices are not counted', sku from witnessed where type = 'Priced'
    group by sku having min(number) <> 0 or max(number) <> count(*) - 1 or count(distinct number) <> count(*)
    union all
    select 'a partition is out of order', id from (select id, clock,
        lag(clock) over (partition by partition, order_id order by \"offset\") as before
        from witnessed where type <> 'Priced') o where clock <= before
    union all
    select 'prices are out of order', id from (select id, number,
        lag(number) over (partition by partition, sku order by \"offset\") as before
        from witnessed where type = 'Priced') o where number <= before
    union all
    select 'a price goes back', id from (select id, number,
        max(number) over (partition by order_id, sku order by clock rows unbounded preceding) as highest
        from witnessed where type = 'Placed') o where number < highest
    union all
    select 'a price is not that of its number', w.id from witnessed w
    left join witnessed p on p.type = 'Priced' and p.sku = w.sku and p.number = w.number - 1
    where w.type = 'Placed' and w.price <> coalesce((p.data->>'price')::bigint, 0)
";

#[test]
fn lines_and_prices_are_exact_although_keys_are_spread_over_partitions() {
    let space = Space::new("spread_reach");
    let wrong = witnessed(space, LARGE, "", |random, event| {
        event.in_partition(random.random_range(0..PARTITIONS))
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn lines_that_several_keys_reach_are_exact() {
    for load in [LARGE, SMALL] {
        let wrong = witnessed(Space::new("shared_reach"), load, COUNTED, |_, event| event);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// What the tables and the log have wrong; empty if nothing.
fn witnessed(
    mut space: Space,
    load: Load,
    more: &str,
    place: impl Fn(&mut StdRng, Record) -> Record,
) -> Vec<String> {
    space.settings.worker = vec!["lanes: 2".to_owned(), "batch_events: 300".to_owned()];
    let topic = space.topic("orders", PARTITIONS);
    let definition = WITNESSED.replace("TOPIC", &topic).replace("MORE", more);
    space.definition("orders", &definition);
    run(&space, load, &topic, |random, event| {
        let event = match random.random_range(0..10) {
            0 => priced(random, event),
            1 if !more.is_empty() => counted(random, load.orders, event),
            _ => event,
        };
        place(random, event)
    });
    let database = &space.database;
    for setup in [EVENT, REPLAY, WITNESS, REPLAY_WITNESSED] {
        database.execute(setup);
    }
    let unsound = database.query(UNSOUND).into_iter();
    let mut wrong: Vec<String> = unsound
        .map(|row| row.into_iter().flatten().collect::<Vec<_>>().join(": "))
        .collect();
    for (product, oracle) in [(LINES_SEEN, LINES_EXPECTED), (PRICES_SEEN, PRICES_EXPECTED)] {
        wrong.extend(differences(database, product, oracle));
    }
    let guards = database.query(
        "select g.order_id from consolidator_g1.\"lines$prefix\" g
         where not exists (select from consolidator_g1.lines l where l.order_id = g.order_id)",
    );
    assert!(guards.is_empty(), "guards without lines: {guards:?}");
    wrong
}

const REPLAY_WITNESSED: &str = "
    do $$ declare w witnessed; begin
        for w in select * from witnessed where type <> 'Priced' order by order_id, clock loop
            perform apply((w.partition, w.\"offset\", w.order_id, w.type, w.id,
                w.data || jsonb_build_object('price', w.price))::event);
        end loop;
    end $$";

const LINES_SEEN: &str = "select order_id, line, n, state, was, chain from read_model.lines";
const LINES_EXPECTED: &str = "select order_id, line, n, state, was, chain from lines";
const PRICES_SEEN: &str = "select sku, number, price from read_model.prices";
const PRICES_EXPECTED: &str = "
    select distinct on (sku) sku, number + 1, (data->>'price')::bigint from witnessed
    where type = 'Priced' order by sku, number desc";

/// The same place in the log for a change of a price.
fn priced(random: &mut StdRng, event: Record) -> Record {
    let sku = random.random_range(0..SKUS);
    let price = random.random_range(0..1000);
    let data = format!(r#"{{"price":{price}}}"#);
    Record::new(&format!("s{sku}"), renamed(&event, "Priced", &data))
}

/// The same place in the log for a count in a warehouse.
fn counted(random: &mut StdRng, orders: usize, event: Record) -> Record {
    let (order, line) = (random.random_range(0..orders), random.random_range(0..8));
    let by = random.random_range(0..100);
    let data = format!(r#"{{"order":"o{order}","line":{line},"by":{by}}}"#);
    let warehouse = random.random_range(0..40);
    Record::new(&format!("w{warehouse}"), renamed(&event, "Counted", &data))
}

fn renamed(event: &Record, kind: &str, data: &str) -> String {
    let value = event.value.as_deref().unwrap_or_default();
    let value: serde_json::Value = serde_json::from_slice(value).unwrap();
    let id = value["id"].as_str().unwrap();
    format!(r#"{{"type":"{kind}","id":"{id}","data":{data}}}"#)
}

/// Writes events in chunks of random size, some before the workers start, and waits until all are applied.
fn run(space: &Space, load: Load, topic: &str, place: impl Fn(&mut StdRng, Record) -> Record) {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let producer = Producer::new(space.kafka);
    let mut workers = Vec::new();
    let mut written = 0;
    while written < load.events {
        let chunk = random.random_range(0..load.chunk) + 1;
        let chunk = chunk.min(load.events - written);
        let records: Vec<Record> = (written..written + chunk)
            .map(|number| {
                let event = event(number, load.orders, &mut random);
                place(&mut random, event)
            })
            .collect();
        producer.write(topic, &records);
        written += chunk;
        if workers.len() < 2 && written > load.events / 4 * (workers.len() + 1) {
            workers.push(space.start_worker(&format!("worker-{}", workers.len())));
            space.wait_offset("orders", topic, 0, 0, IN_TIME);
        }
    }
    space.wait_applied("orders", &[topic], IN_TIME);
    let events = dump(space.kafka, &[topic], &space.database);
    assert_eq!(events, load.events as u64);
}

fn event(number: usize, orders: usize, random: &mut StdRng) -> Record {
    let order = random.random_range(0..orders);
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
    let sku = random.random_range(0..SKUS);
    format!(r#"{{"sku":"s{sku}","lines":[{}]}}"#, lines.join(","))
}
