//! Names: columns of the row, and paths below `data`, `event`, `headers`, `item`, `old`. Part of the checker.

use std::ops::Range;

use crate::event::Path;

use super::ast::Part;
use super::check::Checker;
use super::problem::{Problem, closest};
use super::typed::{BIGINT, EventField, INTEGER, Kind, Node, TEXT, TIMESTAMPTZ, Ty, plain};
use super::value::Type;

/// Members of `event`.
const EVENT_FIELDS: &[(&str, EventField, Type)] = &[
    ("type", EventField::Type, TEXT),
    ("id", EventField::Id, TEXT),
    ("key", EventField::Key, TEXT),
    ("subject", EventField::Subject, TEXT),
    ("source", EventField::Source, TEXT),
    ("time", EventField::Time, TIMESTAMPTZ),
    ("version", EventField::Version, BIGINT),
    ("topic", EventField::Topic, TEXT),
    ("partition", EventField::Partition, INTEGER),
    ("offset", EventField::Offset, BIGINT),
    ("timestamp", EventField::Timestamp, TIMESTAMPTZ),
];

const ROOTS: &[&str] = &["data", "event", "headers", "item", "old"];

impl Checker<'_, '_> {
    pub fn name(&mut self, parts: &[Part], span: Range<usize>) -> Option<Node> {
        let (first, rest) = parts.split_first()?;
        match first.folded.as_str() {
            "data" => {
                let slot = self.scope.data.slot_at(path(rest), span.clone());
                Some(Node::new(
                    Kind::Member { slot, item: false },
                    Ty::Untyped,
                    span,
                ))
            }
            "item" => self.item(rest, span),
            "event" => self.event(rest, span),
            "headers" => self.header(rest, span),
            "old" => self.old(rest, span),
            "index" if rest.is_empty() => match self.scope.item {
                Some(_) => Some(Node::typed(Kind::Index, BIGINT, span)),
                None => self.report(outside_each("index", span)),
            },
            name if self.is_lookup(name) && !(rest.is_empty() && self.is_column(name)) => {
                self.lookup(first, rest, span)
            }
            _ if rest.is_empty() => self.column(first, span),
            _ => self.unknown_root(first),
        }
    }

    fn item(&mut self, rest: &[Part], span: Range<usize>) -> Option<Node> {
        let Some(paths) = &mut self.scope.item else {
            return self.report(outside_each("item", span));
        };
        let slot = paths.slot_at(path(rest), span.clone());
        Some(Node::new(
            Kind::Member { slot, item: true },
            Ty::Untyped,
            span,
        ))
    }

    fn event(&mut self, rest: &[Part], span: Range<usize>) -> Option<Node> {
        let names = || EVENT_FIELDS.iter().map(|(name, _, _)| *name);
        let [field] = rest else {
            let shown: Vec<&str> = names().collect();
            let problem = Problem::new(span, "unknown-name", "`event` has one level of members");
            return self.report(problem.with_hint(format!("they are {}", shown.join(", "))));
        };
        if let Some((_, field, ty)) = EVENT_FIELDS
            .iter()
            .find(|(name, _, _)| *name == field.folded)
        {
            return Some(Node::typed(Kind::Event(*field), *ty, span));
        }
        let problem = Problem::new(
            field.span.clone(),
            "unknown-name",
            format!("unknown member `event.{}`", field.written),
        );
        self.report(match closest(&field.folded, names()) {
            Some(near) => problem.with_hint(format!("did you mean `event.{near}`?")),
            None => problem.with_hint(format!("members of the payload are data.{}", field.written)),
        })
    }

    fn header(&mut self, rest: &[Part], span: Range<usize>) -> Option<Node> {
        let [name] = rest else {
            let problem = Problem::new(span, "unknown-name", "`headers` has one level of members");
            return self.report(problem.with_hint("write headers.name, or headers.\"x-name\""));
        };
        let slot = self.scope.headers.slot(&name.written);
        Some(Node::typed(Kind::Header(slot), TEXT, span))
    }

    fn old(&mut self, rest: &[Part], span: Range<usize>) -> Option<Node> {
        if !self.scope.old {
            return self.report(Problem::new(
                span,
                "unknown-name",
                "the row before the event cannot be read here",
            ));
        }
        let [column] = rest else {
            return self.report(Problem::new(
                span,
                "unknown-name",
                "`old` takes one column: old.total",
            ));
        };
        let (index, ty) = self.find_column(column, "old.")?;
        Some(Node::typed(Kind::Old(index), ty, span))
    }

    fn is_lookup(&self, name: &str) -> bool {
        self.scope.lookups.iter().any(|lookup| lookup.name == name)
    }

    fn is_column(&self, name: &str) -> bool {
        self.scope.columns.iter().any(|(column, _)| column == name)
    }

    fn lookup(&mut self, first: &Part, rest: &[Part], span: Range<usize>) -> Option<Node> {
        let lookups = self.scope.lookups;
        let index = lookups
            .iter()
            .position(|known| known.name == first.folded)?;
        let [column] = rest else {
            let message = format!(
                "`{}` is a row: one of its columns is a value",
                first.written
            );
            return self.report(Problem::new(span, "unknown-name", message));
        };
        let names = &lookups[index].columns;
        if let Some(place) = names.iter().position(|(name, _)| *name == column.folded) {
            let (lookup, ty) = (index, plain(names[place].1));
            let kind = Kind::Lookup {
                lookup,
                column: place,
            };
            return Some(Node::typed(kind, ty, span));
        }
        let problem = Problem::new(
            column.span.clone(),
            "unknown-column",
            format!("unknown column `{}.{}`", first.written, column.written),
        );
        let near = closest(&column.folded, names.iter().map(|(name, _)| name.as_str()));
        self.report(match near {
            Some(near) => problem.with_hint(format!("did you mean `{}.{near}`?", first.written)),
            None => {
                let known: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
                problem.with_hint(format!("its columns are {}", known.join(", ")))
            }
        })
    }

    fn column(&mut self, part: &Part, span: Range<usize>) -> Option<Node> {
        let (index, ty) = self.find_column(part, "")?;
        Some(Node::typed(Kind::Column(index), ty, span))
    }

    fn find_column(&mut self, part: &Part, prefix: &str) -> Option<(usize, Type)> {
        let columns = self.scope.columns;
        if let Some(index) = columns.iter().position(|(name, _)| *name == part.folded) {
            return Some((index, plain(columns[index].1)));
        }
        let span = part.span.clone();
        let shown = &part.written;
        if columns.is_empty() {
            let problem = Problem::new(
                span,
                "unknown-name",
                format!("`{shown}` names no value: no row can be read here"),
            );
            return self.report(match ROOTS.contains(&part.folded.as_str()) {
                true => problem,
                false => {
                    problem.with_hint(format!("members of the payload are written data.{shown}"))
                }
            });
        }
        let problem = Problem::new(span, "unknown-column", format!("unknown column `{shown}`"));
        let near = closest(&part.folded, columns.iter().map(|(name, _)| name.as_str()));
        self.report(match near {
            Some(near) => problem.with_hint(format!("did you mean `{prefix}{near}`?")),
            None => problem.with_hint(format!("members of the payload are written data.{shown}")),
        })
    }

    fn unknown_root(&mut self, first: &Part) -> Option<Node> {
        let problem = Problem::new(
            first.span.clone(),
            "unknown-name",
            format!("`{}` has no members", first.written),
        );
        let lookups = self.scope.lookups.iter().map(|lookup| lookup.name.as_str());
        let near = closest(&first.folded, ROOTS.iter().copied().chain(lookups));
        self.report(match near {
            Some(near) => problem.with_hint(format!("did you mean `{near}`?")),
            None => problem.with_hint("dotted names begin with data, event, headers, item or old; a jsonb column takes -> and ->>"),
        })
    }
}

fn path(parts: &[Part]) -> Path {
    Path(parts.iter().map(|part| part.written.clone()).collect())
}

fn outside_each(name: &str, span: Range<usize>) -> Problem {
    let problem = Problem::new(
        span,
        "unknown-name",
        format!("`{name}` is there only in a rule with `each`"),
    );
    problem.with_hint("give the rule `each:` with the array to walk")
}
