//! The scanner against serde_json on random and broken texts, and against PostgreSQL's peculiarities one by one.

use super::*;
use crate::event::Path;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

fn path(text: &str) -> Path {
    match text {
        "" => Path(Vec::new()),
        text => Path(text.split('.').map(str::to_owned).collect()),
    }
}

fn extracted<'a>(text: &'a str, paths: &[&str]) -> Result<Vec<Option<&'a str>>, JsonError> {
    let paths: Vec<Path> = paths.iter().map(|p| path(p)).collect();
    let plan = Plan::new(&paths);
    let mut members = vec![Member::Missing; plan.slots()];
    extract(text, &plan, &mut members)?;
    Ok(members.iter().map(|m| raw(text, *m)).collect())
}

/// A member as it stands in the text.
fn raw<'a>(text: &'a str, member: Member<'a>) -> Option<&'a str> {
    match member {
        Member::Missing => None,
        Member::Text(inside) => {
            assert!(!inside.contains('\\'), "{inside}");
            let start = inside.as_ptr().addr() - text.as_ptr().addr();
            Some(&text[start - 1..start + inside.len() + 1])
        }
        Member::Json(raw) => Some(raw),
        Member::Typed(_) => panic!("no typed members in JSON"),
    }
}

fn fault(text: &str) -> Option<Fault> {
    extracted(text, &[]).err().map(|error| error.fault)
}

#[test]
fn members_are_taken_out_as_they_stand_in_the_text() {
    let text =
        r#" { "a" : { "b" : [ 1 , {"c": "x\ny"} ] } , "n" : null, "long_member_name": -1.50e3 } "#;
    let paths = [
        "a.b.1.c",
        "a.b.-2",
        "a",
        "n",
        "long_member_name",
        "a.x",
        "long_member_nbme",
    ];
    assert_eq!(
        extracted(text, &paths).unwrap(),
        [
            Some(r#""x\ny""#),
            Some("1"),
            Some(r#"{ "b" : [ 1 , {"c": "x\ny"} ] }"#),
            None,
            Some("-1.50e3"),
            None,
            None,
        ]
    );
    assert_eq!(
        extracted("7", &["", "a", "0"]).unwrap(),
        [Some("7"), None, None]
    );
}

#[test]
fn the_last_of_duplicate_members_wins_and_leaves_nothing_of_earlier_ones() {
    let text = r#"{"a":{"b":1,"c":2},"a":{"c":3},"d":[1,2],"d":7,"e":1,"\u0065":2}"#;
    let paths = ["a.b", "a.c", "d.0", "d", "e"];
    assert_eq!(
        extracted(text, &paths).unwrap(),
        [None, Some("3"), None, Some("7"), Some("2")]
    );
}

#[test]
fn a_path_element_is_an_index_on_arrays_and_a_name_on_objects() {
    let paths = ["0.x", "-1.x", "00", "+1", "01 "];
    assert_eq!(
        extracted(r#"[{"x":1},{"x":2}]"#, &paths).unwrap(),
        [
            Some("1"),
            Some("2"),
            Some(r#"{"x":1}"#),
            Some(r#"{"x":2}"#),
            None
        ]
    );
    assert_eq!(
        extracted(r#"{"0":{"x":1},"-1":5}"#, &paths).unwrap(),
        [Some("1"), None, None, None, None]
    );
}

#[test]
fn texts_that_postgresql_refuses_as_jsonb_are_refused() {
    // Each was tried on PostgreSQL 15.
    let cases = [
        ("", Fault::Ended),
        ("  ", Fault::Ended),
        ("[1,]", Fault::ExpectedValue),
        ("{\"a\":1,}", Fault::ExpectedName),
        ("{\"a\" 1}", Fault::ExpectedColon),
        ("{\"a\":1 \"b\"}", Fault::ExpectedCommaOrBrace),
        ("[1 2]", Fault::ExpectedCommaOrBracket),
        ("\"a\" b", Fault::TrailingText),
        ("nullx", Fault::TrailingText),
        ("nul", Fault::ExpectedValue),
        ("\"\t\"", Fault::ControlCharacter),
        ("\"\0\"", Fault::ControlCharacter),
        ("\u{a0}1", Fault::ExpectedValue),
        ("\u{b}1", Fault::ExpectedValue),
        (r#""\x""#, Fault::Escape),
        (r#""\u00g0""#, Fault::UnicodeEscape),
        (r#""\u+123""#, Fault::UnicodeEscape),
        (r#""\u0000""#, Fault::EscapedNul),
        (r#""\ud83d""#, Fault::Surrogate),
        (r#""\ud83dx""#, Fault::Surrogate),
        (r#""\ud83d\n""#, Fault::Surrogate),
        (r#""\ud83d\ud83d""#, Fault::Surrogate),
        (r#""\ude00\ud83d""#, Fault::Surrogate),
        ("-", Fault::Number),
        ("01", Fault::Number),
        ("-01", Fault::Number),
        ("1.", Fault::Number),
        ("1e", Fault::Number),
        ("1e+", Fault::Number),
        ("+1", Fault::ExpectedValue),
        (".5", Fault::ExpectedValue),
        ("NaN", Fault::ExpectedValue),
        ("1e131072", Fault::NumberRange),
        ("0e1073741823", Fault::NumberRange),
        ("1e-16384", Fault::NumberRange),
        ("0e-16384", Fault::NumberRange),
        ("0.1e-16383", Fault::NumberRange),
        ("10e-16384", Fault::NumberRange),
        ("0.001e131075", Fault::NumberRange),
        ("1e99999999999999999999", Fault::NumberRange),
        ("0e-99999999999999999999", Fault::NumberRange),
    ];
    for (text, expected) in cases {
        assert_eq!(fault(text), Some(expected), "{text}");
        assert!(fault(&format!("[0,{text}]")).is_some(), "[0,{text}]");
    }
}

#[test]
fn texts_that_postgresql_takes_as_jsonb_are_taken() {
    let cases = [
        "1e131071",
        "0e131072",
        "0e1073741822",
        "1e-16383",
        "0.1e-16382",
        "0.001e131074",
        "9999e131068",
        "-0",
        "\"\u{7f}\"",
        r#""\ud83d\ude00\"\\\/\b\f\n\r\t""#,
        "\r\n\t []",
    ];
    for text in cases {
        assert_eq!(fault(text), None, "{text}");
    }
    let digits = "7".repeat(131_072);
    assert_eq!(fault(&digits), None);
    assert_eq!(fault(&format!("7{digits}")), Some(Fault::NumberRange));
    assert_eq!(fault(&format!("0.{}", &digits[..16_383])), None);
    assert_eq!(
        fault(&format!("0.{}", &digits[..16_384])),
        Some(Fault::NumberRange)
    );
}

#[test]
fn hostile_nesting_is_refused_without_using_the_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
        assert_eq!(fault(&nested(MAX_DEPTH)), None);
        assert_eq!(fault(&nested(MAX_DEPTH + 1)), Some(Fault::TooDeep));
        assert_eq!(fault(&nested(3_000_000)), Some(Fault::TooDeep));
        let deep = vec!["a"; 2 * MAX_DEPTH].join(".");
        let text = nested(MAX_DEPTH + 1);
        assert_eq!(
            extracted(&text, &[&deep]).unwrap_err().fault,
            Fault::TooDeep
        );
    }
}

#[test]
fn errors_name_the_byte_where_the_fault_is() {
    assert_eq!(fault_at(b"{\"a\": tru}"), (Fault::ExpectedValue, 6));
    assert_eq!(
        fault_at(b"[\"abcdefghij\x01\"]"),
        (Fault::ControlCharacter, 12)
    );
    assert_eq!(fault_at(b"\"\xc3\x28\""), (Fault::Utf8, 1));
}

fn fault_at(bytes: &[u8]) -> (Fault, usize) {
    let error = text_of(bytes)
        .and_then(|text| extracted(text, &[]))
        .unwrap_err();
    (error.fault, error.offset)
}

#[test]
fn random_texts_agree_with_serde_json() {
    let seed = rand::random();
    println!("seed {seed}");
    agree_with_serde(seed, 40_000);
}

fn agree_with_serde(seed: u64, rounds: usize) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let paths = [
        "",
        "a",
        "b",
        "a.b",
        "a.a",
        "b.0",
        "b.-1.a",
        "0",
        "1.b",
        "-2",
        "eightchr",
        "nine_chrs",
        "nine_chrs.a",
        "some_longer_name_1",
        "some_longer_name_2.b",
        "é",
    ];
    for _ in 0..rounds {
        let mut text = String::new();
        random_value(&mut rng, 4, &mut text);
        let mut bytes = text.into_bytes();
        if rng.random_bool(0.5) {
            mutate(&mut rng, &mut bytes);
        }
        compare(seed, &bytes, &paths);
    }
}

fn compare(seed: u64, bytes: &[u8], paths: &[&str]) {
    let show = || format!("seed {seed}: {}", String::from_utf8_lossy(bytes));
    let theirs = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    let ours = text_of(bytes).and_then(|text| extracted(text, paths));
    let (theirs, ours) = match (theirs, ours) {
        (Some(theirs), Ok(ours)) => (theirs, ours),
        (None, Err(_)) => return,
        // What serde_json alone takes or refuses: \u0000; numbers outside of numeric, and of f64.
        (Some(_), Err(error)) if error.fault == Fault::EscapedNul => return,
        (Some(_), Err(error)) if error.fault == Fault::NumberRange => return,
        (None, Ok(_)) if bytes.contains(&b'e') || bytes.contains(&b'E') => return,
        (theirs, ours) => panic!("{}: {theirs:?} {ours:?}", show()),
    };
    for (path_text, raw) in paths.iter().zip(ours) {
        let expected = walk(&theirs, &path(path_text).0).filter(|value| !value.is_null());
        let found = raw.map(|raw| serde_json::from_str::<Value>(raw).unwrap());
        assert_eq!(found.as_ref(), expected, "{path_text} {}", show());
    }
}

fn walk<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    let Some((first, rest)) = path.split_first() else {
        return Some(value);
    };
    let below = match value {
        Value::Object(members) => members.get(first),
        Value::Array(elements) => {
            let index: i64 = first.parse().ok()?;
            let index = if index < 0 {
                index + elements.len() as i64
            } else {
                index
            };
            usize::try_from(index)
                .ok()
                .and_then(|index| elements.get(index))
        }
        _ => None,
    };
    walk(below?, rest)
}

fn random_value(rng: &mut SmallRng, depth: u32, out: &mut String) {
    let spaces = [" ", "\n", "", "", "", "", "\t\r "];
    let space = |rng: &mut SmallRng, out: &mut String| {
        out.push_str(spaces[rng.random_range(0..spaces.len())]);
    };
    space(rng, out);
    match rng.random_range(0..if depth == 0 { 5 } else { 9 }) {
        0 => out.push_str(["true", "false", "null"][rng.random_range(0..3)]),
        1 => out.push_str(&rng.random::<i64>().to_string()),
        2 => out.push_str(["0", "-0", "1.50", "2.5e3", "1E-2", "-7.25e+1"][rng.random_range(0..6)]),
        3 | 4 => random_string(rng, out),
        5 | 6 => {
            out.push('[');
            for n in 0..rng.random_range(0..4) {
                out.push_str(if n > 0 { "," } else { "" });
                random_value(rng, depth - 1, out);
            }
            out.push(']');
        }
        _ => {
            let names = [
                "a",
                "b",
                "0",
                "-1",
                "\\u0061",
                "eightchr",
                "nine_chrs",
                "some_longer_name_1",
                "some_longer_name_2",
                "\\u00e9",
                "é",
                "",
            ];
            out.push('{');
            for n in 0..rng.random_range(0..5) {
                out.push_str(if n > 0 { "," } else { "" });
                space(rng, out);
                out.push('"');
                out.push_str(names[rng.random_range(0..names.len())]);
                out.push('"');
                space(rng, out);
                out.push(':');
                random_value(rng, depth - 1, out);
            }
            space(rng, out);
            out.push('}');
        }
    }
    space(rng, out);
}

fn random_string(rng: &mut SmallRng, out: &mut String) {
    let parts = [
        "a",
        "xyz",
        "0123456789",
        "é",
        "😀",
        "\\n",
        "\\\"",
        "\\\\",
        "\\u00e4",
        "\\ud83d\\ude00",
        "\\/",
        " ",
        "\u{7f}",
    ];
    out.push('"');
    for _ in 0..rng.random_range(0..6) {
        out.push_str(parts[rng.random_range(0..parts.len())]);
    }
    out.push('"');
}

fn mutate(rng: &mut SmallRng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.random_range(1..3) {
        let at = rng.random_range(0..bytes.len());
        let bytes_to_try = b"\"\\{}[],:0123456789.-+eEtfnu \n\x00\x1f\xff\xc3aD8";
        let byte = bytes_to_try[rng.random_range(0..bytes_to_try.len())];
        match rng.random_range(0..4) {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 if bytes.len() > 1 => drop(bytes.remove(at)),
            _ => bytes.truncate(at.max(1)),
        }
    }
}

#[test]
fn a_string_ends_where_it_ends_whatever_its_length() {
    for len in 0..300 {
        let text = "é".repeat(len % 7) + &"x".repeat(len);
        let record = format!(r#"{{"a":"{text}","b":1}}"#);
        let members = extracted(&record, &["a", "b"]).unwrap();
        assert_eq!(members, [Some(format!("\"{text}\"").as_str()), Some("1")]);
        for (interruption, fault) in [("\u{1f}", Fault::ControlCharacter), (r"\x", Fault::Escape)] {
            let record = format!(r#"{{"a":"{text}{interruption}{text}"}}"#);
            let error = extracted(&record, &["a"]).unwrap_err();
            assert_eq!(
                (error.fault, error.offset),
                (fault, 6 + text.len()),
                "{record}"
            );
        }
    }
}

#[test]
fn a_name_is_taken_for_no_other_whatever_its_length() {
    for len in 0..40 {
        let name: String = ('a'..='z').cycle().take(len).collect();
        let paths = [Path(vec![name.clone()])];
        let plan = Plan::new(&paths);
        let value_of = |record: &str| {
            let mut members = [Member::Missing];
            extract(record, &plan, &mut members).unwrap();
            raw(record, members[0]).map(str::to_owned)
        };
        for behind in ["", r#","another":"member, so that there is room""#] {
            for colon in [":", " : "] {
                let record = |name: &str| format!(r#"{{"{name}"{colon}1{behind}}}"#);
                // Twice: the second time it is expected.
                for _ in 0..2 {
                    assert_eq!(value_of(&record(&name)).as_deref(), Some("1"), "{name}");
                }
                for at in 0..len {
                    let mut other = name.clone();
                    other.replace_range(at..=at, "X");
                    assert_eq!(value_of(&record(&other)), None, "{other} for {name}");
                    let escaped = format!("\\u{:04x}", u32::from(name.as_bytes()[at]));
                    let mut same = name.clone();
                    same.replace_range(at..=at, &escaped);
                    assert_eq!(
                        value_of(&record(&same)).as_deref(),
                        Some("1"),
                        "{same} for {name}"
                    );
                }
                assert_eq!(
                    value_of(&record(&format!("{name}x"))),
                    None,
                    "longer than {name}"
                );
            }
        }
    }
}
