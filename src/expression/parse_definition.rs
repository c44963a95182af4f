//! The parts of a definition that are SQL text but no expressions: `a = …, b = …` as after `update … set`, and a column as
//! in `create table`. Knows nothing of YAML and of the columns that exist.

use std::ops::Range;

use super::ast::{Expr, Kind};
use super::cell::Cell;
use super::lex::{Tok, Token};
use super::parse::{Grammar, Parsed, Parser, level};
use super::problem::Problem;
use super::value::Type;

/// One `name = expression` of a set.
#[derive(Clone, Debug)]
pub struct AssignmentText {
    /// As SQL means it: lower case unless quoted.
    pub name: String,
    /// Bytes in the text that was parsed, as all spans here.
    pub name_span: Range<usize>,
    pub expr_span: Range<usize>,
    /// What the expression parses to, as if it stood alone: spans count from its beginning.
    pub tree: Result<Expr, Problem>,
}

/// `bigint not null default 0`, or for a key column `text = event.key`.
#[derive(Clone, Debug)]
pub struct ColumnText {
    pub ty: Type,
    pub type_span: Range<usize>,
    pub not_null: bool,
    /// The value, of exactly `ty`, and the constant as written.
    pub default: Option<(Cell, String)>,
    pub default_span: Option<Range<usize>>,
    /// What stands behind `=`.
    pub expr_span: Option<Range<usize>>,
}

/// Splits `a = expression, b = expression`, and parses each expression; what is wrong with one of them is no problem of the
/// others.
pub fn parse_assignments(text: &str) -> Result<Vec<AssignmentText>, Vec<Problem>> {
    let split = || {
        let mut parser = Parser::new(text)?;
        let mut assignments = vec![parser.assignment()?];
        while parser.take(&Tok::Comma) {
            assignments.push(parser.assignment()?);
        }
        parser.expect_end()?;
        Ok(assignments)
    };
    split().map_err(|problem| vec![problem])
}

/// Reads a column definition.
pub fn parse_column(text: &str) -> Result<ColumnText, Vec<Problem>> {
    let mut parser = Parser::new(text).map_err(|problem| vec![problem])?;
    let (mut column, default) = parser.column().map_err(|problem| vec![problem])?;
    if let (Some(default), Some(span)) = (default, column.default_span.clone()) {
        let sql = text[span.clone()].to_owned();
        let cell = super::load::constant(text, &default, column.ty)?;
        column.default = Some((cell, sql));
    }
    Ok(column)
}

impl Parser<'_> {
    fn assignment(&mut self) -> Parsed<AssignmentText> {
        let name_span = self.span();
        let Tok::Word { folded, .. } = self.token().tok.clone() else {
            let problem = self.unexpected();
            return Err(problem.with_hint("a set is a list of `column = expression`"));
        };
        self.at += 1;
        if self.token().tok != Tok::Op("=") {
            let problem = self.unexpected();
            return Err(problem.with_hint(format!(
                "after a column stands `=` and an expression: {folded} = …"
            )));
        }
        self.at += 1;
        let first = self.at;
        let expr_span = self.skip_expression()?;
        Ok(AssignmentText {
            name: folded.into_owned(),
            name_span,
            tree: self.parse_alone(first..self.at, &expr_span),
            expr_span,
        })
    }

    /// Parses tokens that stand at `span` of the text as a text of their own. They are taken out, but for their places.
    fn parse_alone(&mut self, tokens: Range<usize>, span: &Range<usize>) -> Result<Expr, Problem> {
        let text = &self.text[span.clone()];
        let taken = self.tokens[tokens].iter_mut().map(|token| Token {
            tok: std::mem::replace(&mut token.tok, Tok::End),
            span: token.span.start - span.start..token.span.end - span.start,
        });
        let end = Token {
            tok: Tok::End,
            span: text.len()..text.len(),
        };
        Parser::over(text, taken.chain([end]).collect()).whole()
    }

    /// Moves to the comma that ends the expression, or to the end.
    fn skip_expression(&mut self) -> Parsed<Range<usize>> {
        let (first, start) = (self.at, self.span().start);
        let mut open = 0_usize;
        loop {
            match self.token().tok {
                Tok::LeftParen | Tok::LeftBracket => open += 1,
                Tok::RightParen | Tok::RightBracket => open = open.saturating_sub(1),
                Tok::Comma if open == 0 => break,
                Tok::End => break,
                _ => {}
            }
            self.at += 1;
        }
        if self.at == first {
            let problem =
                Problem::new(start..start, "syntax", "an expression is missing after `=`");
            return Err(problem.with_hint("write null to clear a column"));
        }
        Ok(start..self.previous().span.end)
    }

    fn column(&mut self) -> Parsed<(ColumnText, Option<Expr>)> {
        let start = self.span().start;
        let (ty, end) = self.type_name()?;
        let mut column = ColumnText {
            ty,
            type_span: start..end,
            not_null: false,
            default: None,
            default_span: None,
            expr_span: None,
        };
        let mut default = None;
        let mut nullable = false;
        loop {
            let span = self.span();
            if self.take_word("not") {
                self.expect_word("null")?;
                column.not_null = true;
            } else if self.take_word("null") {
                nullable = true;
            } else if self.take_word("default") {
                if default.is_some() {
                    return Err(Problem::new(span, "syntax", "a column has one default"));
                }
                let expr = self.expr_above(level::ANY, Grammar::Restricted)?;
                column.default_span = Some(expr.span.start..self.previous().span.end);
                default = Some(expr).filter(|e| !matches!(e.kind, Kind::Null));
                column.default_span = column.default_span.filter(|_| default.is_some());
            } else if self.token().tok == Tok::Op("=") {
                self.at += 1;
                column.expr_span = Some(self.skip_expression()?);
                break;
            } else {
                break;
            }
            if column.not_null && nullable {
                return Err(Problem::new(span, "syntax", "both null and not null"));
            }
        }
        if self.token().tok != Tok::End {
            return Err(self.refuse_constraint());
        }
        Ok((column, default))
    }

    fn refuse_constraint(&self) -> Problem {
        let span = self.span();
        let hint = match self.word() {
            Some("primary") => "the columns under `key:` are the primary key",
            Some("unique") => "uniqueness over other columns is no function of the log",
            Some("references" | "check" | "constraint" | "generated" | "collate") => {
                "a read model has no constraints but `not null`: the fold decides what a row holds"
            }
            _ => {
                return self
                    .unexpected()
                    .with_hint("a column is a type, then `not null` and `default <constant>`");
            }
        };
        let shown = &self.text[span.clone()];
        Problem::new(span, "unsupported", format!("`{shown}` is not supported")).with_hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use bumpalo::Bump;

    use super::super::cast::to_text;
    use super::super::parse::parse;
    use super::{parse_assignments, parse_column};

    #[test]
    fn sets_are_split_at_their_commas() {
        let text = "unit_count = unit_count + data.units, date_incoming = greatest(a, b),\n \"Odd\" = case when x then array[1, 2] end";
        let parts = parse_assignments(text).unwrap();
        let shown: Vec<(&str, &str)> = parts
            .iter()
            .map(|p| (p.name.as_str(), &text[p.expr_span.clone()]))
            .collect();
        assert_eq!(
            shown,
            [
                ("unit_count", "unit_count + data.units"),
                ("date_incoming", "greatest(a, b)"),
                ("Odd", "case when x then array[1, 2] end"),
            ]
        );
        for bad in [
            "",
            "a",
            "a = ",
            "a = 1,",
            "a == 1",
            "(a, b) = (1, 2)",
            "a = 1 b = 2,,",
        ] {
            let parts = parse_assignments(bad);
            let compiles = parts.as_ref().is_ok_and(|parts| {
                parts
                    .iter()
                    .all(|p| parse(&bad[p.expr_span.clone()]).is_ok())
            });
            assert!(!compiles, "{bad}: {parts:?}");
        }
    }

    #[test]
    fn columns_read_as_in_create_table() {
        for (text, ty, not_null, default, expression) in [
            (
                "bigint not null default 0",
                "bigint",
                true,
                Some(("0", "0")),
                None,
            ),
            ("date", "date", false, None, None),
            ("text = event.key", "text", false, None, Some("event.key")),
            (
                "numeric(12,2) default 1.005 not null",
                "numeric(12,2)",
                true,
                Some(("1.01", "1.005")),
                None,
            ),
            (
                "text[] default '{}'::text[]",
                "text[]",
                false,
                Some(("{}", "'{}'::text[]")),
                None,
            ),
            ("timestamptz default null", "timestamptz", false, None, None),
            (
                "integer default -1",
                "integer",
                false,
                Some(("-1", "-1")),
                None,
            ),
            (
                "jsonb default '{\"b\":1, \"a\":2}'",
                "jsonb",
                false,
                Some(("{\"a\": 2, \"b\": 1}", "'{\"b\":1, \"a\":2}'")),
                None,
            ),
        ] {
            let column = parse_column(text).unwrap_or_else(|p| panic!("{text}: {p:?}"));
            let arena = Bump::new();
            let got = column.default.as_ref().map(|(cell, sql)| {
                (
                    to_text(cell.value(), &arena).unwrap_or("null"),
                    sql.as_str(),
                )
            });
            assert_eq!(
                (column.ty.to_string().as_str(), column.not_null, got),
                (ty, not_null, default),
                "{text}"
            );
            assert_eq!(column.expr_span.map(|s| &text[s]), expression, "{text}");
        }
        for bad in [
            "",
            "bigint primary key",
            "bigint default now()",
            "bigint default 'x'",
            "bigint default data.x",
            "bigin",
            "text unique",
            "bigint not null null",
        ] {
            assert!(parse_column(bad).is_err(), "{bad}");
        }
    }
}
