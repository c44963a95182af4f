//! Expressions as written, each with the tree that it parses to: checks, warnings and the fingerprint all ask for it, and to
//! cut SQL text into tokens takes longest of all that is done to a definition. So it is done once, by whoever asks first.
//! Knows nothing of what names mean.

use std::cell::OnceCell;

use super::source::Text;
use crate::expression::{self, Expr, Problem};

/// One expression.
#[derive(Debug)]
pub struct Sql {
    pub text: Text,
    tree: OnceCell<Result<Expr, Problem>>,
}

impl Sql {
    pub fn new(text: Text) -> Sql {
        let tree = OnceCell::new();
        Sql { text, tree }
    }

    /// What it parses to, or why it does not. Spans are bytes in the text.
    pub fn tree(&self) -> Result<&Expr, &Problem> {
        let parse = || expression::parse(self.text.as_str());
        self.tree.get_or_init(parse).as_ref()
    }
}

/// Column = expression, several times.
#[derive(Debug)]
pub struct Assignments {
    pub written: Written,
    pairs: OnceCell<Result<Vec<Assigned>, Vec<Problem>>>,
}

/// How assignments are written.
#[derive(Debug)]
pub enum Written {
    /// As after `update … set`.
    Sql(Text),
    Map(Vec<(Text, Text)>),
}

/// A column and its expression.
#[derive(Debug)]
pub struct Assigned {
    pub column: Text,
    pub sql: Sql,
}

impl Assignments {
    pub fn new(written: Written) -> Assignments {
        let pairs = OnceCell::new();
        Assignments { written, pairs }
    }

    /// Column and expression of every assignment, however they are written; or in which text there are which problems.
    pub fn pairs(&self) -> Result<&[Assigned], (&Text, &[Problem])> {
        match (
            self.pairs.get_or_init(|| split(&self.written)),
            &self.written,
        ) {
            (Ok(pairs), _) => Ok(pairs),
            (Err(problems), Written::Sql(text)) => Err((text, problems)),
            (Err(_), Written::Map(_)) => unreachable!("a map is split already"),
        }
    }
}

fn split(written: &Written) -> Result<Vec<Assigned>, Vec<Problem>> {
    let text = match written {
        Written::Map(pairs) => {
            let pairs = pairs.iter().map(|(column, text)| Assigned {
                column: column.clone(),
                sql: Sql::new(text.clone()),
            });
            return Ok(pairs.collect());
        }
        Written::Sql(text) => text,
    };
    let parsed = expression::parse_assignments(text.as_str())?;
    let pairs = parsed.into_iter().map(|assignment| {
        // The name as SQL means it, in lower case unless quoted, at the place where it was written.
        let place = text.locate(assignment.name_span);
        Assigned {
            column: Text::mapped(assignment.name, place, Vec::new()),
            sql: Sql {
                text: text.slice(assignment.expr_span),
                tree: assignment.tree.into(),
            },
        }
    });
    Ok(pairs.collect())
}
