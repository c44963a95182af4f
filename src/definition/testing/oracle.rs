//! What the expressions of test cases came to, to be compared with what PostgreSQL makes of them. Knows nothing of connections.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bumpalo::Bump;

use super::TestCase;
use super::record::record;
use super::replay::{Memory, State};
use super::run::TestFailure;
use crate::definition::projection::Projection;
use crate::expression::cast::to_text;
use crate::expression::cell::Cell;
use crate::expression::error::EvalError;
use crate::expression::program::Program;

/// An expression with its inputs, and what it came to here.
#[derive(Debug)]
pub struct Question {
    /// In parentheses, with literals in place of names.
    pub sql: String,
    /// Of the column that it is assigned to.
    pub value_type: String,
    /// As written.
    pub text: String,
    pub value: Result<Cell, EvalError>,
}

/// What PostgreSQL says: the value's text, or SQLSTATE and message.
pub type Answer = Result<Option<String>, (String, String)>;

/// Every evaluation that folding the case takes, each once. Of a projection that was loaded to be traced.
pub fn questions(projection: &Arc<Projection>, case: &TestCase) -> Vec<Question> {
    let programs = programs(projection);
    let mut state = State::new(projection, Memory::Forget);
    let mut asked = HashSet::new();
    let mut questions = Vec::new();
    for given in &case.given {
        let told = state.tell_one(&record(projection, given), |_| {});
        for evaluation in told.trace.evaluations {
            let program = programs.get(&evaluation.program);
            let (Some(program), Some(sql)) = (program, evaluation.sql) else {
                continue;
            };
            let value_type = program.result().to_string();
            if asked.insert((sql.clone(), value_type.clone())) {
                questions.push(Question {
                    sql,
                    value_type,
                    text: program.text().to_owned(),
                    value: evaluation.result,
                });
            }
        }
    }
    questions
}

/// `None`: both have the same value, or both refuse it.
pub fn compare(case: &TestCase, question: &Question, answer: &Answer) -> Option<TestFailure> {
    let arena = Bump::new();
    let ours = question
        .value
        .as_ref()
        .map(|cell| to_text(cell.value(), &arena));
    let same = match (&ours, answer) {
        (Ok(ours), Ok(theirs)) => *ours == theirs.as_deref(),
        // A syntax error or a missing function is no answer about the value.
        (Err(_), Err((code, _))) => !code.starts_with("42") && !code.starts_with("0A"),
        _ => false,
    };
    if same {
        return None;
    }
    let ours = match ours {
        Ok(value) => value.unwrap_or("null").to_owned(),
        Err(error) => format!("error {}: {}", error.sqlstate(), error.message()),
    };
    let theirs = match answer {
        Ok(value) => value.as_deref().unwrap_or("null").to_owned(),
        Err((code, message)) => format!("error {code}: {message}"),
    };
    let text = question
        .text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    Some(TestFailure {
        line: case.line,
        message: format!("PostgreSQL makes something else of `{text}` (- PostgreSQL, + here)"),
        detail: format!(
            "- {theirs}\n+ {ours}\n  asked: {}::{}",
            question.sql, question.value_type
        ),
    })
}

/// By id.
fn programs(projection: &Projection) -> HashMap<usize, &Program> {
    let rules = projection.tables.iter().flat_map(|table| &table.rules);
    let tables = projection.tables.iter();
    let versions = tables.flat_map(|table| &table.version).chain(
        projection
            .tables
            .iter()
            .flat_map(|table| &table.rules)
            .flat_map(|rule| &rule.version),
    );
    let versions = versions.map(|version| &version.program);
    rules
        .flat_map(|rule| rule.programs())
        .chain(versions)
        .map(|program| (program.id(), program))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{File, load_traced};

    const DEFINITION: &str = "
projection: p
from: t
tables:
  a:
    key: { id: text }
    columns:
      n: bigint not null default 0
      price: numeric(6,2)
      note: text
      tags: jsonb
    rules:
      X:
        when: n between 0 and data.max and data.gone is null -- a comment
        set: |
          n = n + data.by, price = 10 / data.by, note = data.\"it's\", tags = data.tags
";

    fn asked(data: &str) -> Vec<Question> {
        let text = DEFINITION.to_owned()
            + &format!("tests:\n  - name: x\n    given: [{{ type: X, key: k, data: {data} }}]\n");
        let file = File {
            file_name: "p.yaml",
            text: &text,
        };
        let loaded = load_traced(file, None);
        let projection = Arc::new(loaded.projection.unwrap());
        questions(&projection, &loaded.tests[0])
    }

    fn find<'q>(questions: &'q [Question], text: &str) -> &'q Question {
        questions.iter().find(|q| q.text.starts_with(text)).unwrap()
    }

    #[test]
    fn names_become_typed_literals() {
        let questions = asked(r#"{ max: 9, by: 4, "it's": "it''s", tags: [1] }"#);
        let sql = |text: &str| {
            find(&questions, text)
                .sql
                .trim_end_matches("\n)")
                .to_owned()
        };
        assert_eq!(
            sql("n between"),
            "(('0'::bigint) between 0 and (('9'::jsonb #>> '{}')::bigint) and (null::text) is null -- a comment"
        );
        assert_eq!(
            sql("n + data"),
            "(('0'::bigint) + (('4'::jsonb #>> '{}')::bigint)"
        );
        assert_eq!(sql("10 /"), "(10 / (('4'::jsonb #>> '{}')::numeric)");
        assert_eq!(sql("data.tags"), "(('[1]'::jsonb)");
        let note = find(&questions, "data.\"it");
        assert_eq!(note.sql, "((('\"it''''s\"'::jsonb #>> '{}')::text)\n)");
        assert_eq!(find(&questions, "10 /").value_type, "numeric(6,2)");
    }

    #[test]
    fn another_value_or_an_error_of_another_kind_is_a_difference() {
        let questions = asked("{ max: 9, by: 4 }");
        let price = find(&questions, "10 /");
        let case = TestCase {
            name: String::new(),
            file: String::new(),
            line: 1,
            given: Vec::new(),
            then: Vec::new(),
            fails: Vec::new(),
        };
        let answer = |text: &str| Ok(Some(text.to_owned()));
        let error = |code: &str| Err((code.to_owned(), "no".to_owned()));
        assert!(compare(&case, price, &answer("2.50")).is_none());
        for other in [answer("2.5"), Ok(None), error("22012")] {
            let failure = compare(&case, price, &other).unwrap();
            assert!(failure.detail.contains("+ 2.50\n"), "{failure:?}");
        }
        let failing = asked("{ max: 9, by: 0 }");
        let price = find(&failing, "10 /");
        assert!(compare(&case, price, &error("22012")).is_none());
        assert!(compare(&case, price, &error("42601")).is_some());
        assert!(compare(&case, price, &answer("1")).is_some());
    }
}
