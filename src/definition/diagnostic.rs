//! What is wrong with a file, and where: collected, and written for people, for programs and for GitHub.
//! Knows nothing of what a definition means.

use std::fmt::Write;
use std::ops::Range;

use serde_json::json;

use super::source::Source;

/// How many characters of a long source line are shown.
const LINE_SHOWN_MAX: usize = 160;
/// A longer source line is not shown.
const LINE_BYTES_MAX: usize = 4_096;
/// Longer names are not compared with others.
const COMPARED_LEN_MAX: usize = 60;
/// More problems than these of one file help nobody.
const DIAGNOSTICS_MAX: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    pub fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One problem of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// A stable name, e.g. `unknown-column`.
    pub code: &'static str,
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub end_line: usize,
    /// One past the last character of the mark.
    pub end_column: usize,
    /// The marked bytes of the file.
    pub span: Range<usize>,
    pub message: String,
    pub hint: Option<String>,
    /// The text of `line`, for the rendering.
    pub line_text: String,
}

impl Diagnostic {
    /// A problem of a file as a whole, e.g. that it cannot be read.
    pub fn of_file(file: &str, code: &'static str, message: String) -> Self {
        Diagnostic {
            severity: Severity::Error,
            code,
            file: file.to_owned(),
            line: 1,
            column: 1,
            end_line: 1,
            end_column: 1,
            span: 0..0,
            message,
            hint: None,
            line_text: String::new(),
        }
    }

    /// Adds what to do about it.
    pub fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn maybe_hint(&mut self, hint: Option<String>) -> &mut Self {
        self.hint = hint;
        self
    }

    /// For people. The first line is `file:line:column: error[code]: message`.
    pub fn render(&self, colour: bool) -> String {
        let paint = |code: &str, text: &str| match colour {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        };
        let tone = match self.severity {
            Severity::Error => "1;31",
            Severity::Warning => "1;33",
        };
        let title = format!("{}[{}]", self.severity.word(), self.code);
        let place = format!("{}:{}:{}", self.file, self.line, self.column);
        let mut out = format!(
            "{place}: {}: {}\n",
            paint(tone, &title),
            paint("1", &self.message)
        );
        if !self.line_text.trim().is_empty() {
            let (shown, before, marked) = self.excerpt();
            let number = self.line.to_string();
            let margin = " ".repeat(number.len());
            let marks = format!("{}{}", " ".repeat(before), paint(tone, &"^".repeat(marked)));
            // Writing into a string cannot fail.
            let _ = write!(out, "  {number} | {shown}\n  {margin} | {marks}\n");
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(out, "{} {hint}", paint("1;36", "hint:"));
        }
        out
    }

    /// For programs: one JSON object on one line.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "severity": self.severity.word(), "code": self.code, "file": self.file,
            "line": self.line, "column": self.column, "end_line": self.end_line, "end_column": self.end_column,
            "message": self.message, "hint": self.hint,
        })
    }

    /// A workflow command that GitHub shows on the line.
    /// <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>
    pub fn github(&self) -> String {
        let data = |text: &str| {
            text.replace('%', "%25")
                .replace('\r', "%0D")
                .replace('\n', "%0A")
        };
        let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
        let hint = self
            .hint
            .as_ref()
            .map(|hint| format!("\nhint: {hint}"))
            .unwrap_or_default();
        format!(
            "::{} file={},line={},col={},endLine={},endColumn={},title={}::{}",
            self.severity.word(),
            property(&self.file),
            self.line,
            self.column,
            self.end_line,
            self.end_column,
            property(self.code),
            data(&format!("{}{hint}", self.message)),
        )
    }

    /// The source line as shown, how many characters stand before the mark, and how many are marked.
    fn excerpt(&self) -> (String, usize, usize) {
        let line: Vec<char> = self
            .line_text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let from = (self.column - 1).min(line.len());
        let to = match self.end_line == self.line {
            true => (self.end_column - 1).clamp(from, line.len()),
            false => line.len(),
        };
        let skipped = match from + 40 > LINE_SHOWN_MAX {
            true => from - 40,
            false => 0,
        };
        let shown: String = line.iter().skip(skipped).take(LINE_SHOWN_MAX).collect();
        let marked = (to - from).clamp(1, LINE_SHOWN_MAX - (from - skipped));
        (shown.trim_end().to_owned(), from - skipped, marked)
    }
}

/// Collects the problems of one file.
#[derive(Debug)]
pub struct Report<'t> {
    pub source: Source<'t>,
    diagnostics: Vec<Diagnostic>,
}

impl<'t> Report<'t> {
    pub fn new(source: Source<'t>) -> Self {
        Report {
            source,
            diagnostics: Vec::new(),
        }
    }

    pub fn error(
        &mut self,
        span: Range<usize>,
        code: &'static str,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(Severity::Error, span, code, message.into())
    }

    pub fn warning(
        &mut self,
        span: Range<usize>,
        code: &'static str,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(Severity::Warning, span, code, message.into())
    }

    pub fn has_errors(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Enough problems have been found: looking for more helps nobody.
    pub fn is_full(&self) -> bool {
        self.diagnostics.len() >= DIAGNOSTICS_MAX
    }

    /// In the file's order, each once.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort_by(|a, b| {
            let place = |found: &Diagnostic| (found.span.start, found.severity, found.span.end);
            place(a)
                .cmp(&place(b))
                .then_with(|| a.message.cmp(&b.message))
        });
        self.diagnostics
            .dedup_by(|a, b| a.span == b.span && a.message == b.message);
        self.diagnostics
    }

    fn add(
        &mut self,
        severity: Severity,
        span: Range<usize>,
        code: &'static str,
        message: String,
    ) -> &mut Diagnostic {
        let (line, column) = self.source.position(span.start);
        let (end_line, end_column) = self.source.position(span.end.max(span.start));
        if self.is_full() {
            self.diagnostics.truncate(DIAGNOSTICS_MAX - 1);
        }
        self.diagnostics.push(Diagnostic {
            severity,
            code,
            file: self.source.file.to_owned(),
            line,
            column,
            end_line,
            end_column,
            span,
            message,
            hint: None,
            line_text: Some(self.source.line_text(line))
                .filter(|text| text.len() <= LINE_BYTES_MAX)
                .unwrap_or_default()
                .to_owned(),
        });
        self.diagnostics.last_mut().expect("pushed just now")
    }
}

/// The candidate that someone probably meant.
fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let len = name.chars().count();
    if len > COMPARED_LEN_MAX {
        return None;
    }
    // Half a short name or more is another name.
    let allowed = (len.div_ceil(3)).min(len / 2);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= 4 * COMPARED_LEN_MAX)
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= allowed && *candidate != name)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The hint of an unknown name: the one probably meant, else all there are.
pub fn did_you_mean(name: &str, candidates: &[&str]) -> Option<String> {
    match nearest(name, candidates.iter().copied()) {
        Some(candidate) => Some(format!("did you mean `{candidate}`?")),
        None if candidates.is_empty() => None,
        None => Some(format!("known here: {}", candidates.join(", "))),
    }
}
