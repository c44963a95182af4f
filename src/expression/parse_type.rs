//! How a type is written: PostgreSQL's names and synonyms, modifiers, `[]`. Knows nothing of expressions.

use super::lex::Tok;
use super::parse::{Parsed, Parser};
use super::problem::{Problem, closest};
use super::value::{Modifier, Scalar, Type};

/// Reads a type as it stands in a column definition or a cast.
pub fn parse_type(text: &str) -> Result<Type, Vec<Problem>> {
    let parse = || {
        let mut parser = Parser::new(text)?;
        let (ty, _) = parser.type_name()?;
        parser.expect_end()?;
        Ok(ty)
    };
    parse().map_err(|problem| vec![problem])
}

/// First words of types and what they mean; further words are read by `more_words`.
const NAMES: &[(&str, Scalar)] = &[
    ("boolean", Scalar::Boolean),
    ("bool", Scalar::Boolean),
    ("smallint", Scalar::SmallInt),
    ("int2", Scalar::SmallInt),
    ("integer", Scalar::Integer),
    ("int", Scalar::Integer),
    ("int4", Scalar::Integer),
    ("bigint", Scalar::BigInt),
    ("int8", Scalar::BigInt),
    ("real", Scalar::Real),
    ("float4", Scalar::Real),
    ("double", Scalar::Double),
    ("float", Scalar::Double),
    ("float8", Scalar::Double),
    ("numeric", Scalar::Numeric),
    ("decimal", Scalar::Numeric),
    ("dec", Scalar::Numeric),
    ("text", Scalar::Text),
    ("varchar", Scalar::Varchar),
    ("character", Scalar::Varchar),
    ("uuid", Scalar::Uuid),
    ("date", Scalar::Date),
    ("time", Scalar::Time),
    ("timestamp", Scalar::Timestamp),
    ("timestamptz", Scalar::TimestampTz),
    ("interval", Scalar::Interval),
    ("jsonb", Scalar::Jsonb),
    ("bytea", Scalar::Bytea),
];

impl Parser<'_> {
    /// Whether a type may stand here, judged by its first word.
    pub(super) fn starts_type(&self) -> bool {
        self.word()
            .is_some_and(|word| NAMES.iter().any(|(name, _)| *name == word))
    }

    /// The type and the byte after it.
    pub(super) fn type_name(&mut self) -> Parsed<(Type, usize)> {
        let span = self.span();
        let Some(word) = self.word().map(str::to_owned) else {
            return Err(Problem::new(span, "syntax", "a type name belongs here"));
        };
        let Some((_, scalar)) = NAMES.iter().find(|(name, _)| *name == word) else {
            return Err(unknown_type(&word, span));
        };
        self.at += 1;
        let (scalar, modifier) = self.more_words(*scalar, &word)?;
        let array = self.array_suffix()?;
        let ty = Type {
            scalar,
            modifier,
            array,
        };
        Ok((ty, self.previous().span.end))
    }

    fn more_words(&mut self, scalar: Scalar, word: &str) -> Parsed<(Scalar, Modifier)> {
        match word {
            "double" => self.expect_word("precision")?,
            "character" if !self.take_word("varying") => {
                let problem = Problem::new(
                    self.previous().span.clone(),
                    "unsupported-type",
                    "character(n), which pads with blanks, is not supported",
                );
                return Err(problem.with_hint("use text or varchar(n)"));
            }
            _ => {}
        }
        match scalar {
            Scalar::Numeric => Ok((scalar, self.numeric_modifier()?)),
            Scalar::Varchar => Ok((scalar, self.length_modifier()?)),
            Scalar::Double if word == "float" => Ok((self.float_precision()?, Modifier::None)),
            Scalar::Time | Scalar::Timestamp | Scalar::TimestampTz | Scalar::Interval => {
                if self.token().tok == Tok::LeftParen {
                    let problem = Problem::new(
                        self.span(),
                        "unsupported-type",
                        format!("{word} with a precision is not supported"),
                    );
                    return Err(problem
                        .with_hint("times have microseconds; use date_trunc for fewer digits"));
                }
                Ok((self.time_zone(scalar)?, Modifier::None))
            }
            _ => Ok((scalar, Modifier::None)),
        }
    }

    fn time_zone(&mut self, scalar: Scalar) -> Parsed<Scalar> {
        let with = self.is_word("with");
        if !(with || self.is_word("without"))
            || self.word_at(1) != Some("time")
            || !matches!(scalar, Scalar::Time | Scalar::Timestamp)
        {
            return Ok(scalar);
        }
        self.at += 2;
        self.expect_word("zone")?;
        match (scalar, with) {
            (Scalar::Timestamp, true) => Ok(Scalar::TimestampTz),
            (Scalar::Time, true) => {
                let problem = Problem::new(
                    self.previous().span.clone(),
                    "unsupported-type",
                    "time with time zone is not supported",
                );
                Err(problem.with_hint("use timestamptz, or time with a column for the zone"))
            }
            _ => Ok(scalar),
        }
    }

    /// `(a)` or `(a, b)` behind a type name.
    fn integers(&mut self) -> Parsed<Option<Vec<i64>>> {
        if !self.take(&Tok::LeftParen) {
            return Ok(None);
        }
        let mut numbers = Vec::new();
        loop {
            let minus = self.take(&Tok::Op("-"));
            let number = match &self.token().tok {
                Tok::Number(number) => number.parse::<i64>().ok(),
                _ => None,
            };
            let Some(number) = number else {
                return Err(self.unexpected());
            };
            self.at += 1;
            numbers.push(if minus { -number } else { number });
            if self.take(&Tok::RightParen) {
                return Ok(Some(numbers));
            }
            self.expect(&Tok::Comma)?;
        }
    }

    fn numeric_modifier(&mut self) -> Parsed<Modifier> {
        let Some(numbers) = self.integers()? else {
            return Ok(Modifier::None);
        };
        let span = self.previous().span.clone();
        let (precision, scale) = match numbers.as_slice() {
            [precision] => (*precision, 0),
            [precision, scale] => (*precision, *scale),
            _ => {
                return Err(Problem::new(
                    span,
                    "unsupported-type",
                    "numeric takes a precision and a scale",
                ));
            }
        };
        if !(1..=1000).contains(&precision) || !(-1000..=1000).contains(&scale) {
            let message = "numeric takes a precision of 1 to 1000 and a scale of -1000 to 1000";
            return Err(Problem::new(span, "unsupported-type", message));
        }
        Ok(Modifier::Numeric {
            precision: precision as u16,
            scale: scale as i16,
        })
    }

    fn length_modifier(&mut self) -> Parsed<Modifier> {
        match self.integers()?.as_deref() {
            None => Ok(Modifier::None),
            Some([length]) if (1..=10_485_760).contains(length) => {
                Ok(Modifier::Length(*length as u32))
            }
            Some(_) => {
                let message = "varchar takes one length of 1 to 10485760";
                Err(Problem::new(
                    self.previous().span.clone(),
                    "unsupported-type",
                    message,
                ))
            }
        }
    }

    fn float_precision(&mut self) -> Parsed<Scalar> {
        match self.integers()?.as_deref() {
            None => Ok(Scalar::Double),
            Some([1..=24]) => Ok(Scalar::Real),
            Some([25..=53]) => Ok(Scalar::Double),
            Some(_) => Err(Problem::new(
                self.previous().span.clone(),
                "unsupported-type",
                "float takes a precision of 1 to 53",
            )),
        }
    }

    fn array_suffix(&mut self) -> Parsed<bool> {
        if self.take_word("array") {
            return Ok(true);
        }
        let mut array = false;
        while self.token().tok == Tok::LeftBracket {
            if array {
                return Err(Problem::new(
                    self.span(),
                    "unsupported-type",
                    "arrays have one dimension",
                ));
            }
            self.at += 1;
            if matches!(self.token().tok, Tok::Number(_)) {
                self.at += 1;
            }
            self.expect(&Tok::RightBracket)?;
            array = true;
        }
        Ok(array)
    }
}

fn unknown_type(word: &str, span: std::ops::Range<usize>) -> Problem {
    let hint = match word {
        "json" => Some("use jsonb".to_owned()),
        "char" | "bpchar" | "nchar" | "string" | "name" | "citext" => {
            Some("use text or varchar(n)".to_owned())
        }
        "serial" | "bigserial" | "serial8" => {
            Some("a replay must give what the live fold gave: use a key from the event".to_owned())
        }
        "timetz" => Some("use timestamptz".to_owned()),
        "money" => Some("use numeric(12,2)".to_owned()),
        "datetime" => Some("use timestamptz".to_owned()),
        _ => closest(word, NAMES.iter().map(|(name, _)| *name))
            .map(|name| format!("did you mean `{name}`?")),
    };
    let problem = Problem::new(
        span,
        "unsupported-type",
        format!("the type `{word}` is not supported"),
    );
    match hint {
        Some(hint) => problem.with_hint(hint),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::parse_type;

    #[test]
    fn types_read_as_postgresql_reads_them() {
        let cases = [
            ("bigint", Ok("bigint")),
            ("INT", Ok("integer")),
            ("double precision", Ok("double precision")),
            ("float(10)", Ok("real")),
            ("numeric(12,2)", Ok("numeric(12,2)")),
            ("decimal(5)", Ok("numeric(5,0)")),
            ("numeric(3,-2)", Ok("numeric(3,-2)")),
            ("character varying(20)", Ok("varchar(20)")),
            ("timestamp with time zone", Ok("timestamptz")),
            ("timestamp without time zone", Ok("timestamp")),
            ("text[]", Ok("text[]")),
            ("integer array", Ok("integer[]")),
            ("int[][]", Err(())),
            ("numeric(0)", Err(())),
            ("timestamp(3)", Err(())),
            ("varchar(0)", Err(())),
            ("character(3)", Err(())),
            ("json", Err(())),
            ("time with time zone", Err(())),
            ("bigint x", Err(())),
        ];
        for (text, expected) in cases {
            let got = parse_type(text).map(|ty| ty.to_string()).map_err(|_| ());
            assert_eq!(got, expected.map(str::to_owned), "{text}");
        }
    }
}
