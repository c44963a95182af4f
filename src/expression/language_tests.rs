//! Expressions, inputs and results in one table per topic. Values are PostgreSQL 15's; the oracle test compares many more.

use bumpalo::Bump;

use crate::event::{Event, Member, Path};

use super::cast::{parse_text, to_text};
use super::cell::Cell;
use super::jsonb_walk::{elements, members};
use super::value::Type;
use super::{Env, Machine, Names, Paths, Problem, Scope, compile, parse_type};

/// Name, type and text of the row's cells.
const ROW: &[(&str, &str, Option<&str>)] = &[
    ("unit_count", "bigint", Some("100")),
    ("qty", "integer", Some("7")),
    ("small", "smallint", Some("3")),
    ("price", "numeric(12,2)", Some("12.50")),
    ("ratio", "double precision", Some("0.25")),
    ("name", "text", Some("Ada")),
    ("code", "varchar(5)", Some("ab-12")),
    ("flag", "boolean", Some("true")),
    ("seen", "date", Some("2022-03-01")),
    ("at", "timestamptz", Some("2022-03-01 09:30:00+00")),
    ("local", "timestamp", Some("2022-03-01 09:30:00")),
    ("span", "interval", Some("1 day 02:00:00")),
    (
        "doc",
        "jsonb",
        Some(r#"{"a": 1, "b": {"c": "x"}, "l": [1, 2, 3]}"#),
    ),
    ("tags", "text[]", Some("{red,green}")),
    ("nums", "integer[]", Some("{1,2,NULL}")),
    ("void", "bigint", None),
    ("blank", "text", None),
];

const DATA: &str = r#"{"units": 20, "price": 1.50, "name": "Lin", "flag": true, "when": "2022-02-01", "null": null, "text": "12",
    "items": [{"sku": "A-1", "qty": 2}, {"sku": "B-2", "qty": 3}], "customerId": "c1", "o": {"p": [10, 20]}, "big": 1e3, "x-y": "q"}"#;

const ITEM: &str = r#"{"sku": "A-1", "qty": 2}"#;

fn types() -> Vec<(String, Type)> {
    ROW.iter()
        .map(|(name, ty, _)| ((*name).to_owned(), parse_type(ty).unwrap()))
        .collect()
}

fn at_path(json: &str, path: &Path) -> Option<String> {
    let mut json = json.to_owned();
    for step in &path.0 {
        json = if json.starts_with('{') {
            members(&json)
                .find(|(name, _)| name == step)
                .map(|(_, value)| value.to_owned())?
        } else {
            let list: Vec<&str> = elements(&json).collect();
            let index: i64 = step.parse().ok()?;
            let index = if index < 0 {
                index + list.len() as i64
            } else {
                index
            };
            (*list.get(usize::try_from(index).ok()?)?).to_owned()
        };
    }
    Some(json)
}

/// As the decoder gives it.
fn member(json: &str) -> Member<'_> {
    let inside = json
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    match inside.filter(|text| !text.contains('\\')) {
        Some(text) => Member::Text(text),
        None => Member::Json(json),
    }
}

/// The value as text (`None` for null), or what went wrong.
fn evaluate(text: &str, target: Option<&str>) -> Result<Option<String>, String> {
    let columns = types();
    let (mut data, mut headers, mut item) = (Paths::new(), Names::new(), Paths::new());
    let mut scope = Scope {
        columns: &columns,
        old: true,
        lookups: &[],
        item: Some(&mut item),
        data: &mut data,
        headers: &mut headers,
    };
    let target = target.map(|t| parse_type(t).unwrap());
    let program = compile(text, &mut scope, target).map_err(|p| describe(text, &p))?;
    let arena = Bump::new();
    let cells: Vec<Cell> = ROW
        .iter()
        .zip(&columns)
        .map(|((_, _, text), (_, ty))| {
            text.map_or(Cell::NULL, |t| {
                Cell::from_value(parse_text(t, ty, &arena).unwrap())
            })
        })
        .collect();
    let taken = |json: &str, paths: &Paths| -> Vec<Member> {
        let found = paths.as_slice().iter().map(|path| at_path(json, path));
        found
            .map(|found| found.map_or(Member::Missing, |json| member(arena.alloc_str(&json))))
            .collect()
    };
    let (members, items) = (taken(DATA, &data), taken(ITEM, &item));
    let header_values: Vec<Option<&str>> = headers
        .as_slice()
        .iter()
        .map(|name| (name == "x-id").then_some("h1"))
        .collect();
    let event = Event {
        event_type: "Sold",
        id: Some("e-1"),
        key: Some("XYZ-1"),
        subject: None,
        source: Some("shop"),
        time: 699_526_800_000_000,
        version: Some(5),
        topic: 0,
        topic_name: "inventory-events",
        partition: 2,
        offset: 41,
        timestamp: 699_526_800_000_000,
        headers: &header_values,
        members: &members,
    };
    let env = Env {
        row: &cells,
        old: &cells,
        lookups: &[],
        event: &event,
        item: &items,
        index: 1,
        arena: &arena,
    };
    let value = program
        .evaluate(&env, &mut Machine::new())
        .map_err(|e| format!("error {}", e.sqlstate()))?;
    Ok(to_text(value, &arena).map(str::to_owned))
}

fn describe(text: &str, problems: &[Problem]) -> String {
    let shown: Vec<String> = problems
        .iter()
        .map(|p| {
            let hint = p
                .hint
                .as_deref()
                .map(|h| format!(" ({h})"))
                .unwrap_or_default();
            format!(
                "{} `{}`: {}{hint}",
                p.code,
                &text[p.span.clone()],
                p.message
            )
        })
        .collect();
    shown.join("; ")
}

fn assert_values(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let got = evaluate(text, None).map(|v| v.unwrap_or_else(|| "null".to_owned()));
        assert_eq!(got.as_deref(), Ok(*expected), "{text}");
    }
}

#[test]
fn operators_and_names_give_postgresqls_values() {
    assert_values(&[
        ("unit_count + data.units", "120"),
        ("unit_count - data.units", "80"),
        ("data.units + unit_count", "120"),
        ("unit_count + void", "null"),
        ("data.price * 2", "3.00"),
        ("data.units / 3", "6.6666666666666667"),
        ("qty / 2", "3"),
        ("price * qty", "87.50"),
        ("md5('a')", "0cc175b9c0f1b6a831c399e269772661"),
        ("- qty + 1", "-6"),
        ("2 + 3 * 4 - 10 / 4", "12"),
        ("1 < 2 and not 3 = 4 or false", "true"),
        ("flag and void is null", "true"),
        ("void > 1 and false", "false"),
        ("void > 1 or true", "true"),
        ("void > 1 and true", "null"),
        ("name || '-' || qty", "Ada-7"),
        ("data.name || '!'", "Lin!"),
        ("event.type || event.partition", "Sold2"),
        ("event.time::date", "2022-03-02"),
        ("event.offset + 1", "42"),
        ("headers.\"x-id\"", "h1"),
        ("headers.none", "null"),
        ("old.unit_count + 1", "101"),
        ("item.sku || index", "A-11"),
        ("item.qty * price", "25.00"),
        ("data.items[1].sku::text", "B-2"),
        ("data.items[-1].qty::int + 1", "4"),
        ("data.\"x-y\"::text", "q"),
        ("data.o::jsonb", "{\"p\": [10, 20]}"),
        ("data.o.p[0]::int", "10"),
        ("data.big::bigint", "1000"),
        ("data.customerId = 'c1'", "true"),
        ("data.null is null and data.nothing is null", "true"),
        ("data.units is not null", "true"),
        ("data.flag and true", "true"),
        ("not data.flag", "false"),
        ("1 is distinct from null", "true"),
        ("void is not distinct from null", "true"),
        ("qty in (1, 7, 9)", "true"),
        ("name not in ('Eva', 'Lin')", "true"),
        ("void in (1, 2)", "null"),
        ("data.name in ('Lin', 'Ada')", "true"),
        ("data.units in (20, 21)", "true"),
        ("qty between 1 and 7 and true", "true"),
        ("qty not between symmetric 9 and 1", "false"),
        ("data.units between 1 and 7", "false"),
        (
            "case when qty > 5 then 'many' when qty > 1 then 'few' end",
            "many",
        ),
        ("case qty when 7 then 1.5 else 0 end", "1.5"),
        ("case data.name when 'Lin' then 1 else 0 end", "1"),
        ("case when false then 1/0 else 1 end", "1"),
        ("coalesce(void, 5)", "5"),
        ("coalesce(data.nothing, 0)", "0"),
        ("coalesce(data.nothing, unit_count, 0)", "100"),
        ("coalesce(data.nothing, data.name, 'none')", "Lin"),
        ("coalesce(data.nothing, data.units) + unit_count", "120"),
        ("nullif(qty, 7)", "null"),
        ("nullif(data.name, '')", "Lin"),
        ("greatest(unit_count, data.units, null)", "100"),
        ("least(seen, data.when)", "2022-02-01"),
        ("greatest('a', name)", "a"),
        ("qty = any(nums)", "null"),
        ("2 = any(nums)", "true"),
        ("5 = any('{5,6}')", "true"),
        ("'red' = any(tags)", "true"),
        ("tags[2]", "green"),
        ("(array[1, 2.5])[2]", "2.5"),
        ("array['a', name]", "{a,Ada}"),
        ("array[]::text[]", "{}"),
        ("seen + 1", "2022-03-02"),
        ("seen - date '2022-02-01'", "28"),
        ("at + interval '1 day'", "2022-03-02 09:30:00+00"),
        ("at - '2022-03-01'", "09:30:00"),
        ("data.text::int * 2", "24"),
        ("12::text || 5.50", "125.50"),
        ("cast('7' as bigint)", "7"),
        ("-2147483648", "-2147483648"),
        ("9223372036854775808", "9223372036854775808"),
        ("1e3", "1000"),
        ("true is not false", "true"),
        ("null is unknown", "true"),
        ("1 + null", "null"),
        ("void + null + 1 / nullif(qty, qty)", "null"),
        ("'abc'::varchar(2)", "ab"),
        ("code || 'x'", "ab-12x"),
        ("UNIT_COUNT + 1", "101"),
        ("qty!=7", "false"),
        ("E'a\\tb' || 'it''s'", "a\tbit's"),
    ]);
}

#[test]
fn an_assignment_casts_as_storing_in_a_column_does() {
    let cases: &[(&str, &str, Result<&str, &str>)] = &[
        ("data.units", "bigint", Ok("20")),
        ("data.price", "numeric(12,1)", Ok("1.5")),
        ("data.when", "date", Ok("2022-02-01")),
        ("data.o", "jsonb", Ok("{\"p\": [10, 20]}")),
        ("data.name", "jsonb", Ok("\"Lin\"")),
        ("data", "jsonb", Ok("")),
        (
            "coalesce(data.nothing, data.when)",
            "date",
            Ok("2022-02-01"),
        ),
        (
            "coalesce(data.nothing, '2022-05-05')",
            "date",
            Ok("2022-05-05"),
        ),
        ("coalesce(data.price, 0)", "bigint", Ok("2")),
        ("case when flag then data.units end", "integer", Ok("20")),
        ("qty + 0.5", "integer", Ok("8")),
        ("'5'", "bigint", Ok("5")),
        ("null", "bigint", Ok("null")),
        ("'too long'", "varchar(3)", Err("always-fails")),
        ("name || name", "varchar(3)", Err("error 22001")),
        ("unit_count * 1000000000", "integer", Err("error 22003")),
        ("data.name", "bigint", Err("error 22P02")),
        ("name", "bigint", Err("type-mismatch")),
        ("event.time", "date", Ok("2022-03-02")),
        ("qty", "text", Ok("7")),
        ("qty", "boolean", Err("type-mismatch")),
        ("'x'", "bigint", Err("invalid-literal")),
    ];
    for (text, target, expected) in cases {
        let got = evaluate(text, Some(target)).map(|v| v.unwrap_or_else(|| "null".to_owned()));
        match (&got, expected) {
            (Ok(_), Ok("")) => {}
            (Err(got), Err(expected)) => assert!(got.starts_with(expected), "{text} {got}"),
            _ => assert_eq!(got.as_deref().map_err(String::as_str), *expected, "{text}"),
        }
    }
}

#[test]
fn errors_of_values_are_postgresqls() {
    for (text, state) in [
        ("qty / (qty - 7)", "22012"),
        ("unit_count + 9223372036854775807", "22003"),
        ("name::int", "22P02"),
        ("small + 32767::smallint", "22003"),
        ("case when qty > 0 then 1 / (qty - 7) else 0 end", "22012"),
    ] {
        assert_eq!(
            evaluate(text, None),
            Err(format!("error {state}")),
            "{text}"
        );
    }
}

#[test]
fn what_cannot_be_exact_is_refused_with_a_hint() {
    for (text, expected) in [
        (
            "unit_cuont + 1",
            "unknown-column `unit_cuont`: unknown column `unit_cuont` (did you mean `unit_count`?)",
        ),
        (
            "event.tpye",
            "unknown-name `tpye`: unknown member `event.tpye` (did you mean `event.type`?)",
        ),
        (
            "units",
            "unknown-column `units`: unknown column `units` (members of the payload are written data.units)",
        ),
        (
            "now()",
            "nondeterministic `now`: `now` reads the clock: a replay must give what the live fold gave (use event.time)",
        ),
        (
            "current_timestamp",
            "nondeterministic `current_timestamp`: an expression has no clock: a replay must give what the live fold gave (use event.time)",
        ),
        (
            "data.price * data.qty",
            "undecided-type `data.price`: nothing here decides the type of `data.price` (cast it, for example data.price::numeric)",
        ),
        ("-data.units", "undecided-type `data.units`"),
        ("round(data.price)", "undecided-type `data.price`"),
        ("date_trunc('day', data.when)", "undecided-type `data.when`"),
        (
            "lowr(name)",
            "unknown-function `lowr`: unknown function `lowr` (did you mean `lower`?)",
        ),
        ("count(*)", "unsupported"),
        ("sum(qty)", "unsupported `sum`"),
        ("(select 1)", "unsupported"),
        ("1 < 2 < 3", "syntax `<`"),
        (
            "qty = 'x'",
            "invalid-literal `'x'`: invalid input syntax for type integer: \"x\"",
        ),
        ("name + 1", "type-mismatch"),
        ("qty ||", "syntax"),
        ("1 / 0", "always-fails"),
        (
            "case when flag then 1 / 0 else 1 end",
            "always-fails `1 / 0`",
        ),
        ("name::json", "unsupported-type `json`"),
        ("seen::bigint", "type-mismatch"),
        ("name collate \"C\"", "unsupported"),
        ("event", "unknown-name"),
        ("$1", "syntax"),
        ("tags || data.name", "undecided-type"),
        ("doc['a']", "unsupported"),
        ("flag and qty", "type-mismatch"),
        ("a.b.c + unit_cuont", "unknown-name"),
    ] {
        let got = evaluate(text, None);
        assert!(
            got.as_ref().is_err_and(|got| got.starts_with(expected)),
            "{text}: {got:?}"
        );
    }
}

#[test]
fn hostile_text_is_refused_without_deep_recursion() {
    let nested = [
        ("(", "1", ")"),
        ("- ", "qty", ""),
        ("not ", "flag", ""),
        ("case when true then ", "1", " end"),
        ("abs(", "1", ")"),
    ];
    for (open, middle, close) in nested {
        let text = format!("{}{middle}{}", open.repeat(700), close.repeat(700));
        assert!(evaluate(&text, None).is_err(), "{open}");
    }
    let chain = vec!["1"; 4000].join("+");
    assert!(evaluate(&chain, None).unwrap_err().starts_with("too-deep"));
    let conditions = vec!["qty = 7"; 1000].join(" and ");
    assert_eq!(evaluate(&conditions, None), Ok(Some("true".to_owned())));
    assert!(
        evaluate(&"1 ".repeat(10_000), None)
            .unwrap_err()
            .starts_with("too-long")
    );
}

#[test]
fn programs_know_what_they_read() {
    let columns = types();
    for (text, target, reads, old, key) in [
        ("event.key", Some("text"), vec![], false, true),
        ("event.key::text", None, vec![], false, true),
        ("event.key || ''", None, vec![], false, false),
        (
            "unit_count + data.units",
            Some("bigint"),
            vec![0],
            false,
            false,
        ),
        (
            "coalesce(name, code) || old.name",
            None,
            vec![5, 6],
            true,
            false,
        ),
    ] {
        let (mut data, mut headers) = (Paths::new(), Names::new());
        let mut scope = Scope {
            columns: &columns,
            old: true,
            lookups: &[],
            item: None,
            data: &mut data,
            headers: &mut headers,
        };
        let program = compile(text, &mut scope, target.map(|t| parse_type(t).unwrap())).unwrap();
        assert_eq!(program.columns(), reads, "{text}");
        assert_eq!(
            (
                program.reads_row(),
                program.reads_old(),
                program.is_event_key()
            ),
            (!reads.is_empty(), old, key),
            "{text}"
        );
    }
}

#[test]
fn what_is_added_to_a_column_has_a_register_of_its_own_wherever_it_stands() {
    for arguments in 1..9 {
        let columns = "unit_count, ".repeat(arguments);
        let text = format!("greatest({columns}unit_count + 1) - 1");
        assert_eq!(evaluate(&text, None), Ok(Some("100".to_owned())), "{text}");
        let text = format!("(array[{columns}unit_count - 5])[{}]", arguments + 1);
        assert_eq!(evaluate(&text, None), Ok(Some("95".to_owned())), "{text}");
    }
}
