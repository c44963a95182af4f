//! What chooses among values, which must then be of one type: `case`, `coalesce`, `nullif`, `greatest`, `least`, and
//! arrays. Part of the checker.

use std::ops::Range;

use super::ast::{Branch, Expr, Special};
use super::catalog::{Name, name_of};
use super::check::{Checker, catalog_name, shown_type};
use super::problem::Problem;
use super::resolve::{self, UNKNOWN};
use super::typed::{Kind, Node, TEXT, Ty, array_type};
use super::value::Type;

impl Checker<'_, '_> {
    pub(super) fn case(
        &mut self,
        operand: Option<&Expr>,
        branches: &[Branch],
        otherwise: Option<&Expr>,
        span: Range<usize>,
    ) -> Option<Node> {
        let (operand, conditions) = match operand {
            Some(operand) => self.case_conditions(operand, branches)?,
            None => {
                let conditions: Vec<Option<Node>> =
                    branches.iter().map(|b| self.boolean(&b.when)).collect();
                (None, conditions.into_iter().collect::<Option<Vec<Node>>>()?)
            }
        };
        // The default counts first for the common type, as in `transformCaseExpr`.
        let mut results = vec![match otherwise {
            Some(otherwise) => self.check(otherwise)?,
            None => Node::new(Kind::Literal(None), Ty::Unknown, span.clone()),
        }];
        for branch in branches {
            results.push(self.check(&branch.then)?);
        }
        let (mut results, ty) = self.alike(results, "case", &span)?;
        let otherwise = Box::new(results.remove(0));
        let branches = conditions.into_iter().zip(results).collect();
        let operand = operand.map(Box::new);
        let kind = Kind::Case {
            operand,
            branches,
            otherwise,
        };
        Some(Node::new(kind, ty, span))
    }

    /// `case x when a`: x is evaluated once, and each `x = a` is resolved by itself.
    pub(super) fn case_conditions(
        &mut self,
        operand: &Expr,
        branches: &[Branch],
    ) -> Option<(Option<Node>, Vec<Node>)> {
        let mut nodes = vec![self.check(operand)?];
        for branch in branches {
            nodes.push(self.check(&branch.when)?);
        }
        let mut nodes = self.settle_members(nodes)?;
        let operand = nodes.remove(0);
        let has_text = nodes
            .iter()
            .any(|n| matches!(n.kind, Kind::Literal(Some(_))));
        if operand.ty == Ty::Untyped && !has_text {
            return self.undecided(&operand, None);
        }
        let operand = self.settle(operand, TEXT)?;
        let mut conditions = Vec::with_capacity(nodes.len());
        for when in nodes {
            let span = when.span.clone();
            let stand_in = Node::new(Kind::Operand, operand.ty, operand.span.clone());
            conditions.push(self.binary("=", stand_in, when, span)?);
        }
        Some((Some(operand), conditions))
    }

    pub(super) fn special(
        &mut self,
        special: Special,
        list: &[Expr],
        span: Range<usize>,
    ) -> Option<Node> {
        let nodes = self.checked(list)?;
        match special {
            Special::Nullif => {
                let mut nodes = nodes.into_iter();
                let (left, right) = (nodes.next()?, nodes.next()?);
                if left.ty == Ty::Untyped && right.ty == Ty::Untyped {
                    let kind = Kind::UntypedNullif(Box::new(left), Box::new(right));
                    return Some(Node::new(kind, Ty::Untyped, span));
                }
                self.nullif(left, right, span)
            }
            Special::Coalesce => {
                let (nodes, ty) = self.alike(nodes, "coalesce", &span)?;
                Some(Node::new(Kind::Coalesce(nodes), ty, span))
            }
            Special::Greatest | Special::Least => {
                let greatest = special == Special::Greatest;
                let name = if greatest { "greatest" } else { "least" };
                let (of, ty) = self.alike(nodes, name, &span)?;
                if let Ty::Is(ty) = ty {
                    self.comparable(ty, name, &span)?;
                }
                Some(Node::new(Kind::Extreme { greatest, of }, ty, span))
            }
        }
    }

    /// `greatest` and `least` need an order, which every type of the language has.
    pub(super) fn comparable(&mut self, ty: Type, name: &str, span: &Range<usize>) -> Option<()> {
        let types = [name_of(ty), name_of(ty)];
        match resolve::operator("<", &types) {
            Ok(_) => Some(()),
            Err(_) => self.report(Problem::new(
                span.clone(),
                "type-mismatch",
                format!("{name} cannot order {ty}"),
            )),
        }
    }

    /// The type is the left side's after the casts that `=` needs.
    pub(super) fn nullif(&mut self, left: Node, right: Node, span: Range<usize>) -> Option<Node> {
        let (equal, left, right) = self.equality(left, right, &span)?;
        let ty = left.ty;
        let kind = Kind::Nullif {
            equal,
            left: Box::new(left),
            right: Box::new(right),
        };
        Some(Node::new(kind, ty, span))
    }

    /// Brings the arms of `coalesce`, `case`, … to one type; without any that decides they stay undecided.
    pub(super) fn alike(
        &mut self,
        nodes: Vec<Node>,
        name: &str,
        span: &Range<usize>,
    ) -> Option<(Vec<Node>, Ty)> {
        let nodes = self.settle_members(nodes)?;
        if nodes.iter().any(|n| n.ty == Ty::Untyped) {
            return Some((nodes, Ty::Untyped));
        }
        let types: Vec<Name> = nodes.iter().map(catalog_name).collect();
        let Some(common) = resolve::common_type(&types) else {
            let shown: Vec<String> = types
                .iter()
                .filter(|t| **t != UNKNOWN)
                .map(|t| shown_type(t))
                .collect();
            let message = format!(
                "{name} has values of types that do not go together: {}",
                shown.join(", ")
            );
            return self.report(
                Problem::new(span.clone(), "type-mismatch", message)
                    .with_hint("cast them to one type"),
            );
        };
        let common = self.supported(common, span)?;
        let nodes: Vec<Option<Node>> = nodes.into_iter().map(|n| self.coerce(n, common)).collect();
        Some((
            nodes.into_iter().collect::<Option<Vec<Node>>>()?,
            Ty::Is(common),
        ))
    }

    pub(super) fn array(&mut self, list: &[Expr], span: Range<usize>) -> Option<Node> {
        if list.is_empty() {
            let problem = Problem::new(span, "undecided-type", "an empty array has no type");
            return self.report(problem.with_hint("cast it: array[]::text[]"));
        }
        let nodes = self.checked(list)?;
        let (nodes, ty) = self.alike(nodes, "array", &span)?;
        match ty {
            Ty::Is(ty) if ty.array => self.report(Problem::new(
                span,
                "unsupported",
                "arrays have one dimension",
            )),
            Ty::Is(ty) => Some(Node::typed(Kind::Array(nodes), array_type(ty), span)),
            _ => self.undecided(&nodes[0], Some("text")),
        }
    }
}
