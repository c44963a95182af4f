//! Expressions as they are written: just enough of a look to warn about what is probably not meant. Knows nothing of types.

use crate::definition::file::RuleFile;
use crate::definition::sql::Assigned;
use crate::expression::{Expr, Kind};

/// What a rule sets.
pub fn assigned(file: &RuleFile) -> &[Assigned] {
    let pairs = file.set.as_ref().and_then(|set| set.pairs().ok());
    pairs.unwrap_or_default()
}

/// The operator, if the column itself is an operand of what it is set to.
pub fn operator_on_itself(pair: &Assigned) -> Option<&str> {
    match &pair.sql.tree().ok()?.kind {
        Kind::Binary(op, left, right) => [left, right]
            .iter()
            .any(|side| is_column(side, pair.column.as_str()))
            .then_some(op.as_str()),
        _ => None,
    }
}

pub fn is_constant(expression: &Expr) -> bool {
    match &expression.kind {
        Kind::Cast(inner, _) | Kind::Unary(_, inner) => is_constant(inner),
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => true,
        _ => false,
    }
}

pub fn is_column(expression: &Expr, name: &str) -> bool {
    matches!(&expression.kind, Kind::Name(parts) if parts.len() == 1 && parts[0].folded == name)
}

/// Whether a column's name stands anywhere as a bare name, or as `old.<name>`.
pub fn mentions(expression: &Expr, name: &str) -> bool {
    if let Kind::Name(parts) = &expression.kind {
        return match parts.as_slice() {
            [root, column, ..] if root.folded == "old" => column.folded == name,
            [root, ..] => root.folded == name,
            [] => false,
        };
    }
    let mut found = false;
    let see = &mut |child: &Expr| found = found || mentions(child, name);
    expression.kind.for_each_child(see);
    found
}

/// What is joined by `and`.
pub fn conjuncts(expression: &Expr) -> &[Expr] {
    match &expression.kind {
        Kind::And(all) => all,
        _ => std::slice::from_ref(expression),
    }
}
