//! Function calls: which overload is meant, and what a payload member is as its argument. Part of the checker.

use std::ops::Range;

use super::ast::Expr;
use super::catalog::{Name, catalog, category, type_of};
use super::check::{Checker, catalog_name, shown_type};
use super::problem::{Problem, closest};
use super::refused;
use super::resolve::{self, Resolved, UNKNOWN, Unresolved};
use super::typed::{NUMERIC, Node, Ty};

impl Checker<'_, '_> {
    pub fn call(
        &mut self,
        name: &str,
        name_span: Range<usize>,
        arguments: &[Expr],
        span: Range<usize>,
    ) -> Option<Node> {
        if let Some(problem) = refused::name(name, &name_span) {
            return self.report(problem);
        }
        // A function named as a type, with one argument, is its cast (`func_get_detail`).
        let is_keyword = matches!(
            name,
            "numeric" | "varchar" | "time" | "timestamp" | "interval"
        );
        if let ([of], Some(ty), false) = (arguments, type_of(name), is_keyword) {
            return self.cast(of, ty, span);
        }
        if catalog().functions(name).is_empty() {
            let problem = Problem::new(
                name_span,
                "unknown-function",
                format!("unknown function `{name}`"),
            );
            let near = closest(name, catalog().function_names());
            return self.report(match near {
                Some(near) => problem.with_hint(format!("did you mean `{near}`?")),
                None => problem,
            });
        }
        let arguments = self.checked(arguments)?;
        let arguments = self.settle_arguments(name, arguments)?;
        let types: Vec<Name> = arguments.iter().map(catalog_name).collect();
        match resolve::function(name, &types) {
            Ok(resolved) => self.apply(resolved, arguments, span),
            Err(why) => self.no_function(name, &types, why, span),
        }
    }

    /// The parameter decides a member's type where it is the only one at its place, a text, or the same as a typed
    /// argument's; a bare number beside it makes it numeric. PostgreSQL's preference for double precision decides nothing.
    fn settle_arguments(&mut self, name: &str, arguments: Vec<Node>) -> Option<Vec<Node>> {
        let Some(first) = arguments.iter().find(|a| a.ty == Ty::Untyped).cloned() else {
            return Some(arguments);
        };
        let types: Vec<Name> = arguments.iter().map(catalog_name).collect();
        let resolved = resolve::function(name, &types);
        if resolved
            .as_ref()
            .is_ok_and(|resolved| decides(name, resolved, &arguments))
        {
            return Some(arguments);
        }
        if arguments.iter().any(Node::is_bare_number) {
            let numeric: Vec<Name> = arguments
                .iter()
                .map(|a| {
                    if a.ty == Ty::Untyped {
                        "numeric"
                    } else {
                        catalog_name(a)
                    }
                })
                .collect();
            if resolve::function(name, &numeric).is_ok() {
                let settled: Vec<Option<Node>> = arguments
                    .into_iter()
                    .map(|a| {
                        if a.ty == Ty::Untyped {
                            self.settle(a, NUMERIC)
                        } else {
                            Some(a)
                        }
                    })
                    .collect();
                return settled.into_iter().collect();
            }
        }
        if resolved.is_err_and(|why| why == Unresolved::Missing)
            && resolve::function(name, &vec![UNKNOWN; types.len()])
                .is_err_and(|why| why == Unresolved::Missing)
        {
            let shown = vec![UNKNOWN; types.len()];
            return self
                .no_function(name, &shown, Unresolved::Missing, first.span)
                .map(|node: Node| vec![node]);
        }
        let cast = match name {
            "date_trunc" | "date_part" | "extract" | "age" | "timezone" | "date" => "timestamptz",
            "to_jsonb" => "jsonb",
            _ if name.starts_with("json") => "text",
            _ => "numeric",
        };
        self.undecided(&first, Some(cast))
    }

    fn no_function(
        &mut self,
        name: &str,
        types: &[Name],
        why: Unresolved,
        span: Range<usize>,
    ) -> Option<Node> {
        let shown: Vec<String> = types.iter().map(|t| shown_type(t)).collect();
        let shown = format!("{name}({})", shown.join(", "));
        let problem = match why {
            Unresolved::Missing => Problem::new(
                span,
                "type-mismatch",
                format!("there is no function `{shown}`"),
            ),
            _ => Problem::new(
                span,
                "type-mismatch",
                format!("the call `{shown}` is ambiguous"),
            )
            .with_hint("cast the arguments"),
        };
        self.report(problem)
    }
}

fn decides(name: &str, resolved: &Resolved, arguments: &[Node]) -> bool {
    let by_type = |wanted: Name| {
        arguments
            .iter()
            .any(|a| matches!(a.ty, Ty::Is(_)) && !a.is_bare_number() && catalog_name(a) == wanted)
    };
    let by_element = |wanted: Name| {
        arguments
            .iter()
            .any(|a| super::catalog::element_of(catalog_name(a)) == Some(wanted))
    };
    arguments
        .iter()
        .enumerate()
        .filter(|(_, a)| a.ty == Ty::Untyped)
        .all(|(place, _)| {
            let wanted = resolved.arguments[place];
            if wanted == "any" {
                // `concat` shows every value as its text; the text of a member is the member.
                return resolved.entry.code.starts_with("text_concat");
            }
            let declared = resolve::parameter_types(name, arguments.len(), place);
            let only = matches!(declared.as_slice(), [one] if !one.starts_with("any"));
            only || category(wanted).0 == 'S' && wanted == TEXT_NAME && !declared_generic(&declared)
                || by_type(wanted)
                || by_element(wanted)
        })
}

const TEXT_NAME: Name = "text";

fn declared_generic(declared: &[Name]) -> bool {
    declared.iter().all(|d| d.starts_with("any"))
}
