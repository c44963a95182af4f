//! YAML 1.2 to a small tree of nodes that keep their place and their source text. Values are not interpreted: `true`, `0`
//! and `2022-01-01` stay texts. Refuses what could grow without bound. Knows nothing of projections.

use std::collections::HashSet;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::align::{Quote, align};
use super::diagnostic::Report;
use super::source::Text;

/// A larger file is no definition.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Lists and maps within each other.
pub const DEPTH_MAX: usize = 32;

#[derive(Debug, Clone)]
pub struct Node {
    pub span: Range<usize>,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub key: Scalar,
    pub value: Node,
}

#[derive(Debug, Clone)]
pub struct Scalar {
    pub text: Text,
    pub style: Style,
    /// Somewhere inside `{ }` or `[ ]`, where YAML cuts at commas and braces.
    pub in_braces: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Quoted,
    /// `|` and `>` blocks.
    Block,
}

impl Scalar {
    /// Nothing was written.
    pub fn is_absent(&self) -> bool {
        self.style == Style::Plain && self.text.text.is_empty()
    }

    /// YAML's null: nothing, `null` or `~`.
    pub fn is_null(&self) -> bool {
        self.style == Style::Plain
            && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

impl Node {
    pub fn is_absent(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.is_absent())
    }

    pub fn what(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar(scalar) if scalar.is_absent() => "nothing",
            Kind::Scalar(_) => "a text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }
}

/// Reads the only document of a file. `None`: it cannot be read; the report says why.
pub fn parse(report: &mut Report<'_>) -> Option<Node> {
    let text = report.source.text;
    if text.len() > FILE_BYTES_MAX {
        report
            .error(
                0..0,
                "file-too-large",
                format!("the file has more than {FILE_BYTES_MAX} bytes"),
            )
            .hint("a definition is a page or two: is this the right file?");
        return None;
    }
    let mut builder = Builder::new(text);
    let result = builder.build(text);
    let read_to = match &result {
        Ok(_) => text.len(),
        Err(failure) => failure.span.start,
    };
    report_eaten_operators(report, &builder.scalar_spans, read_to);
    match result {
        Ok(node) => {
            for (key, span) in builder.duplicates {
                report
                    .error(
                        span,
                        "duplicate-key",
                        format!("`{key}` stands here a second time"),
                    )
                    .hint("keep one of them; a list holds several rules of one event type");
            }
            node
        }
        Err(failure) => {
            report
                .error(failure.span, failure.code, failure.message)
                .maybe_hint(failure.hint);
            None
        }
    }
}

struct Failure {
    span: Range<usize>,
    code: &'static str,
    message: String,
    hint: Option<String>,
}

struct Builder {
    /// Byte offset of each character, and the end: the parser counts characters.
    offsets: Vec<usize>,
    stack: Vec<Frame>,
    /// Quoted and block scalars, in the file's order: a `#` within them begins no comment.
    scalar_spans: Vec<Range<usize>>,
    duplicates: Vec<(String, Range<usize>)>,
}

struct Frame {
    start: usize,
    in_braces: bool,
    kind: FrameKind,
}

enum FrameKind {
    List(Vec<Node>),
    /// The entries, the names there are, and a key that waits for its value.
    Map(Vec<Entry>, HashSet<String>, Option<Scalar>),
}

impl Builder {
    fn new(text: &str) -> Self {
        let mut offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        offsets.push(text.len());
        Builder {
            offsets,
            stack: Vec::new(),
            scalar_spans: Vec::new(),
            duplicates: Vec::new(),
        }
    }

    fn build(&mut self, text: &str) -> Result<Option<Node>, Failure> {
        let mut parser = Parser::new_from_str(text);
        let mut root = None;
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| self.scan_failure(text, &error))?;
            let span = self.bytes(span);
            let refuse_decoration = |anchor: usize, tagged: bool| match (anchor, tagged) {
                (0, false) => Ok(()),
                _ => Err(decoration(span.clone())),
            };
            let done = match event {
                Event::Scalar(value, style, anchor, tag) => {
                    refuse_decoration(anchor, tag.is_some())?;
                    self.scalar(text, &value, style, span)?
                }
                Event::SequenceStart(anchor, tag) => {
                    refuse_decoration(anchor, tag.is_some())?;
                    self.open(text, span, FrameKind::List(Vec::new()))?;
                    None
                }
                Event::MappingStart(anchor, tag) => {
                    refuse_decoration(anchor, tag.is_some())?;
                    self.open(text, span, FrameKind::Map(Vec::new(), HashSet::new(), None))?;
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(span.start)?,
                Event::Alias(_) => return Err(decoration(span)),
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(Failure {
                            span,
                            code: "yaml",
                            message: "a second document begins here".into(),
                            hint: Some(
                                "one file holds one projection: move it to a file of its own"
                                    .into(),
                            ),
                        });
                    }
                    None
                }
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => None,
            };
            if done.is_some() {
                root = done;
            }
        }
        Ok(root)
    }

    fn open(&mut self, text: &str, span: Range<usize>, kind: FrameKind) -> Result<(), Failure> {
        if self.stack.len() >= DEPTH_MAX {
            return Err(Failure {
                span: span.start..span.start + 1,
                code: "too-deep",
                message: format!("more than {DEPTH_MAX} lists and maps within each other"),
                hint: None,
            });
        }
        let begins_brace = !span.is_empty() && text[span.start..].starts_with(['{', '[']);
        let in_braces = begins_brace || self.in_braces();
        self.stack.push(Frame {
            start: span.start,
            in_braces,
            kind,
        });
        Ok(())
    }

    fn close(&mut self, end: usize) -> Result<Option<Node>, Failure> {
        let frame = self.stack.pop().expect("the parser closes what it opened");
        let kind = match frame.kind {
            FrameKind::List(nodes) => Kind::List(nodes),
            FrameKind::Map(entries, ..) => Kind::Map(entries),
        };
        self.add(Node {
            span: frame.start..end.max(frame.start),
            kind,
        })
    }

    fn scalar(
        &mut self,
        text: &str,
        value: &str,
        style: ScalarStyle,
        span: Range<usize>,
    ) -> Result<Option<Node>, Failure> {
        let in_braces = self.in_braces();
        let (text, style) = match style {
            ScalarStyle::Plain if value.is_empty() => {
                (Text::verbatim("", span.start), Style::Plain)
            }
            // As written, line ends included: white space means the same to SQL.
            ScalarStyle::Plain => (
                Text::verbatim(&text[span.clone()], span.start),
                Style::Plain,
            ),
            ScalarStyle::SingleQuoted => (align(text, value, span, Quote::Single), Style::Quoted),
            ScalarStyle::DoubleQuoted => (align(text, value, span, Quote::Double), Style::Quoted),
            ScalarStyle::Literal | ScalarStyle::Folded => {
                (align(text, value, span, Quote::None), Style::Block)
            }
        };
        if style != Style::Plain {
            self.scalar_spans.push(text.span.clone());
        }
        let span = text.span.clone();
        self.add(Node {
            span,
            kind: Kind::Scalar(Scalar {
                text,
                style,
                in_braces,
            }),
        })
    }

    /// Hands a finished node to the list or map around it; the outermost is returned.
    fn add(&mut self, node: Node) -> Result<Option<Node>, Failure> {
        let Some(frame) = self.stack.last_mut() else {
            return Ok(Some(node));
        };
        match &mut frame.kind {
            FrameKind::List(nodes) => nodes.push(node),
            FrameKind::Map(entries, names, pending) => match pending.take() {
                Some(key) => {
                    if names.insert(key.text.text.clone()) {
                        entries.push(Entry { key, value: node });
                    } else {
                        self.duplicates
                            .push((key.text.text.clone(), key.text.span.clone()));
                    }
                }
                None => match node.kind {
                    Kind::Scalar(scalar) => *pending = Some(scalar),
                    _ => {
                        return Err(Failure {
                            span: node.span.start..node.span.start + 1,
                            code: "yaml",
                            message: "a key must be a text".into(),
                            hint: None,
                        });
                    }
                },
            },
        }
        Ok(None)
    }

    fn in_braces(&self) -> bool {
        self.stack.last().is_some_and(|frame| frame.in_braces)
    }

    fn bytes(&self, span: Span) -> Range<usize> {
        let last = self.offsets.len() - 1;
        let start = self.offsets[span.start.index().min(last)];
        start..self.offsets[span.end.index().min(last)].max(start)
    }

    fn scan_failure(&self, text: &str, error: &ScanError) -> Failure {
        let at = self.offsets[error.marker().index().min(self.offsets.len() - 1)];
        let width = text[at..]
            .chars()
            .next()
            .filter(|c| *c != '\n')
            .map_or(0, char::len_utf8);
        let info = error.info();
        let hint = if info.contains("trailing content after") {
            "YAML ends a value at its closing quote: write the expression behind `|` on its own lines, \
             or put the whole of it in double quotes"
        } else if info.contains("mapping values are not allowed") {
            "a `: ` inside a value must be quoted; a wrong indent can cause this too"
        } else if self.in_braces() {
            "inside { } and [ ] quote whatever holds a comma, a brace or a bracket, or use the form with indented lines"
        } else if info.contains("tab") {
            "indent with spaces"
        } else {
            "look at the indent here and on the line before; an expression can always stand behind `|` on its own lines"
        };
        Failure {
            span: at..at + width,
            code: "yaml",
            message: format!("this is not YAML: {info}"),
            hint: Some(hint.into()),
        }
    }
}

fn decoration(span: Range<usize>) -> Failure {
    Failure {
        span,
        code: "yaml-alias",
        message: "anchors, aliases and tags are not taken".into(),
        hint: Some("write the value out; quote a text that begins with &, * or !".into()),
    }
}

/// A `#` behind white space begins a comment, and so YAML eats PostgreSQL's `#>`, `#>>` and `#-` without a word.
fn report_eaten_operators(report: &mut Report<'_>, scalars: &[Range<usize>], read_to: usize) {
    let text = report.source.text;
    let mut line_start = 0;
    for line in text[..read_to].split_inclusive('\n') {
        let hash = line.match_indices('#').map(|(at, _)| at).find(|at| {
            let place = line_start + at;
            let behind_space = line[..*at]
                .chars()
                .next_back()
                .is_none_or(char::is_whitespace);
            let index = scalars.partition_point(|span| span.end <= place);
            behind_space && !scalars.get(index).is_some_and(|span| span.contains(&place))
        });
        if let Some(at) = hash.filter(|at| line[at + 1..].starts_with(['>', '-'])) {
            let len = line[at..]
                .find(|c: char| !"#>-".contains(c))
                .unwrap_or(line.len() - at);
            report
                .error(
                    line_start + at..line_start + at + len,
                    "eaten-operator",
                    "YAML takes this operator and all behind it for a comment",
                )
                .hint(
                    "quote the whole expression or write it behind `|` on its own lines; \
                     a real comment begins with `# `",
                );
        }
        line_start += line.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::source::Source;

    fn read(text: &str) -> (Option<Node>, Vec<String>) {
        let mut report = Report::new(Source::new("f.yaml", text));
        let node = parse(&mut report);
        (
            node,
            report
                .finish()
                .into_iter()
                .map(|d| format!("{}:{} {}", d.line, d.column, d.code))
                .collect(),
        )
    }

    fn scalar(text: &str) -> Text {
        let (node, problems) = read(text);
        assert!(problems.is_empty(), "{problems:?}");
        let Some(Node {
            kind: Kind::Map(entries),
            ..
        }) = node
        else {
            panic!("a map")
        };
        let Kind::Scalar(scalar) = &entries[0].value.kind else {
            panic!("a scalar")
        };
        scalar.text.clone()
    }

    #[test]
    fn every_style_finds_its_way_back_to_the_file() {
        for text in [
            "a: one two",
            "a: one\n   two",
            "a: 'it''s two'  # c",
            "a: \"\\u00e9 two\" # c",
            "a: |\n  one\n    two\n",
            "é: >\n  one\n\n  two\n",
            "a: \"one\n\n   two\"",
            "a: 'ünö two'",
        ] {
            let scalar = scalar(text);
            let at = scalar.text.find("two").unwrap();
            assert_eq!(&text[scalar.locate(at..at + 3)], "two", "{text}");
        }
    }

    #[test]
    fn quoted_scalars_end_at_their_quote() {
        let text = "a: 'it''s'   # c\n";
        assert_eq!(&text[scalar(text).span], "'it''s'");
    }

    #[test]
    fn bombs_are_refused() {
        assert_eq!(read("a: &x 1\nb: *x").1, ["1:4 yaml-alias"]);
        assert_eq!(read(&"[".repeat(200)).1, ["1:33 too-deep"]);
        assert_eq!(
            read(&" ".repeat(FILE_BYTES_MAX + 1)).1,
            ["1:1 file-too-large"]
        );
        assert_eq!(read("a: 1\n---\nb: 1").1, ["2:1 yaml"]);
        assert_eq!(read("a: 1\na: 2").1, ["2:1 duplicate-key"]);
        assert_eq!(read("? [a]\n: 2").1, ["1:3 yaml"]);
    }

    #[test]
    fn operators_that_look_like_comments_are_refused_outside_of_quotes() {
        assert_eq!(read("a: data.x #>> '{a}'").1, ["1:11 eaten-operator"]);
        assert_eq!(read("a: data.x #- '{a}'").1, ["1:11 eaten-operator"]);
        for fine in [
            "a: x#>y",
            "a: \"x #> y\"",
            "a: |\n  x\n  #> y\n",
            "a: 'x' # and #> that",
        ] {
            assert!(read(fine).1.is_empty(), "{fine}");
        }
    }
}
