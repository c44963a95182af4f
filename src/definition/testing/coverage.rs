//! What of a definition no test case reaches: rules, and branches of `case`. Knows nothing of how cases are run.

use std::collections::BTreeSet;
use std::ops::{AddAssign, Range};

use crate::definition::diagnostic::{Diagnostic, Report};
use crate::definition::projection::Projection;
use crate::definition::source::Source;

/// What cases have reached.
#[derive(Debug, Default)]
pub struct Coverage {
    /// Table and rule.
    rules: BTreeSet<(usize, usize)>,
}

/// How much of a definition its cases reach.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    pub rules: usize,
    pub all_rules: usize,
    pub branches: usize,
    pub all_branches: usize,
}

impl AddAssign for Reached {
    fn add_assign(&mut self, other: Reached) {
        self.rules += other.rules;
        self.all_rules += other.all_rules;
        self.branches += other.branches;
        self.all_branches += other.all_branches;
    }
}

impl Coverage {
    pub(super) fn add(&mut self, table: usize, rule: usize) {
        self.rules.insert((table, rule));
    }

    pub fn merge(&mut self, other: &Coverage) {
        self.rules.extend(&other.rules);
    }
}

/// How much was reached, and a warning for each part that was not. The projection is one that was loaded to be traced, and
/// all its cases have been run.
pub fn judge(
    projection: &Projection,
    coverage: &Coverage,
    file: &str,
) -> (Reached, Vec<Diagnostic>) {
    let mut report = Report::new(Source::new(file, &projection.text));
    let mut reached = Reached::default();
    for (table_index, table) in projection.tables.iter().enumerate() {
        for (rule_index, rule) in table.rules.iter().enumerate() {
            reached.all_rules += 1;
            if !coverage.rules.contains(&(table_index, rule_index)) {
                let message = format!(
                    "no test lets `{}` do anything to a row of `{}`",
                    rule.label, table.name
                );
                report.warning(rule.span.clone(), "uncovered-rule", message);
                continue;
            }
            reached.rules += 1;
        }
    }
    for (span, taken) in branches(projection) {
        reached.all_branches += 1;
        match taken {
            true => reached.branches += 1,
            false => {
                let message = "no test takes this branch";
                report.warning(span, "uncovered-branch", message);
            }
        }
    }
    (reached, report.finish())
}

/// Each place once: an expression under a table's `key:` is compiled for every rule.
fn branches(projection: &Projection) -> Vec<(Range<usize>, bool)> {
    let rules = projection.tables.iter().flat_map(|table| &table.rules);
    let programs = rules.flat_map(|rule| rule.programs());
    let mut found: Vec<(Range<usize>, bool)> = Vec::new();
    for (span, taken) in programs.flat_map(|program| program.branches()) {
        match found.iter_mut().find(|(known, _)| *known == span) {
            Some((_, known)) => *known |= taken,
            None => found.push((span, taken)),
        }
    }
    found
}
