use consolidator::expression::value::Interval;
use consolidator::store::ErrorKind;

use super::*;
use crate::support::block_on;
use crate::support::database::Database;

#[test]
fn rows_and_checkpoint_are_committed_together_or_not_at_all() {
    block_on(async {
        let base = base().await;
        let (generation, layout) = counters_in(&base, true).await;
        let mut lane = base.lane("a").await;
        let start = lane
            .take_over(generation.id, &partitions(&[0, 1]))
            .await
            .unwrap()
            .checkpoints;
        assert_eq!((start[0].slot, start[1].slot), (1, 2));
        let claims: Vec<Claim> = start
            .iter()
            .map(|checkpoint| claim(checkpoint, 10))
            .collect();

        let mut tx = lane.begin(&layout, &claims).await.unwrap();
        tx.write(&changes(
            &layout,
            1,
            &[counter("a", 1), counter("b", 2)],
            &[],
        ))
        .await
        .unwrap();
        drop(tx);
        let mut sql = base.sql().await;
        let seen = "select (select count(*) from read_model.counter), (select sum(next_offset) from consolidator.checkpoint)";
        assert_eq!(rows(&mut sql, seen).await, ["0|0"]);

        let mut tx = lane.begin(&layout, &claims).await.unwrap();
        assert!(
            tx.load_owned(0, &keys(&layout.tables[0], &["a", "b"]))
                .await
                .unwrap()
                .is_empty()
        );
        tx.write(&changes(
            &layout,
            1,
            &[counter("a", 1), counter("b", 2)],
            &[],
        ))
        .await
        .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(rows(&mut sql, seen).await, ["2|20"]);
        assert_eq!(
            rows(
                &mut sql,
                "select gap, lag_seconds, state, as_of from consolidator.freshness"
            )
            .await,
            ["0|0|building|2000-01-01 00:00:00+00"]
        );
    });
}

#[test]
fn loaded_rows_tell_their_owner_and_updates_and_deletes_check_it() {
    block_on(async {
        let base = base().await;
        let (generation, layout) = counters_in(&base, true).await;
        let mut lane = base.lane("a").await;
        let parts = partitions(&[0, 1]);
        let start = lane
            .take_over(generation.id, &parts)
            .await
            .unwrap()
            .checkpoints;
        let mut tx = lane.begin(&layout, &[claim(&start[0], 1)]).await.unwrap();
        tx.write(&changes(
            &layout,
            1,
            &[counter("a", 1), counter("b", 2)],
            &[],
        ))
        .await
        .unwrap();
        tx.commit().await.unwrap();

        let start = lane
            .take_over(generation.id, &parts)
            .await
            .unwrap()
            .checkpoints;
        let mut tx = lane.begin(&layout, &[claim(&start[1], 1)]).await.unwrap();
        let found = tx
            .load_owned(0, &keys(&layout.tables[0], &["0", "b", "c"]))
            .await
            .unwrap();
        let found: Vec<_> = found.iter().collect();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].key, found[0].owner), (1, 1));
        assert!(found[0].cells[0].same(&text("b")));
        assert!(found[0].cells[1].same(&Cell::from_value(Value::Int64(2))));
        assert!(found[0].cells[2].is_null());

        for write in [
            changes(&layout, 2, &[], &[counter("b", 7)]),
            changes(&layout, 2, &[counter("b", 7)], &[]),
            deletes(&layout, 2, &["b"]),
        ] {
            drop(tx);
            tx = lane.begin(&layout, &[claim(&start[1], 1)]).await.unwrap();
            let error = tx.write(&write).await.unwrap_err();
            assert_eq!(
                error.kind,
                ErrorKind::OwnershipConflict { table: 0 },
                "{error}"
            );
        }
        drop(tx);
        let mut tx = lane.begin(&layout, &[claim(&start[0], 1)]).await.unwrap();
        tx.write(&changes(&layout, 1, &[], &[counter("a", 5)]))
            .await
            .unwrap();
        tx.write(&deletes(&layout, 1, &["b"])).await.unwrap();
        tx.commit().await.unwrap();
        let mut sql = base.sql().await;
        assert_eq!(
            rows(&mut sql, "select id, n from read_model.counter").await,
            ["a|5"]
        );
    });
}

#[test]
fn a_copied_duplicate_is_an_ownership_conflict_too_and_other_violations_are_the_events_fault() {
    block_on(async {
        let base = base().await;
        let (generation, layout) = counters_in(&base, true).await;
        let mut lane = base.lane("a").await;
        let start = lane
            .take_over(generation.id, &partitions(&[0]))
            .await
            .unwrap()
            .checkpoints;
        let ids: Vec<String> = (0..1_000).map(|n| format!("k{n:04}")).collect();
        let many: Vec<[Cell; 3]> = ids.iter().map(|id| counter(id, 1)).collect();
        let mut tx = lane.begin(&layout, &[claim(&start[0], 1)]).await.unwrap();
        tx.write(&changes(&layout, 1, &many, &[])).await.unwrap();
        let error = tx
            .write(&changes(&layout, 1, &many, &[]))
            .await
            .unwrap_err();
        assert_eq!(
            error.kind,
            ErrorKind::OwnershipConflict { table: 0 },
            "{error}"
        );
        drop(tx);
        let mut tx = lane.begin(&layout, &[claim(&start[0], 1)]).await.unwrap();
        let without = [text("x"), Cell::NULL, Cell::NULL];
        let error = tx
            .write(&changes(&layout, 1, &[without], &[]))
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::EventFault, "{error}");
    });
}

#[test]
fn rows_that_are_encoded_on_their_way_arrive_whole_or_not_at_all() {
    block_on(async {
        let base = base().await;
        let (generation, layout) = counters_in(&base, true).await;
        let mut lane = base.lane("a").await;
        let start = lane
            .take_over(generation.id, &partitions(&[0]))
            .await
            .unwrap()
            .checkpoints;
        // A hundred bytes each: some MiB, which no buffer holds at once.
        let counted: Vec<[Cell; 3]> = (0..50_000)
            .map(|n| counter(&format!("{n:0100}"), n))
            .collect();
        let of = |rows: Vec<_>| rows.into_iter().map(|row: &[Cell; 3]| (&row[..], 1));
        let all: Vec<&[Cell; 3]> = counted.iter().collect();

        // The last row is the first one once more: most of them are on the other side by then.
        let twice: Vec<&[Cell; 3]> = counted.iter().chain(&counted[..1]).collect();
        let claims = [claim(&start[0], 1)];
        let mut tx = lane.begin(&layout, &claims).await.unwrap();
        let error = tx.copy_in(0, of(twice), std::iter::empty()).await;
        let error = error.unwrap_err();
        let conflict = ErrorKind::OwnershipConflict { table: 0 };
        assert_eq!(error.kind, conflict, "{error}");
        tx.rollback().await.unwrap();

        let mut tx = lane.begin(&layout, &claims).await.unwrap();
        tx.copy_in(0, of(all), std::iter::empty()).await.unwrap();
        tx.commit().await.unwrap();
        let mut sql = base.sql().await;
        let there = format!(
            "select count(*), count(distinct id), sum(n), bool_and(id = lpad(n::text, 100, '0') and \"$owner\" = 1) \
             from consolidator_g{}.counter",
            generation.id
        );
        assert_eq!(rows(&mut sql, &there).await, ["50000|50000|1249975000|t"]);
    });
}

#[test]
fn a_session_that_ends_in_the_middle_of_a_copy_leaves_nothing_and_the_next_one_goes_on() {
    block_on(async {
        let base = base().await;
        let (generation, layout) = counters_in(&base, true).await;
        let mut lane = base.lane("a").await;
        let mut sql = base.sql().await;
        let end = "select pg_terminate_backend(owner_pid)::text from consolidator.checkpoint";
        let counted: Vec<[Cell; 3]> = (0..50_000)
            .map(|n| counter(&format!("{n:0100}"), n))
            .collect();
        for ends in [true, false] {
            let start = lane
                .take_over(generation.id, &partitions(&[0]))
                .await
                .unwrap()
                .checkpoints;
            let mut tx = lane.begin(&layout, &[claim(&start[0], 1)]).await.unwrap();
            let url = base.url.clone();
            let some = counted.iter().enumerate().map(|(number, row)| {
                if ends && number == 25_000 {
                    let url = url.clone();
                    let ended = std::thread::spawn(move || Database::at(&url).query(end));
                    ended.join().unwrap();
                }
                (&row[..], 1)
            });
            let copied = tx.copy_in(0, some, std::iter::empty()).await;
            if ends {
                assert_eq!(copied.unwrap_err().kind, ErrorKind::Disconnected);
                drop(tx);
                lane.reconnect().await.unwrap();
            } else {
                copied.unwrap();
                tx.commit().await.unwrap();
            }
            let there = format!(
                "select count(*) from consolidator_g{}.counter",
                generation.id
            );
            let expected = if ends { "0" } else { "50000" };
            assert_eq!(rows(&mut sql, &there).await, [expected]);
        }
    });
}

#[test]
fn a_claim_holds_only_for_the_expected_offset_and_the_latest_epoch() {
    block_on(async {
        let base = base().await;
        let (generation, layout) = counters_in(&base, true).await;
        let (mut old, mut new) = (base.lane("old").await, base.lane("new").await);
        let parts = partitions(&[0, 1]);
        let before = old
            .take_over(generation.id, &parts)
            .await
            .unwrap()
            .checkpoints;
        let after = new
            .take_over(generation.id, &parts[..1])
            .await
            .unwrap()
            .checkpoints;
        assert_eq!(after[0].epoch, before[0].epoch + 1);

        let both: Vec<Claim> = before
            .iter()
            .map(|checkpoint| claim(checkpoint, 1))
            .collect();
        assert_eq!(
            old.begin(&layout, &both).await.unwrap_err().kind,
            ErrorKind::Fenced
        );
        old.begin(&layout, &both[1..])
            .await
            .unwrap()
            .commit()
            .await
            .unwrap();
        assert_eq!(
            old.begin(&layout, &both[1..]).await.unwrap_err().kind,
            ErrorKind::Fenced
        );
        new.begin(&layout, &[claim(&after[0], 1)])
            .await
            .unwrap()
            .commit()
            .await
            .unwrap();
        let read = old.reread(generation.id, &[1, 2]).await.unwrap();
        assert_eq!((read[0].next_offset, read[1].next_offset), (1, 1));
    });
}

#[test]
fn values_of_every_type_come_back_as_they_went_in() {
    block_on(async {
        let base = base().await;
        let list = [Value::Int32(1), Value::Null, Value::Int32(3)];
        let values: Vec<(Type, Value<'_>, &str)> = vec![
            (ty(Scalar::Text), Value::Text("it's äöü"), "it's äöü"),
            (ty(Scalar::Boolean), Value::Bool(true), "t"),
            (ty(Scalar::SmallInt), Value::Int16(-7), "-7"),
            (ty(Scalar::Integer), Value::Int32(7), "7"),
            (
                ty(Scalar::BigInt),
                Value::Int64(i64::MIN),
                "-9223372036854775808",
            ),
            (ty(Scalar::Double), Value::Float64(1.5), "1.5"),
            (ty(Scalar::Date), Value::Date(1), "2000-01-02"),
            (
                ty(Scalar::TimestampTz),
                Value::TimestampTz(1),
                "2000-01-01 00:00:00.000001+00",
            ),
            (
                ty(Scalar::Interval),
                Value::Interval(Interval {
                    months: 1,
                    days: 2,
                    micros: 3_000_000,
                }),
                "1 mon 2 days 00:00:03",
            ),
            (
                ty(Scalar::Jsonb),
                Value::Jsonb("{\"a\": [1, null]}"),
                "{\"a\": [1, null]}",
            ),
            (ty(Scalar::Bytea), Value::Bytea(b"\0\xff"), "\\x00ff"),
            (
                Type {
                    array: true,
                    ..ty(Scalar::Integer)
                },
                Value::Array(&list),
                "{1,NULL,3}",
            ),
            (ty(Scalar::Text), Value::Null, "null"),
        ];
        for with_array in [false, true] {
            let kept: Vec<_> = values
                .iter()
                .filter(|(ty, _, _)| with_array || !ty.array)
                .collect();
            let columns = kept
                .iter()
                .enumerate()
                .map(|(index, (ty, _, _))| column(&format!("c{index}"), *ty))
                .collect();
            let name = format!("types_{with_array}");
            let projection = projection(&name, vec![table(&name, columns)]);
            let generation = base.generation(&projection).await;
            let layout = Layout::new(&projection, generation.id, &[]).unwrap();
            let row: Vec<Cell> = kept
                .iter()
                .map(|(_, value, _)| Cell::from_value(*value))
                .collect();
            let mut lane = base.lane("a").await;
            let start = lane
                .take_over(generation.id, &partitions(&[0]))
                .await
                .unwrap()
                .checkpoints;
            let mut tx = lane.begin(&layout, &[claim(&start[0], 1)]).await.unwrap();
            for purpose in [Purpose::Insert, Purpose::Update] {
                let mut encoder = RowsEncoder::new(&layout.tables[0], purpose, 1);
                encoder.push(&row, 1);
                let mut write = EncodedTable {
                    states: EncodedRows::none(),
                    table: 0,
                    inserts: EncodedRows::none(),
                    updates: EncodedRows::none(),
                    deletes: EncodedKeys::default(),
                };
                match purpose {
                    Purpose::Insert => write.inserts = encoder.finish(),
                    Purpose::Update => write.updates = encoder.finish(),
                }
                tx.write(&EncodedChanges {
                    tables: vec![write],
                    ..EncodedChanges::default()
                })
                .await
                .unwrap();
            }
            let found = tx
                .load_owned(0, &keys(&layout.tables[0], &["it's äöü"]))
                .await
                .unwrap();
            let loaded = found.iter().next().unwrap();
            for (cell, expected) in loaded.cells.iter().zip(&row) {
                assert!(cell.same(expected), "{cell:?} is not {expected:?}");
            }
            tx.commit().await.unwrap();
            let mut sql = base.sql().await;
            execute(&mut sql, "set timezone = 'UTC'").await;
            let expected: Vec<&str> = kept.iter().map(|(_, _, text)| *text).collect();
            assert_eq!(
                rows(&mut sql, &format!("select * from read_model.{name}")).await,
                [expected.join("|")]
            );
        }
    });
}

fn deletes(layout: &Layout, owner: i32, ids: &[&str]) -> EncodedChanges {
    let mut encoder = KeysEncoder::for_deletes(&layout.tables[0]);
    for id in ids {
        encoder.push_owned(&[text(id)], owner);
    }
    EncodedChanges {
        tables: vec![EncodedTable {
            states: EncodedRows::none(),
            table: 0,
            inserts: EncodedRows::none(),
            updates: EncodedRows::none(),
            deletes: encoder.finish(),
        }],
        ..EncodedChanges::default()
    }
}
