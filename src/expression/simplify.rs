//! Constants are computed at load, in the order and with the shortcuts of PostgreSQL's planner
//! (`eval_const_expressions`): `1 / 0` is an error even in a branch that is seldom taken, but not in one that a constant
//! condition excludes, and a strict function of null is null whatever its other arguments would do.
//! Knows nothing of syntax.

use super::cell::Cell;
use super::emit;
use super::load::evaluate_constant;
use super::problem::Problem;
use super::typed::{BOOLEAN, Kind, Node};
use super::value::{Scalar, Type, Value};

/// The largest constant that is computed at load; many of them may stand in one definition.
const CONSTANT_BYTES_MAX: usize = 1 << 20;

type Simplified = Result<Node, Problem>;

pub(super) fn simplify(node: Node) -> Simplified {
    let Node { kind, ty, span } = node;
    let with = |kind: Kind| Node::new(kind, ty, span.clone());
    match kind {
        Kind::Constant(_)
        | Kind::Number(_)
        | Kind::Literal(_)
        | Kind::Column(_)
        | Kind::Old(_)
        | Kind::Lookup { .. }
        | Kind::Event(_)
        | Kind::Header(_)
        | Kind::Index
        | Kind::Member { .. }
        | Kind::Operand => Ok(with(kind)),
        Kind::Cast { .. } => cast(Node { kind, ty, span }),
        Kind::Call(code, list) => {
            let list = all(list)?;
            let has_null = list.iter().any(|n| n.constant().is_some_and(Cell::is_null));
            if code.strict && has_null {
                return Ok(with(Kind::Constant(Cell::NULL)));
            }
            let known = code.immutable && list.iter().all(|n| n.constant().is_some());
            compute_if(known, with(Kind::Call(code, list)))
        }
        Kind::Not(of) => whole(with(Kind::Not(one(of)?))),
        Kind::And(list) => logic(list, true, &with),
        Kind::Or(list) => logic(list, false, &with),
        Kind::IsNull { of, negated } => whole(with(Kind::IsNull {
            of: one(of)?,
            negated,
        })),
        Kind::IsBool { of, value, negated } => whole(with(Kind::IsBool {
            of: one(of)?,
            value,
            negated,
        })),
        Kind::Distinct { .. }
        | Kind::Nullif { .. }
        | Kind::Quantified { .. }
        | Kind::Subscript(..) => pair(Node { kind, ty, span }),
        Kind::UntypedNullif(left, right) => Ok(with(Kind::UntypedNullif(left, right))),
        Kind::Coalesce(list) => coalesce(list, &with),
        Kind::Extreme { greatest, of } => whole(with(Kind::Extreme {
            greatest,
            of: all(of)?,
        })),
        Kind::Case {
            operand,
            branches,
            otherwise,
        } => case(operand, branches, *otherwise, &with),
        Kind::Array(list) => whole(with(Kind::Array(all(list)?))),
    }
}

#[expect(clippy::boxed_local, reason = "nodes stand in boxes")]
fn one(node: Box<Node>) -> Result<Box<Node>, Problem> {
    simplify(*node).map(Box::new)
}

fn cast(node: Node) -> Simplified {
    let Node { kind, ty, span } = node;
    let with = |kind: Kind| Node::new(kind, ty, span.clone());
    match kind {
        Kind::Cast {
            of,
            from,
            to,
            explicit,
        } => {
            let of = one(of)?;
            // Of an array whose elements are cast PostgreSQL does not look whether it is null.
            let by_element = from.array && to.array && !is_immutable_cast(from, to);
            if !by_element && of.constant().is_some_and(Cell::is_null) {
                return Ok(with(Kind::Constant(Cell::NULL)));
            }
            let known = of.constant().is_some() && is_immutable_cast(from, to);
            compute_if(
                known,
                with(Kind::Cast {
                    of,
                    from,
                    to,
                    explicit,
                }),
            )
        }
        other => Ok(with(other)),
    }
}

/// What compares, or takes an element.
fn pair(node: Node) -> Simplified {
    let Node { kind, ty, span } = node;
    let with = |kind: Kind| Node::new(kind, ty, span.clone());
    match kind {
        Kind::Distinct {
            equal,
            left,
            right,
            negated,
        } => {
            let (left, right) = (one(left)?, one(right)?);
            whole(with(Kind::Distinct {
                equal,
                left,
                right,
                negated,
            }))
        }
        Kind::Nullif { equal, left, right } => {
            let (left, right) = (one(left)?, one(right)?);
            // Null equals nothing.
            let is_null = |node: &Node| node.constant().is_some_and(Cell::is_null);
            if is_null(&left) || is_null(&right) {
                return Ok(*left);
            }
            whole(with(Kind::Nullif { equal, left, right }))
        }
        Kind::Quantified {
            code,
            left,
            array,
            all,
        } => {
            let (left, array) = (one(left)?, one(array)?);
            whole(with(Kind::Quantified {
                code,
                left,
                array,
                all,
            }))
        }
        Kind::Subscript(left, right) => whole(with(Kind::Subscript(one(left)?, one(right)?))),
        other => Ok(with(other)),
    }
}

fn all(list: Vec<Node>) -> Result<Vec<Node>, Problem> {
    list.into_iter().map(simplify).collect()
}

/// Computes a node whose parts are all constant.
fn whole(node: Node) -> Simplified {
    let is = |node: &Node| node.constant().is_some() || matches!(node.kind, Kind::Literal(_));
    let known = match &node.kind {
        Kind::Not(of) | Kind::IsNull { of, .. } | Kind::IsBool { of, .. } => is(of),
        Kind::Distinct { left, right, .. }
        | Kind::Nullif { left, right, .. }
        | Kind::Subscript(left, right) => is(left) && is(right),
        Kind::Quantified { left, array, .. } => is(left) && is(array),
        Kind::Array(list) | Kind::Extreme { of: list, .. } => list.iter().all(is),
        _ => false,
    };
    compute_if(known, node)
}

fn compute_if(known: bool, node: Node) -> Simplified {
    if !known {
        return Ok(node);
    }
    let Some(program) = emit::emit(&node, node.decided(), false) else {
        return Ok(node);
    };
    match evaluate_constant(&program) {
        Ok(cell) if cell.heap_bytes() > CONSTANT_BYTES_MAX => {
            let message =
                format!("this part is constant and has more than {CONSTANT_BYTES_MAX} bytes");
            Err(Problem::new(node.span, "unsupported", message))
        }
        Ok(cell) => Ok(Node::new(Kind::Constant(cell), node.ty, node.span)),
        Err(error) if error.sqlstate() == "0A000" => {
            Err(Problem::new(node.span, "unsupported", error.message()))
        }
        Err(error) => Err(Problem::new(node.span, "always-fails", error.message())
            .with_hint("this part is constant, and its value is an error")),
    }
}

/// Casts that PostgreSQL computes at plan time; the others wait for the row, also with their errors.
fn is_immutable_cast(from: Type, to: Type) -> bool {
    let is_text = |ty: Type| matches!(ty.scalar, Scalar::Text | Scalar::Varchar);
    // Of these only `time_out` is immutable; reading any of them may ask the clock.
    let of_clock = |ty: Type| {
        matches!(
            ty.scalar,
            Scalar::Date
                | Scalar::Time
                | Scalar::Timestamp
                | Scalar::TimestampTz
                | Scalar::Interval
        )
    };
    let written_by_settings = |ty: Type| of_clock(ty) && ty.scalar != Scalar::Time;
    let with_zone = |ty: Type| ty.scalar == Scalar::TimestampTz;
    let over_text = is_text(from) != is_text(to) || from.array != to.array;
    // An array's own text is not computed at plan time.
    let through_text = from.array != to.array;
    match () {
        () if over_text => !written_by_settings(from) && !of_clock(to) && !through_text,
        () => with_zone(from) == with_zone(to),
    }
}

/// The list without what cannot matter; an argument after a deciding constant is not even looked at.
fn logic(list: Vec<Node>, is_and: bool, with: &dyn Fn(Kind) -> Node) -> Simplified {
    let constant = |value: Value<'_>| with(Kind::Constant(Cell::from_value(value)));
    let mut kept = Vec::new();
    let mut null = None;
    for node in list {
        let node = simplify(node)?;
        match node.constant().map(Cell::value) {
            Some(Value::Bool(value)) if value != is_and => {
                return Ok(constant(Value::Bool(!is_and)));
            }
            Some(Value::Bool(_)) => {}
            Some(_) => null = Some(Node::null(BOOLEAN, node.span)),
            None => kept.push(node),
        }
    }
    if kept.is_empty() {
        return Ok(constant(if null.is_some() {
            Value::Null
        } else {
            Value::Bool(is_and)
        }));
    }
    kept.extend(null);
    match kept.len() {
        1 => Ok(kept.remove(0)),
        _ => Ok(with(if is_and {
            Kind::And(kept)
        } else {
            Kind::Or(kept)
        })),
    }
}

fn coalesce(list: Vec<Node>, with: &dyn Fn(Kind) -> Node) -> Simplified {
    let mut kept = Vec::new();
    for node in list {
        let node = simplify(node)?;
        let value = node.constant().map(Cell::is_null);
        if value == Some(true) {
            continue;
        }
        kept.push(node);
        if value == Some(false) {
            break;
        }
    }
    match kept.len() {
        0 => Ok(with(Kind::Constant(Cell::NULL))),
        1 => Ok(kept.remove(0)),
        _ => Ok(with(Kind::Coalesce(kept))),
    }
}

/// Branches whose condition is constant go or end the list; what they would have given is not looked at.
fn case(
    operand: Option<Box<Node>>,
    branches: Vec<(Node, Node)>,
    otherwise: Node,
    with: &dyn Fn(Kind) -> Node,
) -> Simplified {
    let operand = operand.map(|o| simplify(*o)).transpose()?;
    let known = operand.as_ref().filter(|o| o.constant().is_some());
    let mut kept = Vec::new();
    let mut last = None;
    for (when, then) in branches {
        let when = match known {
            Some(known) => simplify(put_operand(when, known))?,
            None => simplify(when)?,
        };
        match when.constant().map(Cell::value) {
            Some(Value::Bool(true)) => {
                last = Some(simplify(then)?);
                break;
            }
            Some(_) => {}
            None => kept.push((when, simplify(then)?)),
        }
    }
    let otherwise = match last {
        Some(last) => last,
        None => simplify(otherwise)?,
    };
    if kept.is_empty() {
        return Ok(otherwise);
    }
    Ok(with(Kind::Case {
        operand: operand.map(Box::new),
        branches: kept,
        otherwise: Box::new(otherwise),
    }))
}

/// Puts the known operand into `operand = value`, where it stands directly or below casts.
fn put_operand(node: Node, known: &Node) -> Node {
    let Node { kind, ty, span } = node;
    let kind = match kind {
        Kind::Operand => {
            return Node {
                span,
                ..known.clone()
            };
        }
        Kind::Cast {
            of,
            from,
            to,
            explicit,
        } => Kind::Cast {
            of: Box::new(put_operand(*of, known)),
            from,
            to,
            explicit,
        },
        Kind::Call(code, mut list) if !list.is_empty() => {
            let left = put_operand(list.remove(0), known);
            list.insert(0, left);
            Kind::Call(code, list)
        }
        other => other,
    };
    Node { kind, ty, span }
}
