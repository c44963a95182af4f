//! Names and types: a syntax tree to a checked tree, by PostgreSQL's rules of type conversion (manual, chapter 10), with
//! one addition: a payload member has the type that its place wants.
//! Reports every problem it can see. Knows nothing of evaluation but the code table.

use std::ops::Range;

use bumpalo::Bump;

use super::ast::{Expr, Kind as Ast};
use super::builtin;
use super::catalog::{Name, name_of, type_of};
use super::cell::Cell;
use super::problem::Problem;
use super::refused;
use super::resolve::{self, Resolved, UNKNOWN, Unresolved};
use super::scope::Scope;
use super::typed::{BIGINT, BOOLEAN, Code, INTEGER, Kind, NUMERIC, Node, TEXT, Ty, plain, scalar};
use super::value::{Scalar, Type};

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
            Ast::Not(_) | Ast::And(_) | Ast::Or(_) | Ast::IsNull { .. } | Ast::IsBool { .. } => {
                self.truth(expr)
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

    /// What is true, false or unknown of booleans, or null of anything.
    fn truth(&mut self, expr: &Expr) -> Option<Node> {
        let kind = match &expr.kind {
            Ast::Not(of) => Kind::Not(Box::new(self.boolean(of)?)),
            Ast::And(list) => Kind::And(self.booleans(list)?),
            Ast::Or(list) => Kind::Or(self.booleans(list)?),
            Ast::IsNull { of, negated } => Kind::IsNull {
                of: Box::new(self.check(of)?),
                negated: *negated,
            },
            Ast::IsBool { of, value, negated } => Kind::IsBool {
                of: Box::new(self.boolean(of)?),
                value: *value,
                negated: *negated,
            },
            _ => return None,
        };
        Some(Node::typed(kind, BOOLEAN, expr.span.clone()))
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
        // PostgreSQL makes an array of arguments that repeat, which is not null even if they are.
        let entry = resolved.entry;
        if let (true, Some(array)) = (
            entry.variadic,
            entry.arguments.last().and_then(|name| type_of(name)),
        ) {
            let repeated = cast.split_off(entry.arguments.len() - 1);
            cast.push(Node::typed(Kind::Array(repeated), array, span.clone()));
        }
        let code = inlined(code, &mut cast);
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
            None => self.report(refused::form(entry, &resolved.arguments, span)),
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
}

/// PostgreSQL puts the text of some SQL functions in their place: their arguments are cast before any null counts, and
/// what is constant is computed.
fn inlined(code: Code, arguments: &mut Vec<Node>) -> Code {
    let (place, ty, inner) = match code.name {
        "textanycat/sql/text_anynonarray" => (1, TEXT, "textcat"),
        "anytextcat/sql/anynonarray_text" => (0, TEXT, "textcat"),
        "date_part/sql/text_date" => (1, scalar(Scalar::Timestamp), "timestamp_part"),
        _ => return code,
    };
    let argument = arguments.remove(place);
    arguments.insert(place, cast_node(argument, ty, true));
    let native = builtin::native(inner).unwrap_or(code.native);
    Code {
        name: inner,
        native,
        strict: true,
        immutable: true,
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
