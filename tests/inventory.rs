//! The sample of the first page: a stock card passes through its known states.

use std::time::Duration;

use crate::support::space::Space;
use crate::support::topic::{Producer, Record};

const IN_TIME: Duration = Duration::from_secs(60);

#[test]
fn a_stock_card_passes_through_its_known_states() {
    let space = Space::new("stock_card");
    let topic = space.topic("inventory-events", 3);
    let sample = include_str!("../projections/inventory.yaml");
    space.definition("inventory", &sample.replace("inventory-events", &topic));
    let worker = space.start_worker("worker");
    let producer = Producer::new(space.kafka);

    let initial = r#"{"units":100,"incoming":"2022-01-01","outgoing":"2022-02-01"}"#;
    let states = [
        (
            vec![
                event("Initial", "2022-02-01T08:00:00Z", initial),
                event("Received", "2022-03-01T09:00:00Z", r#"{"units":100}"#),
            ],
            ["200", "2022-03-01", "2022-02-01"],
        ),
        (
            vec![
                event("Sold", "2022-03-15T10:00:00Z", r#"{"units":20}"#),
                event("Received", "2022-03-15T11:00:00Z", r#"{"units":50}"#),
            ],
            ["230", "2022-03-15", "2022-03-15"],
        ),
        (
            vec![
                event("Sold", "2022-04-01T10:00:00Z", r#"{"units":20}"#),
                event("Adjusted", "2022-04-01T12:00:00Z", r#"{"units":-20}"#),
            ],
            ["190", "2022-03-15", "2022-04-01"],
        ),
    ];
    for (events, state) in states {
        producer.write(&topic, &events);
        space.wait_applied("inventory", &[&topic], IN_TIME);
        let columns = "unit_count, date_incoming, date_outgoing";
        let select = format!("select {columns} from read_model.inventory where sku = 'XYZ-1'");
        let row: Vec<String> = space.database.query(&select)[0]
            .iter()
            .flatten()
            .cloned()
            .collect();
        assert_eq!(row, state);
    }
    assert!(worker.terminate(IN_TIME).success());
}

fn event(kind: &str, time: &str, data: &str) -> Record {
    let value = format!(r#"{{"type":"{kind}","time":"{time}","data":{data}}}"#);
    Record::new("XYZ-1", value)
}
