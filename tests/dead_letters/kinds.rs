//! What producers get wrong: records of every kind that a definition, a parser or a table does not take. Knows nothing of servers.

use rand::RngExt;
use rand::distr::Alphanumeric;
use rand::rngs::StdRng;

use super::{Sent, paid};

/// Who refuses a record, and so what can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuser {
    /// It is no event: no rule will ever see it.
    Decoder,
    /// It is an event that [`STRICT`] cannot apply; [`LENIENT`] can.
    Rule,
    /// Only PostgreSQL refuses it, because of [`OBSTACLES`].
    Postgres,
}

impl Refuser {
    pub fn name(self) -> &'static str {
        match self {
            Refuser::Decoder => "decoder",
            Refuser::Rule => "rule",
            Refuser::Postgres => "postgres",
        }
    }
}

/// What is wrong with a record.
#[derive(Clone, Debug)]
pub struct Reason {
    pub refuser: Refuser,
    /// For people.
    pub told: String,
}

/// Of both definitions.
pub const COLUMNS: &str = "      n: bigint not null default 0
      total: bigint not null default 0
      chain: text not null default ''
      small: smallint
      price: numeric(8,2)
      ratio: numeric
      code: varchar(8)
      seen_at: timestamptz
      day: date
      tag: uuid
      flag: boolean
      whole: integer
      pieces: integer default 1
      label: text default ''
      memo: text
      owner: text
      serial: text
";

/// Takes only what is right. What is wrong with a row stays so: PostgreSQL is not told of what a later event of the same batch puts
/// right. Rows belong to one partition at a time.
pub const STRICT: &str = "
projection: ledger
on_error: dead_letter
from: [TOPIC]
tables:
  accounts:
    key:
      id: text = event.key
    columns:
COLUMNS    rules:
      Paid:
        set: >-
          n = n + 1, total = total + data.amount, chain = md5(chain || event.id), small = data.small, price = data.price,
          ratio = data.whole::numeric / data.parts::numeric, code = data.code, seen_at = data.seen_at, day = data.day,
          tag = data.tag, flag = data.flag, whole = data.whole, pieces = coalesce(data.pieces, pieces),
          label = case when data.label = 'none' then null else label end, memo = coalesce(data.memo, memo),
          owner = coalesce(data.owner, owner), serial = coalesce(data.serial, serial)
      Corrected:
        set: n = n + 1, total = total + data.amount, chain = md5(chain || event.id)
        if_missing: fail
";

/// A number, or nothing.
pub const AMOUNT: &str = "case when data.amount::text <> '' and length(data.amount::text) < 11 and translate(data.amount::text, '0123456789', '') = '' \
    then data.amount::bigint else 0 end";

/// Takes every event; what is no amount counts for nothing. Where there is no key, there is a row for each partition.
pub const LENIENT: &str = "
projection: ledger
on_error: dead_letter
from: [TOPIC]
tables:
  accounts:
    key:
      id: text = coalesce(event.key, 'none of ' || event.partition)
    columns:
COLUMNS    rules:
      Paid, Corrected:
        set: >-
          n = n + 1, chain = md5(chain || event.id),
          total = total + AMOUNT
";

/// What keeps PostgreSQL alone from taking some rows: as somebody may have put it there.
pub const OBSTACLES: [(&str, &str); 7] = [
    (
        "alter table TABLE add constraint too_much check (total < 1000000000)",
        "alter table TABLE drop constraint too_much",
    ),
    (
        "alter table TABLE add constraint divides check (1000 / pieces is not null)",
        "alter table TABLE drop constraint divides",
    ),
    (
        "alter table TABLE alter column label set not null",
        "alter table TABLE alter column label drop not null",
    ),
    (
        "create function SCHEMA.short() returns trigger language plpgsql as $$ begin
           if length(new.memo) > 3000 then raise 'value too long' using errcode = '22001'; end if; return new; end $$;
         create trigger short before insert or update on TABLE for each row execute function SCHEMA.short()",
        "drop trigger short on TABLE",
    ),
    ("create index memos on TABLE (memo)", "drop index SCHEMA.memos"),
    (
        "create table people (name text primary key); insert into people values ('Ada');
         alter table TABLE add constraint somebody foreign key (owner) references people",
        "alter table TABLE drop constraint somebody",
    ),
    (
        "create unique index serials on TABLE (serial)",
        "drop index SCHEMA.serials",
    ),
];

/// What stands in the place of a member of the data, or of the whole record.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    /// Member, and its JSON; nothing: it is not there.
    Member(&'static str, &'static str),
    /// The data, as JSON.
    Data(&'static str),
    /// A member of the record, beside the data.
    Top(&'static str, &'static str),
    Value(&'static [u8]),
    /// A member with so many letters that no compression helps.
    Letters(&'static str, usize),
    /// So deep.
    Nested(usize),
    /// The record ends in the middle of its text.
    CutOff,
    NoKey,
    Key(&'static [u8]),
    /// An event that finds no row.
    NoRow,
}

use Wrong::{CutOff, Data, Key, Letters, Member, Nested, NoKey, NoRow, Top, Value};

#[rustfmt::skip]
const KINDS: &[(Refuser, Wrong)] = &[
    (Refuser::Decoder, CutOff),
    (Refuser::Decoder, Value(b"")),
    (Refuser::Decoder, Value(b"not JSON")),
    (Refuser::Decoder, Value(b"[1,2,3]")),
    (Refuser::Decoder, Value(b"null")),
    (Refuser::Decoder, Value(b"{}")),
    (Refuser::Decoder, Value(b"{}{}")),
    (Refuser::Decoder, Value(b"\xef\xbb\xbf{}")),
    (Refuser::Decoder, Value(b"\xff\xfe{\0}\0")),
    (Refuser::Decoder, Value(b"\x00\x00\x00\x00\x07\x02\x04")),
    (Refuser::Decoder, Value(b"{\"type\":\"Paid\",\"data\":{\"memo\":\"\xe2\x82\"}}")),
    (Refuser::Decoder, Value(b"{\"type\":\"Paid\",\"data\":{\"memo\":\"\xc0\xaf\"}}")),
    (Refuser::Decoder, Value(b"{\"type\":\"Paid\",\"data\":{\"memo\":\"\xed\xa0\x80\"}}")),
    (Refuser::Decoder, Value(b"{\"type\":\"Paid\",\"data\":{\"memo\":\"\0\"}}")),
    (Refuser::Decoder, Value(b"{\"type\":\"Paid\",\"data\":{\"memo\":\"a\nb\"}}")),
    (Refuser::Decoder, Value(b"{\"type\":\"Paid\",\"data\":{\"amount\":1,}}")),
    (Refuser::Decoder, Value(b"{\"type\":\"Paid\",\"data\":{\"amount\":01}}")),
    (Refuser::Decoder, Value(b"{'type':'Paid'}")),
    (Refuser::Decoder, Nested(10_000)),
    (Refuser::Decoder, Member("memo", r#""\u0000""#)),
    (Refuser::Decoder, Member("memo", r#""\ud800""#)),
    (Refuser::Decoder, Member("memo", r#""\ude00\ud83d""#)),
    (Refuser::Decoder, Member("amount", "1e999999")),
    (Refuser::Decoder, Member("amount", "NaN")),
    (Refuser::Decoder, Member("amount", "+1")),
    (Refuser::Decoder, Top("type", "7")),
    (Refuser::Decoder, Top("type", "null")),
    (Refuser::Decoder, Top("type", "")),
    (Refuser::Decoder, Top("time", r#""yesterday""#)),
    (Refuser::Decoder, Top("time", r#""2026-13-45T00:00:00Z""#)),
    (Refuser::Decoder, Top("time", "[]")),
    (Refuser::Decoder, Key(b"\xff")),
    (Refuser::Decoder, Key(b"k\xe2\x82")),
    (Refuser::Decoder, Key(b"k\0k")),
    (Refuser::Rule, NoKey),
    (Refuser::Rule, NoRow),
    (Refuser::Rule, Data("{}")),
    (Refuser::Rule, Data("null")),
    (Refuser::Rule, Data("[]")),
    (Refuser::Rule, Data("7")),
    (Refuser::Rule, Member("amount", "")),
    (Refuser::Rule, Member("amount", "null")),
    (Refuser::Rule, Member("amount", r#""many""#)),
    (Refuser::Rule, Member("amount", r#""""#)),
    (Refuser::Rule, Member("amount", "[1]")),
    (Refuser::Rule, Member("amount", "{}")),
    (Refuser::Rule, Member("amount", "true")),
    (Refuser::Rule, Member("amount", "9223372036854775808")),
    (Refuser::Rule, Member("amount", "-9223372036854775809")),
    (Refuser::Rule, Member("small", "32768")),
    (Refuser::Rule, Member("whole", "2147483648")),
    (Refuser::Rule, Member("price", "1000000")),
    (Refuser::Rule, Member("price", "1e300")),
    (Refuser::Rule, Member("code", r#""much too long""#)),
    (Refuser::Rule, Member("seen_at", r#""2026-02-30T00:00:00Z""#)),
    (Refuser::Rule, Member("seen_at", r#""294277-01-01T00:00:00Z""#)),
    (Refuser::Rule, Member("day", r#""99999999-01-01""#)),
    (Refuser::Rule, Member("tag", r#""no-uuid""#)),
    (Refuser::Rule, Member("flag", r#""perhaps""#)),
    (Refuser::Rule, Member("parts", "0")),
    (Refuser::Rule, Member("parts", r#""1e-20000""#)),
    (Refuser::Postgres, Member("amount", "1000000000")),
    (Refuser::Postgres, Member("pieces", "0")),
    (Refuser::Postgres, Member("label", r#""none""#)),
    (Refuser::Postgres, Letters("memo", 2_990)),
    (Refuser::Postgres, Letters("memo", 4_000)),
    (Refuser::Postgres, Member("owner", r#""Nobody""#)),
    (Refuser::Postgres, Member("serial", r#""taken""#)),
];

/// What is in the data of a good event. Some of it looks worse than it is.
fn members(number: usize) -> Vec<(&'static str, String)> {
    let small = if number.is_multiple_of(7) {
        "-32768"
    } else {
        "32767"
    };
    let note = if number.is_multiple_of(11) {
        r#""\ud83d\ude00\u00e9\"\\""#
    } else {
        r#""fine""#
    };
    vec![
        ("amount", (number % 1_000).to_string()),
        ("kind", format!(r#""kind{}""#, number % 5)),
        ("small", small.to_owned()),
        ("whole", (number % 1_000 + 1).to_string()),
        ("parts", (number % 7 + 1).to_string()),
        ("price", "999999.99".to_owned()),
        ("code", r#""12345678""#.to_owned()),
        ("seen_at", r#""294276-12-31T23:59:59.999999Z""#.to_owned()),
        ("day", r#""2024-02-29""#.to_owned()),
        (
            "tag",
            r#""a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11""#.to_owned(),
        ),
        ("flag", "true".to_owned()),
        ("note", note.to_owned()),
    ]
}

fn object(members: &[(&str, String)]) -> String {
    let there = members.iter().filter(|(_, json)| !json.is_empty());
    let members: Vec<String> = there
        .map(|(name, json)| format!(r#""{name}":{json}"#))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn value(number: usize, data: &str, top: (&str, &str)) -> String {
    let mut members = vec![
        ("type", r#""Paid""#.to_owned()),
        ("id", format!(r#""e{number}""#)),
        ("data", data.to_owned()),
    ];
    members.retain(|(name, _)| *name != top.0);
    members.push((top.0, top.1.to_owned()));
    object(&members)
}

/// An event that every definition and table takes.
pub fn good(key: &str, number: usize) -> Sent {
    let mut sent = paid(Some(key), number);
    let mut data = members(number);
    if number.is_multiple_of(500) {
        // The last one counts, as in PostgreSQL.
        data.insert(0, ("amount", r#""none""#.to_owned()));
    }
    let time = if number.is_multiple_of(1_000) {
        r#""infinity""#
    } else {
        ""
    };
    sent.record.value = Some(value(number, &object(&data), ("time", time)).into_bytes());
    if key.is_empty() {
        // A key all the same; librdkafka would spread it as if there were none.
        sent.record.partition = Some(0);
    }
    sent
}

/// The same that has the only row with a serial, which [`OBSTACLES`] keep to it.
pub fn with_serial(key: &str, number: usize) -> Sent {
    let mut sent = good(key, number);
    let mut data = members(number);
    data.push(("serial", r#""taken""#.to_owned()));
    sent.record.value = Some(value(number, &object(&data), ("time", "")).into_bytes());
    sent
}

/// A record without a value is an event without a rule here: not applied, and not at fault. To the oracle it has no id.
pub fn tombstone(key: &str, number: usize) -> Sent {
    let mut sent = good(key, number);
    sent.record.value = None;
    sent.id = String::new();
    sent
}

/// A record of one of the kinds, of which there is one after the other.
pub fn poison(random: &mut StdRng, key: &str, number: usize, turn: usize) -> (Sent, Reason) {
    let (refuser, wrong) = KINDS[turn % KINDS.len()];
    let mut sent = good(key, number);
    let mut data = members(number);
    let mut put = |name: &'static str, json: String| {
        data.retain(|(member, _)| *member != name);
        data.push((name, json));
    };
    let mut top = ("time", "");
    match wrong {
        Member(name, json) => {
            put(name, json.to_owned());
            if name == "amount" {
                sent.amount = json
                    .parse()
                    .ok()
                    .filter(|amount| *amount > 0 && *amount < 10_000_000_000)
                    .unwrap_or(0);
            }
        }
        Letters(name, count) => {
            let letters: String = random
                .sample_iter(Alphanumeric)
                .take(count)
                .map(char::from)
                .collect();
            put(name, format!(r#""{letters}""#));
        }
        Nested(depth) => put(
            "memo",
            format!("{}{}", "[".repeat(depth), "]".repeat(depth)),
        ),
        Top(name, json) => top = (name, json),
        NoRow => {
            top = ("type", r#""Corrected""#);
            sent.record.key = Some(format!("fresh{number}"));
        }
        NoKey => sent.record.key = None,
        Key(bytes) => {
            sent.record.key = None;
            sent.record.key_bytes = Some(bytes.to_vec());
        }
        Data(_) | Value(_) | CutOff => {}
    }
    let data = match wrong {
        Data(json) => {
            (sent.amount, sent.kind) = (0, "none".to_owned());
            json.to_owned()
        }
        _ => object(&data),
    };
    let mut bytes = value(number, &data, top).into_bytes();
    match wrong {
        CutOff => bytes.truncate(random.random_range(1..bytes.len())),
        Value(whole) => bytes = whole.to_vec(),
        _ => {}
    }
    sent.record.value = Some(bytes);
    sent.bad = true;
    let told = format!("{wrong:?}").replace(['\\', '\n', '\t'], "");
    (sent, Reason { refuser, told })
}
