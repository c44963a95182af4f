//! Which operators, functions, casts and types had a value that was equal on both sides. Knows nothing of how they are made.

use std::collections::{BTreeMap, BTreeSet};

use consolidator::expression::reference::Builtin;

/// Expressions after which nothing may be left that had no value.
const ENOUGH: usize = 200_000;

/// A part of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Piece {
    /// One of the operators and functions, by its place among all of them.
    Builtin(usize),
    /// From stem to type.
    Cast(&'static str, &'static str),
}

#[derive(Default)]
pub struct Coverage {
    had_value: BTreeMap<Piece, usize>,
    types: BTreeSet<String>,
}

impl Coverage {
    pub fn had_value(&mut self, pieces: Vec<Piece>, ty: &str) {
        for piece in pieces {
            *self.had_value.entry(piece).or_default() += 1;
        }
        self.types.insert(ty.to_owned());
    }

    /// Tells what had values of `all` that there is.
    pub fn report(&self, all: &[Piece], builtins: &[Builtin], expressions: usize) {
        let missing: Vec<&Piece> = all
            .iter()
            .filter(|piece| !self.had_value.contains_key(piece))
            .collect();
        let (calls, casts): (Vec<&Piece>, Vec<&Piece>) = all
            .iter()
            .partition(|piece| matches!(piece, Piece::Builtin(_)));
        let with = |pieces: &[&Piece]| {
            let of = pieces.len();
            let had = pieces.iter().filter(|piece| !missing.contains(piece));
            format!("{} of {of}", had.count())
        };
        let names = |operators: bool| {
            let of_kind = builtins.iter().filter(|b| b.is_operator == operators);
            of_kind.map(|b| b.name).collect::<BTreeSet<_>>().len()
        };
        eprintln!(
            "with equal values: {} signatures of {} operators and {} functions, {} casts, {} types",
            with(&calls),
            names(true),
            names(false),
            with(&casts),
            self.types.len(),
        );
        let shown = |piece: &Piece| match piece {
            Piece::Builtin(at) => {
                let builtin = &builtins[*at];
                format!("{}({})", builtin.name, builtin.arguments.join(", "))
            }
            Piece::Cast(from, to) => format!("{from}::{to}"),
        };
        let missing: Vec<String> = missing.into_iter().map(shown).collect();
        assert!(
            expressions < ENOUGH || missing.is_empty(),
            "never had a value: {}",
            missing.join("; ")
        );
    }
}
