//! A database as a test sees it: statements in, text out, without futures. Knows nothing of the product.

use std::sync::Mutex;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Row};

use super::{block_on, lock};

/// A row, every value as PostgreSQL writes it.
pub type TextRow = Vec<Option<String>>;

/// One connection, opened when first needed and opened again after it was lost.
pub struct Database {
    url: String,
    connection: Mutex<Option<PgConnection>>,
}

impl Database {
    pub fn at(url: &str) -> Database {
        Database {
            url: url.to_owned(),
            connection: Mutex::new(None),
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs one or more statements; the rows are those of all of them.
    pub fn try_query(&self, sql: &str) -> Result<Vec<TextRow>, sqlx::Error> {
        let rows = self.with_connection(async |connection| {
            // The simple protocol: every value comes as text, whatever its type.
            sqlx::raw_sql(AssertSqlSafe(sql))
                .fetch_all(connection)
                .await
        })?;
        Ok(rows.iter().map(text_row).collect())
    }

    pub fn query(&self, sql: &str) -> Vec<TextRow> {
        let result = self.try_query(sql);
        result.unwrap_or_else(|error| panic!("{error}\nin: {sql}"))
    }

    pub fn execute(&self, sql: &str) {
        self.query(sql);
    }

    /// The single value of the single row.
    pub fn value(&self, sql: &str) -> Option<String> {
        let mut rows = self.query(sql);
        assert_eq!(rows.len(), 1, "one row from: {sql}");
        rows.remove(0).swap_remove(0)
    }

    /// The single value as a whole number; null is 0.
    pub fn number(&self, sql: &str) -> i64 {
        self.value(sql)
            .map_or(0, |text| text.parse().expect("a whole number"))
    }

    /// Runs a `copy … from stdin` with the given pieces.
    pub fn copy_in(&self, sql: &str, chunks: Vec<Vec<u8>>) {
        let copied = self.with_connection(async |connection| {
            let mut copy = connection.copy_in_raw(sql).await?;
            for chunk in chunks {
                copy.send(chunk).await?;
            }
            copy.finish().await
        });
        copied.unwrap_or_else(|error| panic!("{error}\nin: {sql}"));
    }

    fn with_connection<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut slot = lock(&self.connection);
        block_on(async {
            let mut connection = match slot.take() {
                Some(connection) => connection,
                None => PgConnection::connect(&self.url).await?,
            };
            let result = work(&mut connection).await;
            // A connection that broke is not kept; an error of the statement leaves it usable.
            if matches!(&result, Ok(_) | Err(sqlx::Error::Database(_))) {
                *slot = Some(connection);
            }
            result
        })
    }
}

fn text_row(row: &PgRow) -> TextRow {
    let value = |column| row.try_get_unchecked::<Option<String>, _>(column);
    (0..row.len())
        .map(|column| value(column).unwrap())
        .collect()
}
