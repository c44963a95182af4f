//! Owns the story that the sample events tell: a shop with customers, orders and a warehouse.
//!
//! The same seed tells the same story; only the times come from outside. Knows nothing of brokers. The
//! payloads are what `projections/shop.yaml` and `projections/inventory.yaml` read.

use std::collections::VecDeque;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::servers::DemoTopic;

const PARTITIONS: i32 = 6;
pub const CUSTOMERS: DemoTopic = topic("shop-customers");
pub const ORDERS: DemoTopic = topic("shop-orders");
pub const INVENTORY: DemoTopic = topic("inventory-events");
/// Every topic that sample events go to.
pub const TOPICS: [DemoTopic; 3] = [CUSTOMERS, ORDERS, INVENTORY];

const SKU_COUNT: usize = 40;
const CUSTOMER_COUNT_MAX: usize = 2_000;
const OPEN_ORDERS_MAX: usize = 500;
const NAMES: [&str; 8] = [
    "Ada", "Bela", "Chidi", "Dana", "Eve", "Farid", "Grete", "Hoa",
];
const FAMILIES: [&str; 6] = ["Adler", "Brandt", "Costa", "Diaz", "Eze", "Fischer"];
const COUNTRIES: [&str; 6] = ["AT", "DE", "ES", "IN", "NG", "VN"];

/// One event of the story, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleEvent {
    pub topic: &'static str,
    pub key: String,
    pub value: String,
}

/// The story so far, which decides what can come next.
pub struct SampleEvents {
    random: StdRng,
    event_count: u64,
    customer_count: usize,
    order_count: u64,
    open_orders: VecDeque<OpenOrder>,
    stocked: usize,
}

/// An order that is not shipped or cancelled yet.
struct OpenOrder {
    id: u64,
    customer: usize,
    total_cents: u64,
    paid: bool,
}

impl SampleEvents {
    pub fn new(seed: u64) -> SampleEvents {
        SampleEvents {
            random: StdRng::seed_from_u64(seed),
            event_count: 0,
            customer_count: 0,
            order_count: 0,
            open_orders: VecDeque::new(),
            stocked: 0,
        }
    }

    /// The next event, as if it happened at `now`.
    pub fn next(&mut self, now: Timestamp) -> SampleEvent {
        let (topic, key, kind, data) = self.choose(now);
        self.event_count += 1;
        let id = self.event_count;
        let value = format!(
            r#"{{"id":"e-{id}","type":"{kind}","source":"sample","time":"{now:.3}","data":{data}}}"#
        );
        let topic = topic.name;
        SampleEvent { topic, key, value }
    }

    /// Topic, key, type and data of the next event.
    fn choose(&mut self, now: Timestamp) -> (DemoTopic, String, &'static str, String) {
        if self.stocked < SKU_COUNT {
            return self.initial_stock(now);
        }
        let dice = self.random.random_range(0..100);
        match dice {
            _ if self.customer_count < 20 => self.registered(),
            0..5 if self.customer_count < CUSTOMER_COUNT_MAX => self.registered(),
            0..8 => self.moved(),
            8..40 if self.open_orders.len() < OPEN_ORDERS_MAX => self.placed(),
            8..64 => self.order_goes_on(),
            _ => self.stock_moved(),
        }
    }

    fn initial_stock(&mut self, now: Timestamp) -> (DemoTopic, String, &'static str, String) {
        let sku = sku(self.stocked);
        self.stocked += 1;
        let units = self.random.random_range(50..500);
        let day = now.strftime("%Y-%m-%d");
        let data = format!(r#"{{"units":{units},"incoming":"{day}","outgoing":null}}"#);
        (INVENTORY, sku, "Initial", data)
    }

    fn stock_moved(&mut self) -> (DemoTopic, String, &'static str, String) {
        let sku = sku(self.random.random_range(0..SKU_COUNT));
        let (kind, units) = match self.random.random_range(0..20) {
            0..8 => ("Received", self.random.random_range(1..40)),
            8..17 => ("Sold", self.random.random_range(1..30)),
            17..19 => ("Adjusted", self.random.random_range(-3..3)),
            _ => return (INVENTORY, sku, "LabelPrinted", r#"{"copies":1}"#.to_owned()),
        };
        (INVENTORY, sku, kind, format!(r#"{{"units":{units}}}"#))
    }

    fn registered(&mut self) -> (DemoTopic, String, &'static str, String) {
        self.customer_count += 1;
        let key = customer(self.customer_count);
        let name = self.pick(&NAMES);
        let family = self.pick(&FAMILIES);
        let country = self.pick(&COUNTRIES);
        let data = format!(r#"{{"name":"{name} {family}","country":"{country}"}}"#);
        (CUSTOMERS, key, "CustomerRegistered", data)
    }

    fn moved(&mut self) -> (DemoTopic, String, &'static str, String) {
        let key = customer(self.any_customer());
        let country = self.pick(&COUNTRIES);
        (
            CUSTOMERS,
            key,
            "CustomerMoved",
            format!(r#"{{"country":"{country}"}}"#),
        )
    }

    fn placed(&mut self) -> (DemoTopic, String, &'static str, String) {
        self.order_count += 1;
        let customer_number = self.any_customer();
        let mut total_cents = 0;
        let count = self.random.random_range(1..5);
        let first = self.random.random_range(0..SKU_COUNT);
        let mut lines = Vec::new();
        for number in 0..count {
            // Distinct within the order: sku is part of a line's key.
            let sku = sku((first + number * 7) % SKU_COUNT);
            let quantity = self.random.random_range(1..6);
            let price_cents = self.random.random_range(99..20_000);
            total_cents += quantity * price_cents;
            let price = amount(price_cents);
            lines.push(format!(
                r#"{{"sku":"{sku}","quantity":{quantity},"price":{price}}}"#
            ));
        }
        self.open_orders.push_back(OpenOrder {
            id: self.order_count,
            customer: customer_number,
            total_cents,
            paid: false,
        });
        let customer = customer(customer_number);
        let lines = lines.join(",");
        let data = format!(r#"{{"customer":"{customer}","currency":"EUR","lines":[{lines}]}}"#);
        (ORDERS, order(self.order_count), "OrderPlaced", data)
    }

    /// The oldest open order is paid, and later shipped; a few are cancelled instead.
    fn order_goes_on(&mut self) -> (DemoTopic, String, &'static str, String) {
        let Some(mut open) = self.open_orders.pop_front() else {
            return self.placed();
        };
        let key = order(open.id);
        let customer = customer(open.customer);
        if open.paid {
            let data = format!(r#"{{"customer":"{customer}","carrier":"bicycle"}}"#);
            return (ORDERS, key, "OrderShipped", data);
        }
        if self.random.random_range(0..12) == 0 {
            let data = format!(r#"{{"customer":"{customer}","reason":"changed mind"}}"#);
            return (ORDERS, key, "OrderCancelled", data);
        }
        let total = amount(open.total_cents);
        open.paid = true;
        self.open_orders.push_back(open);
        let data = format!(r#"{{"customer":"{customer}","amount":{total}}}"#);
        (ORDERS, key, "OrderPaid", data)
    }

    fn any_customer(&mut self) -> usize {
        self.random.random_range(1..=self.customer_count.max(1))
    }

    fn pick(&mut self, words: &[&'static str]) -> &'static str {
        words[self.random.random_range(0..words.len())]
    }
}

const fn topic(name: &'static str) -> DemoTopic {
    DemoTopic {
        name,
        partitions: PARTITIONS,
    }
}

fn sku(number: usize) -> String {
    format!("SKU-{number:03}")
}

fn customer(number: usize) -> String {
    format!("c-{number}")
}

fn order(number: u64) -> String {
    format!("o-{number}")
}

fn amount(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_tells_one_story() {
        let tell = |seed| {
            let mut events = SampleEvents::new(seed);
            let story: Vec<SampleEvent> = (0..2_000)
                .map(|_| events.next(Timestamp::UNIX_EPOCH))
                .collect();
            story
        };
        assert_eq!(tell(1), tell(1));
        assert_ne!(tell(1), tell(2));
    }

    #[test]
    fn every_event_is_json_and_every_order_is_placed_first() {
        let mut events = SampleEvents::new(7);
        let mut placed = std::collections::HashSet::new();
        for _ in 0..5_000 {
            let event = events.next(Timestamp::UNIX_EPOCH);
            let value: serde_json::Value = serde_json::from_str(&event.value).unwrap();
            if event.topic == ORDERS.name && value["type"] == "OrderPlaced" {
                assert!(placed.insert(event.key));
            } else if event.topic == ORDERS.name {
                assert!(placed.contains(&event.key), "{}", event.value);
            }
        }
        assert!(placed.len() > 500);
    }
}
