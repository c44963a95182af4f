//! SQL that PostgreSQL will run itself: views and the predicates of indexes. Only what could do harm or surely fails is
//! refused here; PostgreSQL judges the rest. Knows nothing of the fold.

use std::ops::Range;

use sqlparser::ast::Statement;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use crate::definition::diagnostic::Report;
use crate::definition::source::Text;

/// Deepest nesting that is parsed.
const DEPTH_MAX: usize = 50;

/// One query and nothing else: whatever stands in a definition must not reach beyond its own schema.
pub fn check_view(report: &mut Report<'_>, sql: &Text) -> Option<()> {
    let mut parser = parser(report, sql)?;
    match parser.parse_statement() {
        Err(error) => report_error(report, sql, &error),
        Ok(Statement::Query(query)) if query.locks.is_empty() => {
            return check_end(
                report,
                sql,
                &parser,
                "a view is one query, which ends before",
            );
        }
        Ok(_) => {
            report.error(
                sql.span.clone(),
                "sql",
                "a view is a query: `select … from …`",
            );
        }
    }
    None
}

/// A condition and nothing behind it.
pub fn check_predicate(report: &mut Report<'_>, sql: &Text) -> Option<()> {
    let mut parser = parser(report, sql)?;
    match parser.parse_expr() {
        Err(error) => report_error(report, sql, &error),
        Ok(_) => return check_end(report, sql, &parser, "the condition ends before"),
    }
    None
}

fn parser(report: &mut Report<'_>, sql: &Text) -> Option<Parser<'static>> {
    Parser::new(&PostgreSqlDialect {})
        .with_recursion_limit(DEPTH_MAX)
        .try_with_sql(sql.as_str())
        .map_err(|error| report_error(report, sql, &error))
        .ok()
}

fn check_end(
    report: &mut Report<'_>,
    sql: &Text,
    parser: &Parser<'_>,
    message: &str,
) -> Option<()> {
    let next = parser.peek_token();
    if next.token == Token::EOF {
        return Some(());
    }
    let at = offset(sql, next.span.start.line, next.span.start.column);
    report.error(sql.locate(at), "sql", format!("{message} `{}`", next.token));
    None
}

/// sqlparser says the place within the message: `… at Line: 1, Column: 15`.
fn report_error(report: &mut Report<'_>, sql: &Text, error: &ParserError) {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
            message.as_str()
        }
        ParserError::RecursionLimitExceeded => "it is nested too deeply",
    };
    let (message, place) = message.split_once(" at Line: ").unwrap_or((message, ""));
    let place = place
        .split_once(", Column: ")
        .and_then(|(line, column)| Some((line.parse().ok()?, column.parse().ok()?)));
    let span = match place {
        Some((line, column)) => sql.locate(offset(sql, line, column)),
        None => sql.span.clone(),
    };
    report.error(span, "sql", format!("this is not SQL: {message}"));
}

/// The word at a line and column (from 1, in characters) of the text.
fn offset(sql: &Text, line: u64, column: u64) -> Range<usize> {
    let line = usize::try_from(line).unwrap_or(1).max(1);
    let column = usize::try_from(column).unwrap_or(1).max(1);
    let text = sql.as_str();
    let start: usize = text
        .split_inclusive('\n')
        .take(line - 1)
        .map(str::len)
        .sum();
    let at = start
        + text[start..]
            .chars()
            .take(column - 1)
            .map(char::len_utf8)
            .sum::<usize>();
    let rest = &text[at..];
    let word = rest
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(rest.len());
    let first = rest.chars().next().map_or(0, char::len_utf8);
    at..at + word.max(first)
}
