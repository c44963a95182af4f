//! Comparisons that are more than one operator: `is distinct from`, `between`, `in`, `any` and `all`. Part of the checker.

use std::ops::Range;

use super::ast::{Expr, Kind as Ast};
use super::catalog::{array_of, name_of, type_of};
use super::check::{Checker, catalog_name};
use super::problem::Problem;
use super::resolve::{self, UNKNOWN};
use super::typed::{BOOLEAN, Code, Kind, Node, Ty, array_type, element_type};
use super::value::Type;

/// The most nodes that the operands of one `between` or `in` may come to.
const NODES_MAX: usize = 50_000;

impl Checker<'_, '_> {
    pub(super) fn equality(
        &mut self,
        left: Node,
        right: Node,
        span: &Range<usize>,
    ) -> Option<(Code, Node, Node)> {
        let (left, right) = self.beside("=", left, right)?;
        let types = [catalog_name(&left), catalog_name(&right)];
        match resolve::operator("=", &types) {
            Ok(resolved) => {
                let code = self.code(&resolved, span)?;
                let left = self.argument(left, resolved.arguments[0]);
                let right = self.argument(right, resolved.arguments[1]);
                Some((code, left?, right?))
            }
            Err(why) => {
                self.no_operator("=", &types, why, span.clone());
                None
            }
        }
    }

    pub(super) fn distinct(
        &mut self,
        left: Node,
        right: Node,
        negated: bool,
        span: Range<usize>,
    ) -> Option<Node> {
        let (equal, left, right) = self.equality(left, right, &span)?;
        let kind = Kind::Distinct {
            equal,
            left: Box::new(left),
            right: Box::new(right),
            negated,
        };
        Some(Node::typed(kind, BOOLEAN, span))
    }

    /// `x between a and b` is `x >= a and x <= b`, each resolved by itself.
    pub(super) fn between(&mut self, expr: &Expr) -> Option<Node> {
        let Ast::Between {
            of,
            low,
            high,
            negated,
            symmetric,
        } = &expr.kind
        else {
            return None;
        };
        let span = expr.span.clone();
        let nodes = [self.check(of), self.check(low), self.check(high)];
        let nodes: Option<Vec<Node>> = nodes.into_iter().collect();
        let mut nodes = self.settle_members(nodes?)?.into_iter();
        let (of, low, high) = (nodes.next()?, nodes.next()?, nodes.next()?);
        self.may_repeat(&of, 4, &span)?;
        self.may_repeat(&low, 2, &span)?;
        self.may_repeat(&high, 2, &span)?;
        let mut range = |low: &Node, high: &Node| {
            let (first, second) = if *negated { ("<", ">") } else { (">=", "<=") };
            let first = self.binary(first, of.clone(), low.clone(), span.clone());
            let second = self.binary(second, of.clone(), high.clone(), span.clone());
            let list = vec![first?, second?];
            let kind = if *negated {
                Kind::Or(list)
            } else {
                Kind::And(list)
            };
            Some(Node::typed(kind, BOOLEAN, span.clone()))
        };
        let straight = range(&low, &high)?;
        if !symmetric {
            return Some(straight);
        }
        let list = vec![straight, range(&high, &low)?];
        let kind = if *negated {
            Kind::And(list)
        } else {
            Kind::Or(list)
        };
        Some(Node::typed(kind, BOOLEAN, span))
    }

    pub(super) fn in_list(
        &mut self,
        of: &Expr,
        list: &[Expr],
        negated: bool,
        span: Range<usize>,
    ) -> Option<Node> {
        let of = self.check(of);
        let list = self.checked(list);
        let mut nodes = vec![of?];
        nodes.extend(list?);
        let mut nodes = self.settle_members(nodes)?;
        let of = nodes.remove(0);
        self.may_repeat(&of, nodes.len(), &span)?;
        // As `transformAExprIn`: constants become one array if they have a common type, the rest is compared one by one.
        let (op, all) = if negated { ("<>", true) } else { ("=", false) };
        let mut tests = Vec::new();
        let mut one_by_one = nodes;
        if let Some(common) = self.constants_in_common(&of, &one_by_one) {
            let (varying, fixed) = one_by_one.into_iter().partition(reads_input);
            let elements: Vec<Option<Node>> = Vec::into_iter(fixed)
                .map(|n| self.coerce(n, common))
                .collect();
            let elements: Option<Vec<Node>> = elements.into_iter().collect();
            let array = Node::typed(Kind::Array(elements?), array_type(common), span.clone());
            tests.push(self.quantified(of.clone(), op, array, all, span.clone())?);
            one_by_one = varying;
        }
        for item in one_by_one {
            tests.push(self.binary(op, of.clone(), item, span.clone())?);
        }
        if tests.len() == 1 {
            return tests.pop();
        }
        let kind = if negated {
            Kind::And(tests)
        } else {
            Kind::Or(tests)
        };
        Some(Node::typed(kind, BOOLEAN, span))
    }

    /// `between` and `in` repeat their left side, as in PostgreSQL; nested in one another they would grow without bound.
    fn may_repeat(&mut self, node: &Node, times: usize, span: &Range<usize>) -> Option<()> {
        if node.size().saturating_mul(times) <= NODES_MAX {
            return Some(());
        }
        let message = "`between` and `in` are nested too deeply here";
        let problem = Problem::new(span.clone(), "too-deep", message);
        self.report(problem.with_hint("compute the inner part in a column of its own"))
    }

    /// The type in which the constants of an `in` list become one array: more than one, and alike with the left side.
    pub(super) fn constants_in_common(&mut self, of: &Node, list: &[Node]) -> Option<Type> {
        let fixed: Vec<&Node> = list.iter().filter(|n| !reads_input(n)).collect();
        if fixed.len() < 2 {
            return None;
        }
        let mut types = vec![catalog_name(of)];
        types.extend(fixed.into_iter().map(catalog_name));
        resolve::common_type(&types)
            .filter(|t| array_of(t).is_some())
            .and_then(type_of)
    }

    pub(super) fn quantified(
        &mut self,
        left: Node,
        op: &str,
        array: Node,
        all: bool,
        span: Range<usize>,
    ) -> Option<Node> {
        if array.ty == Ty::Untyped {
            return self.undecided(&array, Some("text[]"));
        }
        let element = match array.ty {
            Ty::Is(ty) if !ty.array => {
                let message = "any and all take an array here";
                return self.report(Problem::new(array.span, "type-mismatch", message));
            }
            Ty::Is(ty) => name_of(element_type(ty)),
            _ => UNKNOWN,
        };
        let left = match (left.ty, type_of(element)) {
            (Ty::Untyped, Some(element)) => self.settle(left, element)?,
            (Ty::Untyped, None) => return self.undecided(&left, None),
            _ => left,
        };
        let types = [catalog_name(&left), element];
        let resolved = match resolve::operator(op, &types) {
            Ok(resolved) => resolved,
            Err(why) => return self.no_operator(op, &types, why, span),
        };
        if resolved.result != "bool" {
            return self.report(Problem::new(
                span,
                "type-mismatch",
                format!("`{op} any` needs an operator that gives a boolean"),
            ));
        }
        let code = self.code(&resolved, &span)?;
        let left = Box::new(self.argument(left, resolved.arguments[0])?);
        let wanted = self.supported(resolved.arguments[1], &span)?;
        let array = Box::new(self.coerce(array, array_type(wanted))?);
        Some(Node::typed(
            Kind::Quantified {
                code,
                left,
                array,
                all,
            },
            BOOLEAN,
            span,
        ))
    }
}

/// Whether the value depends on the row or the event: PostgreSQL's "contains variables".
fn reads_input(node: &Node) -> bool {
    match &node.kind {
        Kind::Column(_)
        | Kind::Old(_)
        | Kind::Lookup { .. }
        | Kind::Event(_)
        | Kind::Header(_)
        | Kind::Index
        | Kind::Member { .. }
        | Kind::Operand => true,
        _ => {
            let mut found = false;
            node.for_each_child(&mut |child| found = found || reads_input(child));
            found
        }
    }
}
