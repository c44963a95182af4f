//! Text of an expression to tokens with byte spans, as PostgreSQL's scanner (`scan.l`) cuts them. Words, literals and
//! comments come from sqlparser's tokenizer; operators are cut here by PostgreSQL's own rule, because `a<-1` and
//! `a||-1` mean different things there. Knows nothing of grammar.

use std::borrow::Cow;
use std::ops::Range;

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Location, Token as Raw, Tokenizer};

use super::problem::Problem;

/// The longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 16 * 1024;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tok<'t> {
    /// `folded` is what an SQL name means (lower case unless quoted), `written` keeps the case for member names.
    Word {
        folded: Cow<'t, str>,
        written: Cow<'t, str>,
        quoted: bool,
    },
    Number(&'t str),
    Text(Cow<'t, str>),
    Op(&'t str),
    LeftParen,
    RightParen,
    LeftBracket,
    RightBracket,
    Comma,
    Dot,
    Colon,
    DoubleColon,
    End,
}

#[derive(Clone, Debug)]
pub(super) struct Token<'t> {
    pub tok: Tok<'t>,
    pub span: Range<usize>,
}

/// All tokens, the last one is `End`.
pub(super) fn lex(text: &str) -> Result<Vec<Token<'_>>, Problem> {
    if text.len() > EXPRESSION_BYTES_MAX {
        let message = format!("the expression is longer than {EXPRESSION_BYTES_MAX} bytes");
        return Err(Problem::new(0..text.len(), "too-long", message));
    }
    let raw = Tokenizer::new(&PostgreSqlDialect {}, text)
        .tokenize_with_location()
        .map_err(|error| {
            let at = Offsets::new(text).of(error.location).min(text.len());
            Problem::new(at..text.len(), "syntax", error.message)
        })?;
    let mut offsets = Offsets::new(text);
    let starts: Vec<usize> = raw.iter().map(|t| offsets.of(t.span.start)).collect();
    let mut tokens = Vec::with_capacity(raw.len());
    let mut position = 0;
    for (index, token) in raw.iter().enumerate() {
        let start = starts[index];
        let end = starts.get(index + 1).copied().unwrap_or(text.len());
        if start < position || matches!(token.token, Raw::Whitespace(_) | Raw::EOF) {
            if start < position && end > position && !is_operator_byte(text.as_bytes()[start]) {
                return Err(unexpected(text, start..end));
            }
            continue;
        }
        let tok = cut(text, &token.token, start..end)?;
        position = match &tok {
            Tok::Op(op) => start + op.len(),
            _ => end,
        };
        let span = start..position;
        tokens.push(Token { tok, span });
    }
    tokens.push(Token {
        tok: Tok::End,
        span: text.len()..text.len(),
    });
    Ok(tokens)
}

fn unexpected(text: &str, span: Range<usize>) -> Problem {
    let shown = text[span.clone()].trim();
    Problem::new(span, "syntax", format!("unexpected `{shown}`"))
}

fn cut<'t>(text: &'t str, raw: &Raw, span: Range<usize>) -> Result<Tok<'t>, Problem> {
    let source = &text[span.clone()];
    Ok(match raw {
        Raw::Word(word) if word.quote_style.is_some() => {
            if word.value.is_empty() {
                return Err(Problem::new(
                    span,
                    "syntax",
                    "a quoted name must not be empty",
                ));
            }
            let value = Cow::<str>::Owned(word.value.replace("\"\"", "\""));
            Tok::Word {
                folded: value.clone(),
                written: value,
                quoted: true,
            }
        }
        Raw::Word(_) => Tok::Word {
            folded: match source.bytes().any(|byte| byte.is_ascii_uppercase()) {
                true => source.to_ascii_lowercase().into(),
                false => source.into(),
            },
            written: source.into(),
            quoted: false,
        },
        Raw::Number(..) => number(text, span)?,
        Raw::SingleQuotedString(_) => Tok::Text(quoted_text(source, span)?),
        Raw::EscapedStringLiteral(_) => Tok::Text(
            super::escape::unescape(source)
                .map_err(|message| Problem::new(span, "syntax", message))?
                .into(),
        ),
        Raw::DollarQuotedString(dollar) => Tok::Text(dollar.value.clone().into()),
        Raw::LParen => Tok::LeftParen,
        Raw::RParen => Tok::RightParen,
        Raw::LBracket => Tok::LeftBracket,
        Raw::RBracket => Tok::RightBracket,
        Raw::Comma => Tok::Comma,
        Raw::Period => Tok::Dot,
        Raw::Colon => Tok::Colon,
        Raw::DoubleColon => Tok::DoubleColon,
        _ if is_operator_byte(source.as_bytes()[0]) => Tok::Op(operator(&text[span.start..])),
        _ => return Err(unexpected(text, span)),
    })
}

/// PostgreSQL's numbers: digits, one point, an exponent; nothing that touches a letter.
fn number(text: &str, span: Range<usize>) -> Result<Tok<'_>, Problem> {
    let source = &text[span.clone()];
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match source.find(['e', 'E']) {
        Some(at) => (&source[..at], Some(&source[at + 1..])),
        None => (source, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fine = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['+', '-']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    let touches = text[span.end..]
        .chars()
        .next()
        .is_some_and(|c| c.is_alphanumeric() || c == '_' || !c.is_ascii());
    if !digits(whole)
        || !digits(fraction)
        || whole.len() + fraction.len() == 0
        || !exponent_fine
        || touches
    {
        return Err(Problem::new(
            span,
            "syntax",
            format!("`{source}` is no number"),
        ));
    }
    Ok(Tok::Number(source))
}

fn quoted_text(source: &str, span: Range<usize>) -> Result<Cow<'_, str>, Problem> {
    match source.strip_prefix('\'').and_then(|s| s.strip_suffix('\'')) {
        Some(inner) if !inner.contains('\0') => Ok(match inner.contains('\'') {
            true => inner.replace("''", "'").into(),
            false => inner.into(),
        }),
        _ => Err(Problem::new(span, "syntax", "this string is not closed")),
    }
}

fn is_operator_byte(byte: u8) -> bool {
    b"~!@#^&|`?+-*/%<>=".contains(&byte)
}

/// The operator that `rest` begins with: the longest run of operator characters up to a comment; a run that ends in
/// `+` or `-` keeps it only if it also holds one of `~!@#^&|` + "`?%" (PostgreSQL manual, 4.1.3).
fn operator(rest: &str) -> &str {
    let bytes = rest.as_bytes();
    let mut length = bytes.iter().take_while(|b| is_operator_byte(**b)).count();
    for at in 0..length.saturating_sub(1) {
        if at > 0 && (&bytes[at..at + 2] == b"--" || &bytes[at..at + 2] == b"/*") {
            length = at;
            break;
        }
    }
    let special = |run: &[u8]| run.iter().any(|b| b"~!@#^&|`?%".contains(b));
    while length > 1 && matches!(bytes[length - 1], b'+' | b'-') && !special(&bytes[..length - 1]) {
        length -= 1;
    }
    &rest[..length]
}

/// Turns sqlparser's lines and columns (from 1, columns in characters) into byte offsets, in rising order.
struct Offsets<'t> {
    text: &'t str,
    line: u64,
    column: u64,
    offset: usize,
}

impl<'t> Offsets<'t> {
    fn new(text: &'t str) -> Self {
        Offsets {
            text,
            line: 1,
            column: 1,
            offset: 0,
        }
    }

    fn of(&mut self, location: Location) -> usize {
        for c in self.text[self.offset..].chars() {
            if (self.line, self.column) >= (location.line, location.column) {
                break;
            }
            self.offset += c.len_utf8();
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<String> {
        lex(text).map_or_else(
            |p| vec![p.message],
            |tokens| {
                tokens
                    .iter()
                    .filter(|t| t.tok != Tok::End)
                    .map(|t| text[t.span.clone()].to_owned())
                    .collect()
            },
        )
    }

    #[test]
    fn text_is_cut_as_postgresql_cuts_it() {
        let cases: &[(&str, &[&str])] = &[
            ("a<-1", &["a", "<", "-", "1"]),
            ("a||-1", &["a", "||-", "1"]),
            ("a - -b", &["a", "-", "-", "b"]),
            ("a*-b", &["a", "*", "-", "b"]),
            ("a @>-b", &["a", "@>-", "b"]),
            ("a->>'x'", &["a", "->>", "'x'"]),
            ("a#>>'{x}'", &["a", "#>>", "'{x}'"]),
            ("a ?| b", &["a", "?|", "b"]),
            ("a<>b", &["a", "<>", "b"]),
            ("a!=b", &["a", "!=", "b"]),
            ("a+/* x */b", &["a", "+", "b"]),
            ("a<--x\nb", &["a", "<", "b"]),
            (
                "data.items[0].sku::int",
                &["data", ".", "items", "[", "0", "]", ".", "sku", "::", "int"],
            ),
            ("1.5e-3 + .5+5.", &["1.5e-3", "+", ".5", "+", "5."]),
            ("'it''s' || E'a\\n'", &["'it''s'", "||", "E'a\\n'"]),
            ("headers.\"x-id\"", &["headers", ".", "\"x-id\""]),
            ("'ä' || ü", &["'ä'", "||", "ü"]),
            ("$$a'b$$", &["$$a'b$$"]),
            ("a = -1 and\n b", &["a", "=", "-", "1", "and", "b"]),
        ];
        for (text, expected) in cases {
            assert_eq!(tokens(text), *expected, "{text}");
        }
        for bad in [
            "'abc", "1a", "0x1F", "1_000", "$1", "\"\"", "a;b", "E'\\xff'",
        ] {
            assert!(lex(bad).is_err(), "{bad}");
        }
    }
}
