//! From text to program: the order of the steps. Knows no step's rules.

use bumpalo::Bump;

use crate::event::Event;

use super::ast::Expr;
use super::cast::Context;
use super::cell::Cell;
use super::check::Checker;
use super::emit;
use super::machine::Machine;
use super::parse::parse;
use super::problem::Problem;
use super::program::{Env, Program};
use super::scope::{Names, Paths, Scope};
use super::simplify::simplify;
use super::substitute::inputs;
use super::typed::{Kind, Node, TEXT, Ty};
use super::value::Type;

/// Checks and compiles an expression. With a target its value is cast to it as an assignment to such a column casts.
pub fn compile(
    text: &str,
    scope: &mut Scope<'_>,
    target: Option<Type>,
) -> Result<Program, Vec<Problem>> {
    let expr = parse(text).map_err(|problem| vec![problem])?;
    compile_tree(text, &expr, scope, target, false)
}

/// As [`compile`], of what the text has been parsed to. `traced`: the program knows its text, and notes which branches of its
/// `case` expressions are taken.
pub fn compile_tree(
    text: &str,
    expr: &Expr,
    scope: &mut Scope<'_>,
    target: Option<Type>,
    traced: bool,
) -> Result<Program, Vec<Problem>> {
    let mut checker = Checker {
        text,
        scope,
        problems: Vec::new(),
    };
    let node = checker
        .check(expr)
        .and_then(|node| place(&mut checker, node, target));
    let (Some(node), true) = (node, checker.problems.is_empty()) else {
        return Err(checker.problems);
    };
    let names = traced.then(|| inputs(&node)).flatten();
    let node = simplify(node).map_err(|problem| vec![problem])?;
    let result = target.unwrap_or_else(|| emit::result_type(&node));
    let mut program = emit::emit(&node, result, traced).ok_or_else(|| {
        vec![Problem::new(
            expr.span.clone(),
            "too-long",
            "the expression is too large",
        )]
    })?;
    if traced {
        program.text = Some(text.into());
        program.inputs = names;
    }
    Ok(program)
}

/// The value of an expression that names nothing, cast to the type as an assignment.
pub(super) fn constant(text: &str, expr: &Expr, ty: Type) -> Result<Cell, Vec<Problem>> {
    let (mut data, mut headers) = (Paths::new(), Names::new());
    let mut scope = Scope {
        columns: &[],
        old: false,
        lookups: &[],
        item: None,
        data: &mut data,
        headers: &mut headers,
    };
    let program = compile_tree(text, expr, &mut scope, Some(ty), false)?;
    let not_constant = |message: &str| {
        let problem = Problem::new(expr.span.clone(), "not-constant", message);
        vec![problem.with_hint("a default is a constant, such as 0, 'new' or '{}'")]
    };
    let reads_event =
        program.reads_input() || !data.as_slice().is_empty() || !headers.as_slice().is_empty();
    if reads_event {
        return Err(not_constant("a default cannot read the event"));
    }
    evaluate_constant(&program).map_err(|error| not_constant(error.message()))
}

/// Runs a program that reads no input.
pub(super) fn evaluate_constant(program: &Program) -> Result<Cell, super::error::EvalError> {
    let arena = Bump::new();
    let event = Event {
        event_type: "",
        id: None,
        key: None,
        subject: None,
        source: None,
        time: 0,
        version: None,
        topic: 0,
        topic_name: "",
        partition: 0,
        offset: 0,
        timestamp: 0,
        headers: &[],
        members: &[],
    };
    let env = Env {
        row: &[],
        old: &[],
        lookups: &[],
        event: &event,
        item: &[],
        index: 0,
        arena: &arena,
    };
    program
        .evaluate(&env, &mut Machine::new())
        .map(Cell::from_value)
}

/// Settles the whole expression: by the target, or as text where a literal suggests it.
fn place(checker: &mut Checker<'_, '_>, node: Node, target: Option<Type>) -> Option<Node> {
    if let Some(target) = target {
        let node = checker.settle(node, target)?;
        return checker.convert(node, target, Context::Assignment);
    }
    match node.ty {
        Ty::Is(_) => Some(node),
        Ty::Unknown => checker.settle(node, TEXT),
        Ty::Untyped => match has_text(&node) {
            true => checker.settle(node, TEXT),
            false => checker.undecided(&node, None),
        },
    }
}

/// Whether a string literal stands among what a value is chosen from.
fn has_text(node: &Node) -> bool {
    match &node.kind {
        Kind::Literal(text) => text.is_some(),
        Kind::Coalesce(list) | Kind::Extreme { of: list, .. } => list.iter().any(has_text),
        Kind::UntypedNullif(left, right) => has_text(left) || has_text(right),
        Kind::Case {
            branches,
            otherwise,
            ..
        } => has_text(otherwise) || branches.iter().any(|(_, then)| has_text(then)),
        _ => false,
    }
}
