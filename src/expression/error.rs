//! Evaluation errors: PostgreSQL's SQLSTATE and message text for what a value operation refuses.
//! Knows nothing of where in a definition the expression stands.

use std::fmt;

/// Why an expression has no value. Boxed inside, so that `Result<Value, EvalError>` stays as small as a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EvalError(Box<Failure>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Failure {
    sqlstate: &'static str,
    message: String,
}

impl EvalError {
    #[cold]
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> EvalError {
        EvalError(Box::new(Failure {
            sqlstate,
            message: message.into(),
        }))
    }

    /// Five characters, as in PostgreSQL's appendix A.
    pub fn sqlstate(&self) -> &'static str {
        self.0.sqlstate
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// `22003`: `<what> out of range`.
    #[cold]
    pub fn out_of_range(what: &str) -> EvalError {
        EvalError::new("22003", format!("{what} out of range"))
    }

    /// `22012`.
    #[cold]
    pub fn division_by_zero() -> EvalError {
        EvalError::new("22012", "division by zero")
    }

    /// `22P02`: a text that is no value of the type.
    #[cold]
    pub fn invalid_text(type_name: &str, text: &str) -> EvalError {
        EvalError::new(
            "22P02",
            format!("invalid input syntax for type {type_name}: \"{text}\""),
        )
    }

    /// `22003`: a text whose number does not fit the type.
    #[cold]
    pub fn text_out_of_range(type_name: &str, text: &str) -> EvalError {
        EvalError::new(
            "22003",
            format!("value \"{text}\" is out of range for type {type_name}"),
        )
    }

    /// `22007`: a text that is no date or time.
    #[cold]
    pub fn invalid_datetime(type_name: &str, text: &str) -> EvalError {
        EvalError::new(
            "22007",
            format!("invalid input syntax for type {type_name}: \"{text}\""),
        )
    }

    /// `22008`: a field of a date or time is outside its range.
    #[cold]
    pub fn datetime_field(text: &str) -> EvalError {
        EvalError::new(
            "22008",
            format!("date/time field value out of range: \"{text}\""),
        )
    }

    /// `0A000`: PostgreSQL may well have a value here; this program refuses rather than guess it.
    #[cold]
    pub fn unsupported(message: impl Into<String>) -> EvalError {
        EvalError::new("0A000", message)
    }

    /// `42883`: the type checker let a combination through that has no operator or function.
    #[cold]
    pub fn no_operator(what: &str) -> EvalError {
        EvalError::new(
            "42883",
            format!("operator or function does not exist: {what}"),
        )
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.message, self.0.sqlstate)
    }
}

impl std::error::Error for EvalError {}
