//! JSON records against jsonb: which texts are one, what value a whole record has, and what its members are as values of
//! every type.

use bumpalo::Bump;
use consolidator::event::{Member, Path, json};
use consolidator::expression::jsonb::canonical;

use super::generate::{Generator, Pair};
use super::random::Random;
use super::values::{TYPES, json as random_json};
use super::world::World;
use super::{Answer, fresh_database, postgres, seed, with_payload};

const RECORDS: usize = 20_000;
const CHUNK: usize = 1_000;
/// Places at which each value is looked for.
const PATHS: usize = 2;

/// JSON values of every kind, in spellings that jsonb evens out, keeps or refuses a type.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-0.0",
    "1",
    "-1",
    "1.0",
    "1.50",
    "100",
    "1e2",
    "1E+2",
    "1e-2",
    "0.1e1",
    "12345678901234567890",
    "-9223372036854775808",
    "9223372036854775808",
    "32768",
    "2147483648",
    "1e400",
    "1e-400",
    "0.00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001",
    "123456789012345678901234567890.123456789012345678901234567890",
    "3.4e38",
    "3.5e38",
    "1.5e-45",
    "0e0",
    "0e10",
    "-0e-5",
    "1e16384",
    "\"\"",
    "\" \"",
    "\"null\"",
    "\"NULL\"",
    "\"true\"",
    "\"t\"",
    "\"on\"",
    "\"yes\"",
    "\"maybe\"",
    "\"1\"",
    "\" 1 \"",
    "\"+1\"",
    "\"1.5\"",
    "\"1e3\"",
    "\"0x1\"",
    "\"1_000\"",
    "\"NaN\"",
    "\"Infinity\"",
    "\"-inf\"",
    "\"\\u0031\"",
    "\"1\\n\"",
    "\"\\t7\"",
    "\"\\u00e4\"",
    "\"\\ud83d\\ude00\"",
    "\"\\/\\b\\f\\r\"",
    "\"\\\\\"",
    "\"a\\\"b\"",
    "\"e\\u0301\"",
    "\"2022-03-01\"",
    "\"2022-03-01T09:30:00Z\"",
    "\"2022-03-01 09:30:00.123456+02\"",
    "\"09:30\"",
    "\"24:00:00\"",
    "\"2016-12-31T23:59:60Z\"",
    "\"infinity\"",
    "\"epoch\"",
    "\"20220301\"",
    "\"0044-03-15 BC\"",
    "\"10000-01-01\"",
    "\"2022-02-30\"",
    "\"1 day\"",
    "\"P1DT2H\"",
    "\"1 day 02:03:04\"",
    "\"01:02:03.5\"",
    "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"",
    "\"{a0eebc999c0b4ef8bb6d6bb9bd380a11}\"",
    "\"\\\\xdeadbeef\"",
    "\"\\\\x0\"",
    "\"{1,2,3}\"",
    "\"{NULL,\\\"a b\\\"}\"",
    "\"{}\"",
    "\"[1:2]={1,2}\"",
    "\"{{1},{2}}\"",
    "\"{1,2\"",
    "[]",
    "[1,2]",
    "[ 1 , null ]",
    "[\"a\",\"b\"]",
    "[[1],[2]]",
    "[{\"b\":1,\"a\":2}]",
    "{}",
    "{\"b\" : 1,\"a\":2 , \"b\":3}",
    "{\"a\":{\"x\":[1.0,1e1]}}",
    "\"{\\\"b\\\":1, \\\"a\\\": 2}\"",
    "\"[1,\"",
    "{\"\":\"\"}",
    "\"\\u007f\"",
    "\"12345678901\"",
    "\"ÄÖÜ日本語𐐀ab\"",
    "1672531200",
    "1672531200.5",
    "\"now\"",
    "\"today\"",
];

/// Texts that are nearly JSON, or JSON of an odd kind.
const DOCUMENTS: &[&str] = &[
    "",
    " ",
    "nul",
    "nulll",
    "True",
    "1 2",
    "01",
    "-",
    "-a",
    "1.",
    ".5",
    "1e",
    "1e+",
    "+1",
    "0x10",
    "1_0",
    "NaN",
    "Infinity",
    "\"",
    "\"a",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\ude00\"",
    "\"\\ud800\\u0041\"",
    "\"\\ud83dx\"",
    "\"\u{1}\"",
    "\"\t\"",
    "\"\u{7f}\"",
    "\"\u{2028}\"",
    "[",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "]",
    "{",
    "{}",
    "{\"a\"",
    "{\"a\":}",
    "{\"a\":1,}",
    "{a:1}",
    "{'a':1}",
    "{\"a\":1 \"b\":2}",
    "{1:2}",
    "[1}",
    "{\"a\":[}",
    "\u{feff}1",
    "1\u{a0}",
    "1\u{b}",
    "\n\t\r 1 \n",
    "// 1",
    "/* */1",
    "1e131071",
    "1e131072",
    "1e-16383",
    "1e-16384",
    "-1e-99999999999",
    "1e99999999999",
    "\"\\U0041\"",
    "\"\\u00E4\\u00e4\"",
    "[[[[[[[[[[]]]]]]]]]]",
    "{\"a\":{\"a\":{\"a\":{}}}}",
    "tru\\u0065",
    "1.0E5",
    "1.e5",
    "\"\\ud83d\\ude00\\ud83d\"",
    "--1",
    "1-",
    "1,2",
    "{}{}",
    "[] []",
    "null null",
    "\"a\"\"b\"",
    "-0",
    "-0.0e-0",
    "00",
    "-01",
];

#[test]
fn members_are_as_every_type_what_postgresql_makes_of_them() {
    let world = World::new(&mut Generator::new(1));
    let mut oracle = postgres::Oracle::connect(&fresh_database(), &world);
    let mut wrong = Vec::new();
    for (_, ty) in TYPES {
        let records: Vec<String> = VALUES
            .iter()
            .map(|value| {
                format!("{{\"x\": {value}, \"y\": {{\"x\":0,\"x\":{value}}}, \"x\":{value}}}")
            })
            .collect();
        let pairs: Vec<(Pair, usize)> = records
            .iter()
            .flat_map(|record| of_members(record, ty))
            .collect();
        for (at, ((pair, _), theirs)) in pairs.iter().zip(oracle.ask(&pairs)).enumerate() {
            let record = &records[at / PATHS];
            let own = with_payload(pair, record, &world);
            if !is_alike(&own, &theirs) {
                wrong.push(format!(
                    "{}\n   ours: {own:?}\n theirs: {theirs:?}",
                    pair.theirs
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ\n{}",
        wrong.len(),
        wrong[..wrong.len().min(30)].join("\n")
    );
}

/// The member at the top and one below, with a cast.
fn of_members(record: &str, ty: &str) -> [(Pair, usize); PATHS] {
    let quoted = record.replace('\'', "''");
    let pair = |ours: &str, path: &str| {
        let found = match ty {
            "jsonb" => format!("nullif('{quoted}'::jsonb #> '{{{path}}}', 'null')"),
            _ => format!("('{quoted}'::jsonb #>> '{{{path}}}')"),
        };
        let ours = format!("{ours}::{ty}");
        (Pair::new(ours, format!("{found}::{ty}")), 0)
    };
    [pair("data.x", "x"), pair("data.y.x", "y,x")]
}

fn is_alike(own: &Answer, theirs: &Answer) -> bool {
    match (own, theirs) {
        (Answer::Error { .. }, Answer::Error { .. }) => true,
        // Refused, which is no other value.
        (Answer::Error { state, .. }, _) => state == "0A000",
        (own, theirs) => own == theirs,
    }
}

#[test]
fn a_record_is_json_exactly_if_it_is_jsonb_and_has_its_value() {
    let seed = seed();
    eprintln!("seed {seed}");
    let mut random = Random::new(seed);
    let mut records: Vec<Vec<u8>> = DOCUMENTS
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
    records.extend(VALUES.iter().map(|text| text.as_bytes().to_vec()));
    while records.len() < RECORDS {
        records.push(damaged(&mut random));
    }
    let world = World::new(&mut Generator::new(1));
    let mut oracle = postgres::Oracle::connect(&fresh_database(), &world);
    let mut wrong = Vec::new();
    let mut taken = 0;
    for chunk in records.chunks(CHUNK) {
        for (record, theirs) in chunk.iter().zip(oracle.records(chunk)) {
            let own = whole(record);
            taken += usize::from(own.is_some());
            if own != theirs {
                let shown = String::from_utf8_lossy(record);
                wrong.push(format!("{shown:?}\n   ours: {own:?}\n theirs: {theirs:?}"));
            }
        }
    }
    assert!(taken > RECORDS / 5 && taken < RECORDS, "{taken} are JSON");
    assert!(
        wrong.is_empty(),
        "{} differ; repeat with CONSOLIDATOR_TEST_SEED={seed}\n{}",
        wrong.len(),
        wrong[..wrong.len().min(30)].join("\n")
    );
}

/// The value of the whole record as jsonb; `None` if it is not taken.
fn whole(record: &[u8]) -> Option<String> {
    let text = json::text_of(record).ok()?;
    let mut members = [Member::Missing];
    json::extract(text, &json::Plan::new([&Path(Vec::new())]), &mut members).ok()?;
    let arena = Bump::new();
    match members[0] {
        Member::Text(found) => Some(format!("\"{found}\"")),
        Member::Json(found) => Some(canonical(found, &arena).expect("checked before").to_owned()),
        // JSON null.
        _ => Some("null".to_owned()),
    }
}

/// A JSON text in which some bytes may have been changed, left out or doubled.
fn damaged(random: &mut Random) -> Vec<u8> {
    let bytes: &[&[u8]] = &[
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"0",
        b"1",
        b"-",
        b"+",
        b".",
        b"e",
        b"E",
        b"u",
        b"\\u",
        b"\\ud83d",
        b"\\ude00",
        b"\\u0000",
        b" ",
        b"\n",
        b"\t",
        b"\x0b",
        b"\x00",
        b"\x1f",
        b"\x7f",
        b"\x80",
        b"\xc3",
        b"\xc3\xa4",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xff",
        b"\xef\xbb\xbf",
        b"null",
        b"true",
        b"n",
        b"'",
        b"/",
        b"a",
    ];
    let mut text = random_json(random, 0).into_bytes();
    let changes = [0, 0, 1, 1, 1, 2, 3][random.below(7)];
    for _ in 0..changes {
        let at = random.below(text.len() + 1);
        let end = (at + random.below(2)).min(text.len());
        let piece = bytes[random.below(bytes.len())];
        let piece = if random.chance(20) { &[][..] } else { piece };
        text.splice(at..end, piece.iter().copied());
    }
    text
}
