//! Random typed expressions, in our spelling and in PostgreSQL's, which differ only in `data.<path>`. Parentheses are
//! left out at random, also where that gives another tree or none: both sides must then read it alike.
//!
//! Shapes come from three places: a list by hand (what has a grammar of its own), every operator and function that the
//! language has, and every cast.

use std::collections::{BTreeSet, HashMap};

use consolidator::expression::cast::context;
use consolidator::expression::parse_type;
use consolidator::expression::reference::{Builtin, builtins};

use super::coverage::Piece;
use super::random::Random;
use super::samples::{SIZES, WORDS};
use super::values::{SCALARS, TYPES, element_of, stem_of, type_of, value_text};

/// One expression in both spellings.
#[derive(Clone, Debug)]
pub struct Pair {
    pub ours: String,
    pub theirs: String,
    /// Stem and type of the column that it is stored in.
    pub target: Option<(&'static str, &'static str)>,
}

impl Pair {
    pub fn same(text: impl Into<String>) -> Pair {
        let text = text.into();
        Pair {
            ours: text.clone(),
            theirs: text,
            target: None,
        }
    }

    pub fn new(ours: String, theirs: String) -> Pair {
        Pair {
            ours,
            theirs,
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
        Pair::new(fill(|p| &p.ours), fill(|p| &p.theirs))
    }
}

/// A template whose `$` are operands of the given types (by stem; `*` is any, `=` the wanted one), giving the first.
const SHAPES: &[(&str, &str, &[&str])] = &include!("shapes.in");

#[derive(Clone)]
enum Shape {
    Template(&'static str, &'static [&'static str]),
    Call(usize),
    Cast(&'static str, &'static str),
}

impl Shape {
    fn piece(&self) -> Option<Piece> {
        match self {
            Shape::Template(..) => None,
            Shape::Call(at) => Some(Piece::Builtin(*at)),
            Shape::Cast(from, to) => Some(Piece::Cast(from, to)),
        }
    }
}

pub struct Generator {
    pub random: Random,
    builtins: Vec<Builtin>,
    /// By the stem that they give.
    shapes: HashMap<&'static str, Vec<Shape>>,
    /// What went into expressions since they were taken.
    pieces: Vec<Piece>,
}

impl Generator {
    pub fn new(seed: u64) -> Generator {
        let mut generator = Generator {
            random: Random::new(seed),
            builtins: builtins(),
            shapes: HashMap::new(),
            pieces: Vec::new(),
        };
        generator.add_templates();
        generator.add_calls();
        generator.add_casts();
        generator
    }

    fn add(&mut self, gives: &'static str, shape: Shape, times: usize) {
        let shapes = self.shapes.entry(gives).or_default();
        shapes.extend(std::iter::repeat_n(shape, times));
    }

    fn add_templates(&mut self) {
        for (gives, template, operands) in SHAPES {
            let shape = Shape::Template(template, operands);
            if *gives == "*" {
                TYPES
                    .iter()
                    .for_each(|(stem, _)| self.add(stem, shape.clone(), 1));
            } else {
                self.add(gives, shape, 3);
            }
        }
    }

    fn add_calls(&mut self) {
        // These have a grammar of their own and are in the list by hand.
        let grammar = |b: &Builtin| matches!(b.name, "extract" | "position" | "like_escape");
        for at in 0..self.builtins.len() {
            let builtin = self.builtins[at].clone();
            if grammar(&builtin) {
                continue;
            }
            match builtin.result.as_str() {
                "anyelement" | "anycompatible" => {
                    TYPES
                        .iter()
                        .for_each(|(stem, _)| self.add(stem, Shape::Call(at), 1));
                }
                "anyarray" | "anycompatiblearray" => {
                    TYPES[SCALARS..]
                        .iter()
                        .for_each(|(stem, _)| self.add(stem, Shape::Call(at), 1));
                }
                result => {
                    let gives = stem_of(result).expect("a type of ours");
                    self.add(
                        gives,
                        Shape::Call(at),
                        if builtin.name.starts_with('_') { 0 } else { 1 },
                    );
                }
            }
        }
    }

    fn add_casts(&mut self) {
        for (from, from_type) in TYPES {
            for (to, to_type) in TYPES {
                let types = [from_type, to_type].map(|ty| parse_type(ty).expect("a type"));
                if context(&types[0], &types[1]).is_some() {
                    self.add(to, Shape::Cast(from, to_type), 1);
                }
            }
        }
    }

    pub fn builtins(&self) -> &[Builtin] {
        &self.builtins
    }

    /// What expressions are made of, besides forms with a grammar of their own.
    pub fn all_pieces(&self) -> Vec<Piece> {
        let shapes = self.shapes.values().flatten();
        let pieces: BTreeSet<Piece> = shapes.filter_map(Shape::piece).collect();
        pieces.into_iter().collect()
    }

    /// What the expressions since the last call are made of.
    pub fn take_pieces(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.pieces)
    }

    pub fn expression(&mut self) -> Pair {
        let stem = self.any_stem();
        let depth = 1 + self.random.below(3);
        let mut pair = self.of_type(stem, depth);
        if self.random.chance(20) {
            let wanted = if self.random.chance(70) {
                stem
            } else {
                self.any_stem()
            };
            pair.target = TYPES.iter().find(|(name, _)| *name == wanted).copied();
        }
        pair
    }

    fn any_stem(&mut self) -> &'static str {
        let count = if self.random.chance(85) {
            SCALARS
        } else {
            TYPES.len()
        };
        TYPES[self.random.below(count)].0
    }

    fn of_type(&mut self, stem: &str, depth: usize) -> Pair {
        // Now and then something of another type, so that refusals and casts are compared too.
        let stem = if stem == "*" || self.random.chance(2) {
            self.any_stem()
        } else {
            TYPES
                .iter()
                .find(|(name, _)| *name == stem)
                .map_or("t", |(name, _)| *name)
        };
        if depth == 0 || self.random.chance(10) {
            return self.leaf(stem);
        }
        let fitting = &self.shapes[stem];
        let shape = fitting[self.random.below(fitting.len())].clone();
        self.pieces.extend(shape.piece());
        match shape {
            Shape::Template(template, operands) => {
                let template = self.with_alternatives(template);
                let parts: Vec<Pair> = operands
                    .iter()
                    .map(|operand| {
                        let operand = if *operand == "=" { stem } else { operand };
                        self.operand(operand, depth - 1)
                    })
                    .collect();
                Pair::fill(&template, &parts)
            }
            Shape::Call(at) => self.call(at, stem, depth),
            Shape::Cast(from, to) => {
                let of = match from {
                    "t" | "v" if self.random.chance(75) => self.readable(stem, from),
                    _ => self.operand(from, depth - 1),
                };
                let to = self.varied(to);
                match self.random.below(3) {
                    0 => Pair::fill(&format!("cast($ as {to})"), &[of]),
                    1 => Pair::fill(&format!("($)::{to}"), &[of]),
                    _ => Pair::fill(&format!("$::{to}"), &[of]),
                }
            }
        }
    }

    /// An operand; one that begins with `:` is text that reads as that type.
    fn operand(&mut self, operand: &str, depth: usize) -> Pair {
        let part = match operand.strip_prefix(':') {
            Some(stem) => self.readable(stem, "t"),
            None => self.of_type(operand, depth),
        };
        if self.random.chance(40) {
            Pair::fill("($)", &[part])
        } else {
            part
        }
    }

    /// A text or varchar that is the text of a value of another type.
    fn readable(&mut self, stem: &str, as_stem: &str) -> Pair {
        let value = value_text(&mut self.random, stem);
        let quoted = quoted(&value);
        let ty = if as_stem == "v" { "varchar" } else { "text" };
        match self.random.below(4) {
            0 => Pair::fill(&format!("$::{ty}"), &[self.member(stem)]),
            1 => Pair::same(format!("({stem}1::{ty})")),
            _ => Pair::same(format!("{quoted}::{ty}")),
        }
    }

    /// The type, also with another modifier.
    fn varied(&mut self, ty: &str) -> String {
        match ty {
            "numeric" if self.random.chance(40) => {
                let precision = self.random.between(1, 40);
                let scale = self.random.between(-3, precision + 2);
                format!("numeric({precision},{scale})")
            }
            "varchar(8)" => self
                .random
                .pick(&["varchar", "varchar(1)", "varchar(3)", "varchar(8)"])
                .to_owned(),
            other => other.to_owned(),
        }
    }

    fn call(&mut self, at: usize, gives: &str, depth: usize) -> Pair {
        let builtin = self.builtins[at].clone();
        // One type for all polymorphic places.
        let element = match builtin.result.as_str() {
            "anyelement" | "anycompatible" => gives,
            "anyarray" | "anycompatiblearray" => element_of(gives).unwrap_or("i"),
            _ => TYPES[self.random.below(SCALARS)].0,
        };
        let element = match element {
            "m" => "n",
            "v" if self.random.chance(50) => "t",
            other => other,
        };
        let mut wanted: Vec<String> = builtin.arguments.clone();
        if builtin.variadic {
            let last = wanted.pop().unwrap_or_default();
            let more = self.random.below(4).max(usize::from(wanted.is_empty()));
            wanted.extend(std::iter::repeat_n(last, more.max(1)));
        }
        let shown = wanted.len() - self.random.below(builtin.defaults + 1);
        wanted.truncate(shown);
        let parts: Vec<Pair> = wanted
            .iter()
            .enumerate()
            .map(|(place, ty)| self.argument(&builtin, place, ty, element, depth))
            .collect();
        let template = match (builtin.is_operator, parts.len()) {
            (true, 1) => format!("{} $", builtin.name),
            (true, _) => format!("$ {} $", builtin.name),
            (false, count) => format!("{}({})", builtin.name, vec!["$"; count].join(", ")),
        };
        Pair::fill(&template, &parts)
    }

    fn argument(
        &mut self,
        builtin: &Builtin,
        place: usize,
        ty: &str,
        element: &str,
        depth: usize,
    ) -> Pair {
        let words = WORDS
            .iter()
            .find(|(name, at, _)| *name == builtin.name && *at == place);
        if let (Some((_, _, words)), "text") = (words, ty)
            && self.random.chance(90)
        {
            return Pair::same(quoted(self.random.pick(words)));
        }
        if !builtin.is_operator
            && ty == "integer"
            && SIZES.contains(&builtin.name)
            && self.random.chance(99)
        {
            return Pair::same(self.random.between(-3, 9).to_string());
        }
        let stem = match ty {
            "any" | "anynonarray" => TYPES[self.random.below(SCALARS)].0,
            "anyelement" | "anycompatible" => element,
            "anyarray" | "anycompatiblearray" => {
                let array = format!("{}[]", type_of(element).trim_end_matches("(8)"));
                TYPES
                    .iter()
                    .find(|(_, ty)| *ty == array)
                    .map_or("ai", |(stem, _)| stem)
            }
            ty => stem_of(ty).expect("a type of ours"),
        };
        // What casts by itself may stand there too.
        let stem = match (stem, self.random.below(12)) {
            ("n", 0) => "i",
            ("n", 1) => "l",
            ("n", 2) => "m",
            ("d", 0) => "r",
            ("d", 1) => "n",
            ("d", 2) => "i",
            ("l", 0) => "i",
            ("i", 0) => "s",
            ("t", 0) => "v",
            ("ts", 0) => "da",
            ("tz", 0) => "ts",
            ("iv", 0) => "ti",
            (stem, _) => stem,
        };
        self.operand(stem, depth - 1)
    }

    /// `{a¦b¦c}` in a template is one of them.
    fn with_alternatives(&mut self, template: &str) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let (choices, after) = after.split_once('}').expect("closed");
            let choices: Vec<&str> = choices.split('¦').collect();
            out.push_str(self.random.pick(&choices));
            rest = after;
        }
        out.push_str(rest);
        out
    }

    fn leaf(&mut self, stem: &'static str) -> Pair {
        let number = 1 + self.random.below(2);
        match self.random.below(10) {
            0..=3 => Pair::same(format!("{stem}{number}")),
            4..=6 => self.literal(stem),
            7 | 8 => self.member(stem),
            _ => self.input(stem),
        }
    }

    fn input(&mut self, stem: &str) -> Pair {
        Pair::same(match stem {
            "t" => self.random.pick(&[
                "event.type",
                "event.id",
                "event.key",
                "headers.\"x-id\"",
                "headers.none",
            ]),
            "l" => self.random.pick(&["event.version", "event.offset"]),
            "i" => "event.partition",
            "tz" => "event.time",
            _ => "null",
        })
    }

    /// A member with its cast; a bare one where the text's own rule gives the same.
    pub fn member(&mut self, stem: &str) -> Pair {
        let ty = type_of(stem);
        let name = if self.random.chance(88) {
            stem.to_owned()
        } else {
            self.any_stem().to_owned()
        };
        let (ours, path) = match self.random.below(10) {
            0 => (format!("data.o.{name}"), format!("o,{name}")),
            1 => (format!("data.list[0].{name}"), format!("list,0,{name}")),
            2 => (format!("data.list[-1].{name}"), format!("list,-1,{name}")),
            _ => (format!("data.{name}"), name),
        };
        if stem == "j" {
            return Pair::new(
                format!("{ours}::{ty}"),
                format!("nullif(data #> '{{{path}}}', 'null')"),
            );
        }
        let theirs = format!("(data #>> '{{{path}}}')");
        let column = format!("{stem}1");
        if self.random.chance(20) && !matches!(stem, "m" | "v" | "by") && !stem.starts_with('a') {
            // The other operand decides.
            let op = self.random.pick(&["=", "<", ">=", "<>"]);
            return Pair::new(
                format!("case when {column} {op} {ours} then {column} end"),
                format!("case when {column} {op} {theirs}::{ty} then {column} end"),
            );
        }
        Pair::new(format!("{ours}::{ty}"), format!("{theirs}::{ty}"))
    }

    fn literal(&mut self, stem: &str) -> Pair {
        if stem == "b" {
            return Pair::same(self.random.pick(&[
                "true",
                "false",
                "null",
                "'t'::boolean",
                "'off'::boolean",
            ]));
        }
        let text = value_text(&mut self.random, stem);
        let ty = type_of(stem);
        let quoted = quoted(&text);
        let plain_number = matches!(stem, "s" | "i" | "l" | "n" | "m")
            && text.parse::<f64>().is_ok_and(f64::is_finite)
            && !text.contains(' ');
        if plain_number && self.random.chance(70) {
            return Pair::same(text);
        }
        Pair::same(match self.random.below(20) {
            0 => "null".to_owned(),
            1..=5 => quoted,
            6 => format!("null::{ty}"),
            7..=10 if !ty.contains(['(', '[', ' ']) => format!("{ty} {quoted}"),
            11..=13 => format!("cast({quoted} as {ty})"),
            _ => format!("{quoted}::{ty}"),
        })
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
