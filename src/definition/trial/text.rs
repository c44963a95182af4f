//! The account of an event, for people. Knows nothing of how it came about.

use std::fmt::Write;

use super::{Account, Evaluated, Meets, RowChange, RowStep, RuleAccount, StepAccount, shown};
use crate::definition::projection::{Column, IfMissing, Projection, Table};
use crate::expression::cell::Cell;
use crate::expression::value::Value;
use crate::fold::{Did, RulePart};

/// Longer values and expressions are cut; `--json` has them whole.
const SHOWN_CHARS_MAX: usize = 60;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const ERROR: &str = "1;31";

/// Ends with a newline.
pub fn to_text(projection: &Projection, account: &Account, colour: bool) -> String {
    let mut page = Page {
        projection,
        colour,
        out: String::new(),
    };
    page.head(account);
    for (at, table) in projection.tables.iter().enumerate() {
        let rules = account.rules.iter().filter(|rule| rule.table == at);
        page.rules(table, &rules.collect::<Vec<_>>());
    }
    if let Some(failure) = &account.failure {
        let failed = page.paint(ERROR, "failed:");
        page.line(1, &format!("{failed} {failure}"));
        page.line(1, "the event changes nothing");
    } else {
        for row in &account.rows {
            page.row(row);
        }
    }
    page.out
}

struct Page<'p> {
    projection: &'p Projection,
    colour: bool,
    out: String,
}

impl Page<'_> {
    fn paint(&self, code: &str, text: &str) -> String {
        match self.colour {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    fn line(&mut self, depth: usize, text: &str) {
        // Writing into a string cannot fail.
        let _ = writeln!(self.out, "{:width$}{text}", "", width = 2 * depth);
    }

    fn head(&mut self, account: &Account) {
        let (topic, partition) = (&account.topic, account.partition);
        let Some(event) = &account.event else {
            let title = format!("event {}: a record of {topic}", account.number);
            let title = self.paint(BOLD, &title);
            self.line(0, &title);
            return;
        };
        let title = format!("event {}: {}", account.number, event.event_type);
        let title = self.paint(BOLD, &title);
        let key = match &event.key {
            Some(key) => format!("key {}", cut(key)),
            None => "no key".to_owned(),
        };
        let (offset, time) = (event.offset, &event.time);
        self.line(
            0,
            &format!("{title}, {key}, {time} ({topic}, partition {partition}, offset {offset})"),
        );
        if account.duplicate {
            self.line(1, "a duplicate of an earlier event: it changes nothing");
        } else if account.rules.iter().all(|rule| rule.meets != Meets::Yes) {
            self.line(
                1,
                match event.ignored {
                    true => "no rule is for it: its type stands under `ignore`",
                    false => "no rule is for it: `status` would count its type as unheard of",
                },
            );
        }
    }

    fn rules(&mut self, table: &Table, rules: &[&RuleAccount]) {
        for account in rules.iter().filter(|rule| rule.meets == Meets::Yes) {
            let rule = &table.rules[account.rule];
            let title = self.paint(BOLD, &format!("{}: {}", table.name, rule.label));
            self.line(1, &format!("{title} (line {})", rule.line));
            self.steps(table, account);
        }
        for (meets, why) in [
            (Meets::OtherType, "for other types"),
            (Meets::OtherTopic, "for another topic"),
            (Meets::NotAsked, "not asked any more"),
        ] {
            let labels = rules.iter().filter(|rule| rule.meets == meets);
            let mut labels: Vec<&str> = labels
                .map(|account| table.rules[account.rule].label.as_str())
                .collect();
            labels.dedup();
            if !labels.is_empty() {
                let line = format!("{}: {why}: {}", table.name, labels.join("; "));
                let line = self.paint(DIM, &line);
                self.line(1, &line);
            }
        }
    }

    fn steps(&mut self, table: &Table, account: &RuleAccount) {
        let all = account.steps.iter().flat_map(|step| {
            let of_rows = step.rows.iter().flat_map(|row| &row.evaluated);
            step.evaluated.iter().chain(of_rows)
        });
        let widths = all.fold([0; 3], |widths, one| {
            let cells = cells(one);
            [0, 1, 2].map(|at| widths[at].max(cells[at].chars().count()))
        });
        for one in &account.array {
            self.evaluated(2, one, widths);
        }
        if !account.array.is_empty() && account.steps.is_empty() {
            self.line(2, "there is no element: nothing to do");
        }
        for step in &account.steps {
            if let Some(index) = step.index {
                self.line(2, &format!("element {index}"));
            }
            let depth = 2 + usize::from(step.index.is_some());
            for one in &step.evaluated {
                self.evaluated(depth, one, widths);
            }
            let if_missing = table.rules[account.rule].if_missing;
            match outcome_without_row(step, if_missing) {
                Some(outcome) => self.line(depth, &format!("→ {outcome}")),
                None => {
                    for row in &step.rows {
                        self.row_step(depth, table, row, widths);
                    }
                }
            }
        }
    }

    fn row_step(&mut self, depth: usize, table: &Table, row: &RowStep, widths: [usize; 3]) {
        for one in &row.evaluated {
            self.evaluated(depth, one, widths);
        }
        if let Some((key, did)) = &row.did {
            let (key, did) = (key_text(table, key), outcome(*did));
            self.line(depth, &format!("→ {key}: {did}"));
        }
    }

    fn evaluated(&mut self, depth: usize, one: &Evaluated, widths: [usize; 3]) {
        let [part, value, value_type] = cells(one);
        let [w0, w1, w2] = widths;
        let pad = |width: usize, text: &str| " ".repeat(width - text.chars().count().min(width));
        let (pad_value, pad_type) = (pad(w1, &value), pad(w2, &value_type));
        let shown = match &one.value {
            Ok(_) => self.paint(BOLD, &value),
            Err(_) => self.paint(ERROR, &value),
        };
        let text = self.paint(DIM, &cut(&one.text));
        let (part, value_type) = (format!("{part:w0$}"), format!("{value_type}{pad_type}"));
        self.line(
            depth,
            &format!("{part}  {shown}{pad_value}  {value_type}  {text}"),
        );
    }

    fn row(&mut self, change: &RowChange) {
        let table = &self.projection.tables[change.table];
        let what = match (&change.before, &change.after) {
            (None, None) => "no row before and after",
            (None, Some(_)) => "a new row",
            (Some(_), None) => "the row is gone",
            (Some(before), Some(after)) if super::same(before, after) => "the row as it was",
            (Some(_), Some(_)) => "the row changes",
        };
        let (name, key) = (&table.name, key_text(table, &change.key));
        let title = self.paint(BOLD, &format!("{name}, {key}"));
        self.line(1, &format!("{title}: {what}"));
        let columns = table.columns.iter().enumerate();
        for (at, column) in columns.filter(|(_, column)| !column.name.starts_with('$')) {
            let before = change.before.as_ref().map(|row| &row[at]);
            let after = change.after.as_ref().map(|row| &row[at]);
            match (before, after) {
                (Some(before), Some(after)) if before.same(after) => {
                    self.cell(' ', column, before);
                }
                (before, after) => {
                    before
                        .into_iter()
                        .for_each(|cell| self.cell('-', column, cell));
                    after
                        .into_iter()
                        .for_each(|cell| self.cell('+', column, cell));
                }
            }
        }
    }

    fn cell(&mut self, mark: char, column: &Column, cell: &Cell) {
        let line = format!("{mark} {}: {}", column.name, cut(&shown(cell.value())));
        let line = match mark {
            '-' => self.paint(RED, &line),
            '+' => self.paint(GREEN, &line),
            _ => line,
        };
        self.line(2, &line);
    }
}

/// Part, value and type of an expression.
fn cells(one: &Evaluated) -> [String; 3] {
    let word = part_word(one.part);
    let part = match &one.column {
        Some(column) => format!("{word} {column}"),
        None => word.to_owned(),
    };
    let value = match &one.value {
        Ok(cell) => cut(&shown(cell.value())),
        Err(error) => format!("error: {}", error.message()),
    };
    [part, value, one.value_type.to_string()]
}

pub(super) fn part_word(part: RulePart) -> &'static str {
    match part {
        RulePart::Rule => "rule",
        RulePart::When => "when",
        RulePart::Key => "key",
        RulePart::Each => "each",
        RulePart::Lookup => "lookup",
        RulePart::Set => "set",
        RulePart::Version => "version",
    }
}

/// Of a step that comes to no row.
pub(super) fn outcome_without_row(
    step: &StepAccount,
    if_missing: IfMissing,
) -> Option<&'static str> {
    let last = step.evaluated.last();
    let not_true = last.is_some_and(|last| {
        let is_true = |cell: &Cell| matches!(cell.value(), Value::Bool(true));
        last.part == RulePart::When && !last.value.as_ref().is_ok_and(is_true)
    });
    let failed = last.is_some_and(|last| last.value.is_err());
    match (step.planned, step.rows.is_empty()) {
        (false, _) if failed => None,
        (false, _) if not_true => Some(outcome(Did::NotMet)),
        (true, true) if if_missing == IfMissing::Skip => Some("no row with this key: skipped"),
        _ => None,
    }
}

pub(super) fn outcome(did: Did) -> &'static str {
    match did {
        Did::NoRow => "there is no such row: skipped",
        Did::Gone => "an earlier rule deleted the row: skipped",
        Did::NotMet => "`when` is not true: skipped",
        Did::Stale => "the version is not above the row's: skipped",
        Did::Set => "set",
        Did::Deleted => "deleted",
    }
}

fn key_text(table: &Table, key: &[Cell]) -> String {
    let columns = table.columns.iter().zip(key);
    let parts =
        columns.map(|(column, cell)| format!("{} = {}", column.name, cut(&shown(cell.value()))));
    parts.collect::<Vec<_>>().join(", ")
}

/// On one line, and no longer than is read.
fn cut(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = if text.contains('\n') { &one_line } else { text };
    match text.chars().count() > SHOWN_CHARS_MAX {
        true => text
            .chars()
            .take(SHOWN_CHARS_MAX - 1)
            .chain(['…'])
            .collect(),
        false => text.to_owned(),
    }
}
