//! Expressions as sqlparser reads them: just enough of a look to warn about what is probably not meant.

use sqlparser::ast::{BinaryOperator, Expr};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

use crate::definition::check::pairs;
use crate::definition::file::RuleFile;
use crate::definition::source::Text;

/// Deepest expression that is looked at.
const DEPTH_MAX: usize = 50;

pub fn is_constant(expression: &Expr) -> bool {
    match expression {
        Expr::Nested(inner)
        | Expr::Cast { expr: inner, .. }
        | Expr::UnaryOp { expr: inner, .. } => is_constant(inner),
        Expr::Value(_) | Expr::TypedString(_) => true,
        _ => false,
    }
}

pub fn is_column(expression: &Expr, name: &str) -> bool {
    match expression {
        Expr::Nested(inner) => is_column(inner, name),
        Expr::Identifier(identifier) => identifier.value.eq_ignore_ascii_case(name),
        _ => false,
    }
}

/// Whether a column's name stands anywhere as a bare name, or as `old.<name>`.
pub fn mentions(expression: &Expr, name: &str) -> bool {
    let text = expression.to_string();
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, &text).tokenize() else {
        return true;
    };
    let word = |at: usize, wanted: &str| matches!(&tokens[at], Token::Word(word) if word.value.eq_ignore_ascii_case(wanted));
    (0..tokens.len()).any(|at| {
        let below_another = at >= 2 && tokens[at - 1] == Token::Period && !word(at - 2, "old");
        word(at, name) && !below_another
    })
}

pub fn assignments(file: &RuleFile) -> Vec<(Text, Text)> {
    file.set
        .as_ref()
        .and_then(|set| pairs(set).ok())
        .unwrap_or_default()
}

/// Whatever sqlparser does not read gets no warning that needs its tree.
pub fn parse(text: &Text) -> Option<Expr> {
    parse_text(text.as_str())
}

pub fn parse_text(text: &str) -> Option<Expr> {
    Parser::new(&PostgreSqlDialect {})
        .with_recursion_limit(DEPTH_MAX)
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_expr())
        .ok()
}

/// What is joined by `and`.
pub fn conjuncts(expression: &Expr) -> Vec<&Expr> {
    match expression {
        Expr::Nested(inner) => conjuncts(inner),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            let mut all = conjuncts(left);
            all.extend(conjuncts(right));
            all
        }
        other => vec![other],
    }
}
