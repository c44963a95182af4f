//! Function calls, also those with a grammar of their own (`cast`, `extract`, `trim`, …). Part of the parser.

use super::ast::{Expr, Kind, Special};
use super::keywords::is_reserved_for_functions;
use super::lex::Tok;
use super::parse::{Grammar, Parsed, Parser, level};
use super::problem::Problem;

impl Parser<'_> {
    pub(super) fn call(&mut self, word: &str) -> Parsed<Expr> {
        let start = self.span().start;
        let name_span = self.span();
        if is_reserved_for_functions(word) && word != "cast" {
            return Err(self.unexpected());
        }
        self.at += 2;
        let special = match word {
            "coalesce" => Some(Special::Coalesce),
            "nullif" => Some(Special::Nullif),
            "greatest" => Some(Special::Greatest),
            "least" => Some(Special::Least),
            _ => None,
        };
        if let Some(special) = special {
            let list = self.list(&Tok::RightParen)?;
            let span = start..self.previous().span.end;
            let fine = if special == Special::Nullif {
                list.len() == 2
            } else {
                !list.is_empty()
            };
            if !fine {
                let wants = if special == Special::Nullif {
                    "two arguments"
                } else {
                    "at least one argument"
                };
                return Err(Problem::new(
                    span,
                    "syntax",
                    format!("{word} takes {wants}"),
                ));
            }
            return Ok(Expr::new(Kind::Special(special, list), span));
        }
        if let Some(message) = self.refused_call(word) {
            return Err(Problem::new(name_span, "unsupported", message));
        }
        let (name, arguments) = match word {
            "cast" => return self.cast(start),
            "extract" => ("extract", self.extract()?),
            "trim" => self.trim()?,
            "position" => ("position", self.position()?),
            "substring" => ("substring", self.substring()?),
            "overlay" => ("overlay", self.overlay()?),
            _ => (word, self.arguments()?),
        };
        if self
            .word()
            .is_some_and(|w| matches!(w, "over" | "filter" | "within"))
        {
            let message = "aggregates and window functions are not part of the fold language: an expression sees one event and one row";
            return Err(Problem::new(self.span(), "unsupported", message));
        }
        let span = start..self.previous().span.end;
        let kind = Kind::Call {
            name: name.to_owned(),
            name_span,
            arguments,
        };
        Ok(Expr::new(kind, span))
    }

    pub(super) fn refused_call(&self, word: &str) -> Option<&'static str> {
        match word {
            "exists" => Some("subqueries are not part of the fold language"),
            "row" => Some("rows are not supported"),
            "xmlconcat" | "xmlelement" | "xmlexists" | "xmlforest" | "xmlparse" | "xmlpi"
            | "xmlroot" | "xmlserialize" => Some("xml is not supported"),
            "grouping" | "treat" | "setof" | "normalize" => Some("this is not supported"),
            _ => None,
        }
    }

    pub(super) fn cast(&mut self, start: usize) -> Parsed<Expr> {
        let of = self.expr()?;
        self.expect_word("as")?;
        let (ty, _) = self.type_name()?;
        let end = self.expect(&Tok::RightParen)?.end;
        Ok(Expr::new(Kind::Cast(Box::new(of), ty), start..end))
    }

    /// Plain arguments; refuses what PostgreSQL allows there and the language does not.
    pub(super) fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        let refused = match &self.token().tok {
            Tok::Op("*") => {
                Some("aggregates are not part of the fold language: a table's row is the aggregate")
            }
            Tok::Word {
                folded,
                quoted: false,
                ..
            } if matches!(folded.as_ref(), "distinct" | "all" | "variadic") => {
                Some("this form of call is not supported")
            }
            _ => None,
        };
        if let Some(message) = refused {
            return Err(Problem::new(self.span(), "unsupported", message));
        }
        self.refuse_subquery()?;
        let list = self.list(&Tok::RightParen);
        if self.token().tok == Tok::Op("=>") || self.token().tok == Tok::Op(":=") {
            return Err(Problem::new(
                self.span(),
                "unsupported",
                "arguments are given by place, not by name",
            ));
        }
        list
    }

    pub(super) fn extract(&mut self) -> Parsed<Vec<Expr>> {
        let span = self.span();
        let field = match self.token().tok.clone() {
            Tok::Word { folded, .. } => folded,
            Tok::Text(text) => text,
            _ => return Err(self.unexpected().with_hint("extract(year from event.time)")),
        };
        self.at += 1;
        self.expect_word("from")?;
        let of = self.expr()?;
        self.expect(&Tok::RightParen)?;
        Ok(vec![Expr::new(Kind::Text(field.into_owned()), span), of])
    }

    pub(super) fn trim(&mut self) -> Parsed<(&'static str, Vec<Expr>)> {
        let name = match self.word() {
            Some("leading") => "ltrim",
            Some("trailing") => "rtrim",
            Some("both") => "btrim",
            _ => "",
        };
        self.at += usize::from(!name.is_empty());
        let name = if name.is_empty() { "btrim" } else { name };
        if self.take_word("from") {
            return Ok((name, self.list(&Tok::RightParen)?));
        }
        let first = self.expr()?;
        let mut arguments = Vec::new();
        if self.take_word("from") {
            arguments = self.list(&Tok::RightParen)?;
            arguments.push(first);
        } else {
            arguments.push(first);
            if self.take(&Tok::Comma) {
                arguments.extend(self.list(&Tok::RightParen)?);
            } else {
                self.expect(&Tok::RightParen)?;
            }
        }
        Ok((name, arguments))
    }

    pub(super) fn position(&mut self) -> Parsed<Vec<Expr>> {
        let part = self.expr_above(level::ANY, Grammar::Restricted)?;
        self.expect_word("in")?;
        let whole = self.expr_above(level::ANY, Grammar::Restricted)?;
        self.expect(&Tok::RightParen)?;
        Ok(vec![whole, part])
    }

    pub(super) fn substring(&mut self) -> Parsed<Vec<Expr>> {
        let of = self.expr()?;
        let mut arguments = vec![of];
        if self.take_word("from") {
            arguments.push(self.expr()?);
            if self.take_word("for") {
                arguments.push(self.expr()?);
            }
        } else if self.take_word("for") {
            // `substring(x for n)` begins at 1 and casts n to integer.
            let length = self.expr()?;
            let span = length.span.clone();
            let length = if self.take_word("from") {
                arguments.push(self.expr()?);
                length
            } else {
                arguments.push(Expr::new(Kind::Number("1".to_owned()), span.clone()));
                let integer = super::value::Type {
                    scalar: super::value::Scalar::Integer,
                    modifier: super::value::Modifier::None,
                    array: false,
                };
                Expr::new(Kind::Cast(Box::new(length), integer), span)
            };
            arguments.push(length);
        } else if self.is_word("similar") {
            return Err(Problem::new(
                self.span(),
                "unsupported",
                "regular expressions are not supported",
            ));
        } else if self.take(&Tok::Comma) {
            arguments.extend(self.list(&Tok::RightParen)?);
            return Ok(arguments);
        }
        self.expect(&Tok::RightParen)?;
        Ok(arguments)
    }

    pub(super) fn overlay(&mut self) -> Parsed<Vec<Expr>> {
        let of = self.expr()?;
        let mut arguments = vec![of];
        if self.take_word("placing") {
            arguments.push(self.expr()?);
            self.expect_word("from")?;
            arguments.push(self.expr()?);
            if self.take_word("for") {
                arguments.push(self.expr()?);
            }
            self.expect(&Tok::RightParen)?;
        } else if self.take(&Tok::Comma) {
            arguments.extend(self.list(&Tok::RightParen)?);
        } else {
            self.expect(&Tok::RightParen)?;
        }
        Ok(arguments)
    }
}
