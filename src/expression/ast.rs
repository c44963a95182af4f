//! The syntax tree of an expression: what was written, nothing resolved. Knows nothing of types.

use std::ops::Range;

use super::value::Type;

/// The deepest expression tree; bounds every recursion over it.
pub const EXPRESSION_DEPTH_MAX: usize = 100;

#[derive(Debug, Clone)]
pub struct Expr {
    pub kind: Kind,
    pub span: Range<usize>,
    /// Levels below and including this node.
    pub depth: usize,
}

/// One step of a dotted name. A subscript is a part too: `items[0]` is `items`, `0`.
#[derive(Debug, Clone)]
pub struct Part {
    pub folded: String,
    pub written: String,
    pub span: Range<usize>,
}

#[derive(Debug, Clone)]
pub struct Branch {
    pub when: Expr,
    pub then: Expr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    Coalesce,
    Nullif,
    Greatest,
    Least,
}

#[derive(Debug, Clone)]
pub enum Kind {
    Null,
    Bool(bool),
    /// With its sign where a minus stands directly before it, as PostgreSQL's grammar does.
    Number(String),
    /// A string literal: of type `unknown` until its place decides.
    Text(String),
    Name(Vec<Part>),
    Subscript(Box<Expr>, Box<Expr>),
    Unary(String, Box<Expr>),
    Binary(String, Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    IsNull {
        of: Box<Expr>,
        negated: bool,
    },
    /// `is [not] true | false | unknown`; unknown is `None`.
    IsBool {
        of: Box<Expr>,
        value: Option<bool>,
        negated: bool,
    },
    IsDistinct {
        left: Box<Expr>,
        right: Box<Expr>,
        negated: bool,
    },
    In {
        of: Box<Expr>,
        list: Vec<Expr>,
        negated: bool,
    },
    Between {
        of: Box<Expr>,
        low: Box<Expr>,
        high: Box<Expr>,
        negated: bool,
        symmetric: bool,
    },
    /// `left op any (array)` or `all`.
    Quantified {
        left: Box<Expr>,
        op: String,
        array: Box<Expr>,
        all: bool,
    },
    Case {
        operand: Option<Box<Expr>>,
        branches: Vec<Branch>,
        otherwise: Option<Box<Expr>>,
    },
    Cast(Box<Expr>, Type),
    /// A function by name; `name_span` marks it.
    Call {
        name: String,
        name_span: Range<usize>,
        arguments: Vec<Expr>,
    },
    Special(Special, Vec<Expr>),
    Array(Vec<Expr>),
}

impl Expr {
    pub fn new(kind: Kind, span: Range<usize>) -> Expr {
        let mut deepest = 0;
        kind.for_each_child(&mut |child| deepest = deepest.max(child.depth));
        Expr {
            kind,
            span,
            depth: deepest + 1,
        }
    }

    /// Boxes children briefly: `a op b` over both spans.
    pub fn binary(op: &str, left: Expr, right: Expr) -> Expr {
        let span = left.span.start..right.span.end;
        Expr::new(
            Kind::Binary(op.to_owned(), Box::new(left), Box::new(right)),
            span,
        )
    }
}

impl Kind {
    pub fn for_each_child(&self, see: &mut dyn FnMut(&Expr)) {
        match self {
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::Name(_) => {}
            Kind::Unary(_, of) | Kind::Not(of) | Kind::Cast(of, _) => see(of),
            Kind::IsNull { of, .. } | Kind::IsBool { of, .. } => see(of),
            Kind::Subscript(left, right) | Kind::Binary(_, left, right) => {
                see(left);
                see(right);
            }
            Kind::IsDistinct { left, right, .. } => {
                see(left);
                see(right);
            }
            Kind::Quantified { left, array, .. } => {
                see(left);
                see(array);
            }
            Kind::And(list) | Kind::Or(list) | Kind::Array(list) | Kind::Special(_, list) => {
                list.iter().for_each(see)
            }
            Kind::Call { arguments, .. } => arguments.iter().for_each(see),
            Kind::In { of, list, .. } => {
                see(of);
                list.iter().for_each(see);
            }
            Kind::Between { of, low, high, .. } => {
                see(of);
                see(low);
                see(high);
            }
            Kind::Case {
                operand,
                branches,
                otherwise,
            } => {
                operand.iter().for_each(|e| see(e));
                for branch in branches {
                    see(&branch.when);
                    see(&branch.then);
                }
                otherwise.iter().for_each(|e| see(e));
            }
        }
    }
}
