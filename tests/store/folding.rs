//! Definition, fold and store together, without Kafka: what a lane does with a batch.

use bumpalo::Bump;
use consolidator::definition;
use consolidator::event::{Decoder, Event, Record};
use consolidator::fold::{Folder, OnFailure};
use consolidator::store::handover;

use super::*;
use crate::support::block_on;

const DEFINITION: &str = "
projection: sales
from: [sales-events]
tables:
  stock:
    key: { sku: text = event.key }
    columns:
      units: bigint not null default 0
      prices: text not null default ''
    rules:
      Received:
        set: units = units + data.units, prices = prices || data.price || ' '
      Closed:
        delete: true
  per_day:
    key: { day: date = event.time::date }
    columns:
      units: bigint not null default 0
      turnover: numeric not null default 0
    rules:
      Received:
        when: data.units > 0
        set: units = units + data.units, turnover = turnover + data.units::numeric * data.price::numeric
";

struct Lane {
    store: LaneStore,
    layout: Layout,
    folder: Folder,
    decoder: Decoder,
    checkpoint: Checkpoint,
}

impl Lane {
    /// One batch of one partition, from its first record to the commit.
    async fn apply(&mut self, records: &[(&str, String)]) {
        let arena = Bump::new();
        let slot = self.checkpoint.slot;
        let records: Vec<Record<'_>> = records
            .iter()
            .enumerate()
            .map(|(n, (key, value))| Record {
                topic: 0,
                partition: self.checkpoint.partition,
                offset: self.checkpoint.next_offset + n as i64,
                timestamp_ms: Some(1_700_000_000_000),
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                headers: &[],
            })
            .collect();
        let events: Vec<Event<'_>> = records
            .iter()
            .map(|record| self.decoder.decode(record, &arena).unwrap())
            .collect();
        let events = arena.alloc_slice_copy(&events);
        let batch = self.folder.plan(events, &|_, _| slot, &arena);

        let moves = claim(&self.checkpoint, records.len() as i64);
        let mut tx = self.store.begin(&self.layout, &[moves]).await.unwrap();
        for table in self.layout.loading_order() {
            let needs = self.folder.needs(table);
            let wanted = handover::wanted(&self.layout, table, &needs);
            let mut loaded = tx.load(table, wanted).await.unwrap();
            handover::supply(&mut self.folder, table, &mut loaded).unwrap();
        }
        self.folder.supply_missing_as_absent().unwrap();
        let outcome = self.folder.fold(&batch, OnFailure::Stop);
        assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
        tx.write(&handover::changes(&self.layout, &self.folder.changes()))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        self.folder.committed();
        self.checkpoint.next_offset = moves.next;
    }
}

#[test]
fn what_two_lanes_fold_is_in_the_tables_that_readers_see() {
    block_on(async {
        let base = base().await;
        let loaded = definition::load("sales.yaml", DEFINITION);
        assert!(loaded.projection.is_some(), "{:?}", loaded.diagnostics);
        let projection = Arc::new(loaded.projection.unwrap());
        let generation = base.generation(&projection).await;
        assert_eq!(
            generation.meant().unwrap().fold_fingerprint,
            projection.fold_fingerprint
        );
        let mut lanes = Vec::new();
        for partition in 0..2 {
            let layout =
                Layout::new(&projection, generation.id, &generation.shared_tables).unwrap();
            assert_eq!(layout.shared(), [false, true]);
            let mut store = base.lane("lane").await;
            let parts = [Partition {
                topic: "sales-events".to_owned(),
                partition,
                begin_offset: 0,
            }];
            let start = store.take_over(generation.id, &parts).await.unwrap();
            lanes.push(Lane {
                store,
                folder: Folder::new(Arc::clone(&projection), &layout.shared(), 1 << 20),
                decoder: Decoder::new(&projection, 0),
                layout,
                checkpoint: start.checkpoints[0].clone(),
            });
        }
        let received = |day: u32, units: i64, price: &str| {
            format!(
                "{{\"type\":\"Received\",\"time\":\"2022-03-0{day}T09:00:00Z\",\
                 \"data\":{{\"units\":{units},\"price\":{price}}}}}"
            )
        };
        let closed = || "{\"type\":\"Closed\"}".to_owned();
        lanes[0]
            .apply(&[
                ("a", received(1, 2, "1.50")),
                ("b", received(1, 0, "9")),
                ("a", received(2, 1, "1.25")),
            ])
            .await;
        lanes[1]
            .apply(&[("c", received(1, 5, "2.00")), ("d", received(1, 1, "0.10"))])
            .await;
        lanes[0]
            .apply(&[("b", closed()), ("a", received(1, 1, "3"))])
            .await;
        lanes[1]
            .apply(&[("d", closed()), ("d", received(2, 7, "1"))])
            .await;

        let mut sql = base.sql().await;
        assert_eq!(
            rows(&mut sql, "select * from read_model.stock order by sku").await,
            ["a|4|1.50 1.25 3 ", "c|5|2.00 ", "d|7|1 "]
        );
        assert_eq!(
            rows(&mut sql, "select * from read_model.per_day order by day").await,
            ["2022-03-01|9|16.10", "2022-03-02|8|8.25"]
        );
    });
}
