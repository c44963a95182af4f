//! The PostgreSQL side: the world as tables, and many expressions asked in one statement.

use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};
use tokio::runtime::Runtime;

use super::Answer;
use super::generate::Pair;
use super::world::World;

pub struct Oracle {
    runtime: Runtime,
    connection: PgConnection,
}

impl Oracle {
    pub fn connect(url: &str, world: &World) -> Oracle {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let connection = runtime.block_on(async {
            let mut connection = PgConnection::connect(url)
                .await
                .expect("PostgreSQL answers");
            connection
                .execute("set time zone 'UTC'")
                .await
                .expect("time zone");
            // Parallel plans and jit would only cost time here.
            connection.execute("set jit = off").await.expect("jit");
            for statement in world.statements() {
                connection
                    .execute(sqlx::AssertSqlSafe(statement.clone()))
                    .await
                    .unwrap_or_else(|error| panic!("{error}: {statement}"));
            }
            connection
        });
        Oracle {
            runtime,
            connection,
        }
    }

    pub fn ask(&mut self, pairs: &[(Pair, usize)]) -> Vec<Answer> {
        let queries: Vec<String> = pairs
            .iter()
            .map(|(pair, row)| {
                let expression = &pair.theirs;
                if let Some((stem, _)) = pair.target {
                    return format!(
                        "insert into target_{stem}1 select {expression} from world, event, headers where world.row_number = {row} returning pg_typeof(c)::text, c::text"
                    );
                }
                format!("select pg_typeof({expression})::text, ({expression})::text from world, event, headers where world.row_number = {row}")
            })
            .collect();
        let rows = self.runtime.block_on(async {
            sqlx::query("select (pg_temp.try(q)).* from unnest($1::text[]) with ordinality as u(q, n) order by n")
                .bind(queries)
                .fetch_all(&mut self.connection)
                .await
                .expect("the batch runs")
        });
        rows.iter()
            .map(|row| match row.get::<Option<String>, _>("state") {
                Some(state) => Answer::Error {
                    state,
                    message: row.get::<Option<String>, _>("value").unwrap_or_default(),
                },
                None => Answer::Value {
                    ty: short(&row.get::<Option<String>, _>("ty").unwrap_or_default()),
                    text: row.get("value"),
                },
            })
            .collect()
    }

    /// The texts of records as jsonb; `None` for what is none.
    pub fn records(&mut self, records: &[Vec<u8>]) -> Vec<Option<String>> {
        let sql = "select pg_temp.record(b) from unnest($1::bytea[]) with ordinality as u(b, n) order by n";
        let rows = self.runtime.block_on(async {
            sqlx::query_scalar(sql)
                .bind(records)
                .fetch_all(&mut self.connection)
                .await
        });
        rows.expect("the batch runs")
    }
}

/// PostgreSQL's long names as the language prints them.
fn short(name: &str) -> String {
    name.replace("timestamp with time zone", "timestamptz")
        .replace("timestamp without time zone", "timestamp")
        .replace("time without time zone", "time")
        .replace("character varying", "varchar")
}
