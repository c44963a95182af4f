//! Expressions of a definition: compiled with the names they may read, their problems put where they stand in the file.
//! Knows nothing of tables and rules.

use std::ops::Range;

use crate::definition::diagnostic::Report;
use crate::definition::source::Text;
use crate::definition::sql::Sql;
use crate::event::Path;
use crate::expression::program::Program;
use crate::expression::value::{Type, Value};
use crate::expression::{self, Lookup, Names, Paths, Problem, Scope};

/// Compiles expressions and gathers the slots that all of a projection share.
#[derive(Default)]
pub struct Compiler {
    paths: Paths,
    headers: Names,
    /// Programs note which branches they take.
    traced: bool,
    /// What expressions read of events, since it was last taken.
    read: Vec<MemberRead>,
}

/// A member of the payload, or of an element of it, that an expression names.
pub struct MemberRead {
    pub path: Path,
    /// Below the element of `each`.
    pub item: bool,
    /// Where it stands in the file.
    pub span: Range<usize>,
    /// As which types the expression reads it.
    pub types: Vec<Type>,
}

/// What an expression may read besides the event.
pub struct Reads<'s> {
    /// The row's columns; empty where there is no row yet.
    pub columns: &'s [(String, Type)],
    pub old: bool,
    pub lookups: &'s [Lookup],
    pub item: Option<&'s mut Paths>,
}

impl Reads<'_> {
    /// Nothing besides the event.
    pub const EVENT: Reads<'static> = Reads {
        columns: &[],
        old: false,
        lookups: &[],
        item: None,
    };
}

impl Compiler {
    pub fn new(traced: bool) -> Compiler {
        Compiler {
            traced,
            ..Compiler::default()
        }
    }

    /// With a target the assignment cast to it is compiled in.
    pub fn compile(
        &mut self,
        report: &mut Report<'_>,
        sql: &Sql,
        mut reads: Reads<'_>,
        target: Option<Type>,
    ) -> Option<Program> {
        let mut scope = Scope {
            columns: reads.columns,
            old: reads.old,
            lookups: reads.lookups,
            item: reads.item.as_deref_mut(),
            data: &mut self.paths,
            headers: &mut self.headers,
        };
        let text = &sql.text;
        let compiled = match sql.tree() {
            Ok(tree) => {
                expression::compile_tree(text.as_str(), tree, &mut scope, target, self.traced)
            }
            Err(problem) => Err(vec![problem.clone()]),
        };
        let program = match compiled {
            Ok(mut program) => {
                program.place_branches(|span| text.locate(span));
                Some(program)
            }
            Err(problems) => {
                report_problems(report, text, problems);
                None
            }
        };
        note_reads(
            &mut self.read,
            text,
            &mut self.paths,
            program.as_ref(),
            false,
        );
        if let Some(item) = reads.item {
            note_reads(&mut self.read, text, item, program.as_ref(), true);
        }
        program
    }

    /// Members that expressions have named since the last time.
    pub fn take_read(&mut self) -> Vec<MemberRead> {
        std::mem::take(&mut self.read)
    }

    pub fn header_slot(&mut self, name: &str) -> usize {
        self.headers.slot(name)
    }

    pub fn into_slots(self) -> (Vec<Path>, Vec<String>) {
        (self.paths.into_vec(), self.headers.into_vec())
    }
}

fn note_reads(
    read: &mut Vec<MemberRead>,
    text: &Text,
    paths: &mut Paths,
    program: Option<&Program>,
    item: bool,
) {
    for (slot, span) in paths.take_named() {
        let members = program
            .into_iter()
            .flat_map(|program| program.members(item));
        read.push(MemberRead {
            path: paths.as_slice()[slot].clone(),
            item,
            span: text.locate(span),
            types: members
                .filter_map(|(member, ty)| (member == slot).then_some(ty))
                .collect(),
        });
    }
}

pub fn report_problems(
    report: &mut Report<'_>,
    text: &Text,
    problems: impl IntoIterator<Item = Problem>,
) {
    for problem in problems {
        report
            .error(text.locate(problem.span), problem.code, problem.message)
            .maybe_hint(problem.hint);
    }
}

/// A length of time like `7 days`, in microseconds. No months: they differ.
pub fn span_of_time(report: &mut Report<'_>, text: &Text) -> Option<i64> {
    let constant = format!("interval default '{}'", text.text.replace('\'', ""));
    let cell = expression::parse_column(&constant)
        .ok()
        .and_then(|column| column.default);
    let micros = match cell.as_ref().map(|(cell, _)| cell.value()) {
        Some(Value::Interval(interval)) if interval.months == 0 => i64::from(interval.days)
            .checked_mul(86_400_000_000)
            .and_then(|days| days.checked_add(interval.micros))
            .filter(|micros| *micros > 0),
        _ => None,
    };
    if micros.is_none() {
        report
            .error(
                text.span.clone(),
                "wrong-value",
                format!("`{}` is no length of time", text.text),
            )
            .hint("write it as `7 days` or `36 hours`");
    }
    micros
}
