//! What an operator stands between: literals, names, parentheses, `case`, function calls with and without grammar of
//! their own. Part of the parser; knows nothing of types beyond how they are written.

use super::ast::{Branch, EXPRESSION_DEPTH_MAX, Expr, Kind, Part};
use super::keywords::is_reserved_word;
use super::lex::Tok;
use super::parse::{Parsed, Parser};
use super::problem::Problem;

impl Parser<'_> {
    pub(super) fn primary(&mut self) -> Parsed<Expr> {
        let span = self.span();
        match self.token().tok.clone() {
            Tok::Number(number) => {
                self.at += 1;
                Ok(Expr::new(Kind::Number(number.to_owned()), span))
            }
            Tok::Text(text) => {
                self.at += 1;
                Ok(Expr::new(Kind::Text(text.into_owned()), span))
            }
            Tok::LeftParen => self.parenthesis(),
            Tok::Word {
                folded,
                quoted: false,
                ..
            } => self.word_primary(&folded),
            Tok::Word { .. } => self.name(),
            _ => Err(self.unexpected()),
        }
    }

    fn parenthesis(&mut self) -> Parsed<Expr> {
        let start = self.expect(&Tok::LeftParen)?.start;
        self.refuse_subquery()?;
        let mut inner = self.expr()?;
        if self.token().tok == Tok::Comma {
            return Err(Problem::new(
                self.span(),
                "unsupported",
                "rows are not supported",
            ));
        }
        let end = self.expect(&Tok::RightParen)?.end;
        inner.span = start..end;
        if self.token().tok == Tok::Dot {
            return Err(Problem::new(
                self.span(),
                "unsupported",
                "composite values have no fields here",
            ));
        }
        self.subscripts(inner)
    }

    fn subscripts(&mut self, mut base: Expr) -> Parsed<Expr> {
        while self.take(&Tok::LeftBracket) {
            let index = self.expr()?;
            if self.token().tok == Tok::Colon {
                return Err(Problem::new(
                    self.span(),
                    "unsupported",
                    "array slices are not supported",
                ));
            }
            let end = self.expect(&Tok::RightBracket)?.end;
            let span = base.span.start..end;
            base = Expr::new(Kind::Subscript(Box::new(base), Box::new(index)), span);
            if base.depth > EXPRESSION_DEPTH_MAX {
                return Err(self.too_deep(base.span));
            }
        }
        Ok(base)
    }

    fn word_primary(&mut self, word: &str) -> Parsed<Expr> {
        let span = self.span();
        let literal = match word {
            "true" => Some(Kind::Bool(true)),
            "false" => Some(Kind::Bool(false)),
            "null" => Some(Kind::Null),
            _ => None,
        };
        if let Some(kind) = literal {
            self.at += 1;
            return Ok(Expr::new(kind, span));
        }
        match word {
            "case" => return self.case(),
            "array" => return self.array(),
            _ => {}
        }
        if let Some(problem) = clock(word) {
            return Err(Problem::new(span, "nondeterministic", problem).with_hint("use event.time"));
        }
        if let Some(typed) = self.typed_literal()? {
            return Ok(typed);
        }
        if self.peek(1) == Some(&Tok::LeftParen) {
            return self.call(word);
        }
        if is_reserved_word(word) {
            return Err(self.unexpected());
        }
        self.name()
    }

    /// `date '2022-01-01'`: a type followed by a string is a cast of it.
    fn typed_literal(&mut self) -> Parsed<Option<Expr>> {
        let (at, start) = (self.at, self.span().start);
        if !self.starts_type() {
            return Ok(None);
        }
        let interval = self.is_word("interval");
        let parsed = self.type_name();
        match (parsed, self.token().tok.clone()) {
            (Ok((ty, _)), Tok::Text(text)) => {
                let span = self.span();
                self.at += 1;
                let fields = ["year", "month", "day", "hour", "minute", "second"];
                if interval && fields.into_iter().any(|field| self.is_word(field)) {
                    let problem = Problem::new(
                        self.span(),
                        "unsupported",
                        "interval fields after the literal are not supported",
                    );
                    return Err(problem.with_hint("write the unit inside: interval '1 day'"));
                }
                let of = Expr::new(Kind::Text(text.into_owned()), span.clone());
                Ok(Some(Expr::new(
                    Kind::Cast(Box::new(of), ty),
                    start..span.end,
                )))
            }
            _ => {
                self.at = at;
                Ok(None)
            }
        }
    }

    fn case(&mut self) -> Parsed<Expr> {
        let start = self.span().start;
        self.expect_word("case")?;
        let operand = if self.is_word("when") {
            None
        } else {
            Some(Box::new(self.expr()?))
        };
        let mut branches = Vec::new();
        while self.take_word("when") {
            let when = self.expr()?;
            self.expect_word("then")?;
            let then = self.expr()?;
            branches.push(Branch { when, then });
        }
        if branches.is_empty() {
            return Err(self.unexpected());
        }
        let otherwise = if self.take_word("else") {
            Some(Box::new(self.expr()?))
        } else {
            None
        };
        self.expect_word("end")?;
        let span = start..self.previous().span.end;
        let kind = Kind::Case {
            operand,
            branches,
            otherwise,
        };
        Ok(Expr::new(kind, span))
    }

    fn array(&mut self) -> Parsed<Expr> {
        let start = self.span().start;
        self.at += 1;
        if self.token().tok == Tok::LeftParen {
            return Err(Problem::new(
                self.span(),
                "unsupported",
                "subqueries are not part of the fold language",
            ));
        }
        self.expect(&Tok::LeftBracket)?;
        if self.token().tok == Tok::LeftBracket {
            return Err(Problem::new(
                self.span(),
                "unsupported",
                "arrays have one dimension",
            ));
        }
        let list = self.list(&Tok::RightBracket)?;
        let span = start..self.previous().span.end;
        Ok(Expr::new(Kind::Array(list), span))
    }

    /// A dotted name with its subscripts: a column, or a path below one of our roots.
    fn name(&mut self) -> Parsed<Expr> {
        let first = self.part()?;
        let root = matches!(first.written.as_str(), "data" | "item")
            || matches!(first.folded.as_str(), "data" | "item");
        let start = first.span.start;
        let mut parts = vec![first];
        loop {
            if self.take(&Tok::Dot) {
                parts.push(self.part()?);
            } else if root && self.token().tok == Tok::LeftBracket {
                parts.push(self.path_subscript()?);
            } else {
                break;
            }
        }
        let span = start..self.previous().span.end;
        let name = Expr::new(Kind::Name(parts), span);
        if matches!(self.token().tok, Tok::Number(_)) && self.token().span.start == name.span.end {
            let problem = Problem::new(
                self.span(),
                "syntax",
                "a member name that begins with a digit must be quoted",
            );
            return Err(problem.with_hint(format!(
                "write {}.\"{}\"",
                &self.text[name.span],
                self.text[self.span()].trim_matches('.')
            )));
        }
        self.subscripts(name)
    }

    fn part(&mut self) -> Parsed<Part> {
        let span = self.span();
        let Tok::Word {
            folded, written, ..
        } = self.token().tok.clone()
        else {
            if self.token().tok == Tok::Op("*") {
                return Err(Problem::new(
                    span,
                    "unsupported",
                    "`.*` is not supported: name one member",
                ));
            }
            return Err(self
                .unexpected()
                .with_hint("after a dot stands a name; quote it if it is no plain word"));
        };
        self.at += 1;
        Ok(Part {
            folded: folded.into_owned(),
            written: written.into_owned(),
            span,
        })
    }

    /// `[0]`, `[-1]` or `['name']` below `data` or `item`: one more element of the path.
    fn path_subscript(&mut self) -> Parsed<Part> {
        let start = self.expect(&Tok::LeftBracket)?.start;
        let minus = self.token().tok == Tok::Op("-");
        self.at += usize::from(minus);
        let written = match self.token().tok.clone() {
            Tok::Number(number) if number.bytes().all(|b| b.is_ascii_digit()) => {
                let sign = if minus { "-" } else { "" };
                format!("{sign}{number}")
            }
            Tok::Text(text) if !minus => text.into_owned(),
            _ => {
                let problem = Problem::new(
                    self.span(),
                    "unsupported",
                    "a path below data takes a whole number or a string in brackets",
                );
                return Err(problem.with_hint(
                    "for a computed place cast to jsonb and use ->: data.items::jsonb -> n",
                ));
            }
        };
        self.at += 1;
        let end = self.expect(&Tok::RightBracket)?.end;
        Ok(Part {
            folded: written.clone(),
            written,
            span: start..end,
        })
    }
}

/// Words that read the clock or the session without parentheses.
fn clock(word: &str) -> Option<&'static str> {
    match word {
        "current_timestamp" | "current_date" | "current_time" | "localtime" | "localtimestamp" => {
            Some("an expression has no clock: a replay must give what the live fold gave")
        }
        "current_user" | "session_user" | "user" | "current_role" | "current_catalog"
        | "current_schema" => {
            Some("an expression knows no session: a replay must give what the live fold gave")
        }
        _ => None,
    }
}
