//! What is hostile or nonsense is refused in bounded time, and never panics: random texts, damaged expressions, deep and
//! wide ones, and values at the ends of their types.

use std::time::{Duration, Instant};

use bumpalo::Bump;

use crate::event::{Event, Member};

use super::cast::{parse_text, to_text};
use super::cell::Cell;
use super::value::Type;
use super::{
    Env, Machine, Names, Paths, Program, Scope, compile, parse_assignments, parse_column,
    parse_type,
};

const EXAMPLES: &str = include_str!("../../tests/expressions/examples.tsv");
const CASES: &str = include_str!("../../tests/expressions/cases.tsv");

/// Pieces of the language, put together without sense.
const PIECES: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    ",",
    ".",
    ":",
    "::",
    "'",
    "''",
    "\"",
    "$$",
    "$a$",
    "E'\\",
    "--",
    "/*",
    "*/",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "<",
    ">",
    "=",
    "<>",
    "!=",
    "||",
    "->",
    "->>",
    "#>>",
    "@>",
    "?|",
    "and",
    "or",
    "not",
    "is",
    "null",
    "true",
    "distinct from",
    "in",
    "between",
    "symmetric",
    "like",
    "escape",
    "case",
    "when",
    "then",
    "else",
    "end",
    "cast(",
    "as",
    "interval",
    "timestamp with time zone",
    "at time zone",
    "extract(year from",
    "trim(both",
    "substring(",
    "from",
    "for",
    "array[",
    "any(",
    "all(",
    "coalesce(",
    "nullif(",
    "greatest(",
    "data",
    "data.a",
    "data.\"x",
    "item.a",
    "event.time",
    "headers.h",
    "old.n",
    "n",
    "t",
    "j",
    "1",
    "1e400",
    "1e-400",
    "99999999999999999999",
    "9223372036854775808",
    "-2147483648",
    "0.1",
    "'NaN'::float8",
    "'infinity'::date",
    "numeric(1000,-1000)",
    "varchar(1)",
    "int[]",
    "text",
    "jsonb",
    "bytea",
    "'{}'",
    "'\\x00'",
    "ä",
    "日",
    "\u{0}",
    "\u{feff}",
    "\n",
    "round(",
    "repeat('a', 2147483647",
    "lpad('', 2147483647",
    "date_trunc('day',",
    "make_date(",
    "jsonb_set(",
    "split_part(",
    "chr(",
    "to_timestamp(",
    "power(",
    "exp(",
    "ln(",
    "gcd(",
    "justify_interval(",
];

/// More on demand.
fn times(usual: usize) -> usize {
    let wanted = std::env::var("CONSOLIDATOR_TEST_EXPRESSIONS");
    wanted
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(usual)
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

const COLUMNS: &[(&str, &str, &str)] = &[
    ("n", "numeric", "-99999999999999999999.99999"),
    ("i", "integer", "-2147483648"),
    ("l", "bigint", "-9223372036854775808"),
    ("d", "double precision", "-1.7976931348623157e308"),
    ("t", "text", "ä日\u{10ffff}%_\\"),
    ("j", "jsonb", r#"{"a": [1, {"b": null}], "ä": "x"}"#),
    ("b", "boolean", "true"),
    ("ts", "timestamptz", "294276-12-31 23:59:59+00"),
    ("da", "date", "4714-11-24 BC"),
    ("iv", "interval", "-178000000 years"),
    ("ai", "integer[]", "{NULL,2147483647}"),
    ("by", "bytea", "\\x00ff"),
];

/// Compiles, and evaluates what compiles. What comes out does not matter here.
fn survives(text: &str) {
    let columns: Vec<(String, Type)> = COLUMNS
        .iter()
        .map(|(name, ty, _)| ((*name).to_owned(), parse_type(ty).unwrap()))
        .collect();
    let (mut data, mut headers, mut item) = (Paths::new(), Names::new(), Paths::new());
    let mut scope = Scope {
        columns: &columns,
        old: true,
        lookups: &[],
        item: Some(&mut item),
        data: &mut data,
        headers: &mut headers,
    };
    let _ = (
        parse_column(text),
        parse_assignments(text),
        parse_type(text),
    );
    let compiled = compile(text, &mut scope, None);
    if let Err(problems) = &compiled {
        for problem in problems {
            // What is marked is a part of the text.
            assert!(
                text.get(problem.span.clone()).is_some(),
                "{text}: {problem:?}"
            );
        }
    }
    if let Ok(program) = compiled {
        let slots = [
            data.as_slice().len(),
            item.as_slice().len(),
            headers.as_slice().len(),
        ];
        evaluates(&program, &columns, slots);
    }
}

/// With members of several kinds in the given numbers of slots: of the payload, the item, the headers.
fn evaluates(program: &Program, columns: &[(String, Type)], slots: [usize; 3]) {
    let arena = Bump::new();
    let row: Vec<Cell> = COLUMNS
        .iter()
        .zip(columns)
        .map(|((_, _, text), (_, ty))| Cell::from_value(parse_text(text, ty, &arena).unwrap()))
        .collect();
    for member in [
        Member::Missing,
        Member::Json("1e131071"),
        Member::Json("\"{1,\\u0061}\""),
        Member::Text("{1,a}"),
    ] {
        let members = vec![member; slots[0]];
        let items = vec![member; slots[1]];
        let header_values = vec![Some("h"); slots[2]];
        let event = Event {
            event_type: "T",
            id: None,
            key: Some("k"),
            subject: None,
            source: None,
            time: i64::MIN + 1,
            version: Some(i64::MAX),
            topic: 0,
            topic_name: "t",
            partition: i32::MAX,
            offset: i64::MAX,
            timestamp: 0,
            headers: &header_values,
            members: &members,
        };
        let env = Env {
            row: &row,
            old: &row,
            lookups: &[],
            event: &event,
            item: &items,
            index: i64::MIN,
            arena: &arena,
        };
        if let Ok(value) = program.evaluate(&env, &mut Machine::new()) {
            let _ = to_text(value, &arena);
        }
    }
}

fn examples() -> Vec<&'static str> {
    let third = EXAMPLES.lines().filter_map(|line| line.split('\t').nth(2));
    third
        .chain(CASES.lines().filter_map(|line| line.split('\t').nth(1)))
        .collect()
}

#[test]
fn random_texts_never_panic() {
    let mut random = Random(1);
    for _ in 0..times(4_000) {
        let count = random.below(12) + 1;
        let mut text = String::new();
        for _ in 0..count {
            text.push_str(PIECES[random.below(PIECES.len())]);
            text.push_str(["", " ", " ", "1", ")"][random.below(5)]);
        }
        survives(&text);
        let bytes: Vec<u8> = (0..random.below(40))
            .map(|_| random.below(256) as u8)
            .collect();
        survives(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn damaged_expressions_never_panic() {
    let mut random = Random(2);
    let examples = examples();
    for _ in 0..times(6_000) {
        let mut text: Vec<char> = examples[random.below(examples.len())].chars().collect();
        for _ in 0..=random.below(3) {
            let at = random.below(text.len() + 1);
            let end = (at + random.below(4)).min(text.len());
            let names = COLUMNS[random.below(COLUMNS.len())].0;
            let piece = [PIECES[random.below(PIECES.len())], names, ""][random.below(3)];
            text.splice(at..end, piece.chars());
        }
        survives(&text.into_iter().collect::<String>());
    }
}

#[test]
fn deep_and_wide_expressions_take_a_bounded_time() {
    let nested = |open: &str, middle: &str, close: &str, levels: usize| {
        format!("{}{middle}{}", open.repeat(levels), close.repeat(levels))
    };
    let mut hostile = vec![
        vec!["1"; 8000].join("+"),
        vec!["b"; 2000].join(" and "),
        vec!["b = b"; 1500].join(" or "),
        format!("i in ({})", vec!["1"; 5000].join(",")),
        format!("i in ({})", vec!["l"; 5000].join(",")),
        format!("concat({})", vec!["t"; 5000].join(",")),
        format!("array[{}]", vec!["repeat('a', 16000000)"; 500].join(",")),
        format!("t{}", "::text".repeat(2500)),
        format!("ai{}", "[1]".repeat(5000)),
        format!("j{}", " -> 'a'".repeat(2000)),
        format!("data{}", ".a".repeat(8000)),
        format!("data{}", "[0]".repeat(5000)),
        format!("'{}'::jsonb", nested("[", "", "]", 7000)),
        format!("case {} end", "when b then 1 ".repeat(1000)),
        "-".repeat(16_000),
        "'".repeat(16_000),
        "/*".repeat(8000),
        "$$".repeat(8000),
        "9".repeat(16_000),
        format!("1e{}", "9".repeat(16_000)),
        "n ^ 1e9".to_owned(),
        "9.99 ^ 99999.99".to_owned(),
        "exp(5999.9999999999)".to_owned(),
        "ln(1e131000)".to_owned(),
        "sqrt('1e131000'::numeric)".to_owned(),
        "'1e131000'::numeric * '1e131000'::numeric".to_owned(),
        "'1e131000'::numeric / '1e-16000'::numeric".to_owned(),
        "'1e131000'::numeric % '1e-16000'::numeric".to_owned(),
        "repeat(repeat(repeat('a', 1000000), 1000000), 1000000)".to_owned(),
    ];
    let shapes = [
        ("(", "1", ")"),
        ("not ", "b", ""),
        ("- ", "i", ""),
        ("abs(", "i", ")"),
        ("array[", "i", "]"),
        ("case when b then ", "1", " else 2 end"),
        ("coalesce(1, ", "i", ")"),
        ("(", "b", " between symmetric b and b)"),
        ("(b not between ", "b", " and b)"),
        ("(", "b", " in (b, true, b))"),
        ("(", "b", " in (true, false, null))"),
        ("jsonb_build_array(", "j", ")"),
        ("replace(", "t", ", 'a', 'aaaaaaaaaa')"),
        ("(t || ", "t", ")"),
    ];
    for (open, middle, close) in shapes {
        hostile.extend([20, 60, 99, 1000].map(|levels| nested(open, middle, close, levels)));
    }
    for text in hostile {
        let began = Instant::now();
        survives(&text);
        let taken = began.elapsed();
        let shown = &text[..text.len().min(60)];
        eprintln!("{taken:9.1?} {shown}");
        assert!(taken < Duration::from_secs(5), "{shown}… took {taken:?}");
    }
}
