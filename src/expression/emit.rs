//! Checked tree to flat code. Registers are used as a stack: an expression leaves its value in the register that it was
//! given and may use all above it. Knows nothing of how values are computed.

use std::sync::atomic::AtomicBool;

use super::cell::Cell;
use super::program::{Branch, CastTo, Load, Op, Program, Register};
use super::quick::Quick;
use super::typed::{BIGINT, EventField, Kind, Node, TEXT, plain};
use super::value::{Modifier, Scalar, Type, Value};

/// Code longer than this cannot come from an expression of [`super::EXPRESSION_BYTES_MAX`] bytes.
const REGISTERS_MAX: usize = Register::MAX as usize;

/// Compiles a checked tree of the given result type; `None` if it needs more registers than there are. `traced`: with
/// instructions that note which branches are taken.
pub(super) fn emit(node: &Node, result: Type, traced: bool) -> Option<Program> {
    let mut compiler = Compiler {
        program: Program {
            ops: Vec::new(),
            constants: Vec::new(),
            casts: Vec::new(),
            branches: Vec::new(),
            registers: 0,
            result,
            columns: Vec::new(),
            reads_old: false,
            reads_lookup: false,
            is_event_key: is_event_key(node),
            quick: None,
            text: None,
            inputs: None,
        },
        operands: Vec::new(),
        traced,
    };
    compiler.node(node, 0)?;
    let mut program = compiler.program;
    program.columns.sort_unstable();
    program.columns.dedup();
    program.quick = Quick::of(&program);
    Some(program)
}

fn is_event_key(node: &Node) -> bool {
    match &node.kind {
        Kind::Event(EventField::Key) => true,
        Kind::Cast { of, to, .. } => is_string(*to) && is_event_key(of),
        _ => false,
    }
}

fn is_string(ty: Type) -> bool {
    !ty.array
        && ty.modifier == Modifier::None
        && matches!(ty.scalar, Scalar::Text | Scalar::Varchar)
}

struct Compiler {
    program: Program,
    /// Registers of the operands of the `case` around.
    operands: Vec<Register>,
    traced: bool,
}

impl Compiler {
    fn emit(&mut self, op: Op) -> usize {
        self.program.ops.push(op);
        self.program.ops.len() - 1
    }

    fn here(&self) -> u32 {
        self.program.ops.len() as u32
    }

    /// Points earlier jumps to the next instruction.
    fn land(&mut self, jumps: &[usize]) {
        let here = self.here();
        for jump in jumps {
            match &mut self.program.ops[*jump] {
                Op::Jump { target }
                | Op::JumpIfFalse { target, .. }
                | Op::JumpIfTrue { target, .. }
                | Op::JumpUnlessTrue { target, .. }
                | Op::JumpIfPresent { target, .. }
                | Op::JumpIfNull { target, .. } => *target = here,
                other => unreachable!("not a jump: {other:?}"),
            }
        }
    }

    fn constant(&mut self, cell: &Cell) -> Option<u16> {
        self.program.constants.push(cell.clone());
        u16::try_from(self.program.constants.len() - 1).ok()
    }

    fn nodes(&mut self, list: &[Node], at: Register) -> Option<()> {
        for (offset, node) in list.iter().enumerate() {
            self.node(node, at.checked_add(u16::try_from(offset).ok()?)?)?;
        }
        Some(())
    }

    fn node(&mut self, node: &Node, at: Register) -> Option<()> {
        if usize::from(at) + 1 >= REGISTERS_MAX {
            return None;
        }
        self.program.registers = self.program.registers.max(usize::from(at) + 1);
        match &node.kind {
            Kind::Constant(cell) | Kind::Number(cell) => {
                let constant = self.constant(cell)?;
                self.load(Load::Constant { constant }, at);
            }
            // A literal that nothing asked about, as in `null is null`.
            Kind::Literal(text) => {
                let value = text.as_deref().map_or(Value::Null, Value::Text);
                let constant = self.constant(&Cell::from_value(value))?;
                self.load(Load::Constant { constant }, at);
            }
            Kind::Column(_)
            | Kind::Old(_)
            | Kind::Lookup { .. }
            | Kind::Event(_)
            | Kind::Header(_)
            | Kind::Index
            | Kind::Member { .. }
            | Kind::Operand => self.input(node, at)?,
            Kind::Cast {
                of, to, explicit, ..
            } => {
                self.node(of, at)?;
                self.cast(of.decided(), *to, *explicit, at)?;
            }
            Kind::Call(code, list) => self.call(code, list, at)?,
            Kind::And(list) => self.logic(list, at, true)?,
            Kind::Or(list) => self.logic(list, at, false)?,
            Kind::Coalesce(list) => self.coalesce(list, at)?,
            Kind::Extreme { greatest, of } => {
                self.nodes(of, at)?;
                let (count, greatest) = (of.len() as u16, *greatest);
                self.emit(Op::Extreme {
                    at,
                    count,
                    greatest,
                });
            }
            Kind::Case {
                operand,
                branches,
                otherwise,
            } => self.case(operand.as_deref(), branches, otherwise, at)?,
            Kind::Array(list) => {
                self.nodes(list, at)?;
                let count = list.len() as u16;
                self.emit(Op::Array { at, count });
            }
            _ => self.operator(node, at)?,
        }
        Some(())
    }

    /// What takes one or two values and is no function.
    fn operator(&mut self, node: &Node, at: Register) -> Option<()> {
        match &node.kind {
            Kind::Not(of) => {
                self.node(of, at)?;
                self.emit(Op::Not { at });
            }
            Kind::IsNull { of, negated } => {
                self.node(of, at)?;
                self.emit(Op::IsNull {
                    at,
                    negated: *negated,
                });
            }
            Kind::IsBool { of, value, negated } => {
                self.node(of, at)?;
                let (value, negated) = (*value, *negated);
                self.emit(Op::IsBool { at, value, negated });
            }
            Kind::Distinct {
                equal,
                left,
                right,
                negated,
            } => {
                self.pair(left, right, at)?;
                let (native, negated) = (equal.native, *negated);
                self.emit(Op::Distinct {
                    native,
                    at,
                    negated,
                });
            }
            Kind::Nullif { equal, left, right } => {
                self.pair(left, right, at)?;
                self.emit(Op::Nullif {
                    native: equal.native,
                    at,
                });
            }
            Kind::UntypedNullif(left, right) | Kind::Subscript(left, right) => {
                // The index of a null array is not looked at.
                self.node(left, at)?;
                let end = self.emit(Op::JumpIfNull { at, target: 0 });
                self.node(right, at + 1)?;
                self.emit(Op::Subscript { at });
                self.land(&[end]);
            }
            Kind::Quantified {
                code,
                left,
                array,
                all,
            } => {
                self.pair(left, array, at)?;
                let (native, all) = (code.native, *all);
                self.emit(Op::Quantified { native, at, all });
            }
            other => unreachable!("no operator: {other:?}"),
        }
        Some(())
    }

    fn add_bigint(&mut self, subtract: bool, at: Register) {
        self.emit(match subtract {
            false => Op::AddBigInt { at },
            true => Op::SubtractBigInt { at },
        });
    }

    fn pair(&mut self, left: &Node, right: &Node, at: Register) -> Option<()> {
        self.node(left, at)?;
        self.node(right, at + 1)
    }

    fn input(&mut self, node: &Node, to: Register) -> Option<()> {
        let load = match &node.kind {
            Kind::Column(column) => {
                self.program.columns.push(*column);
                Load::Column {
                    column: u16::try_from(*column).ok()?,
                }
            }
            Kind::Old(column) => {
                self.program.reads_old = true;
                Load::Old {
                    column: u16::try_from(*column).ok()?,
                }
            }
            Kind::Lookup { lookup, column } => {
                self.program.reads_lookup = true;
                Load::Lookup {
                    lookup: u16::try_from(*lookup).ok()?,
                    column: u16::try_from(*column).ok()?,
                }
            }
            Kind::Event(field) => Load::Event { field: *field },
            Kind::Header(slot) => Load::Header {
                slot: u16::try_from(*slot).ok()?,
            },
            Kind::Member { slot, item } => {
                let ty = node.decided();
                Load::Member {
                    slot: u16::try_from(*slot).ok()?,
                    item: *item,
                    scalar: ty.scalar,
                    array: ty.array,
                }
            }
            Kind::Operand => {
                let from = *self.operands.last()?;
                self.emit(Op::Copy { from, to });
                return Some(());
            }
            _ => Load::Index,
        };
        self.load(load, to);
        Some(())
    }

    fn load(&mut self, load: Load, to: Register) {
        self.emit(Op::Load { load, to });
    }

    fn cast(&mut self, from: Type, to: Type, explicit: bool, at: Register) -> Option<()> {
        // Text and varchar are one value; so are arrays of them.
        let strings = |ty: Type| matches!(ty.scalar, Scalar::Text | Scalar::Varchar);
        let same =
            from.array == to.array && (from.scalar == to.scalar || (strings(from) && strings(to)));
        if same && to.modifier == Modifier::None {
            return Some(());
        }
        if let (true, false, Modifier::Numeric { precision, scale }) = (
            from.scalar == Scalar::Numeric && same,
            to.array,
            to.modifier,
        ) {
            self.emit(Op::Fit {
                at,
                precision,
                scale,
            });
            return Some(());
        }
        self.program.casts.push(CastTo { ty: to, explicit });
        let cast = u16::try_from(self.program.casts.len() - 1).ok()?;
        self.emit(Op::Cast { cast, at });
        Some(())
    }

    fn call(&mut self, code: &super::typed::Code, list: &[Node], at: Register) -> Option<()> {
        let subtract = matches!(code.name, "int8mi" | "int84mi");
        if let ([left, right], "int84pl" | "int84mi") = (list, code.name)
            && let Kind::Constant(cell) | Kind::Number(cell) = &right.kind
            && let Value::Int32(number) = cell.value()
        {
            // `column + 1`.
            let mut right = right.clone();
            right.kind = Kind::Constant(Cell::from_value(Value::Int64(i64::from(number))));
            self.pair(left, &right, at)?;
            self.add_bigint(subtract, at);
            return Some(());
        }
        if let ([left, right], "int8pl" | "int8mi") = (list, code.name) {
            if let (Kind::Column(column), Kind::Member { slot, item: false }) =
                (&left.kind, &right.kind)
                && plain(right.decided()) == BIGINT
            {
                self.program.columns.push(*column);
                let (column, slot) = (u16::try_from(*column).ok()?, u16::try_from(*slot).ok()?);
                let load = Load::AddColumnMember {
                    column,
                    slot,
                    subtract,
                };
                self.load(load, at);
                return Some(());
            }
            self.pair(left, right, at)?;
            self.add_bigint(subtract, at);
            return Some(());
        }
        if let ([left, right], "numeric_add" | "numeric_sub") = (list, code.name) {
            self.pair(left, right, at)?;
            let subtract = code.name == "numeric_sub";
            self.emit(Op::AddNumeric { at, subtract });
            return Some(());
        }
        self.nodes(list, at)?;
        let (native, count) = (code.native, u16::try_from(list.len()).ok()?);
        self.program.registers = self.program.registers.max(usize::from(at) + 1);
        self.emit(if code.strict {
            Op::CallStrict { native, at, count }
        } else {
            Op::Call { native, at, count }
        });
        Some(())
    }

    /// Left to right, stopping at the first that decides, as PostgreSQL's executor does.
    fn logic(&mut self, list: &[Node], at: Register, is_and: bool) -> Option<()> {
        let mut jumps = Vec::new();
        for (place, node) in list.iter().enumerate() {
            if place == 0 {
                self.node(node, at)?;
            } else {
                self.node(node, at + 1)?;
                self.emit(if is_and {
                    Op::And { at }
                } else {
                    Op::Or { at }
                });
            }
            if place + 1 < list.len() {
                let target = 0;
                jumps.push(self.emit(if is_and {
                    Op::JumpIfFalse { at, target }
                } else {
                    Op::JumpIfTrue { at, target }
                }));
            }
        }
        self.land(&jumps);
        Some(())
    }

    fn coalesce(&mut self, list: &[Node], at: Register) -> Option<()> {
        let mut jumps = Vec::new();
        for (place, node) in list.iter().enumerate() {
            self.node(node, at)?;
            if place + 1 < list.len() {
                jumps.push(self.emit(Op::JumpIfPresent { at, target: 0 }));
            }
        }
        self.land(&jumps);
        Some(())
    }

    fn case(
        &mut self,
        operand: Option<&Node>,
        branches: &[(Node, Node)],
        otherwise: &Node,
        at: Register,
    ) -> Option<()> {
        let mut condition_at = at;
        if let Some(operand) = operand {
            self.node(operand, at)?;
            condition_at = at + 1;
        }
        let mut ends = Vec::new();
        for (when, then) in branches {
            if operand.is_some() {
                self.operands.push(at);
            }
            self.node(when, condition_at)?;
            if operand.is_some() {
                self.operands.pop();
            }
            let next = self.emit(Op::JumpUnlessTrue {
                at: condition_at,
                target: 0,
            });
            self.branch(then);
            self.node(then, at)?;
            ends.push(self.emit(Op::Jump { target: 0 }));
            self.land(&[next]);
        }
        // An `else` that is not written stands for the whole expression.
        if branches
            .first()
            .is_some_and(|(_, then)| otherwise.span.start > then.span.start)
        {
            self.branch(otherwise);
        }
        self.node(otherwise, at)?;
        self.land(&ends);
        Some(())
    }

    fn branch(&mut self, result: &Node) {
        let Ok(branch) = u16::try_from(self.program.branches.len()) else {
            return;
        };
        if self.traced {
            self.program.branches.push(Branch {
                span: result.span.clone(),
                taken: AtomicBool::new(false),
            });
            self.emit(Op::Branch { branch });
        }
    }
}

/// The type of an expression that nothing asks to be of another.
pub(super) fn result_type(node: &Node) -> Type {
    match node.ty {
        super::typed::Ty::Is(ty) => ty,
        _ => TEXT,
    }
}
