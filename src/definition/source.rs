//! A file's text with its lines, and pieces of it that know where they stand. Knows nothing of YAML or SQL.

use std::ops::Range;

/// The text of one file; turns byte offsets into lines and columns.
#[derive(Debug)]
pub struct Source<'t> {
    pub file: &'t str,
    pub text: &'t str,
    line_starts: Vec<usize>,
}

impl<'t> Source<'t> {
    pub fn new(file: &'t str, text: &'t str) -> Self {
        let mut line_starts = vec![0];
        line_starts.extend(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1));
        Source {
            file,
            text,
            line_starts,
        }
    }

    /// Line and column of a byte offset, both from 1, the column in characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let offset = self.floor(offset);
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts[line - 1];
        let before = self.text[start..offset].trim_start_matches('\u{feff}');
        (line, before.chars().count() + 1)
    }

    pub fn line(&self, offset: usize) -> usize {
        self.position(offset).0
    }

    /// A line's text, without its end and without a byte order mark. Lines count from 1.
    pub fn line_text(&self, line: usize) -> &'t str {
        let start = self.line_starts[line - 1];
        let end = self
            .line_starts
            .get(line)
            .map_or(self.text.len(), |next| next - 1);
        self.text[start..end]
            .trim_start_matches('\u{feff}')
            .trim_end_matches('\r')
    }

    /// The nearest character boundary at or below an offset, so that a mark never splits a character.
    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

/// A text as it is meant (unquoted, unindented), that can tell for each of its bytes where it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub text: String,
    /// Bytes in the file, quotes included.
    pub span: Range<usize>,
    /// Where runs of equal text begin: (byte in `text`, byte in the file), rising.
    runs: Vec<(usize, usize)>,
}

impl Text {
    /// A text that stands in the file as it is.
    pub fn verbatim(text: &str, start: usize) -> Self {
        Text {
            text: text.to_owned(),
            span: start..start + text.len(),
            runs: vec![(0, start)],
        }
    }

    /// A text of which only runs stand in the file as they are.
    pub fn mapped(text: String, span: Range<usize>, mut runs: Vec<(usize, usize)>) -> Self {
        if runs.first().is_none_or(|run| run.0 > 0) {
            runs.insert(0, (0, span.start));
        }
        Text { text, span, runs }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where a piece of the text stands in the file.
    pub fn locate(&self, piece: Range<usize>) -> Range<usize> {
        let start = self.locate_byte(piece.start.min(self.text.len()));
        if piece.end <= piece.start {
            return start..start;
        }
        let end = self.locate_byte(piece.end.min(self.text.len()).saturating_sub(1)) + 1;
        start..end.max(start)
    }

    /// The piece as a text of its own.
    pub fn slice(&self, piece: Range<usize>) -> Text {
        let piece = piece.start.min(self.text.len())..piece.end.min(self.text.len());
        let mut runs = vec![(0, self.locate_byte(piece.start))];
        let inside = self
            .runs
            .iter()
            .filter(|run| run.0 > piece.start && run.0 < piece.end);
        runs.extend(inside.map(|run| (run.0 - piece.start, run.1)));
        Text {
            text: self.text[piece.clone()].to_owned(),
            span: self.locate(piece),
            runs,
        }
    }

    /// Without the white space around it.
    pub fn trimmed(&self) -> Text {
        let start = self.text.len() - self.text.trim_start().len();
        self.slice(start..self.text.trim_end().len().max(start))
    }

    fn locate_byte(&self, at: usize) -> usize {
        let run = self.runs[self
            .runs
            .partition_point(|run| run.0 <= at)
            .saturating_sub(1)];
        run.1 + (at - run.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let source = Source::new("f", "é: x\nab");
        assert_eq!(source.position(4), (1, 4));
        assert_eq!(source.position(6), (2, 1));
        assert_eq!(source.line_text(2), "ab");
    }

    #[test]
    fn a_piece_of_a_mapped_text_knows_its_place() {
        let text = Text::mapped("ab\ncd".into(), 10..20, vec![(0, 10), (3, 17)]);
        assert_eq!(text.locate(3..5), 17..19);
        assert_eq!(text.slice(1..5).locate(2..3), 17..18);
        assert_eq!(text.slice(1..5).locate(0..1), 11..12);
    }
}
