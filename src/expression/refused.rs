//! What PostgreSQL has and the language refuses, each with what to write instead. Part of the checker.

use std::ops::Range;

use super::catalog::{Entry, Name, type_of};
use super::check::shown_type;
use super::problem::Problem;

/// Functions that read the clock.
const CLOCK: &[&str] = &[
    "now",
    "clock_timestamp",
    "statement_timestamp",
    "transaction_timestamp",
    "timeofday",
];

/// Functions that give another value each time.
const RANDOM: &[&str] = &[
    "random",
    "gen_random_uuid",
    "uuid_generate_v4",
    "uuid_generate_v1",
    "nextval",
    "currval",
    "lastval",
    "setseed",
    "txid_current",
];

/// Functions over many rows, with how one folds instead.
const AGGREGATES: &[(&str, &str)] = &[
    ("sum", "fold it: total = total + data.amount"),
    ("count", "fold it: orders = orders + 1"),
    (
        "min",
        "fold it with least: lowest = least(lowest, data.price)",
    ),
    (
        "max",
        "fold it with greatest: highest = greatest(highest, data.price)",
    ),
    ("array_agg", "fold it with array_append"),
    ("avg", FOLD),
    ("string_agg", FOLD),
    ("jsonb_agg", FOLD),
    ("json_agg", FOLD),
    ("jsonb_object_agg", FOLD),
    ("bool_and", FOLD),
    ("bool_or", FOLD),
    ("every", FOLD),
    ("row_number", FOLD),
    ("rank", FOLD),
    ("lag", FOLD),
    ("lead", FOLD),
    ("first_value", FOLD),
    ("last_value", FOLD),
];

const FOLD: &str = "fold the value into a column of the row";

/// Why no expression may call a function of that name.
pub(super) fn name(name: &str, span: &Range<usize>) -> Option<Problem> {
    let problem = |code, message: String, hint: &str| {
        Some(Problem::new(span.clone(), code, message).with_hint(hint))
    };
    let replay = "a replay must give what the live fold gave";
    if CLOCK.contains(&name) {
        let message = format!("`{name}` reads the clock: {replay}");
        return problem("nondeterministic", message, "use event.time");
    }
    if RANDOM.contains(&name) {
        let message = format!("`{name}` gives another value each time: {replay}");
        let hint = "use a value of the event, such as event.time, event.id or event.offset";
        return problem("nondeterministic", message, hint);
    }
    let (_, hint) = AGGREGATES
        .iter()
        .find(|(aggregate, _)| *aggregate == name)?;
    let message = format!("`{name}` is an aggregate: an expression sees one event and one row");
    problem("unsupported", message, hint)
}

/// What to write instead of a form of an operator or function, by the beginning of PostgreSQL's name of its code.
const INSTEAD: &[(&[&str], &str)] = &[
    (
        &["dpow", "dexp", "dlog", "dcbrt"],
        "its last digit depends on the machine: cast to numeric, for example power(x::numeric, 2)",
    ),
    (
        &["age/sql"],
        "it reads the clock: give both times, for example age(event.time, created_at)",
    ),
    (
        &[
            "textregex",
            "texticregex",
            "textnregex",
            "substring/sql/text_text_text",
        ],
        "there are no regular expressions: use like, starts_with, split_part or replace",
    ),
    (
        &[
            "timestamp_to_char",
            "timestamptz_to_char",
            "interval_to_char",
        ],
        "use extract, date_trunc, lpad and ||; x::date::text gives 2022-03-01",
    ),
    (
        &[
            "int4_to_char",
            "int8_to_char",
            "numeric_to_char",
            "float4_to_char",
            "float8_to_char",
        ],
        "use round, lpad and ||, for example lpad(n::text, 6, '0')",
    ),
    (
        &["to_date", "to_timestamp", "numeric_to_number"],
        "cast the text, for example '2022-03-01'::date; cut other forms with split_part and use make_date",
    ),
    (&["initcap"], "use upper(left(x, 1)) || substring(x from 2)"),
    (&["text_format", "quote_"], "use || or concat"),
    (&["width_bucket"], "use floor((x - low) / width) or case"),
    (
        &["bytealike", "byteanlike"],
        "compare text, or encode(x, 'hex')",
    ),
    (
        &["make_timestamptz_at_timezone"],
        "use make_timestamp(…) at time zone 'Europe/Berlin'",
    ),
];

/// An operator or function for these types that PostgreSQL has and the language has not.
pub(super) fn form(entry: &Entry, arguments: &[Name], span: &Range<usize>) -> Problem {
    let shown: Vec<String> = arguments.iter().map(|name| shown_type(name)).collect();
    let message = format!("this form ({}) is not supported", shown.join(", "));
    let problem = Problem::new(span.clone(), "unsupported", message);
    let fits =
        |(codes, _): &&(&[&str], &str)| codes.iter().any(|code| entry.code.starts_with(code));
    if let Some((_, hint)) = INSTEAD.iter().find(fits) {
        return problem.with_hint(*hint);
    }
    let foreign = arguments
        .iter()
        .find(|name| type_of(name).is_none() && !name.starts_with("any"));
    match foreign {
        Some(name) => problem.with_hint(format!(
            "the type {name} is not supported: cast the arguments"
        )),
        None => problem,
    }
}
