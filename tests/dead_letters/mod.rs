//! Events that cannot be applied, from outside: what is set aside and what is not, through crashes and rebuilds, against an
//! oracle in plain SQL that knows which events were made to fail.

mod kinds;
mod large;
mod poison;
mod policies;
mod retry;
mod switching;

use std::process::Output;
use std::time::Duration;

use crate::support::database::Database;
use crate::support::oracle::assert_same;
use crate::support::space::Space;
use crate::support::topic::{Place, Producer, Record};

pub const IN_TIME: Duration = Duration::from_secs(120);

/// Order-sensitive and not idempotent. Rows belong to one partition at a time.
pub const LEDGER: &str = "
projection: ledger
on_error: POLICY
from: [TOPIC]
tables:
  accounts:
    key:
      id: text = event.key
    columns:
      n: bigint not null default 0
      total: bigint not null default 0
      chain: text not null default ''
    rules:
      Paid:
        set: n = n + 1, total = total + data.amount, chain = md5(chain || event.id)
";

/// The same, and a table whose rows are met from every partition, so that its rows are locked.
pub const BOTH: &str = "
  kinds:
    key:
      kind: text = data.kind
    columns:
      n: bigint not null default 0
      total: bigint not null default 0
    rules:
      Paid:
        set: n = n + 1, total = total + data.amount
";

pub fn ledger(topic: &str, policy: &str) -> String {
    LEDGER.replace("TOPIC", topic).replace("POLICY", policy)
}

pub fn both(topic: &str, policy: &str) -> String {
    ledger(topic, policy) + BOTH
}

/// An event as the oracle knows it.
#[derive(Clone, Debug)]
pub struct Sent {
    pub record: Record,
    pub id: String,
    pub kind: String,
    pub amount: i64,
    /// It cannot be applied.
    pub bad: bool,
}

/// A payment that can be applied.
pub fn paid(key: Option<&str>, number: usize) -> Sent {
    let (id, kind) = (format!("e{number}"), format!("kind{}", number % 5));
    let amount = (number % 1_000) as i64;
    let value =
        format!(r#"{{"type":"Paid","id":"{id}","data":{{"amount":{amount},"kind":"{kind}"}}}}"#);
    let record = Record {
        key: key.map(str::to_owned),
        value: Some(value.into_bytes()),
        ..Record::default()
    };
    Sent {
        record,
        id,
        kind,
        amount,
        bad: false,
    }
}

/// The same with another value, which cannot be applied.
pub fn poisoned(key: Option<&str>, number: usize, value: impl Into<Vec<u8>>) -> Sent {
    let mut sent = paid(key, number);
    sent.record.value = Some(value.into());
    sent.bad = true;
    sent
}

/// An amount that is no number: the expression fails.
pub fn no_number(key: Option<&str>, number: usize) -> Sent {
    let value = format!(
        r#"{{"type":"Paid","id":"e{number}","data":{{"amount":"many","kind":"kind{}"}}}}"#,
        number % 5
    );
    poisoned(key, number, value)
}

/// Writes the events, and tells the oracle where each came to stand.
pub fn write(space: &Space, topic: &str, events: &[Sent]) -> Vec<Place> {
    let records: Vec<Record> = events.iter().map(|sent| sent.record.clone()).collect();
    let places = Producer::new(space.kafka).write(topic, &records);
    tell_oracle(&space.database, events, &places);
    places
}

fn tell_oracle(database: &Database, events: &[Sent], places: &[Place]) {
    database.execute(
        "create table if not exists sent (partition int, \"offset\" bigint, key text, id text, kind text, amount bigint, bad boolean);
         create or replace function link(text, text) returns text language sql immutable as $$ select md5($1 || $2) $$;
         create or replace aggregate chained (text) (sfunc = link, stype = text, initcond = '')",
    );
    let line = |(sent, (partition, offset)): (&Sent, &Place)| {
        let key = sent.record.key.as_deref().unwrap_or("\\N");
        let Sent {
            id,
            kind,
            amount,
            bad,
            ..
        } = sent;
        format!("{partition}\t{offset}\t{key}\t{id}\t{kind}\t{amount}\t{bad}\n")
    };
    let lines: String = events.iter().zip(places).map(line).collect();
    database.copy_in("copy sent from stdin", vec![lines.into_bytes()]);
}

/// What is set aside, and what is applied.
const SPLIT: &str = "
    with marked as (
        select *, min(\"offset\") filter (where bad) over (partition by partition, key) as first_bad from sent),
    split as (
        select *, bad or (key is not null and \"offset\" > coalesce(first_bad, \"offset\")) as aside from marked)";

/// Tables and letters are what the events say.
pub fn check(space: &Space, generation: i64) {
    check_tables(space, generation, SPLIT);
    check_letters(space, generation, SPLIT);
}

/// What is set aside is what `split` says, and who is blamed for it failed by itself.
pub fn check_letters(space: &Space, generation: i64, split: &str) {
    let of_it = format!("from consolidator.dead_letter d where d.generation = {generation}");
    let letters = format!("select d.partition, d.\"offset\", d.key {of_it}");
    let expected = format!("{split} select partition, \"offset\", key from split where aside");
    assert_same(&space.database, "what is set aside", &letters, &expected);
    let blamed = format!(
        "select count(*) {of_it} and not follows
            and exists (select from sent s where (s.partition, s.\"offset\") = (d.partition, d.\"offset\") and not s.bad)"
    );
    assert_eq!(space.database.number(&blamed), 0, "only the bad are blamed");
    let leaderless = format!(
        "select count(*) {of_it} and follows and not exists (select from consolidator.dead_letter e
            where (e.generation, e.partition, e.key) = (d.generation, d.partition, d.key) and e.\"offset\" < d.\"offset\")"
    );
    assert_eq!(
        space.database.number(&leaderless),
        0,
        "whoever follows has one to follow"
    );
}

/// The tables are the fold of what `split` says is applied.
pub fn check_tables(space: &Space, generation: i64, split: &str) {
    let schema = format!("consolidator_g{generation}");
    let product = format!("select id, n, total, chain from {schema}.accounts");
    let oracle = format!(
        "{split} select key, count(*), sum(amount)::bigint, chained(id order by \"offset\") from split where not aside group by key"
    );
    assert_same(&space.database, "accounts", &product, &oracle);
    let kinds = format!("select to_regclass('{schema}.kinds') is not null");
    if space.database.value(&kinds).as_deref() == Some("t") {
        let product = format!("select kind, n, total from {schema}.kinds");
        let oracle = format!(
            "{split} select kind, count(*), sum(amount)::bigint from split where not aside group by kind"
        );
        assert_same(&space.database, "kinds", &product, &oracle);
    }
}

pub fn letters(space: &Space) -> i64 {
    space
        .database
        .number("select count(*) from consolidator.dead_letter")
}

/// Runs a command that must end with this exit status, and gives all that it printed.
pub fn told(space: &Space, status: i32, arguments: &[&str]) -> String {
    let output: Output = space.run(arguments);
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}");
    text
}
