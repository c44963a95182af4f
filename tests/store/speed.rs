//! Figures behind the constants of `store::encode`: `CONSOLIDATOR_BENCH=1 cargo test --release both_forms -- --nocapture`. Without the
//! variable a small form, which checks that both forms write the same.

use std::time::Instant;

use consolidator::store::encode::Form;

use super::*;
use crate::support::block_on;

fn is_bench() -> bool {
    std::env::var_os("CONSOLIDATOR_BENCH").is_some()
}

/// Rows of the table that is updated.
fn rows_there() -> usize {
    if is_bench() { 300_000 } else { 3_000 }
}

fn orders() -> Projection {
    let columns = vec![
        column("id", ty(Scalar::Text)),
        column("quantity", ty(Scalar::BigInt)),
        column("amount", ty(Scalar::BigInt)),
        column("carrier", ty(Scalar::Text)),
        column("status", ty(Scalar::Text)),
        column("version", ty(Scalar::BigInt)),
    ];
    projection("orders", vec![table("orders", columns)])
}

fn order(n: usize, quantity: i64) -> Vec<Cell> {
    vec![
        text(&format!("order-{n:08}")),
        Cell::from_value(Value::Int64(quantity)),
        Cell::from_value(Value::Int64(n as i64 * 7)),
        text("some carrier"),
        text("shipped"),
        Cell::from_value(Value::Int64(quantity)),
    ]
}

fn write(
    layout: &Layout,
    form: Form,
    purpose: Purpose,
    numbers: &[usize],
    quantity: i64,
) -> EncodedChanges {
    let mut encoder = RowsEncoder::with_form(&layout.tables[0], form);
    for n in numbers {
        encoder.push(&order(*n, quantity), 1);
    }
    let rows = encoder.finish();
    let none = EncodedRows::none();
    let (inserts, updates) = match purpose {
        Purpose::Insert => (rows, none),
        Purpose::Update => (none, rows),
    };
    let deletes = EncodedKeys::default();
    EncodedChanges {
        tables: vec![EncodedTable {
            states: EncodedRows::none(),
            table: 0,
            inserts,
            updates,
            deletes,
        }],
        ..EncodedChanges::default()
    }
}

#[test]
fn both_forms_write_every_row() {
    let counts: &[usize] = match is_bench() {
        true => &[1, 10, 100, 500, 1_000, 2_000, 3_000, 10_000, 100_000],
        false => &[1, 300],
    };
    block_on(async {
        println!(
            "{:>8} {:>8} {:>8} {:>12} {:>12}",
            "what", "form", "rows", "ms/batch", "rows/s"
        );
        for &count in counts {
            for purpose in [Purpose::Insert, Purpose::Update] {
                for form in [Form::Columns, Form::Copy] {
                    let mut took = measure(purpose, form, count).await;
                    took.sort();
                    let ms = |part: usize| took[(took.len() - 1) * part / 10].as_secs_f64() * 1e3;
                    let rate =
                        (took.len() * count) as f64 / took.iter().sum::<Duration>().as_secs_f64();
                    println!(
                        "{purpose:>8?} {form:>8?} {count:>8} {:>9.2} {:>9.2} {:>9.2} {rate:>9.0}",
                        ms(5),
                        ms(9),
                        ms(10)
                    );
                }
            }
        }
    });
}

async fn measure(purpose: Purpose, form: Form, count: usize) -> Vec<Duration> {
    let base = base().await;
    let projection = orders();
    let generation = base.generation(&projection).await;
    let layout = Layout::new(&projection, generation.id, &[]).unwrap();
    let mut lane = base.lane("a").await;
    let start = lane
        .take_over(generation.id, &partitions(&[0]))
        .await
        .unwrap()
        .checkpoints;
    let mut checkpoint = start[0].clone();
    if purpose == Purpose::Update {
        let all: Vec<usize> = (0..rows_there()).collect();
        let mut tx = lane.begin(&layout, &[claim(&checkpoint, 1)]).await.unwrap();
        tx.write(&write(&layout, Form::Copy, Purpose::Insert, &all, 1))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        checkpoint.next_offset += 1;
        let mut sql = base.sql().await;
        execute(&mut sql, "vacuum analyze").await;
    }
    let batches = (rows_there() / count).clamp(4, if is_bench() { 100 } else { 4 });
    let mut took = Vec::new();
    for batch in 0..batches {
        let stride = rows_there() / count;
        let numbers: Vec<usize> = match purpose {
            Purpose::Insert => (0..count).map(|n| batch * count + n).collect(),
            Purpose::Update => (0..count)
                .map(|n| n * stride + batch % stride.max(1))
                .collect(),
        };
        let changes = write(&layout, form, purpose, &numbers, batch as i64 + 2);
        let began = Instant::now();
        let mut tx = lane.begin(&layout, &[claim(&checkpoint, 1)]).await.unwrap();
        tx.write(&changes).await.unwrap();
        tx.commit().await.unwrap();
        took.push(began.elapsed());
        checkpoint.next_offset += 1;
    }
    let written = "select count(*) filter (where quantity > 1), count(*) from read_model.orders";
    let expected = match purpose {
        Purpose::Insert => format!("{0}|{0}", batches * count),
        Purpose::Update => {
            let stride = rows_there() / count;
            format!("{}|{}", batches.min(stride) * count, rows_there())
        }
    };
    let mut sql = base.sql().await;
    assert_eq!(rows(&mut sql, written).await, [expected]);
    took
}
