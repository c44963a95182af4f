//! Random definitions, each expression in two tongues: as a definition has it, and as PL/pgSQL has it over the same event. Where
//! partitions share rows, only what comes out the same in any order is made.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// Types that rules are about.
pub const TYPES: [&str; 5] = ["A", "B", "C", "D", "E"];

/// The same expression for the product and for the oracle, where `r` is the row, `o` the row before the event, `l` the row looked
/// up, `e` the event and `i.item` the element.
#[derive(Clone)]
pub struct Both {
    pub ours: String,
    pub theirs: String,
}

pub struct Definition {
    pub name: String,
    pub deduplicates: bool,
    pub tables: Vec<Table>,
}

pub struct Table {
    pub name: String,
    pub kind: Kind,
    /// Type and expression of each key column: `k1`, `k2`.
    pub key: Vec<(&'static str, Both)>,
    /// `c0`, `c1`, …
    pub columns: Vec<Column>,
    /// By the types that they are for, in the file's order.
    pub rules: Vec<(String, Vec<Rule>)>,
    pub history: bool,
    pub version: bool,
    /// Its rows are made from the elements of an array.
    of_items: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rows belong to one partition.
    Owned,
    /// The same as far as the definition tells, but the events of a key come in several partitions.
    Met,
    /// Keys do not contain the event's.
    Shared,
    /// The same, and the highest version wins.
    Latest,
}

pub struct Column {
    pub ty: &'static str,
    pub not_null: bool,
    pub default: Option<&'static str>,
    /// The one thing that is done to it where order must not matter.
    merge: Both,
}

pub struct Rule {
    pub when: Option<Both>,
    pub each: bool,
    /// Reaches all rows of the event's key.
    pub prefix: bool,
    /// Name of the table whose row of the event's key is looked up.
    pub lookup: Option<String>,
    pub skips_missing: bool,
    /// `None`: the row goes.
    pub set: Option<Vec<(usize, Both)>>,
}

fn both(ours: impl Into<String>, theirs: impl Into<String>) -> Both {
    Both {
        ours: ours.into(),
        theirs: theirs.into(),
    }
}

fn event_key() -> Both {
    both("event.key", "e.key")
}

impl Definition {
    /// `all_owned`: so that a rebuild loads it in bulk.
    pub fn random(name: &str, all_owned: bool, random: &mut StdRng) -> Definition {
        let mut definition = Definition {
            name: name.to_owned(),
            deduplicates: !all_owned && random.random_bool(0.4),
            tables: Vec::new(),
        };
        let kinds: &[Kind] = match all_owned {
            true => &[Kind::Owned, Kind::Owned, Kind::Owned],
            false => &[Kind::Owned, Kind::Met, Kind::Shared, Kind::Latest],
        };
        for (number, kind) in kinds.iter().enumerate() {
            let table = Table::random(&format!("{name}_t{number}"), *kind, &definition, random);
            definition.tables.push(table);
        }
        definition
    }

    pub fn reads_spread(&self) -> bool {
        self.tables.iter().any(|table| table.kind != Kind::Owned)
    }

    /// The definition file; partitions of `spread` meet in the keys of `keyed`.
    pub fn yaml(&self, keyed: &str, spread: &str) -> String {
        let topics = match self.reads_spread() {
            true => vec![keyed, spread],
            false => vec![keyed],
        };
        let mut lines = vec![format!("projection: {}", self.name), "from:".to_owned()];
        for topic in topics {
            lines.push(format!("  - topic: {topic}"));
            lines.push("    ignore: [Pad]".to_owned());
        }
        if self.deduplicates {
            lines.push("deduplicate: { by: event.id, keep: 7 days }".to_owned());
        }
        lines.push("tables:".to_owned());
        for table in &self.tables {
            table.yaml(keyed, &mut lines);
        }
        lines.join("\n") + "\n"
    }
}

impl Table {
    fn random(name: &str, kind: Kind, definition: &Definition, random: &mut StdRng) -> Table {
        let of_items = matches!(kind, Kind::Owned | Kind::Shared) && random.random_bool(0.4);
        let text_of = |member: &str| both(format!("data.{member}"), format!("e.data->>'{member}'"));
        let item_no = both("item.no", "(i.item->>'no')::integer");
        let own = ("text", event_key());
        let key = match kind {
            Kind::Owned if of_items => vec![own, ("integer", item_no)],
            Kind::Owned if random.random_bool(0.3) => vec![own, ("text", text_of("g"))],
            Kind::Owned | Kind::Met => vec![own],
            Kind::Shared if of_items => vec![("text", both("item.s", "i.item->>'s'"))],
            Kind::Shared if random.random_bool(0.4) => vec![
                ("text", text_of("g")),
                ("text", both("event.type", "e.type")),
            ],
            Kind::Shared | Kind::Latest => vec![("text", text_of("g"))],
        };
        let mut table = Table {
            name: name.to_owned(),
            kind,
            key,
            columns: (0..random.random_range(2..6))
                .map(|_| Column::random(random))
                .collect(),
            rules: Vec::new(),
            history: kind == Kind::Owned && random.random_bool(0.4),
            version: kind == Kind::Latest || kind == Kind::Owned && random.random_bool(0.3),
            of_items,
        };
        for (number, column) in table.columns.iter_mut().enumerate() {
            column.merge.ours = column.merge.ours.replace('$', &format!("c{number}"));
            column.merge.theirs = column.merge.theirs.replace('$', &format!("r.c{number}"));
        }
        table.add_rules(definition, random);
        table
    }

    fn add_rules(&mut self, definition: &Definition, random: &mut StdRng) {
        for number in 0..random.random_range(2..6) {
            let types = match random.random_range(0..5) {
                0 => "\"*\"".to_owned(),
                1 => format!(
                    "{}, {}",
                    TYPES[random.random_range(0..2)],
                    TYPES[random.random_range(2..5)]
                ),
                _ => (*TYPES.choose(random).expect("there are some")).to_owned(),
            };
            // The first rule makes rows.
            let mut rule = self.rule(number == 0, definition, random);
            if types == "\"*\"" {
                let no_pad = both("event.type <> 'Pad'", "e.type <> 'Pad'");
                rule.when = Some(match rule.when {
                    None => no_pad,
                    Some(when) => both(
                        format!("{} and {}", no_pad.ours, when.ours),
                        format!("{} and {}", no_pad.theirs, when.theirs),
                    ),
                });
            }
            match self.rules.iter_mut().find(|(known, _)| *known == types) {
                Some((_, rules)) => rules.push(rule),
                None => self.rules.push((types, vec![rule])),
            }
        }
        if self.kind == Kind::Owned
            && self.key.len() == 1
            && !self.version
            && random.random_bool(0.5)
        {
            let rule = Rule {
                when: None,
                each: false,
                prefix: false,
                lookup: None,
                skips_missing: true,
                set: None,
            };
            self.rules.push(("tombstone".to_owned(), vec![rule]));
        }
    }

    fn rule(&self, makes_rows: bool, definition: &Definition, random: &mut StdRng) -> Rule {
        let owned = self.kind == Kind::Owned;
        let prefix = !makes_rows && owned && self.key.len() == 2 && random.random_bool(0.3);
        let each = self.of_items && !prefix;
        let looked_up = definition
            .tables
            .iter()
            .find(|table| table.kind == Kind::Owned && table.key.len() == 1);
        let lookup = looked_up
            .filter(|_| owned && random.random_bool(0.5))
            .map(|table| table.name.clone());
        let mut when = random.random_bool(0.4).then(|| condition(random));
        if owned && random.random_bool(0.2) {
            when = Some(row_condition(random));
        }
        let deletes = owned && !makes_rows && random.random_bool(0.2);
        let set = (!deletes).then(|| {
            let all = self.kind == Kind::Latest;
            let mut set = Vec::new();
            for (number, column) in self.columns.iter().enumerate() {
                if all || set.is_empty() || random.random_bool(0.6) {
                    let right = match self.kind {
                        Kind::Owned => column.ordered(number, each, lookup.is_some(), random),
                        Kind::Met | Kind::Shared => column.merge.clone(),
                        Kind::Latest => column.of_event(each, random),
                    };
                    set.push((number, right));
                }
            }
            set
        });
        Rule {
            when,
            each,
            prefix,
            skips_missing: deletes || prefix || owned && !makes_rows && random.random_bool(0.2),
            lookup,
            set,
        }
    }

    fn yaml(&self, keyed: &str, lines: &mut Vec<String>) {
        lines.push(format!("  {}:\n    key:", self.name));
        for (number, (ty, expression)) in self.key.iter().enumerate() {
            lines.push(format!("      k{}: {ty} = {}", number + 1, expression.ours));
        }
        lines.push("    columns:".to_owned());
        for (number, column) in self.columns.iter().enumerate() {
            lines.push(format!("      c{number}: {}", column.sql()));
        }
        if self.history {
            lines.push("    history: true".to_owned());
        }
        if self.version {
            lines.push("    version: event.version".to_owned());
        }
        lines.push("    rules:".to_owned());
        for (types, rules) in &self.rules {
            lines.push(format!("      {types}:"));
            for rule in rules {
                let mut first = "        - ";
                for line in rule.yaml(self, keyed) {
                    lines.push(format!("{first}{line}"));
                    first = "          ";
                }
            }
        }
    }
}

impl Rule {
    fn yaml(&self, table: &Table, keyed: &str) -> Vec<String> {
        let mut lines = Vec::new();
        if table.kind == Kind::Owned {
            lines.push(format!("topic: {keyed}"));
        }
        if let Some(when) = &self.when {
            lines.push(format!("when: |\n            {}", when.ours));
        }
        if self.each {
            lines.push("each: data.items".to_owned());
        }
        if self.prefix {
            lines.push("key: k1 = event.key".to_owned());
        }
        if let Some(other) = &self.lookup {
            lines.push(format!("lookup: {{ l: {{ table: {other} }} }}"));
        }
        if self.skips_missing {
            lines.push("if_missing: skip".to_owned());
        }
        match &self.set {
            None => lines.push("delete: true".to_owned()),
            Some(set) => {
                let set: Vec<String> = set
                    .iter()
                    .map(|(column, right)| format!("c{column} = {}", right.ours))
                    .collect();
                lines.push(format!(
                    "set: |\n            {}",
                    set.join(",\n            ")
                ));
            }
        }
        lines
    }
}

impl Column {
    fn random(random: &mut StdRng) -> Column {
        let column = |ty, not_null, default, merge| Column {
            ty,
            not_null,
            default,
            merge,
        };
        match random.random_range(0..9) {
            0 | 1 => column(
                "bigint",
                true,
                Some("0"),
                both("$ + data.n", "$ + (e.data->>'n')::bigint"),
            ),
            2 => column(
                "bigint",
                false,
                None,
                both("greatest($, data.m)", "greatest($, (e.data->>'m')::bigint)"),
            ),
            3 => column(
                "numeric(14,2)",
                true,
                Some("1.50"),
                both("$ - data.x", "$ - (e.data->>'x')::numeric"),
            ),
            4 => column(
                "numeric(14,2)",
                false,
                None,
                both("least($, data.x)", "least($, (e.data->>'x')::numeric)"),
            ),
            5 | 6 => column("text", true, Some("''"), both("'seen'", "'seen'")),
            7 => column("boolean", false, None, both("true", "true")),
            _ => column(
                "timestamptz",
                false,
                None,
                both("least($, event.time)", "least($, e.time)"),
            ),
        }
    }

    pub fn sql(&self) -> String {
        let not_null = if self.not_null { " not null" } else { "" };
        let default = self.default.map(|value| format!(" default {value}"));
        format!("{}{not_null}{}", self.ty, default.unwrap_or_default())
    }

    /// From the event alone.
    fn of_event(&self, each: bool, random: &mut StdRng) -> Both {
        let choices: &[(&str, &str)] = match self.ty {
            "bigint" if each => &[("item.q", "(i.item->>'q')::bigint"), ("index", "i.index")],
            "bigint" => &[
                ("data.n", "(e.data->>'n')::bigint"),
                ("length(data.s) * 7", "length(e.data->>'s') * 7"),
                (
                    "case when data.ok then event.version else data.n end",
                    "case when (e.data->>'ok')::boolean then e.version else (e.data->>'n')::bigint end",
                ),
            ],
            "numeric(14,2)" => &[
                ("data.x", "(e.data->>'x')::numeric"),
                ("data.x / 3", "(e.data->>'x')::numeric / 3"),
            ],
            "text" if each => &[("item.s", "i.item->>'s'")],
            "text" => &[
                ("upper(data.s)", "upper(e.data->>'s')"),
                (
                    "coalesce(data.t, event.type)",
                    "coalesce(e.data->>'t', e.type)",
                ),
                ("md5(event.id)", "md5(e.id)"),
            ],
            "boolean" => &[("data.ok", "(e.data->>'ok')::boolean")],
            "timestamptz" => &[
                ("event.time", "e.time"),
                ("event.time + interval '1 day'", "e.time + interval '1 day'"),
            ],
            other => unreachable!("no column is {other}"),
        };
        let (ours, theirs) = choices.choose(random).expect("there are some");
        both(*ours, *theirs)
    }

    /// Order matters.
    fn ordered(&self, number: usize, each: bool, looks_up: bool, random: &mut StdRng) -> Both {
        if looks_up && self.ty == "text" && random.random_bool(0.5) {
            return both(
                format!("md5(c{number} || coalesce(l.c0::text, '-'))"),
                format!("md5(r.c{number} || coalesce(l.c0::text, '-'))"),
            );
        }
        let choices: &[(&str, &str)] = match self.ty {
            "bigint" if self.not_null => &[
                ("$ + data.n", "r.$ + (e.data->>'n')::bigint"),
                (
                    "($ * 31 + data.n) % 1000003",
                    "(r.$ * 31 + (e.data->>'n')::bigint) % 1000003",
                ),
                ("coalesce(old.$, 7) - $ + 1", "coalesce(o.$, 7) - r.$ + 1"),
            ],
            "bigint" => &[
                ("data.m", "(e.data->>'m')::bigint"),
                ("event.offset", "e.\"offset\""),
                (
                    "coalesce($, 0) + coalesce(data.m, 1)",
                    "coalesce(r.$, 0) + coalesce((e.data->>'m')::bigint, 1)",
                ),
            ],
            "numeric(14,2)" => &[
                (
                    "coalesce($, 0) / 2 + data.x",
                    "coalesce(r.$, 0) / 2 + (e.data->>'x')::numeric",
                ),
                (
                    "round(greatest($, data.x) * 0.9, 1)",
                    "round(greatest(r.$, (e.data->>'x')::numeric) * 0.9, 1)",
                ),
            ],
            "text" => &[
                ("md5($ || event.id)", "md5(r.$ || e.id)"),
                ("left(data.s || $, 12)", "left((e.data->>'s') || r.$, 12)"),
            ],
            "boolean" => &[
                (
                    "not coalesce($, data.ok)",
                    "not coalesce(r.$, (e.data->>'ok')::boolean)",
                ),
                (
                    "$ is distinct from data.ok",
                    "r.$ is distinct from (e.data->>'ok')::boolean",
                ),
            ],
            _ => &[
                ("greatest($, event.time)", "greatest(r.$, e.time)"),
                ("coalesce(old.$, event.time)", "coalesce(o.$, e.time)"),
            ],
        };
        if random.random_bool(0.25) {
            return self.of_event(each, random);
        }
        let (ours, theirs) = choices.choose(random).expect("there are some");
        let name = format!("c{number}");
        both(ours.replace('$', &name), theirs.replace('$', &name))
    }
}

/// Reads the event alone.
fn condition(random: &mut impl Rng) -> Both {
    let choices = [
        ("data.ok", "(e.data->>'ok')::boolean"),
        ("data.n > 3", "(e.data->>'n')::bigint > 3"),
        ("data.m is null", "e.data->>'m' is null"),
        (
            "data.g in ('g0', 'g2', 'g4')",
            "e.data->>'g' in ('g0', 'g2', 'g4')",
        ),
    ];
    let (ours, theirs) = choices.choose(random).expect("there are some");
    both(*ours, *theirs)
}

/// Reads the row, too.
fn row_condition(random: &mut impl Rng) -> Both {
    let choices = [
        (
            "c0::text is distinct from old.c1::text or data.ok",
            "r.c0::text is distinct from o.c1::text or (e.data->>'ok')::boolean",
        ),
        (
            "length(c1::text) > 2 or data.n > 0",
            "length(r.c1::text) > 2 or (e.data->>'n')::bigint > 0",
        ),
        ("c0 is not null", "r.c0 is not null"),
    ];
    let (ours, theirs) = choices.choose(random).expect("there are some");
    both(*ours, *theirs)
}
