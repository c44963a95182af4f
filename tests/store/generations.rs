use consolidator::definition::projection::{Column, Index, Table};
use consolidator::expression::value::{Modifier, Scalar, Type};
use consolidator::store::{ErrorKind, ReadSettings, State, Store};
use sqlx::Connection;
use tokio::task::JoinSet;

use super::*;
use crate::support::block_on;

#[test]
fn many_processes_may_migrate_at_once_and_nothing_is_made_outside_our_schema() {
    block_on(async {
        let url = empty_database().await;
        let mut tasks = JoinSet::new();
        for _ in 0..8 {
            let settings = settings(&url);
            tasks.spawn(async move { Store::connect(&settings).await.map(|_| ()) });
        }
        for outcome in tasks.join_all().await {
            outcome.unwrap();
        }
        let mut sql = PgConnection::connect(&url).await.unwrap();
        let outside = "select relname from pg_class where relnamespace in \
             (select oid from pg_namespace where nspname in ('public')) ";
        assert_eq!(rows(&mut sql, outside).await, Vec::<String>::new());
        let schemas = "select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema' order by 1";
        assert_eq!(rows(&mut sql, schemas).await, ["consolidator", "public"]);
        let applied = "select string_agg(version::text, ',' order by version) from consolidator._sqlx_migrations";
        assert_eq!(rows(&mut sql, applied).await, ["1,2"]);
    });
}

#[test]
fn a_role_that_may_create_nothing_works_with_a_schema_that_is_there() {
    block_on(async {
        let base = base().await;
        let (generation, _) = counters_in(&base, true).await;
        let mut sql = base.sql().await;
        let role = format!("writer_{}", std::process::id());
        execute(
            &mut sql,
            &format!(
                "drop role if exists {role}; create role {role} login password '{PASSWORD}'; grant usage on schema consolidator to {role}; \
                 grant select, insert, update, delete on all tables in schema consolidator to {role}"
            ),
        )
        .await;
        let url = as_role(&base.url, &role);
        let store = Store::connect(&settings(&url)).await.unwrap();
        assert_eq!(
            store.generation(generation.id).await.unwrap().id,
            generation.id
        );
        store.close().await;
        execute(&mut sql, &format!("drop owned by {role}; drop role {role}")).await;
    });
}

#[test]
fn two_processes_that_start_at_once_make_one_generation() {
    block_on(async {
        let base = base().await;
        let mut tasks = JoinSet::new();
        for _ in 0..6 {
            let store = base.store.clone();
            tasks.spawn(async move {
                store
                    .ensure_generation(&counters(true), "f1", "group", &read())
                    .await
                    .map(|generation| generation.id)
            });
        }
        let mut ids: Vec<i64> = tasks
            .join_all()
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        ids.dedup();
        assert_eq!(ids.len(), 1);
        let mut sql = base.sql().await;
        let counts = "select (select count(*) from consolidator.generation), (select count(*) from consolidator.pointer), \
             (select count(*) from pg_namespace where nspname ~ '^consolidator_g')";
        assert_eq!(rows(&mut sql, counts).await, ["1|1|1"]);
    });
}

#[test]
fn a_generation_has_tables_keys_indexes_comments_and_views_without_hidden_columns() {
    block_on(async {
        let base = base().await;
        let mut projection = counters(true);
        projection.tables[0].comment = Some("it's a \"counter\" \\".to_owned());
        projection.tables[0].columns[1].comment = Some("how many".to_owned());
        projection.tables[0].indexes = vec![Index {
            columns: vec!["n".to_owned()],
            where_sql: Some("n > 10 -- large ones".to_owned()),
        }];
        projection.views = vec![
            view("everything", "select * from counter -- all of it"),
            view(
                "grouped",
                "select c.id, c.note, count(*) as c from counter c group by c.id",
            ),
            view(
                "documents",
                "with c as (select * from counter) select to_jsonb(c) as document from c",
            ),
        ];
        let generation = base.generation(&projection).await;
        let id = generation.id;
        assert_eq!(generation.state, State::Building);
        assert_eq!(generation.kafka_group, format!("group.counters.g{id}"));
        let mut sql = base.sql().await;
        execute(
            &mut sql,
            &format!("insert into consolidator_g{id}.counter (id, \"$owner\") values ('a', 1)"),
        )
        .await;
        assert_eq!(
            rows(&mut sql, "select * from read_model.counter").await,
            ["a|0|null"]
        );
        assert_eq!(
            rows(&mut sql, "select * from read_model.everything").await,
            ["a|0|null"]
        );
        assert_eq!(
            rows(&mut sql, "select * from read_model.grouped").await,
            ["a|null|1"]
        );
        assert_eq!(
            rows(&mut sql, "select * from read_model.documents").await,
            ["{\"n\": 0, \"id\": \"a\", \"note\": null}"]
        );
        let comments = "select obj_description('read_model.counter'::regclass), col_description('read_model.counter'::regclass, 2), \
             obj_description('read_model.everything'::regclass)";
        assert_eq!(
            rows(&mut sql, comments).await,
            ["it's a \"counter\" \\|how many|what everything says"]
        );
        execute(
            &mut sql,
            "update consolidator.pointer set generation = generation where projection = 'counters'",
        )
        .await;
        let index = format!(
            "select indexdef from pg_indexes where schemaname = 'consolidator_g{id}' order by 1"
        );
        assert_eq!(rows(&mut sql, &index).await.len(), 2);
    });
}

#[test]
fn what_postgres_refuses_in_a_definition_is_refused_with_its_words() {
    block_on(async {
        let base = base().await;
        let wide = Type {
            scalar: Scalar::Numeric,
            modifier: Modifier::Numeric {
                precision: 2000,
                scale: 0,
            },
            array: false,
        };
        let columns = vec![column("id", ty(Scalar::Text)), column("amount", wide)];
        let refused = base
            .store
            .ensure_generation(
                &projection("wide", vec![table("amounts", columns)]),
                "f1",
                "group",
                &read(),
            )
            .await
            .unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Refused);
        let message = refused.to_string();
        assert!(
            message.contains("projection wide, table amounts"),
            "{message}"
        );
        assert!(message.contains("NUMERIC precision 2000"), "{message}");

        let mut projection = counters(true);
        projection.views = vec![view("broken", "select nothing from counter")];
        let refused = base
            .store
            .ensure_generation(&projection, "f1", "group", &read())
            .await
            .unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("projection counters, view broken: column \"nothing\""),
            "{refused}"
        );
        projection.views = vec![view(
            "hostile",
            "select 1) as x; drop schema consolidator cascade; select (1",
        )];
        let refused = base
            .store
            .ensure_generation(&projection, "f1", "group", &read())
            .await
            .unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Refused, "{refused}");
        let mut sql = base.sql().await;
        let left = "select count(*) from consolidator.generation";
        assert_eq!(rows(&mut sql, left).await, ["0"]);
    });
}

#[test]
fn a_name_belongs_to_one_projection_and_to_us() {
    block_on(async {
        let base = base().await;
        base.generation(&counters(true)).await;
        let other = projection(
            "other",
            vec![table("counter", vec![column("id", ty(Scalar::Text))])],
        );
        let refused = base
            .store
            .ensure_generation(&other, "f1", "group", &read())
            .await
            .unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Refused);
        assert!(
            refused
                .to_string()
                .contains("belongs to projection counters"),
            "{refused}"
        );

        let mut sql = base.sql().await;
        execute(&mut sql, "create table read_model.taken (id text)").await;
        let other = projection(
            "other",
            vec![table("taken", vec![column("id", ty(Scalar::Text))])],
        );
        let refused = base
            .store
            .ensure_generation(&other, "f1", "group", &read())
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("is not ours"), "{refused}");
    });
}

#[test]
fn a_missing_reader_role_is_named() {
    block_on(async {
        let base = base().await;
        let read = ReadSettings {
            schema: "read_model".to_owned(),
            readers: vec!["nobody_of_that_name".to_owned()],
        };
        let refused = base
            .store
            .ensure_generation(&counters(true), "f1", "group", &read)
            .await
            .unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Refused);
        assert!(
            refused
                .to_string()
                .contains("there is no role nobody_of_that_name"),
            "{refused}"
        );
    });
}

#[test]
fn every_type_can_be_a_column_and_a_placeholder() {
    block_on(async {
        let base = base().await;
        let scalars = [
            Scalar::Boolean,
            Scalar::SmallInt,
            Scalar::Integer,
            Scalar::BigInt,
            Scalar::Real,
            Scalar::Double,
            Scalar::Numeric,
            Scalar::Text,
            Scalar::Varchar,
            Scalar::Uuid,
            Scalar::Date,
            Scalar::Time,
            Scalar::Timestamp,
            Scalar::TimestampTz,
            Scalar::Interval,
            Scalar::Jsonb,
            Scalar::Bytea,
        ];
        let mut columns = vec![column("id", ty(Scalar::Text))];
        for (index, scalar) in scalars.into_iter().enumerate() {
            for array in [false, true] {
                let column_type = Type {
                    array,
                    ..ty(scalar)
                };
                let name = format!("c{index}{}", if array { "s" } else { "" });
                columns.push(Column {
                    not_null: true,
                    ..column(&name, column_type)
                });
            }
        }
        let wide = projection(
            "wide",
            vec![Table {
                owned: false,
                ..table("wide", columns)
            }],
        );
        let generation = base.generation(&wide).await;
        let layout = Layout::new(&wide, generation.id, &[]).unwrap();
        let mut lane = base.lane("a").await;
        let start = lane
            .take_over(generation.id, &partitions(&[0]))
            .await
            .unwrap();
        let mut tx = lane
            .begin(&layout, &[claim(&start.checkpoints[0], 1)])
            .await
            .unwrap();
        let found = tx
            .lock_shared(0, keys(&layout.tables[0], &["x", "y"]))
            .await
            .unwrap();
        assert!(found.is_empty());
        tx.write(&EncodedChanges::default()).await.unwrap();
        tx.commit().await.unwrap();
        let mut sql = base.sql().await;
        assert_eq!(
            rows(&mut sql, "select * from read_model.wide").await,
            Vec::<String>::new()
        );
    });
}

#[test]
fn another_deployment_on_the_same_control_schema_is_refused() {
    block_on(async {
        let base = base().await;
        base.store.claim_deployment("one").await.unwrap();
        base.store.claim_deployment("one").await.unwrap();
        let refused = base.store.claim_deployment("two").await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Refused);
        assert!(refused.to_string().contains("kafka.group one"), "{refused}");
    });
}

#[test]
fn a_connection_that_cannot_be_made_says_why() {
    block_on(async {
        let base = base().await;
        let port = base
            .url
            .rsplit(':')
            .next()
            .unwrap()
            .split('/')
            .next()
            .unwrap();
        for (url, kind, words) in [
            (
                base.url.replace(port, "1"),
                ErrorKind::Disconnected,
                "refused",
            ),
            (
                base.url.replace("/store_", "/no_such_"),
                ErrorKind::NoDatabase,
                "does not exist",
            ),
            (
                as_role(&base.url, "nobody"),
                ErrorKind::Authentication,
                "nobody",
            ),
        ] {
            let error = Store::connect(&settings(&url)).await.unwrap_err();
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.to_string().contains(words), "{error}");
            assert!(!error.to_string().contains(PASSWORD), "{error}");
        }
        let error = Store::connect(&settings("mysql://x")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    });
}
