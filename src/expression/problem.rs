//! What is wrong with an expression, where, and what would help. Knows nothing of files and lines: spans are bytes in
//! the expression's text.

use std::ops::Range;

/// One finding of loading an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Bytes in the expression text.
    pub span: Range<usize>,
    /// Stable short name of the kind of problem.
    pub code: &'static str,
    pub message: String,
    pub hint: Option<String>,
}

impl Problem {
    pub(super) fn new(
        span: Range<usize>,
        code: &'static str,
        message: impl Into<String>,
    ) -> Problem {
        Problem {
            span,
            code,
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }
}

/// `, did you mean …?` material: the candidate closest to what was written, if it is close at all.
pub(super) fn closest<'c>(
    written: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let most = (written.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(written, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, candidate)| candidate)
}
