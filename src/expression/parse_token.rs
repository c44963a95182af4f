//! The parser's view of its tokens: looking ahead, taking, and what to say when another one was wanted.

use std::ops::Range;

use super::lex::{Tok, Token};
use super::parse::{Parsed, Parser};
use super::problem::Problem;

impl<'t> Parser<'t> {
    pub(super) fn token(&self) -> &Token<'t> {
        &self.tokens[self.at]
    }

    pub(super) fn peek(&self, ahead: usize) -> Option<&Tok<'t>> {
        self.tokens.get(self.at + ahead).map(|t| &t.tok)
    }

    pub(super) fn previous(&self) -> &Token<'t> {
        &self.tokens[self.at.saturating_sub(1)]
    }

    pub(super) fn span(&self) -> Range<usize> {
        self.token().span.clone()
    }

    /// The unquoted word at the current token.
    pub(super) fn word(&self) -> Option<&str> {
        self.word_at(0)
    }

    pub(super) fn word_at(&self, ahead: usize) -> Option<&str> {
        match self.peek(ahead) {
            Some(Tok::Word {
                folded,
                quoted: false,
                ..
            }) => Some(folded),
            _ => None,
        }
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.word() == Some(word)
    }

    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    pub(super) fn take(&mut self, tok: &Tok<'_>) -> bool {
        let found = self.token().tok == *tok;
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Parsed<()> {
        if self.take_word(word) {
            return Ok(());
        }
        let shown = self.shown();
        Err(Problem::new(
            self.span(),
            "syntax",
            format!("expected `{word}`, found {shown}"),
        ))
    }

    /// The span of the token that was expected and taken.
    pub(super) fn expect(&mut self, tok: &Tok<'_>) -> Parsed<Range<usize>> {
        let span = self.span();
        if self.take(tok) {
            return Ok(span);
        }
        let sign = match tok {
            Tok::LeftParen => "(",
            Tok::RightParen => ")",
            Tok::LeftBracket => "[",
            Tok::RightBracket => "]",
            Tok::Comma => ",",
            _ => "a sign",
        };
        let shown = self.shown();
        Err(Problem::new(
            span,
            "syntax",
            format!("expected `{sign}`, found {shown}"),
        ))
    }

    pub(super) fn expect_end(&mut self) -> Parsed<()> {
        if self.token().tok == Tok::End {
            return Ok(());
        }
        Err(self.unexpected())
    }

    pub(super) fn shown(&self) -> String {
        match self.token().tok {
            Tok::End => "the end".to_owned(),
            _ => format!("`{}`", &self.text[self.span()]),
        }
    }

    pub(super) fn unexpected(&self) -> Problem {
        let message = match self.token().tok {
            Tok::End => "the expression ends too early".to_owned(),
            _ => format!("unexpected `{}`", &self.text[self.span()]),
        };
        Problem::new(self.span(), "syntax", message)
    }
}
