//! What a payload member's place decides about its type, and casts. Part of the checker.

use std::ops::Range;

use super::ast::{Expr, Kind as Ast};
use super::cast::{Context, context};
use super::check::{Checker, cast_node, catalog_name};
use super::problem::Problem;
use super::resolve::{self, UNKNOWN};
use super::typed::{INTEGER, Kind, NUMERIC, Node, Ty, array_type, element_type, plain};
use super::value::{Scalar, Type};

impl Checker<'_, '_> {
    /// Gives an undecided operand its type: the other operand's; numeric beside a bare number; where no operator takes
    /// two of those, the one type that an operator takes beside it.
    pub fn beside(&mut self, op: &str, left: Node, right: Node) -> Option<(Node, Node)> {
        match (left.ty, right.ty) {
            (Ty::Untyped, Ty::Untyped) => {
                let cast = if op == "||" || op.contains('~') {
                    "text"
                } else {
                    "numeric"
                };
                self.undecided(&left, Some(cast))
            }
            (Ty::Untyped, _) => {
                let ty = self.wanted_beside(op, &left, &right, true)?;
                Some((self.settle(left, ty)?, right))
            }
            (_, Ty::Untyped) => {
                let ty = self.wanted_beside(op, &right, &left, false)?;
                Some((left, self.settle(right, ty)?))
            }
            _ => Some((left, right)),
        }
    }

    fn wanted_beside(
        &mut self,
        op: &str,
        member: &Node,
        other: &Node,
        member_first: bool,
    ) -> Option<Type> {
        if other.is_bare_number() {
            return Some(NUMERIC);
        }
        if let Ty::Is(ty) = other.ty {
            if ty.array && op == "||" {
                return self.undecided(member, Some(&element_type(ty).to_string()));
            }
            let name = catalog_name(other);
            if resolve::operator(op, &[name, name]).is_ok() {
                return Some(ty);
            }
        }
        let types = if member_first {
            [UNKNOWN, catalog_name(other)]
        } else {
            [catalog_name(other), UNKNOWN]
        };
        match resolve::operator(op, &types) {
            Ok(resolved) => {
                let wanted = resolved.arguments[usize::from(!member_first)];
                self.supported(wanted, &member.span)
            }
            Err(_) => {
                let jsonb = matches!(
                    op,
                    "->" | "->>" | "#>" | "#>>" | "@>" | "<@" | "?" | "?|" | "?&" | "#-"
                );
                self.undecided(
                    member,
                    Some(if jsonb && member_first {
                        "jsonb"
                    } else {
                        "numeric"
                    }),
                )
            }
        }
    }

    /// Where several values meet in one type, the typed ones decide for the members among them; bare numbers alone make
    /// them numeric. Literals decide nothing: they bend to their place as members do.
    pub fn settle_members(&mut self, nodes: Vec<Node>) -> Option<Vec<Node>> {
        let types: Vec<_> = nodes
            .iter()
            .filter(|n| matches!(n.ty, Ty::Is(_)))
            .map(catalog_name)
            .collect();
        if types.is_empty() || !nodes.iter().any(|n| n.ty == Ty::Untyped) {
            return Some(nodes);
        }
        let bare = nodes
            .iter()
            .all(|n| n.is_bare_number() || !matches!(n.ty, Ty::Is(_)));
        let ty = if bare {
            Some(NUMERIC)
        } else {
            resolve::common_type(&types).and_then(super::catalog::type_of)
        };
        // Without a common type the caller reports it.
        let Some(ty) = ty else {
            return Some(nodes);
        };
        let settled: Vec<Option<Node>> = nodes
            .into_iter()
            .map(|n| {
                if n.ty == Ty::Untyped {
                    self.settle(n, ty)
                } else {
                    Some(n)
                }
            })
            .collect();
        settled.into_iter().collect()
    }

    /// Reports that nothing decides the type of a member; `cast` is the one to propose.
    pub fn undecided<T>(&mut self, node: &Node, cast: Option<&str>) -> Option<T> {
        let member = first_member(node).map_or(node.span.clone(), |m| m.span.clone());
        let shown = self.text[member.clone()].to_owned();
        let cast = cast.unwrap_or("text");
        let problem = Problem::new(
            member,
            "undecided-type",
            format!("nothing here decides the type of `{shown}`"),
        );
        self.report(problem.with_hint(format!("cast it, for example {shown}::{cast}")))
    }

    pub fn cast(&mut self, of: &Expr, ty: Type, span: Range<usize>) -> Option<Node> {
        if let (Ast::Array(list), true) = (&of.kind, ty.array) {
            let mut elements = Vec::with_capacity(list.len());
            for element in list {
                let node = self.check(element)?;
                if node.decided().array {
                    return self.report(Problem::new(
                        node.span,
                        "unsupported",
                        "arrays have one dimension",
                    ));
                }
                elements.push(self.cast_checked(node, element_type(ty), element.span.clone())?);
            }
            return Some(Node::typed(
                Kind::Array(elements),
                array_type(element_type(ty)),
                span,
            ));
        }
        let node = self.check(of)?;
        self.cast_checked(node, ty, span)
    }

    fn cast_checked(&mut self, node: Node, ty: Type, span: Range<usize>) -> Option<Node> {
        let node = self.settle(node, ty)?;
        let mut node = self.convert(node, ty, Context::Explicit)?;
        node.span = span;
        Some(node)
    }

    /// A cast that the text asks for, or that storing in a column makes.
    pub fn convert(&mut self, node: Node, ty: Type, allowed: Context) -> Option<Node> {
        let from = node.decided();
        match context(&from, &ty) {
            Some(needed) if needed <= allowed => {
                let explicit = allowed == Context::Explicit;
                // A modifier is applied even where the type stays: a value need not fit it.
                Some(cast_node(node, ty, explicit))
            }
            needed => {
                let message = match allowed {
                    Context::Explicit => format!("{from} cannot be cast to {ty}"),
                    _ => format!("the column is {ty}, the expression is {from}"),
                };
                let problem = Problem::new(node.span.clone(), "type-mismatch", message);
                let shown = &self.text[node.span];
                let problem = match needed {
                    Some(_) if shown.len() < 60 => {
                        problem.with_hint(format!("cast it: ({shown})::{}", plain(ty)))
                    }
                    Some(_) => problem.with_hint("cast it with ::"),
                    None => problem,
                };
                self.report(problem)
            }
        }
    }

    pub fn subscript(&mut self, base: &Expr, index: &Expr, span: Range<usize>) -> Option<Node> {
        let (base, index) = (self.check(base), self.check(index));
        let (base, index) = (base?, index?);
        match base.ty {
            Ty::Is(ty) if ty.array => {
                let index = self.settle(index, INTEGER)?;
                let index = self.convert(index, INTEGER, Context::Assignment)?;
                let kind = Kind::Subscript(Box::new(base), Box::new(index));
                Some(Node::typed(kind, element_type(ty), span))
            }
            Ty::Is(ty) if ty.scalar == Scalar::Jsonb => {
                let problem = Problem::new(span, "unsupported", "jsonb takes no brackets here");
                self.report(problem.with_hint("use -> for an element, ->> for its text"))
            }
            Ty::Is(ty) => self.report(Problem::new(
                span,
                "type-mismatch",
                format!("{ty} has no elements"),
            )),
            _ => self.undecided(&base, Some("text[]")),
        }
    }
}

/// The member inside an undecided node.
fn first_member(node: &Node) -> Option<&Node> {
    match &node.kind {
        Kind::Member { .. } => Some(node),
        Kind::Coalesce(list) | Kind::Extreme { of: list, .. } => list.iter().find_map(first_member),
        Kind::UntypedNullif(left, right) => first_member(left).or_else(|| first_member(right)),
        Kind::Case {
            branches,
            otherwise,
            ..
        } => branches
            .iter()
            .find_map(|(_, then)| first_member(then))
            .or_else(|| first_member(otherwise)),
        _ => None,
    }
}
