//! Names and types: a syntax tree to a checked tree, by PostgreSQL's rules of type conversion (manual, chapter 10), with
//! one addition: a payload member has the type that its place wants.
//! Reports every problem it can see. Knows nothing of evaluation but the code table.

use std::ops::Range;

use bumpalo::Bump;

use super::ast::{Branch, Expr, Kind as Ast, Special};
use super::builtin;
use super::catalog::{Name, array_of, name_of, type_of};
use super::cell::Cell;
use super::problem::Problem;
use super::resolve::{self, Resolved, UNKNOWN, Unresolved};
use super::scope::Scope;
use super::typed::{
    BIGINT, BOOLEAN, Code, INTEGER, Kind, NUMERIC, Node, TEXT, Ty, array_type, element_type, plain,
};
use super::value::Type;

pub(super) struct Checker<'c, 's> {
    /// The source, to quote in messages.
    pub text: &'c str,
    pub scope: &'c mut Scope<'s>,
    pub problems: Vec<Problem>,
}

impl Checker<'_, '_> {
    /// The checked node, or `None` once a problem was reported.
    pub fn check(&mut self, expr: &Expr) -> Option<Node> {
        let span = expr.span.clone();
        match &expr.kind {
            Ast::Null => Some(Node::new(Kind::Literal(None), Ty::Unknown, span)),
            Ast::Text(text) => Some(Node::new(
                Kind::Literal(Some(text.clone())),
                Ty::Unknown,
                span,
            )),
            Ast::Bool(value) => Some(Node::typed(
                constant(super::value::Value::Bool(*value)),
                BOOLEAN,
                span,
            )),
            Ast::Number(number) => self.number(number, span),
            Ast::Name(parts) => self.name(parts, span),
            Ast::Subscript(base, index) => self.subscript(base, index, span),
            Ast::Unary(op, of) => self.unary(op, of, span),
            Ast::Binary(op, left, right) => {
                let (left, right) = (self.check(left), self.check(right));
                self.binary(op, left?, right?, span)
            }
            Ast::Not(of) => {
                let of = self.boolean(of)?;
                Some(Node::typed(Kind::Not(Box::new(of)), BOOLEAN, span))
            }
            Ast::And(list) => Some(Node::typed(Kind::And(self.booleans(list)?), BOOLEAN, span)),
            Ast::Or(list) => Some(Node::typed(Kind::Or(self.booleans(list)?), BOOLEAN, span)),
            Ast::IsNull { of, negated } => {
                let of = Box::new(self.check(of)?);
                Some(Node::typed(
                    Kind::IsNull {
                        of,
                        negated: *negated,
                    },
                    BOOLEAN,
                    span,
                ))
            }
            Ast::IsBool { of, value, negated } => {
                let of = Box::new(self.boolean(of)?);
                let (value, negated) = (*value, *negated);
                Some(Node::typed(
                    Kind::IsBool { of, value, negated },
                    BOOLEAN,
                    span,
                ))
            }
            Ast::IsDistinct {
                left,
                right,
                negated,
            } => {
                let (left, right) = (self.check(left), self.check(right));
                self.distinct(left?, right?, *negated, span)
            }
            Ast::In { of, list, negated } => self.in_list(of, list, *negated, span),
            Ast::Between { .. } => self.between(expr),
            Ast::Quantified {
                left,
                op,
                array,
                all,
            } => {
                let (left, array) = (self.check(left), self.check(array));
                self.quantified(left?, op, array?, *all, span)
            }
            Ast::Case {
                operand,
                branches,
                otherwise,
            } => self.case(operand.as_deref(), branches, otherwise.as_deref(), span),
            Ast::Cast(of, ty) => self.cast(of, *ty, span),
            Ast::Call {
                name,
                name_span,
                arguments,
            } => self.call(name, name_span.clone(), arguments, span),
            Ast::Special(special, list) => self.special(*special, list, span),
            Ast::Array(list) => self.array(list, span),
        }
    }

    pub fn checked(&mut self, list: &[Expr]) -> Option<Vec<Node>> {
        let nodes: Vec<Option<Node>> = list.iter().map(|e| self.check(e)).collect();
        nodes.into_iter().collect()
    }

    pub fn report<T>(&mut self, problem: Problem) -> Option<T> {
        self.problems.push(problem);
        None
    }

    /// PostgreSQL's `make_const`: integer, else bigint, else numeric.
    fn number(&mut self, number: &str, span: Range<usize>) -> Option<Node> {
        let whole = number.parse::<i64>().ok();
        let ty = match whole {
            Some(value) if i32::try_from(value).is_ok() => INTEGER,
            Some(_) => BIGINT,
            None => NUMERIC,
        };
        let cell = self.literal_cell(number, ty, &span)?;
        Some(Node::typed(Kind::Number(cell), ty, span))
    }

    /// The value of a literal's text in a type, as PostgreSQL's input function gives it.
    fn literal_cell(&mut self, text: &str, ty: Type, span: &Range<usize>) -> Option<Cell> {
        let arena = Bump::new();
        match super::cast::parse_text(text, &plain(ty), &arena) {
            Ok(value) => Some(Cell::from_value(value)),
            Err(error) => {
                let code = if error.sqlstate() == "0A000" {
                    "unsupported"
                } else {
                    "invalid-literal"
                };
                self.report(Problem::new(span.clone(), code, error.message()))
            }
        }
    }

    /// Gives an undecided node its type; a decided one is returned as it is.
    pub fn settle(&mut self, node: Node, ty: Type) -> Option<Node> {
        let ty = plain(ty);
        let span = node.span;
        let each = |checker: &mut Self, list: Vec<Node>| -> Option<Vec<Node>> {
            let list: Vec<Option<Node>> = list.into_iter().map(|n| checker.settle(n, ty)).collect();
            list.into_iter().collect()
        };
        match (node.ty, node.kind) {
            (Ty::Is(known), kind) => Some(Node::typed(kind, known, span)),
            (_, Kind::Literal(None)) => Some(Node::null(ty, span)),
            (_, Kind::Literal(Some(text))) => {
                let cell = self.literal_cell(&text, ty, &span)?;
                Some(Node::typed(Kind::Constant(cell), ty, span))
            }
            (_, Kind::Coalesce(list)) => {
                Some(Node::typed(Kind::Coalesce(each(self, list)?), ty, span))
            }
            (_, Kind::Extreme { greatest, of }) => {
                let of = each(self, of)?;
                self.comparable(ty, if greatest { "greatest" } else { "least" }, &span)?;
                Some(Node::typed(Kind::Extreme { greatest, of }, ty, span))
            }
            (_, Kind::UntypedNullif(left, right)) => {
                let (left, right) = (self.settle(*left, ty)?, self.settle(*right, ty)?);
                self.nullif(left, right, span)
            }
            (
                _,
                Kind::Case {
                    operand,
                    branches,
                    otherwise,
                },
            ) => {
                let mut settled = Vec::with_capacity(branches.len());
                for (when, then) in branches {
                    settled.push((when, self.settle(then, ty)?));
                }
                let otherwise = Box::new(self.settle(*otherwise, ty)?);
                let kind = Kind::Case {
                    operand,
                    branches: settled,
                    otherwise,
                };
                Some(Node::typed(kind, ty, span))
            }
            (_, kind) => Some(Node::typed(kind, ty, span)),
        }
    }

    /// A node in a place that wants `ty` and casts only implicitly.
    pub fn coerce(&mut self, node: Node, ty: Type) -> Option<Node> {
        let node = self.settle(node, ty)?;
        Some(cast_node(node, plain(ty), false))
    }

    pub fn boolean(&mut self, expr: &Expr) -> Option<Node> {
        let node = self.check(expr)?;
        let node = self.settle(node, BOOLEAN)?;
        if node.decided() == BOOLEAN {
            return Some(node);
        }
        let message = format!("a condition must be boolean, this is {}", node.decided());
        self.report(Problem::new(node.span, "type-mismatch", message))
    }

    fn booleans(&mut self, list: &[Expr]) -> Option<Vec<Node>> {
        let nodes: Vec<Option<Node>> = list.iter().map(|e| self.boolean(e)).collect();
        nodes.into_iter().collect()
    }

    fn unary(&mut self, op: &str, of: &Expr, span: Range<usize>) -> Option<Node> {
        let of = self.check(of)?;
        if of.ty == Ty::Untyped {
            return self.undecided(&of, Some("numeric"));
        }
        let types = [catalog_name(&of)];
        match resolve::operator(op, &types) {
            Ok(resolved) => self.apply(resolved, vec![of], span),
            Err(why) => self.no_operator(op, &types, why, span),
        }
    }

    pub fn binary(
        &mut self,
        op: &str,
        left: Node,
        right: Node,
        span: Range<usize>,
    ) -> Option<Node> {
        let (left, right) = self.beside(op, left, right)?;
        let types = [catalog_name(&left), catalog_name(&right)];
        match resolve::operator(op, &types) {
            Ok(resolved) => self.apply(resolved, vec![left, right], span),
            Err(why) => self.no_operator(op, &types, why, span),
        }
    }

    /// Casts the arguments and builds the call.
    pub fn apply(
        &mut self,
        resolved: Resolved,
        arguments: Vec<Node>,
        span: Range<usize>,
    ) -> Option<Node> {
        let code = self.code(&resolved, &span)?;
        let result = self.supported(resolved.result, &span)?;
        let mut cast = Vec::with_capacity(arguments.len());
        for (argument, wanted) in arguments.into_iter().zip(&resolved.arguments) {
            cast.push(self.argument(argument, wanted)?);
        }
        Some(Node::typed(Kind::Call(code, cast), result, span))
    }

    /// One argument in the type that the code takes.
    pub fn argument(&mut self, argument: Node, wanted: Name) -> Option<Node> {
        if wanted == "any" {
            return self.settle(argument, TEXT);
        }
        let ty = self.supported(wanted, &argument.span.clone())?;
        self.coerce(argument, ty)
    }

    pub fn code(&mut self, resolved: &Resolved, span: &Range<usize>) -> Option<Code> {
        let entry = resolved.entry;
        match builtin::native(entry.code) {
            Some(native) => Some(Code {
                name: entry.code,
                native,
                strict: entry.strict,
                immutable: entry.immutable,
            }),
            None => {
                let shown: Vec<Name> = resolved.arguments.clone();
                let message = format!("this form ({}) is not supported", shown.join(", "));
                self.report(Problem::new(span.clone(), "unsupported", message))
            }
        }
    }

    pub fn supported(&mut self, name: Name, span: &Range<usize>) -> Option<Type> {
        match type_of(name) {
            Some(ty) => Some(ty),
            None => self.report(Problem::new(
                span.clone(),
                "unsupported-type",
                format!("the type `{name}` is not supported"),
            )),
        }
    }

    pub fn no_operator(
        &mut self,
        op: &str,
        types: &[Name],
        why: Unresolved,
        span: Range<usize>,
    ) -> Option<Node> {
        let shown = match types {
            [left, right] => format!("{} {op} {}", shown_type(left), shown_type(right)),
            _ => format!(
                "{op} {}",
                types
                    .iter()
                    .map(|t| shown_type(t))
                    .collect::<Vec<_>>()
                    .join(" ")
            ),
        };
        let problem = if !super::catalog::catalog().has_operator(op) {
            Problem::new(span, "unknown-operator", format!("unknown operator `{op}`"))
        } else if why == Unresolved::Missing {
            Problem::new(
                span,
                "type-mismatch",
                format!("there is no operator `{shown}`"),
            )
            .with_hint("cast one side")
        } else {
            Problem::new(
                span,
                "type-mismatch",
                format!("the operator `{shown}` is ambiguous"),
            )
            .with_hint("cast the string, for example '1 day'::interval")
        };
        self.report(problem)
    }

    pub fn equality(
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

    fn distinct(
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
    fn between(&mut self, expr: &Expr) -> Option<Node> {
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

    fn in_list(
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

    /// The type in which the constants of an `in` list become one array: more than one, and alike with the left side.
    fn constants_in_common(&mut self, of: &Node, list: &[Node]) -> Option<Type> {
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

    fn quantified(
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

    fn case(
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
    fn case_conditions(
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

    fn special(&mut self, special: Special, list: &[Expr], span: Range<usize>) -> Option<Node> {
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
    fn comparable(&mut self, ty: Type, name: &str, span: &Range<usize>) -> Option<()> {
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
    fn nullif(&mut self, left: Node, right: Node, span: Range<usize>) -> Option<Node> {
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
    fn alike(
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

    fn array(&mut self, list: &[Expr], span: Range<usize>) -> Option<Node> {
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

fn constant(value: super::value::Value<'_>) -> Kind {
    Kind::Constant(Cell::from_value(value))
}

/// The catalog's name of a node's type.
pub(super) fn catalog_name(node: &Node) -> Name {
    match node.ty {
        Ty::Is(ty) => name_of(ty),
        Ty::Unknown | Ty::Untyped => UNKNOWN,
    }
}

pub(super) fn shown_type(name: &str) -> String {
    type_of(name).map_or_else(|| name.to_owned(), |ty| ty.to_string())
}

/// Wraps in a cast unless the value is already of that type.
pub(super) fn cast_node(node: Node, to: Type, explicit: bool) -> Node {
    let from = node.decided();
    if name_of(from) == name_of(to) && plain(to) == to {
        return node;
    }
    let span = node.span.clone();
    let of = Box::new(node);
    Node::typed(
        Kind::Cast {
            of,
            from,
            to,
            explicit,
        },
        to,
        span,
    )
}

/// Whether the value depends on the row or the event: PostgreSQL's "contains variables".
fn reads_input(node: &Node) -> bool {
    let any = |list: &[Node]| list.iter().any(reads_input);
    match &node.kind {
        Kind::Constant(_) | Kind::Literal(_) | Kind::Number(_) => false,
        Kind::Column(_)
        | Kind::Old(_)
        | Kind::Lookup { .. }
        | Kind::Event(_)
        | Kind::Header(_)
        | Kind::Index
        | Kind::Member { .. }
        | Kind::Operand => true,
        Kind::Cast { of, .. }
        | Kind::Not(of)
        | Kind::IsNull { of, .. }
        | Kind::IsBool { of, .. } => reads_input(of),
        Kind::Call(_, list)
        | Kind::And(list)
        | Kind::Or(list)
        | Kind::Coalesce(list)
        | Kind::Array(list) => any(list),
        Kind::Extreme { of, .. } => any(of),
        Kind::Distinct { left, right, .. } | Kind::Nullif { left, right, .. } => {
            reads_input(left) || reads_input(right)
        }
        Kind::UntypedNullif(left, right) | Kind::Subscript(left, right) => {
            reads_input(left) || reads_input(right)
        }
        Kind::Quantified { left, array, .. } => reads_input(left) || reads_input(array),
        Kind::Case {
            operand,
            branches,
            otherwise,
        } => {
            let operand = operand.as_ref().is_some_and(|o| reads_input(o));
            operand
                || reads_input(otherwise)
                || branches
                    .iter()
                    .any(|(when, then)| reads_input(when) || reads_input(then))
        }
    }
}
