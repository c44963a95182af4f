//! Compares two queries row by row. Knows nothing of how either comes about.

use super::database::Database;

/// The aggregate `chain`: each text is hashed with what came of those before it, so that loss, repetition and another order show.
pub const CHAIN: &str = "
    create function chain_step(text, text) returns text language sql immutable as 'select md5($1 || $2)';
    create aggregate chain(text) (sfunc = chain_step, stype = text, initcond = '');
";

/// How many differing rows of each side are shown.
const ROWS_SHOWN: usize = 5;

/// Fails unless both queries give the same rows, counted with their duplicates.
pub fn assert_same(database: &Database, what: &str, product: &str, oracle: &str) {
    let differences = differences(database, product, oracle);
    assert!(
        differences.is_empty(),
        "{what} differs:\n{}",
        differences.join("\n")
    );
}

/// The first rows that only one of the queries gives, said in words; empty if there is none.
pub fn differences(database: &Database, product: &str, oracle: &str) -> Vec<String> {
    let mut lines = only_in(database, "only in the product's table", product, oracle);
    lines.extend(only_in(database, "only in the oracle", oracle, product));
    lines
}

fn only_in(database: &Database, label: &str, these: &str, those: &str) -> Vec<String> {
    let rest = format!("select d::text as t from (({these}) except all ({those})) d");
    let rows = database.query(&format!(
        "select t, count(*) over () from ({rest}) r order by t limit {ROWS_SHOWN}"
    ));
    let line = |row: &Vec<Option<String>>| {
        let text = |number: usize| row[number].clone().unwrap_or_default();
        format!("{label} ({} rows): {}", text(1), text(0))
    };
    rows.iter().map(line).collect()
}
