//! Compiled expressions: flat code over registers, and what it reads. Knows nothing of syntax; runs in [`super::machine`].

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use bumpalo::Bump;

use crate::event::{Event, Member};

use super::cell::Cell;
use super::error::EvalError;
use super::machine;
use super::quick::Quick;
use super::substitute::Input;
use super::typed::{BIGINT, EventField, Native};
use super::value::{Modifier, Scalar, Type, Value};

pub use super::machine::{Evaluation, Machine};

/// What an expression sees.
#[derive(Clone, Copy)]
pub struct Env<'a> {
    /// The row's cells, in the order of `Scope::columns`.
    pub row: &'a [Cell],
    /// The row before the event.
    pub old: &'a [Cell],
    /// In the order of `Scope::lookups`: the rows found; none where there is no such row.
    pub lookups: &'a [Option<&'a [Cell]>],
    pub event: &'a Event<'a>,
    /// By slot of `Scope::item`: the members of the element at hand.
    pub item: &'a [Member<'a>],
    /// The element's place, from 0.
    pub index: i64,
    /// Where results live that are in neither the row nor the record.
    pub arena: &'a Bump,
}

/// A checked and compiled expression.
#[derive(Debug)]
pub struct Program {
    pub(super) ops: Vec<Op>,
    pub(super) constants: Vec<Cell>,
    pub(super) casts: Vec<CastTo>,
    /// Of a traced program.
    pub(super) branches: Vec<Branch>,
    pub(super) registers: usize,
    pub(super) result: Type,
    /// Rising, each once; of the row itself.
    pub(super) columns: Vec<usize>,
    pub(super) reads_old: bool,
    pub(super) reads_lookup: bool,
    pub(super) is_event_key: bool,
    pub(super) quick: Option<Quick>,
    /// Of a traced program: the expression as written.
    pub(super) text: Option<Box<str>>,
    /// Of a traced program: the names in the text; none if they cannot be told apart.
    pub(super) inputs: Option<Vec<Input>>,
}

/// A result of a `case`, and whether it was ever asked for.
#[derive(Debug)]
pub(super) struct Branch {
    pub span: Range<usize>,
    pub taken: AtomicBool,
}

impl Program {
    /// Of a traced program: where in the text the results of its `case` expressions stand, and whether they have been taken.
    pub fn branches(&self) -> impl Iterator<Item = (Range<usize>, bool)> {
        let branches = self.branches.iter();
        branches.map(|branch| (branch.span.clone(), branch.taken.load(Ordering::Relaxed)))
    }

    /// Of a traced program: puts its branches where they stand in a larger text.
    pub fn place_branches(&mut self, place: impl Fn(Range<usize>) -> Range<usize>) {
        for branch in &mut self.branches {
            branch.span = place(branch.span.clone());
        }
    }

    /// The value for one event and row, in exactly the type of [`Program::result`], or PostgreSQL's error.
    pub fn evaluate<'a>(
        &'a self,
        env: &Env<'a>,
        machine: &mut Machine,
    ) -> Result<Value<'a>, EvalError> {
        machine::run(self, env, machine)
    }

    pub fn result(&self) -> Type {
        self.result
    }

    /// Of a traced program: the expression as written.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default().trim()
    }

    /// Tells programs apart while they stay where they are.
    pub fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Whether a column of the row is read (not `old.`).
    pub fn reads_row(&self) -> bool {
        !self.columns.is_empty()
    }

    pub fn reads_old(&self) -> bool {
        self.reads_old
    }

    /// Members of the payload, or of the element of `each` (`item`), that are read: slot, and as which type.
    pub fn members(&self, of_item: bool) -> impl Iterator<Item = (usize, Type)> {
        self.loads().filter_map(move |load| match load {
            Load::Member {
                slot,
                item,
                scalar,
                array,
            } if item == of_item => {
                let modifier = Modifier::None;
                let ty = Type {
                    scalar,
                    modifier,
                    array,
                };
                Some((usize::from(slot), ty))
            }
            Load::AddColumnMember { slot, .. } if !of_item => Some((usize::from(slot), BIGINT)),
            _ => None,
        })
    }

    /// The value, if it is the same whatever the row and the event.
    pub fn constant(&self) -> Option<&Cell> {
        match self.ops.as_slice() {
            [
                Op::Load {
                    load: Load::Constant { constant },
                    ..
                },
            ] => self.constants.get(usize::from(*constant)),
            _ => None,
        }
    }

    /// Whether a column of another table's row is read.
    pub fn reads_lookup(&self) -> bool {
        self.reads_lookup
    }

    /// Whether the value is `event.key` as it stands.
    pub fn is_event_key(&self) -> bool {
        self.is_event_key
    }

    fn loads(&self) -> impl Iterator<Item = Load> {
        self.ops.iter().filter_map(|op| match op {
            Op::Load { load, .. } => Some(*load),
            _ => None,
        })
    }

    /// Whether anything but constants is read.
    pub(super) fn reads_input(&self) -> bool {
        self.loads().any(|load| {
            matches!(
                load,
                Load::Event { .. }
                    | Load::Header { .. }
                    | Load::Index
                    | Load::Member { .. }
                    | Load::AddColumnMember { .. }
            )
        }) || self.reads_row()
            || self.reads_old
            || self.reads_lookup
    }

    /// The columns of the row that are read, rising.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }
}

/// A register's number.
pub(super) type Register = u16;

/// A cast with its target; too large to stand in an [`Op`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CastTo {
    pub ty: Type,
    pub explicit: bool,
}

/// What is read, as an expression of its own or into a register.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    Constant {
        constant: u16,
    },
    Column {
        column: u16,
    },
    Old {
        column: u16,
    },
    Lookup {
        lookup: u16,
        column: u16,
    },
    Event {
        field: EventField,
    },
    Header {
        slot: u16,
    },
    Index,
    Member {
        slot: u16,
        item: bool,
        scalar: Scalar,
        array: bool,
    },
    /// `column + data.member`, of bigint.
    AddColumnMember {
        column: u16,
        slot: u16,
        subtract: bool,
    },
}

/// One instruction. Operands of a call stand in neighbouring registers from `at` on, and the result replaces the first.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// Notes that this branch is taken.
    Branch {
        branch: u16,
    },
    Load {
        load: Load,
        to: Register,
    },
    Copy {
        from: Register,
        to: Register,
    },
    Cast {
        cast: u16,
        at: Register,
    },
    /// Null if one of the arguments is null, without a call.
    CallStrict {
        native: Native,
        at: Register,
        count: u16,
    },
    Call {
        native: Native,
        at: Register,
        count: u16,
    },
    /// `bigint + bigint`, and so on: the arithmetic of counters without a call.
    AddBigInt {
        at: Register,
    },
    SubtractBigInt {
        at: Register,
    },
    /// The same of `numeric`.
    AddNumeric {
        at: Register,
        subtract: bool,
    },
    /// A cast of `numeric` to `numeric(precision, scale)`.
    Fit {
        at: Register,
        precision: u16,
        scale: i16,
    },
    Not {
        at: Register,
    },
    And {
        at: Register,
    },
    Or {
        at: Register,
    },
    IsNull {
        at: Register,
        negated: bool,
    },
    IsBool {
        at: Register,
        value: Option<bool>,
        negated: bool,
    },
    Distinct {
        native: Native,
        at: Register,
        negated: bool,
    },
    Nullif {
        native: Native,
        at: Register,
    },
    Extreme {
        at: Register,
        count: u16,
        greatest: bool,
    },
    Array {
        at: Register,
        count: u16,
    },
    Quantified {
        native: Native,
        at: Register,
        all: bool,
    },
    Subscript {
        at: Register,
    },
    Jump {
        target: u32,
    },
    JumpIfFalse {
        at: Register,
        target: u32,
    },
    JumpIfTrue {
        at: Register,
        target: u32,
    },
    JumpUnlessTrue {
        at: Register,
        target: u32,
    },
    JumpIfPresent {
        at: Register,
        target: u32,
    },
    JumpIfNull {
        at: Register,
        target: u32,
    },
}
