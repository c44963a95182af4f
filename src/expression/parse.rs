//! Tokens to a syntax tree, by the precedence table of PostgreSQL's `gram.y`.
//!
//! This is a parser of our own over sqlparser's tokens: sqlparser's reads `-2 ^ 2` as `-(2 ^ 2)`, accepts `a < b < c`,
//! refuses key words as member names, and keeps too few spans to mark a problem.
//! Knows nothing of names and types beyond how they are written.

use std::ops::Range;

use super::ast::{EXPRESSION_DEPTH_MAX, Expr, Kind};
use super::lex::{Tok, Token, lex};
use super::problem::Problem;

/// Binding strength, as in `gram.y` (PostgreSQL 15), loosest first.
pub(super) mod level {
    pub const ANY: u8 = 0;
    pub const OR: u8 = 1;
    pub const AND: u8 = 2;
    pub const NOT: u8 = 3;
    pub const IS: u8 = 4;
    pub const COMPARE: u8 = 5;
    pub const LIKE: u8 = 6;
    pub const OPERATOR: u8 = 8;
    pub const ADD: u8 = 9;
    pub const MULTIPLY: u8 = 10;
    pub const POWER: u8 = 11;
    pub const AT: u8 = 12;
    pub const COLLATE: u8 = 13;
    pub const UNARY: u8 = 14;
    pub const CAST: u8 = 16;
}

pub(super) type Parsed<T> = Result<T, Problem>;

/// How much of the grammar is allowed: `b_expr` is what `between`, `position` and `default` take before their key word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Grammar {
    Full,
    Restricted,
}

pub(super) struct Parser<'t> {
    pub text: &'t str,
    pub tokens: Vec<Token<'t>>,
    pub at: usize,
    depth: usize,
}

/// Parses the whole text as one expression.
pub fn parse(text: &str) -> Result<Expr, Problem> {
    Parser::new(text)?.whole()
}

/// What stands between two operands.
enum Infix<'t> {
    Or,
    And,
    Not,
    Is,
    IsNull(bool),
    Between,
    In,
    Like(&'static str),
    Similar,
    Operator(&'t str, u8),
    At,
    Collate,
    Cast,
}

impl Infix<'_> {
    fn level(&self) -> u8 {
        match self {
            Infix::Or => level::OR,
            Infix::And => level::AND,
            Infix::Is | Infix::IsNull(_) => level::IS,
            Infix::Not | Infix::Between | Infix::In | Infix::Like(_) | Infix::Similar => {
                level::LIKE
            }
            Infix::Operator(_, level) => *level,
            Infix::At => level::AT,
            Infix::Collate => level::COLLATE,
            Infix::Cast => level::CAST,
        }
    }

    /// Part of `b_expr`.
    fn restricted(&self) -> bool {
        matches!(self, Infix::Operator(..) | Infix::Cast | Infix::Is)
    }
}

impl<'t> Parser<'t> {
    pub fn new(text: &'t str) -> Parsed<Parser<'t>> {
        Ok(Parser::over(text, lex(text)?))
    }

    /// Over tokens of the text, the last one `End`.
    pub fn over(text: &'t str, tokens: Vec<Token<'t>>) -> Parser<'t> {
        Parser {
            text,
            tokens,
            at: 0,
            depth: 0,
        }
    }

    /// The whole text as one expression.
    pub fn whole(mut self) -> Parsed<Expr> {
        let expr = self.expr()?;
        self.expect_end()?;
        Ok(expr)
    }

    pub fn expr(&mut self) -> Parsed<Expr> {
        self.expr_above(level::ANY, Grammar::Full)
    }

    /// An expression whose loosest operator binds at least as strongly as `least`.
    pub fn expr_above(&mut self, least: u8, grammar: Grammar) -> Parsed<Expr> {
        self.depth += 1;
        if self.depth > EXPRESSION_DEPTH_MAX {
            return Err(self.too_deep(self.span()));
        }
        let mut left = self.prefix(grammar)?;
        // `a = b = c` has no meaning in PostgreSQL: these levels do not chain.
        let mut unchainable = None;
        while let Some(infix) = self.infix(grammar) {
            let level = infix.level();
            if level < least {
                break;
            }
            if unchainable == Some(level) {
                return Err(self.unexpected());
            }
            let chains = !matches!(level, level::IS | level::COMPARE | level::LIKE);
            let (expr, closed) = self.after(left, infix, grammar)?;
            if expr.depth > EXPRESSION_DEPTH_MAX {
                return Err(self.too_deep(expr.span));
            }
            left = expr;
            unchainable = (!chains && !closed).then_some(level);
        }
        self.depth -= 1;
        Ok(left)
    }

    fn prefix(&mut self, grammar: Grammar) -> Parsed<Expr> {
        let start = self.span().start;
        if let Tok::Op(op) = &self.token().tok {
            let op = *op;
            self.at += 1;
            let signs = matches!(op, "+" | "-");
            if !signs
                && matches!(
                    op,
                    "*" | "/" | "%" | "^" | "<" | ">" | "=" | "<=" | ">=" | "<>" | "!="
                )
            {
                self.at -= 1;
                return Err(self.unexpected());
            }
            let least = if signs {
                level::UNARY
            } else {
                level::OPERATOR + 1
            };
            let operand = self.expr_above(least, grammar)?;
            return Ok(signed(op, operand, start));
        }
        if grammar == Grammar::Full && self.is_word("not") {
            self.at += 1;
            let of = self.expr_above(level::NOT, grammar)?;
            let span = start..of.span.end;
            return Ok(Expr::new(Kind::Not(Box::new(of)), span));
        }
        self.primary()
    }

    /// Looks at what follows an operand, without taking it.
    fn infix(&self, grammar: Grammar) -> Option<Infix<'t>> {
        let infix = match &self.token().tok {
            Tok::Op(op) => Infix::Operator(op, operator_level(op)),
            Tok::DoubleColon => Infix::Cast,
            Tok::Word {
                folded,
                quoted: false,
                ..
            } => match folded.as_ref() {
                "or" => Infix::Or,
                "and" => Infix::And,
                "not" => Infix::Not,
                "is" => Infix::Is,
                "isnull" => Infix::IsNull(false),
                "notnull" => Infix::IsNull(true),
                "between" => Infix::Between,
                "in" => Infix::In,
                "like" => Infix::Like("~~"),
                "ilike" => Infix::Like("~~*"),
                "similar" => Infix::Similar,
                "at" => Infix::At,
                "collate" => Infix::Collate,
                _ => return None,
            },
            _ => return None,
        };
        (grammar == Grammar::Full || infix.restricted()).then_some(infix)
    }

    /// Takes the operator and its right side. The flag tells that the result ends in a token of its own (`is null`),
    /// so that the same level may follow.
    fn after(&mut self, left: Expr, infix: Infix<'t>, grammar: Grammar) -> Parsed<(Expr, bool)> {
        self.at += 1;
        Ok(match infix {
            Infix::Or | Infix::And => {
                let is_and = matches!(infix, Infix::And);
                let right = self.expr_above(infix.level() + 1, grammar)?;
                (logical(is_and, left, right), false)
            }
            Infix::Operator(op, level) => self.operator(left, op, level, grammar)?,
            Infix::Cast => {
                let (ty, end) = self.type_name()?;
                let span = left.span.start..end;
                (Expr::new(Kind::Cast(Box::new(left), ty), span), true)
            }
            Infix::IsNull(negated) => (self.closed(left, |of| Kind::IsNull { of, negated }), true),
            Infix::Is => self.is(left, grammar)?,
            Infix::Not => {
                let inner = match self.infix(grammar) {
                    Some(
                        inner @ (Infix::Between | Infix::In | Infix::Like(_) | Infix::Similar),
                    ) => inner,
                    _ => return Err(self.unexpected()),
                };
                self.at += 1;
                self.matching(left, inner, true)?
            }
            Infix::Between | Infix::In | Infix::Like(_) | Infix::Similar => {
                self.matching(left, infix, false)?
            }
            Infix::At => {
                self.expect_word("time")?;
                self.expect_word("zone")?;
                let zone = self.expr_above(level::AT + 1, grammar)?;
                let span = left.span.start..zone.span.end;
                let kind = Kind::Call {
                    name: "timezone".to_owned(),
                    name_span: span.clone(),
                    arguments: vec![zone, left],
                };
                (Expr::new(kind, span), false)
            }
            Infix::Collate => {
                let message = "collations are not supported: text compares by its bytes";
                return Err(Problem::new(
                    self.previous().span.clone(),
                    "unsupported",
                    message,
                ));
            }
        })
    }

    fn operator(
        &mut self,
        left: Expr,
        op: &str,
        level: u8,
        grammar: Grammar,
    ) -> Parsed<(Expr, bool)> {
        let quantifier = ["any", "some", "all"]
            .into_iter()
            .find(|word| grammar == Grammar::Full && self.is_word(word));
        let Some(quantifier) = quantifier else {
            let right = self.expr_above(level + 1, grammar)?;
            return Ok((Expr::binary(canonical(op), left, right), false));
        };
        self.at += 1;
        Ok((
            self.quantified(left, canonical(op), quantifier == "all")?,
            true,
        ))
    }

    fn quantified(&mut self, left: Expr, op: &str, all: bool) -> Parsed<Expr> {
        self.expect(&Tok::LeftParen)?;
        self.refuse_subquery()?;
        let array = self.expr()?;
        let end = self.expect(&Tok::RightParen)?.end;
        let span = left.span.start..end;
        let kind = Kind::Quantified {
            left: Box::new(left),
            op: op.to_owned(),
            array: Box::new(array),
            all,
        };
        Ok(Expr::new(kind, span))
    }

    fn is(&mut self, left: Expr, grammar: Grammar) -> Parsed<(Expr, bool)> {
        let negated = self.take_word("not");
        if self.take_word("distinct") {
            self.expect_word("from")?;
            let right = self.expr_above(level::IS + 1, grammar)?;
            let span = left.span.start..right.span.end;
            let (left, right) = (Box::new(left), Box::new(right));
            return Ok((
                Expr::new(
                    Kind::IsDistinct {
                        left,
                        right,
                        negated,
                    },
                    span,
                ),
                false,
            ));
        }
        for (word, value) in [
            ("true", Some(true)),
            ("false", Some(false)),
            ("unknown", None),
        ] {
            if grammar == Grammar::Full && self.take_word(word) {
                return Ok((
                    self.closed(left, |of| Kind::IsBool { of, value, negated }),
                    true,
                ));
            }
        }
        if grammar == Grammar::Full && self.take_word("null") {
            return Ok((self.closed(left, |of| Kind::IsNull { of, negated }), true));
        }
        let hint = "after `is` stand null, true, false, unknown or distinct from";
        Err(self.unexpected().with_hint(hint))
    }

    /// `between`, `in`, `like`, whose key word has been taken.
    fn matching(&mut self, left: Expr, infix: Infix<'t>, negated: bool) -> Parsed<(Expr, bool)> {
        match infix {
            Infix::Between => {
                let symmetric = self.take_word("symmetric");
                if !symmetric {
                    // The default, said aloud.
                    self.take_word("asymmetric");
                }
                let low = self.expr_above(level::ANY, Grammar::Restricted)?;
                self.expect_word("and")?;
                let high = self.expr_above(level::LIKE + 1, Grammar::Full)?;
                let span = left.span.start..high.span.end;
                let (of, low, high) = (Box::new(left), Box::new(low), Box::new(high));
                let kind = Kind::Between {
                    of,
                    low,
                    high,
                    negated,
                    symmetric,
                };
                Ok((Expr::new(kind, span), false))
            }
            Infix::In => {
                self.expect(&Tok::LeftParen)?;
                self.refuse_subquery()?;
                let list = self.list(&Tok::RightParen)?;
                let span = left.span.start..self.previous().span.end;
                if list.is_empty() {
                    return Err(Problem::new(
                        self.previous().span.clone(),
                        "syntax",
                        "`in ()` needs at least one value",
                    ));
                }
                let of = Box::new(left);
                Ok((Expr::new(Kind::In { of, list, negated }, span), true))
            }
            Infix::Like(op) => self.like(left, op, negated),
            _ => {
                let message = "`similar to` is not supported";
                let problem = Problem::new(self.previous().span.clone(), "unsupported", message);
                Err(problem.with_hint("use like"))
            }
        }
    }

    fn like(&mut self, left: Expr, op: &str, negated: bool) -> Parsed<(Expr, bool)> {
        let op = if negated {
            format!("!{op}")
        } else {
            op.to_owned()
        };
        if let Some(quantifier) = ["any", "some", "all"]
            .into_iter()
            .find(|word| self.is_word(word))
        {
            self.at += 1;
            return Ok((self.quantified(left, &op, quantifier == "all")?, true));
        }
        let mut pattern = self.expr_above(level::LIKE + 1, Grammar::Full)?;
        if self.take_word("escape") {
            let escape = self.expr_above(level::LIKE + 1, Grammar::Full)?;
            let span = pattern.span.start..escape.span.end;
            let kind = Kind::Call {
                name: "like_escape".to_owned(),
                name_span: span.clone(),
                arguments: vec![pattern, escape],
            };
            pattern = Expr::new(kind, span);
        }
        Ok((Expr::binary(&op, left, pattern), false))
    }

    fn closed(&self, left: Expr, kind: impl FnOnce(Box<Expr>) -> Kind) -> Expr {
        let span = left.span.start..self.previous().span.end;
        Expr::new(kind(Box::new(left)), span)
    }

    /// Expressions up to `close`, which is taken.
    pub fn list(&mut self, close: &Tok<'_>) -> Parsed<Vec<Expr>> {
        let mut list = Vec::new();
        if self.take(close) {
            return Ok(list);
        }
        loop {
            list.push(self.expr()?);
            if self.take(close) {
                return Ok(list);
            }
            self.expect(&Tok::Comma)?;
        }
    }

    pub fn refuse_subquery(&self) -> Parsed<()> {
        if ["select", "with", "values", "table"]
            .into_iter()
            .any(|word| self.is_word(word))
            && self.peek(1) != Some(&Tok::LeftParen)
        {
            let message = "subqueries are not part of the fold language: an expression sees one event and one row";
            return Err(Problem::new(self.span(), "unsupported", message));
        }
        Ok(())
    }

    pub(super) fn too_deep(&self, span: Range<usize>) -> Problem {
        let message = format!("the expression is nested deeper than {EXPRESSION_DEPTH_MAX} levels");
        Problem::new(span, "too-deep", message)
    }
}

fn operator_level(op: &str) -> u8 {
    match op {
        "<" | ">" | "=" | "<=" | ">=" | "<>" | "!=" => level::COMPARE,
        "+" | "-" => level::ADD,
        "*" | "/" | "%" => level::MULTIPLY,
        "^" => level::POWER,
        _ => level::OPERATOR,
    }
}

fn canonical(op: &str) -> &str {
    if op == "!=" { "<>" } else { op }
}

/// A minus before a number belongs to the number, so that `-2147483648` is an integer.
fn signed(op: &str, operand: Expr, start: usize) -> Expr {
    let span = start..operand.span.end;
    let kind = match operand.kind {
        Kind::Number(number) if op == "-" => Kind::Number(match number.strip_prefix('-') {
            Some(positive) => positive.to_owned(),
            None => format!("-{number}"),
        }),
        _ => Kind::Unary(op.to_owned(), Box::new(operand)),
    };
    Expr::new(kind, span)
}

/// `a and b and c` is one list: PostgreSQL flattens it too, and long conditions stay shallow.
fn logical(is_and: bool, left: Expr, right: Expr) -> Expr {
    let span = left.span.start..right.span.end;
    let mut list = match left.kind {
        Kind::And(list) if is_and => list,
        Kind::Or(list) if !is_and => list,
        _ => vec![left],
    };
    list.push(right);
    Expr::new(
        if is_and {
            Kind::And(list)
        } else {
            Kind::Or(list)
        },
        span,
    )
}
