//! Random typed expressions, in our spelling and in PostgreSQL's, which differ only in `data.<path>`. Parentheses are
//! left out at random, also where that gives another tree or none: both sides must then read it alike.

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
    ("ai", "integer[]"),
    ("at", "text[]"),
    ("an", "numeric[]"),
];

/// One expression in both spellings.
#[derive(Clone, Debug)]
pub struct Pair {
    pub ours: String,
    pub theirs: String,
    /// Stem and type of the column that it is stored in.
    pub target: Option<(&'static str, &'static str)>,
}

impl Pair {
    fn same(text: impl Into<String>) -> Pair {
        let text = text.into();
        Pair {
            ours: text.clone(),
            theirs: text,
            target: None,
        }
    }

    /// Puts the parts into a template's `$` places.
    fn fill(template: &str, parts: &[Pair]) -> Pair {
        let fill = |side: fn(&Pair) -> &str| {
            let mut out = String::new();
            let mut parts = parts.iter();
            for piece in template.split_inclusive('$') {
                match piece.strip_suffix('$') {
                    Some(before) => {
                        out.push_str(before);
                        out.push_str(parts.next().map_or("", side));
                    }
                    None => out.push_str(piece),
                }
            }
            out
        };
        Pair {
            ours: fill(|p| &p.ours),
            theirs: fill(|p| &p.theirs),
            target: None,
        }
    }
}

/// A template whose `$` are operands of the given types (by stem; `*` is any), giving the first.
const SHAPES: &[(&str, &str, &[&str])] = &include!("shapes.in");

pub struct Generator {
    state: u64,
}

impl Generator {
    pub fn new(seed: u64) -> Generator {
        Generator { state: seed }
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): the same numbers everywhere.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    fn pick<'p, T: ?Sized>(&mut self, list: &[&'p T]) -> &'p T {
        list[self.below(list.len())]
    }

    pub fn expression(&mut self) -> Pair {
        let stem = self.any_stem();
        let depth = 1 + self.below(4);
        let mut pair = self.of_type(stem, depth);
        if self.chance(25) {
            let wanted = if self.chance(60) {
                stem
            } else {
                self.any_stem()
            };
            pair.target = TYPES.iter().find(|(name, _)| *name == wanted).copied();
        }
        pair
    }

    fn any_stem(&mut self) -> &'static str {
        TYPES[self.below(TYPES.len())].0
    }

    fn of_type(&mut self, stem: &str, depth: usize) -> Pair {
        // Now and then something of another type, so that refusals and casts are compared too.
        let stem = if stem == "*" || self.chance(4) {
            self.any_stem()
        } else {
            stem
        };
        if depth == 0 || self.chance(12) {
            return self.leaf(stem);
        }
        let fitting: Vec<&(&str, &str, &[&str])> = SHAPES
            .iter()
            .filter(|(gives, _, _)| *gives == stem || *gives == "*")
            .collect();
        let (_, template, operands) = fitting[self.below(fitting.len())];
        let template = self.with_alternatives(template);
        let parts: Vec<Pair> = operands
            .iter()
            .map(|operand| {
                let operand = if *operand == "=" { stem } else { operand };
                let part = self.of_type(operand, depth - 1);
                self.maybe_wrapped(part)
            })
            .collect();
        Pair::fill(&template, &parts)
    }

    /// `{a|b|c}` in a template is one of them.
    fn with_alternatives(&mut self, template: &str) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let (choices, after) = after.split_once('}').expect("closed");
            let choices: Vec<&str> = choices.split('¦').collect();
            out.push_str(self.pick(&choices));
            rest = after;
        }
        out.push_str(rest);
        out
    }

    fn maybe_wrapped(&mut self, part: Pair) -> Pair {
        if self.chance(45) {
            Pair::fill("($)", &[part])
        } else {
            part
        }
    }

    fn leaf(&mut self, stem: &str) -> Pair {
        let number = 1 + self.below(2);
        match self.below(10) {
            0..=3 => Pair::same(format!("{stem}{number}")),
            4..=6 => self.literal(stem),
            7 | 8 => self.member(stem),
            _ => self.input(stem),
        }
    }

    fn input(&mut self, stem: &str) -> Pair {
        Pair::same(match stem {
            "t" => self.pick(&[
                "event.type",
                "event.id",
                "event.key",
                "headers.\"x-id\"",
                "headers.none",
            ]),
            "l" => self.pick(&["event.version", "event.offset"]),
            "i" => "event.partition",
            "tz" => "event.time",
            _ => "null",
        })
    }

    /// A member with its cast; a bare one where the text's own rule gives the same.
    fn member(&mut self, stem: &str) -> Pair {
        let ty = TYPES
            .iter()
            .find(|(name, _)| *name == stem)
            .map_or("text", |(_, ty)| ty);
        let name = if self.chance(60) {
            stem.to_owned()
        } else {
            self.any_stem().to_owned()
        };
        let nested = self.chance(20);
        let (ours, path) = if nested {
            (format!("data.o.{name}"), format!("o,{name}"))
        } else {
            (format!("data.{name}"), name)
        };
        let theirs = if stem == "j" {
            format!("nullif(data #> '{{{path}}}', 'null')")
        } else {
            format!("(data #>> '{{{path}}}')")
        };
        let cast = if stem == "j" {
            String::new()
        } else {
            format!("::{ty}")
        };
        let column = format!("{stem}1");
        if self.chance(25) && !matches!(stem, "ai" | "at" | "an" | "m" | "v" | "j" | "by") {
            // The other operand decides.
            let op = self.pick(&["=", "<", ">=", "<>"]);
            return Pair {
                ours: format!("case when {column} {op} {ours} then {column} end"),
                theirs: format!("case when {column} {op} {theirs}{cast} then {column} end"),
                target: None,
            };
        }
        Pair {
            ours: format!("{ours}::{ty}"),
            theirs: format!("{theirs}{cast}"),
            target: None,
        }
    }

    fn literal(&mut self, stem: &str) -> Pair {
        if stem == "b" {
            return Pair::same(self.pick(&[
                "true",
                "false",
                "null",
                "'t'::boolean",
                "'off'::boolean",
            ]));
        }
        let text = self.value_text(stem);
        let ty = TYPES
            .iter()
            .find(|(name, _)| *name == stem)
            .map_or("text", |(_, ty)| ty);
        let quoted = format!("'{}'", text.replace('\'', "''"));
        let plain_number = matches!(stem, "s" | "i" | "l" | "n" | "m")
            && text.parse::<f64>().is_ok_and(f64::is_finite)
            && !text.contains(' ');
        if plain_number && self.chance(70) {
            return Pair::same(text);
        }
        Pair::same(match self.below(10) {
            0 => "null".to_owned(),
            1..=3 => quoted,
            4 => format!("null::{ty}"),
            5 | 6 if !ty.contains(['(', '[', ' ']) => format!("{ty} {quoted}"),
            7 => format!("cast({quoted} as {ty})"),
            _ => format!("{quoted}::{ty}"),
        })
    }

    /// A value's text as PostgreSQL's input takes it.
    fn value_text(&mut self, stem: &str) -> String {
        let list: &[&str] = match stem {
            "b" => &["true", "false"],
            "s" => &["0", "1", "-1", "7", "32767", "-32768", "300"],
            "i" => &[
                "0",
                "1",
                "-1",
                "2",
                "3",
                "10",
                "2147483647",
                "-2147483648",
                "46341",
            ],
            "l" => &[
                "0",
                "1",
                "-1",
                "20",
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
                "3",
                "7",
            ],
            "m" => &["0", "12.50", "-3.25", "9999999999.99", "0.05", "100"],
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
                "it''s",
                "UTC",
                "day",
            ],
            "v" => &["", "abc", "a  ", "Ünï", "12", "x-y"],
            "u" => &[
                "00000000-0000-0000-0000-000000000000",
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}",
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
            ],
            "ti" => &[
                "00:00:00",
                "09:30:00",
                "23:59:59.999999",
                "24:00:00",
                "12:34:56.789",
            ],
            "ts" => &[
                "2022-03-01 09:30:00",
                "2000-01-01 00:00:00",
                "1999-12-31 23:59:59.999999",
                "infinity",
                "-infinity",
                "2024-02-29 12:00:00.5",
                "1066-10-14 08:00",
            ],
            "tz" => &[
                "2022-03-01 09:30:00+00",
                "2000-01-01 00:00:00+02",
                "1999-12-31 23:59:59.5-05:30",
                "infinity",
                "2024-02-29T12:00:00Z",
                "2022-10-30 01:30:00+00",
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
            ],
            "by" => &["\\x", "\\x00ff", "\\xdeadbeef", "abc", "\\x61"],
            "ai" => &["{}", "{1}", "{1,2,3}", "{NULL,2}", "{3,1,2}", "{1,1}"],
            "at" => &[
                "{}",
                "{a}",
                "{a,b}",
                "{NULL,\"a b\"}",
                "{\"\",x}",
                "{abc,a,b}",
            ],
            _ => &["{}", "{1.5}", "{1,2.50}", "{NULL,0}"],
        };
        self.pick(list).to_owned()
    }

    pub fn column_value(&mut self, ty: &str) -> Option<String> {
        let stem = TYPES
            .iter()
            .find(|(_, t)| *t == ty)
            .map_or("t", |(name, _)| name);
        if self.chance(12) {
            return None;
        }
        Some(self.value_text(stem))
    }

    /// A payload with a member for most types, spelled in JSON's many ways.
    pub fn payload(&mut self) -> String {
        let inner = self.members();
        let mut members = self.members();
        members.push(format!("\"o\" : {{{}}}", inner.join(",")));
        format!("{{ {} }}", members.join(", "))
    }

    fn members(&mut self) -> Vec<String> {
        let mut members = Vec::new();
        for (stem, _) in TYPES {
            if self.chance(15) {
                continue;
            }
            let text = self.value_text(stem);
            let number = text.parse::<f64>().is_ok_and(f64::is_finite) && !text.contains(' ');
            let value = match *stem {
                _ if self.chance(8) => self
                    .pick(&[
                        "null",
                        "[1]",
                        "{\"x\": 1}",
                        "\"\"",
                        "false",
                        "12",
                        "\"a\\u00e4\\n\"",
                        "1E2",
                        "-0",
                        "0.10",
                        "1.5e-3",
                    ])
                    .to_owned(),
                "j" => text,
                "b" => text,
                _ if number && self.chance(70) => text,
                _ => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            };
            members.push(format!("\"{stem}\":{value}"));
        }
        members
    }
}
