//! Texts of values of every type, usual ones, boundary ones and random ones. All of them are values: PostgreSQL's input
//! and ours take them.

use super::random::Random;

/// The columns' name stems and types.
pub const TYPES: &[(&str, &str)] = &[
    ("b", "boolean"),
    ("s", "smallint"),
    ("i", "integer"),
    ("l", "bigint"),
    ("r", "real"),
    ("d", "double precision"),
    ("n", "numeric"),
    ("m", "numeric(12,2)"),
    ("t", "text"),
    ("v", "varchar(8)"),
    ("u", "uuid"),
    ("da", "date"),
    ("ti", "time"),
    ("ts", "timestamp"),
    ("tz", "timestamptz"),
    ("iv", "interval"),
    ("j", "jsonb"),
    ("by", "bytea"),
    ("ab", "boolean[]"),
    ("as_", "smallint[]"),
    ("ai", "integer[]"),
    ("al", "bigint[]"),
    ("ar", "real[]"),
    ("ad", "double precision[]"),
    ("an", "numeric[]"),
    ("at", "text[]"),
    ("av", "varchar[]"),
    ("au", "uuid[]"),
    ("ada", "date[]"),
    ("ati", "time[]"),
    ("ats", "timestamp[]"),
    ("atz", "timestamptz[]"),
    ("aiv", "interval[]"),
    ("aj", "jsonb[]"),
    ("aby", "bytea[]"),
];

/// How many of [`TYPES`] are no arrays.
pub const SCALARS: usize = 18;

pub fn type_of(stem: &str) -> &'static str {
    let found = TYPES.iter().find(|(name, _)| *name == stem);
    found.map_or("text", |(_, ty)| ty)
}

pub fn stem_of(ty: &str) -> Option<&'static str> {
    let ty = if ty == "varchar" { "varchar(8)" } else { ty };
    TYPES
        .iter()
        .find(|(_, name)| *name == ty)
        .map(|(stem, _)| *stem)
}

/// The stem of an array's elements.
pub fn element_of(stem: &str) -> Option<&'static str> {
    stem_of(type_of(stem).strip_suffix("[]")?)
}

/// A value's text as PostgreSQL's input takes it.
pub fn value_text(random: &mut Random, stem: &str) -> String {
    if let Some(element) = element_of(stem) {
        return array(random, element);
    }
    if random.chance(30) {
        match stem {
            "i" | "l" | "s" => return integer(random, stem),
            "n" => return numeric(random),
            "d" => return double(random),
            "r" => return float(random),
            "t" => return text(random),
            "da" => return date(random),
            "ts" => return moment(random, ""),
            "tz" => {
                let zones = ["+00", "Z", "+02", "-05:30", "+14", "-12", "+05:45"];
                let zone = random.pick(&zones);
                return moment(random, zone);
            }
            "ti" => return time(random),
            "iv" => return interval(random),
            "j" => return json(random, 0),
            "by" => return bytes(random),
            "m" => {
                return format!(
                    "{}.{:02}",
                    random.between(-9_999_999_999, 9_999_999_999),
                    random.below(100)
                );
            }
            "u" => {
                let (high, low) = (random.next(), random.next());
                return format!("{high:016x}{low:016x}");
            }
            _ => {}
        }
    }
    random.pick(usual(stem)).to_owned()
}

fn usual(stem: &str) -> &'static [&'static str] {
    match stem {
        "b" => &["true", "false"],
        "s" => &[
            "0", "1", "-1", "2", "3", "7", "32767", "-32768", "300", "181",
        ],
        "i" => &[
            "0",
            "1",
            "-1",
            "2",
            "3",
            "5",
            "10",
            "-7",
            "100",
            "2147483647",
            "-2147483648",
            "46341",
        ],
        "l" => &[
            "0",
            "1",
            "-1",
            "2",
            "20",
            "-300",
            "9223372036854775807",
            "-9223372036854775808",
            "3037000500",
            "2147483648",
        ],
        "r" | "d" => &[
            "0",
            "-0",
            "1.5",
            "-2.5",
            "0.1",
            "1e10",
            "3.4e38",
            "1e-20",
            "NaN",
            "Infinity",
            "-Infinity",
            "123456789.125",
            "0.5",
            "2.5",
            "1",
            "3",
            "-7",
            "100",
            "1e-45",
            "0.3",
            "16777217",
            "1e15",
            "1e16",
            "0.0001",
            "0.00001",
        ],
        "n" => &[
            "0",
            "1",
            "-1",
            "1.5",
            "-2.50",
            "0.001",
            "123456789012345678.99",
            "1e20",
            "99999999999999999999999999999.5",
            "1.10",
            "0.5",
            "2.5",
            "NaN",
            "Infinity",
            "-Infinity",
            "3",
            "7",
            "0.00",
            "-0.5",
            "100",
            "12.345",
            "1e-30",
            "0.05",
            "2",
            "10",
        ],
        "m" => &[
            "0",
            "12.50",
            "-3.25",
            "9999999999.99",
            "0.05",
            "100",
            "1",
            "-0.01",
            "2.5",
        ],
        "t" => &[
            "",
            "a",
            "abc",
            "ABC",
            "Ä",
            "ß",
            "a%b",
            "a_c",
            "\\",
            "12",
            " 7 ",
            "-5",
            "1.5",
            "true",
            "2022-03-01",
            "x,y,z",
            "a b c",
            "日本",
            "{\"a\": 1}",
            "{1,2}",
            "it's",
            "UTC",
            "day",
            "e\u{301}",
            "İstanbul",
            "ǅ",
            "ς",
            "👩\u{200d}🚀",
            "\t\n",
            "  padded  ",
            "a,,b",
            "%",
            "_",
            "a#%b",
            "NULL",
            "\"q\"",
            "\u{feff}",
            "ÿ",
            "abcabc",
        ],
        "v" => &["", "abc", "a  ", "Ünï", "12", "x-y", "12345678", "日本語"],
        "u" => &[
            "00000000-0000-0000-0000-000000000000",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ],
        "da" => &[
            "2022-03-01",
            "2000-01-01",
            "1999-12-31",
            "2024-02-29",
            "0044-03-15 BC",
            "infinity",
            "-infinity",
            "1970-01-01",
            "2022-12-31",
            "0001-01-01",
            "0001-12-31 BC",
            "9999-12-31",
            "10000-01-01",
            "5874897-12-31",
            "4714-11-24 BC",
            "1900-02-28",
            "2021-01-03",
            "2020-12-28",
            "1582-10-10",
            "294276-12-31",
        ],
        "ti" => &[
            "00:00:00",
            "09:30:00",
            "23:59:59.999999",
            "24:00:00",
            "12:34:56.789",
            "00:00:00.000001",
        ],
        "ts" => &[
            "2022-03-01 09:30:00",
            "2000-01-01 00:00:00",
            "1999-12-31 23:59:59.999999",
            "infinity",
            "-infinity",
            "2024-02-29 12:00:00.5",
            "1066-10-14 08:00",
            "2022-03-27 02:30:00",
            "2022-10-30 02:30:00",
            "2022-03-13 02:30:00",
            "2022-11-06 01:30:00",
            "0001-01-01 00:00:00",
            "0044-03-15 12:00:00 BC",
            "10000-01-01 00:00:00",
            "294276-12-31 23:59:59.999999",
            "4714-11-24 00:00:00 BC",
            "2016-12-31 23:59:60",
            "1970-01-01 00:00:00",
            "2038-01-19 03:14:08",
        ],
        "tz" => &[
            "2022-03-01 09:30:00+00",
            "2000-01-01 00:00:00+02",
            "1999-12-31 23:59:59.5-05:30",
            "infinity",
            "-infinity",
            "2024-02-29T12:00:00Z",
            "2022-10-30 01:30:00+00",
            "2022-03-27 01:00:00+00",
            "2022-03-27 00:59:59.999999+00",
            "2022-10-30 00:30:00+00",
            "2022-03-13 10:00:00+00",
            "2022-11-06 09:00:00+00",
            "0044-03-15 12:00:00+00 BC",
            "9999-12-31 23:59:59+00",
            "294276-12-31 23:59:59+00",
            "2022-03-27 02:30:00 Europe/Berlin",
            "2011-12-30 12:00:00+00",
            "1970-01-01 00:00:00+00",
            "2037-10-25 01:30:00+00",
        ],
        "iv" => &[
            "1 day",
            "01:30:00",
            "1 year 2 mons",
            "-3 days",
            "1 mon -1 day 02:03:04.5",
            "00:00:00",
            "P1Y2M3DT4H5M6S",
            "36 hours",
            "1.5 days",
            "100 years",
            "-1 mons +30 days",
            "30 days",
            "25:59:01",
            "-00:00:00.000001",
            "178000000 years",
            "2147483647 days",
            "1 week",
            "1.5 months",
            "-1 year -2 mons +3 days -04:05:06",
            "23:59:59.999999",
            "-36:00:00",
        ],
        "j" => &[
            "1",
            "1.50",
            "\"a\"",
            "null",
            "true",
            "[]",
            "{}",
            "[1, 2, 3]",
            "{\"a\": 1, \"b\": {\"c\": [1, \"x\"]}}",
            "{\"b\":1,\"a\":null, \"aa\":1}",
            "[1,\"a\",null,{\"a\":2}]",
            "[[1,2],[3]]",
            "\"\"",
            "{\"a\": \"x\"}",
            "{\"a\":1,\"a\":2}",
            "{\"a\":{\"b\":{\"c\":1}},\"\":0}",
            "[\"a\",\"b\"]",
            "-0",
            "1e2",
            "1.0",
            "\"\\u00e4\\n\"",
            "[{\"a\":1},{\"b\":2}]",
            "{\"1\":\"one\",\"-1\":\"minus\"}",
            "0.10e-2",
            "[null]",
            "\"\\ud83d\\ude00\"",
            "false",
        ],
        _ => &[
            "\\x",
            "\\x00ff",
            "\\xdeadbeef",
            "abc",
            "\\x61",
            "\\\\",
            "\\000a",
            "\\x5c5c27",
            "\\xff",
        ],
    }
}

fn integer(random: &mut Random, stem: &str) -> String {
    let bits = match stem {
        "s" => 15,
        "i" => 31,
        _ => 63,
    };
    let width = random.below(bits) + 1;
    let magnitude = (random.next() & ((1_u64 << width) - 1)) as i64;
    let value = if random.chance(40) {
        -magnitude
    } else {
        magnitude
    };
    value.to_string()
}

fn digits(random: &mut Random, count: usize) -> String {
    (0..count)
        .map(|_| char::from(b'0' + random.below(10) as u8))
        .collect()
}

fn numeric(random: &mut Random) -> String {
    let sizes = [1, 2, 3, 5, 9, 17, 18, 19, 37, 38, 60, 100];
    let most = if random.chance(70) { 5 } else { sizes.len() };
    let whole = sizes[random.below(most)];
    let scale = if random.chance(50) {
        0
    } else {
        sizes[random.below(8)]
    };
    let sign = if random.chance(40) { "-" } else { "" };
    let mut out = format!("{sign}{}", digits(random, whole));
    if scale > 0 {
        out.push('.');
        out.push_str(&digits(random, scale));
    }
    if random.chance(8) {
        out.push_str(&format!("e{}", random.between(-40, 40)));
    }
    out
}

fn double(random: &mut Random) -> String {
    if random.chance(50) {
        let value = f64::from_bits(random.next());
        if value.is_finite() {
            return format!("{value:e}");
        }
    }
    format!(
        "{}e{}",
        random.between(-999_999, 999_999),
        random.between(-12, 12)
    )
}

fn float(random: &mut Random) -> String {
    let value = f32::from_bits(random.next() as u32);
    if value.is_finite() && random.chance(50) {
        return format!("{value:e}");
    }
    format!(
        "{}e{}",
        random.between(-9_999, 9_999),
        random.between(-8, 8)
    )
}

/// Letters with all kinds of case, marks, signs of patterns, space, and characters outside of the basic plane.
const LETTERS: &[&str] = &[
    "a",
    "b",
    "A",
    "B",
    "z",
    "0",
    "1",
    "9",
    " ",
    "%",
    "_",
    "\\",
    "'",
    "\"",
    ",",
    ".",
    "-",
    "+",
    "{",
    "}",
    "#",
    "/",
    ":",
    "ä",
    "Ä",
    "ß",
    "é",
    "e\u{301}",
    "İ",
    "ı",
    "ς",
    "σ",
    "Σ",
    "ǆ",
    "ǅ",
    "Я",
    "я",
    "ა",
    "Ა",
    "ᾳ",
    "ᾼ",
    "日",
    "本",
    "א",
    "ب",
    "\u{200d}",
    "\u{a0}",
    "\u{2003}",
    "\t",
    "\n",
    "\r",
    "\u{b}",
    "\u{1}",
    "😀",
    "𐐀",
    "𐐨",
    "\u{10ffff}",
    "ﬁ",
    "K",
    "Å",
];

pub fn text(random: &mut Random) -> String {
    let most = if random.chance(80) { 5 } else { 24 };
    let length = random.below(most);
    (0..length).map(|_| random.pick(LETTERS)).collect()
}

fn date(random: &mut Random) -> String {
    let year = match random.below(10) {
        0 => random.between(1, 4713),
        1 => random.between(10_000, 200_000),
        2 => random.between(1, 1899),
        _ => random.between(1900, 2100),
    };
    let before_christ = random.chance(5);
    let year = if before_christ { year.min(4713) } else { year };
    let (month, day) = (random.between(1, 12), random.between(1, 28));
    format!(
        "{year:04}-{month:02}-{day:02}{}",
        if before_christ { " BC" } else { "" }
    )
}

fn time(random: &mut Random) -> String {
    let (hour, minute, second) = (random.below(24), random.below(60), random.below(60));
    let fraction = match random.below(4) {
        0 => format!(".{}", digits(random, 6)),
        1 => format!(".{}", digits(random, 2)),
        _ => String::new(),
    };
    format!("{hour:02}:{minute:02}:{second:02}{fraction}")
}

fn moment(random: &mut Random, zone: &str) -> String {
    let (date, time) = (date(random), time(random));
    let (day, era) = date.split_at(date.find(" BC").unwrap_or(date.len()));
    format!("{day} {time}{zone}{era}")
}

fn interval(random: &mut Random) -> String {
    // Two units below a second do not stand together.
    let small = random.pick(&["seconds", "milliseconds", "microseconds"]);
    let units = ["years", "mons", "weeks", "days", "hours", "minutes", small];
    let count = 1 + random.below(4);
    let start = random.below(units.len());
    let mut parts = Vec::new();
    for unit in units.iter().cycle().skip(start).step_by(2).take(count) {
        let fraction = if random.chance(20) {
            format!(".{}", digits(random, 2))
        } else {
            String::new()
        };
        parts.push(format!("{}{fraction} {unit}", random.between(-400, 400)));
    }
    parts.sort();
    parts.dedup();
    parts.join(" ")
}

fn bytes(random: &mut Random) -> String {
    let length = random.below(70);
    let hex: String = (0..length)
        .map(|_| format!("{:02x}", random.below(256)))
        .collect();
    format!("\\x{hex}")
}

/// A JSON text of any kind, with the spellings that jsonb evens out.
pub fn json(random: &mut Random, depth: usize) -> String {
    match random.below(if depth > 2 { 5 } else { 8 }) {
        0 => random.pick(&["null", "true", "false"]).to_owned(),
        1 => random
            .pick(&[
                "0",
                "-0",
                "1",
                "1.0",
                "1.50",
                "-7",
                "1e3",
                "1E-3",
                "12345678901234567890",
                "0.1e1",
                "100e-2",
            ])
            .to_owned(),
        2 => random.between(-1000, 1000).to_string(),
        3 | 4 => json_string(random),
        5 | 6 => {
            let count = random.below(4);
            let members: Vec<String> = (0..count)
                .map(|_| {
                    let name = random
                        .pick(&["a", "b", "c", "aa", "", "ä", "1", "a\\u0062", "x y"])
                        .to_owned();
                    format!("\"{name}\" : {}", json(random, depth + 1))
                })
                .collect();
            format!("{{{}}}", members.join(","))
        }
        _ => {
            let count = random.below(4);
            let items: Vec<String> = (0..count).map(|_| json(random, depth + 1)).collect();
            format!("[ {} ]", items.join(" ,"))
        }
    }
}

pub fn json_string(random: &mut Random) -> String {
    let parts = [
        "a",
        "b",
        "1",
        " ",
        "ä",
        "日",
        "😀",
        "\\n",
        "\\\"",
        "\\\\",
        "\\/",
        "\\u00e4",
        "\\ud83d\\ude00",
        "\\t",
        "\\u0041",
        "\\u001f",
        "\u{7f}",
        "\u{2028}",
    ];
    let length = random.below(4);
    let inside: String = (0..length).map(|_| random.pick(&parts)).collect();
    format!("\"{inside}\"")
}

fn array(random: &mut Random, element: &str) -> String {
    let count = [0, 1, 1, 2, 2, 3, 4][random.below(7)];
    let items: Vec<String> = (0..count)
        .map(|_| {
            if random.chance(15) {
                return "NULL".to_owned();
            }
            let text = value_text(random, element);
            let plain = !text.is_empty()
                && !text.eq_ignore_ascii_case("null")
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
            if plain && random.chance(60) {
                return text;
            }
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        })
        .collect();
    format!("{{{}}}", items.join(","))
}
