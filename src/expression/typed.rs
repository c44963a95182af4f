//! The checked tree: names resolved, types and casts explicit. What compiling starts from.
//! Knows nothing of syntax and of the machine.

use std::ops::Range;

use bumpalo::Bump;

use super::cell::Cell;
use super::error::EvalError;
use super::value::{Modifier, Scalar, Type, Value};

/// The code behind an operator or function.
pub(super) type Native = for<'a> fn(&[Value<'a>], &'a Bump) -> Result<Value<'a>, EvalError>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ty {
    /// A string literal or null whose place has not decided yet.
    Unknown,
    /// A payload member (or a `coalesce`, `case`, … of nothing else) whose place has not decided yet.
    Untyped,
    Is(Type),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventField {
    Type,
    Id,
    Key,
    Subject,
    Source,
    Time,
    Version,
    Topic,
    Partition,
    Offset,
    Timestamp,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub kind: Kind,
    pub ty: Ty,
    pub span: Range<usize>,
}

/// An operator or function with the properties that folding constants needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Code {
    /// PostgreSQL's name of it.
    pub name: &'static str,
    pub native: Native,
    pub strict: bool,
    pub immutable: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Constant(Cell),
    /// Until its place decides; `None` is null.
    Literal(Option<String>),
    /// A number as written: a member beside it is numeric.
    Number(Cell),
    Column(usize),
    Old(usize),
    /// A column of the row that a lookup of the rule found.
    Lookup {
        lookup: usize,
        column: usize,
    },
    Event(EventField),
    Header(usize),
    Index,
    Member {
        slot: usize,
        item: bool,
    },
    Cast {
        of: Box<Node>,
        from: Type,
        to: Type,
        explicit: bool,
    },
    Call(Code, Vec<Node>),
    Not(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    IsNull {
        of: Box<Node>,
        negated: bool,
    },
    IsBool {
        of: Box<Node>,
        value: Option<bool>,
        negated: bool,
    },
    Distinct {
        equal: Code,
        left: Box<Node>,
        right: Box<Node>,
        negated: bool,
    },
    Nullif {
        equal: Code,
        left: Box<Node>,
        right: Box<Node>,
    },
    /// A `nullif` whose type is not decided.
    UntypedNullif(Box<Node>, Box<Node>),
    Coalesce(Vec<Node>),
    Extreme {
        greatest: bool,
        of: Vec<Node>,
    },
    /// With an operand, the conditions hold `Operand` where it stands.
    Case {
        operand: Option<Box<Node>>,
        branches: Vec<(Node, Node)>,
        otherwise: Box<Node>,
    },
    /// The operand of the innermost `case x when …` around it.
    Operand,
    Array(Vec<Node>),
    Quantified {
        code: Code,
        left: Box<Node>,
        array: Box<Node>,
        all: bool,
    },
    Subscript(Box<Node>, Box<Node>),
}

impl Node {
    pub fn new(kind: Kind, ty: Ty, span: Range<usize>) -> Node {
        Node { kind, ty, span }
    }

    pub fn typed(kind: Kind, ty: Type, span: Range<usize>) -> Node {
        Node::new(kind, Ty::Is(ty), span)
    }

    pub fn null(ty: Type, span: Range<usize>) -> Node {
        Node::typed(Kind::Constant(Cell::NULL), ty, span)
    }

    /// How many nodes there are, with this one.
    pub fn size(&self) -> usize {
        let mut size = 1;
        self.for_each_child(&mut |child| size += child.size());
        size
    }

    pub fn for_each_child(&self, see: &mut dyn FnMut(&Node)) {
        match &self.kind {
            Kind::Constant(_)
            | Kind::Literal(_)
            | Kind::Number(_)
            | Kind::Column(_)
            | Kind::Old(_)
            | Kind::Lookup { .. }
            | Kind::Event(_)
            | Kind::Header(_)
            | Kind::Index
            | Kind::Member { .. }
            | Kind::Operand => {}
            Kind::Cast { of, .. }
            | Kind::Not(of)
            | Kind::IsNull { of, .. }
            | Kind::IsBool { of, .. } => see(of),
            Kind::Call(_, list)
            | Kind::And(list)
            | Kind::Or(list)
            | Kind::Coalesce(list)
            | Kind::Array(list)
            | Kind::Extreme { of: list, .. } => list.iter().for_each(see),
            Kind::Distinct { left, right, .. }
            | Kind::Nullif { left, right, .. }
            | Kind::UntypedNullif(left, right)
            | Kind::Subscript(left, right)
            | Kind::Quantified {
                left, array: right, ..
            } => {
                see(left);
                see(right);
            }
            Kind::Case {
                operand,
                branches,
                otherwise,
            } => {
                operand.iter().for_each(|node| see(node));
                for (when, then) in branches {
                    see(when);
                    see(then);
                }
                see(otherwise);
            }
        }
    }

    pub fn is_bare_number(&self) -> bool {
        matches!(self.kind, Kind::Number(_))
    }

    pub fn constant(&self) -> Option<&Cell> {
        match &self.kind {
            Kind::Constant(cell) | Kind::Number(cell) => Some(cell),
            _ => None,
        }
    }

    /// The type; undecided nodes count as text, which only matters after a problem was reported.
    pub fn decided(&self) -> Type {
        match self.ty {
            Ty::Is(ty) => ty,
            Ty::Unknown | Ty::Untyped => scalar(Scalar::Text),
        }
    }
}

pub(super) const fn scalar(scalar: Scalar) -> Type {
    Type {
        scalar,
        modifier: Modifier::None,
        array: false,
    }
}

/// The type without its modifier: what an expression of it has.
pub(super) fn plain(ty: Type) -> Type {
    Type {
        modifier: Modifier::None,
        ..ty
    }
}

pub(super) fn array_type(element: Type) -> Type {
    Type {
        array: true,
        ..element
    }
}

pub(super) fn element_type(array: Type) -> Type {
    Type {
        array: false,
        ..array
    }
}

pub(super) const BOOLEAN: Type = scalar(Scalar::Boolean);
pub(super) const INTEGER: Type = scalar(Scalar::Integer);
pub(super) const BIGINT: Type = scalar(Scalar::BigInt);
pub(super) const NUMERIC: Type = scalar(Scalar::Numeric);
pub(super) const TEXT: Type = scalar(Scalar::Text);
pub(super) const TIMESTAMPTZ: Type = scalar(Scalar::TimestampTz);
