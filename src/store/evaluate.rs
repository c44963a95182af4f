//! A PostgreSQL that is asked what expressions come to, each as an assignment to a column. Keeps nothing there. Knows nothing of
//! who asks, and why.

use std::collections::HashMap;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::connect::{options, place, set_up};
use super::error::{Context, Result, StoreError};

/// What values and their texts hang on, as expressions are documented.
const SESSION: &str = "set timezone = 'UTC'; set datestyle = 'ISO, MDY'; set intervalstyle = 'postgres'; \
     set bytea_output = 'hex'; set extra_float_digits = 1; set standard_conforming_strings = on; \
     set client_min_messages = error";

/// One connection.
#[derive(Debug)]
pub struct Evaluator {
    connection: PgConnection,
    /// By type: the temporary table with a column of it.
    targets: HashMap<String, usize>,
}

/// The value's text, or why there is none: SQLSTATE and message.
pub type Evaluated = std::result::Result<Option<String>, (String, String)>;

impl Evaluator {
    /// # Errors
    /// As for any connection; see [`super::Store::connect`].
    pub async fn connect(url: &str) -> Result<Evaluator> {
        let options = options(url)?;
        let place = place(&options);
        let mut connection = options
            .connect()
            .await
            .context(|| format!("connecting to Postgres at {place}"))?;
        set_up(&mut connection)
            .await
            .doing("setting up a session")?;
        sqlx::raw_sql(SESSION)
            .execute(&mut connection)
            .await
            .doing("setting up a session")?;
        Ok(Evaluator {
            connection,
            targets: HashMap::new(),
        })
    }

    /// Version, encoding, collation and character type of the database.
    ///
    /// # Errors
    /// As the server's.
    pub async fn describe(&mut self) -> Result<[String; 4]> {
        let asked = "select current_setting('server_version'), pg_encoding_to_char(encoding)::text, \
             datcollate::text, datctype::text from pg_database where datname = current_database()";
        let (version, encoding, collate, ctype) = sqlx::query_as(asked)
            .fetch_one(&mut self.connection)
            .await
            .doing("asking for the database's locale")?;
        Ok([version, encoding, collate, ctype])
    }

    /// The expression's value in a column of that type.
    ///
    /// # Errors
    /// The server is gone, or no temporary table can be made. What the expression does wrong is an answer.
    pub async fn evaluate(&mut self, expression: &str, column_type: &str) -> Result<Evaluated> {
        let target = self.target(column_type).await?;
        let asked =
            format!("insert into pg_temp.target_{target} values {expression} returning v::text");
        let answer = sqlx::query_scalar(AssertSqlSafe(asked))
            .persistent(false)
            .fetch_one(&mut self.connection)
            .await;
        match answer {
            Ok(text) => Ok(Ok(text)),
            Err(sqlx::Error::Database(error))
                if error.code().is_some_and(|code| !is_fatal(&code)) =>
            {
                let code = error.code().unwrap_or_default().into_owned();
                Ok(Err((code, error.message().to_owned())))
            }
            Err(error) => Err(StoreError::from_sqlx(&error, "evaluating an expression")),
        }
    }

    /// # Errors
    /// As the server's.
    pub async fn close(self) -> Result<()> {
        self.connection.close().await.doing("closing a connection")
    }

    async fn target(&mut self, column_type: &str) -> Result<usize> {
        if let Some(known) = self.targets.get(column_type) {
            return Ok(*known);
        }
        let number = self.targets.len();
        let made = format!("create temporary table target_{number} (v {column_type})");
        sqlx::raw_sql(AssertSqlSafe(made))
            .execute(&mut self.connection)
            .await
            .doing("making a temporary table")?;
        self.targets.insert(column_type.to_owned(), number);
        Ok(number)
    }
}

/// Nothing about the expression.
fn is_fatal(code: &str) -> bool {
    ["08", "28", "53", "57", "58", "XX"]
        .iter()
        .any(|class| code.starts_with(class))
}
