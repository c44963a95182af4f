//! What can go wrong in the store, sorted by what can be done about it. Knows nothing of what the worker then does.

use std::fmt;

use sqlx::postgres::PgDatabaseError;

use super::layout::{Layout, TableLayout};
use super::{pooled, tls};

const NO_TLS: &str = "Nothing is sent to it: turn `ssl` on at the server; where the network is your own, \
                      sslmode=disable in the url asks for plain text";

/// Classes of errors, by SQLSTATE where PostgreSQL gave one
/// (<https://www.postgresql.org/docs/15/errcodes-appendix.html>). Every answer to them matches exhaustively.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// 40001, 40P01, 55P03, 57014: others were in the way. The same batch again.
    Contention,
    /// A row that is written under the rule "one partition at a time" belongs to another partition. Index into the
    /// projection's tables.
    OwnershipConflict { table: usize },
    /// A claim moved fewer checkpoints than it named, or the session lost its transaction (25P03): somebody else owns a partition.
    Fenced,
    /// 26000, 42P05: the connection does not hold the statements it should. Reconnect.
    StatementGone,
    /// 08xxx, 57P01-03, 25006, I/O, no free connection in time: reconnect, take over again.
    Disconnected,
    /// COMMIT did not answer "done": only the checkpoint tells.
    CommitUnknown,
    /// 53xxx: disk, memory or connections used up.
    OutOfResources,
    /// 58xxx, XX001, XX002: the server's own trouble.
    ServerFault,
    /// 42501.
    Permission,
    /// 42P01, 42703, 3F000: a table, column or schema of ours is not there any more.
    SchemaDiffers,
    /// 28xxx.
    Authentication,
    /// 3D000.
    NoDatabase,
    /// 22xxx, 23xxx (but see `OwnershipConflict`), 54000: a value that a table does not take.
    EventFault,
    /// We refuse what was asked for, and the message says why (a name taken, a type PostgreSQL does not have, a missing role).
    Refused,
    /// Everything else; treated as systemic, never as an event's fault.
    Unexpected,
}

impl ErrorKind {
    fn of_sqlstate(code: &str) -> ErrorKind {
        match code {
            "40001" | "40P01" | "55P03" | "57014" => ErrorKind::Contention,
            "25P03" => ErrorKind::Fenced,
            "26000" | "42P05" => ErrorKind::StatementGone,
            "57P01" | "57P02" | "57P03" | "25006" => ErrorKind::Disconnected,
            "42501" => ErrorKind::Permission,
            "42P01" | "42703" | "3F000" => ErrorKind::SchemaDiffers,
            "3D000" => ErrorKind::NoDatabase,
            "XX001" | "XX002" => ErrorKind::ServerFault,
            "54000" => ErrorKind::EventFault,
            _ => match code.get(..2) {
                Some("08") => ErrorKind::Disconnected,
                Some("22" | "23") => ErrorKind::EventFault,
                Some("28") => ErrorKind::Authentication,
                Some("53") => ErrorKind::OutOfResources,
                Some("58") => ErrorKind::ServerFault,
                _ => ErrorKind::Unexpected,
            },
        }
    }
}

/// An error of the store: kind, PostgreSQL's words, and what was being done.
#[derive(Debug)]
pub struct StoreError {
    pub kind: ErrorKind,
    /// As PostgreSQL gave it; `None` if the error is not the server's.
    pub sqlstate: Option<Box<str>>,
    /// The constraint that a value violates.
    pub(crate) constraint: Option<Box<str>>,
    pub message: String,
    /// Detail and hint, as far as the server gave them or we can.
    pub hint: Option<Box<str>>,
    /// What was being done: `writing table inventory`.
    pub context: String,
}

/// The usual result here.
pub type Result<T> = std::result::Result<T, StoreError>;

impl StoreError {
    pub(crate) fn new(
        kind: ErrorKind,
        context: impl Into<String>,
        message: impl Into<String>,
    ) -> StoreError {
        StoreError {
            kind,
            sqlstate: None,
            constraint: None,
            message: message.into(),
            hint: None,
            context: context.into(),
        }
    }

    pub(crate) fn refused(context: impl Into<String>, message: impl Into<String>) -> StoreError {
        StoreError::new(ErrorKind::Refused, context, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<Box<str>>) -> StoreError {
        self.hint = Some(hint.into());
        self
    }

    /// A row that was loaded belongs to another partition than the one whose event asked for it.
    pub(crate) fn ownership_conflict(layout: &Layout, table: usize) -> StoreError {
        StoreError::new(
            ErrorKind::OwnershipConflict { table },
            format!("loading rows of table {}", layout.tables[table].name),
            "rows belong to another partition than the one their events came from",
        )
    }

    /// From sqlx, outside of COMMIT.
    pub(crate) fn from_sqlx(error: &sqlx::Error, context: impl Into<String>) -> StoreError {
        let context = context.into();
        if let sqlx::Error::Io(source) = error
            && let Some((message, hint)) = tls::refusal(source)
        {
            return StoreError::refused(context, message).hint(hint);
        }
        let kind = match error {
            sqlx::Error::Database(database) => {
                return match database.try_downcast_ref::<PgDatabaseError>() {
                    Some(error) => StoreError::from_server(error, context),
                    None => StoreError::new(ErrorKind::Unexpected, context, database.to_string()),
                };
            }
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_)
            | sqlx::Error::BeginFailed => ErrorKind::Disconnected,
            sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => ErrorKind::Refused,
            _ => ErrorKind::Unexpected,
        };
        let message = match error {
            sqlx::Error::Io(source) => source.to_string(),
            sqlx::Error::PoolTimedOut => {
                "no connection in time: the server refuses, or postgres.max_connections are in use"
                    .to_owned()
            }
            sqlx::Error::Configuration(source) | sqlx::Error::Tls(source) => {
                let cause = source.source().map(|cause| format!(": {cause}"));
                format!("{source}{}", cause.unwrap_or_default())
            }
            other => other.to_string(),
        };
        let told = StoreError::new(kind, context, message);
        match error {
            sqlx::Error::Tls(_) if told.message.contains("does not support TLS") => {
                told.hint(NO_TLS)
            }
            _ => told,
        }
    }

    fn from_server(error: &PgDatabaseError, context: String) -> StoreError {
        let hint = match (error.detail(), error.hint()) {
            (None, None) => None,
            (Some(text), None) | (None, Some(text)) => Some(text.into()),
            (Some(detail), Some(hint)) => Some(format!("{detail} {hint}").into()),
        };
        let kind = ErrorKind::of_sqlstate(error.code());
        StoreError {
            kind,
            sqlstate: Some(error.code().into()),
            constraint: error.constraint().map(Into::into),
            message: error.message().to_owned(),
            // Nobody else takes statements away from a session, or brings some into it.
            hint: match kind {
                ErrorKind::StatementGone => Some(pooled::HINT.into()),
                _ => hint,
            },
            context,
        }
    }

    /// Any error of COMMIT, however it looks: whether it took effect is only to be read from the checkpoint.
    pub(crate) fn from_commit(error: &sqlx::Error) -> StoreError {
        StoreError {
            kind: ErrorKind::CommitUnknown,
            ..StoreError::from_sqlx(error, "committing")
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.context, self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        match &self.sqlstate {
            Some(sqlstate) => write!(f, " [{sqlstate}]"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for StoreError {}

/// Adds what was being done to errors of sqlx.
pub(crate) trait Context<T> {
    fn context(self, context: impl FnOnce() -> String) -> Result<T>;
    fn doing(self, context: &'static str) -> Result<T>;
}

impl<T> Context<T> for std::result::Result<T, sqlx::Error> {
    fn context(self, context: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| StoreError::from_sqlx(&error, context()))
    }

    fn doing(self, context: &'static str) -> Result<T> {
        self.map_err(|error| StoreError::from_sqlx(&error, context))
    }
}

impl StoreError {
    /// 23505 on the table's own key; on any other index of somebody's it is the event's fault.
    pub(super) fn into_ownership_conflict(
        mut self,
        layout: &TableLayout,
        table: usize,
    ) -> StoreError {
        if self.sqlstate.as_deref() == Some("23505") && self.is_about_key_of(&layout.name) {
            self.kind = ErrorKind::OwnershipConflict { table };
            self.context = format!("writing table {}", layout.name);
        }
        self
    }

    /// PostgreSQL names a primary key after its table, with a number behind it if that name is taken.
    fn is_about_key_of(&self, table: &str) -> bool {
        let constraint = self.constraint.as_deref().unwrap_or_default();
        let named = constraint.strip_prefix(table);
        named
            .and_then(|rest| rest.strip_prefix("_pkey"))
            .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    }

    /// A placeholder holds nothing of an event but its key: a constraint that refuses one is not of our making, and would refuse
    /// every new row.
    pub(super) fn blames_the_table(mut self) -> StoreError {
        if matches!(self.sqlstate.as_deref(), Some("23502" | "23503" | "23514")) {
            self.kind = ErrorKind::SchemaDiffers;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_the_table_has_its_kind() {
        for (code, kind) in [
            ("40001", ErrorKind::Contention),
            ("40P01", ErrorKind::Contention),
            ("55P03", ErrorKind::Contention),
            ("57014", ErrorKind::Contention),
            ("25P03", ErrorKind::Fenced),
            ("26000", ErrorKind::StatementGone),
            ("42P05", ErrorKind::StatementGone),
            ("08006", ErrorKind::Disconnected),
            ("57P01", ErrorKind::Disconnected),
            ("57P03", ErrorKind::Disconnected),
            ("25006", ErrorKind::Disconnected),
            ("53100", ErrorKind::OutOfResources),
            ("58030", ErrorKind::ServerFault),
            ("XX001", ErrorKind::ServerFault),
            ("42501", ErrorKind::Permission),
            ("42P01", ErrorKind::SchemaDiffers),
            ("42703", ErrorKind::SchemaDiffers),
            ("28P01", ErrorKind::Authentication),
            ("3D000", ErrorKind::NoDatabase),
            ("22003", ErrorKind::EventFault),
            ("23502", ErrorKind::EventFault),
            ("54000", ErrorKind::EventFault),
            ("54001", ErrorKind::Unexpected),
            ("42601", ErrorKind::Unexpected),
            ("XX000", ErrorKind::Unexpected),
        ] {
            assert_eq!(ErrorKind::of_sqlstate(code), kind, "{code}");
        }
    }
}
