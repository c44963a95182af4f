//! Texts of values of every type, usual ones, boundary ones and random ones. All of them are values: PostgreSQL's input
//! and ours take them.

use super::random::Random;
use super::samples::usual;

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
