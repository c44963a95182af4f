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
/// Registered before anything else happens; they stay.
const FIRST_CUSTOMERS: usize = 20;
const CUSTOMER_COUNT_MAX: usize = 2_000;
const OPEN_ORDERS_MAX: usize = 500;
const NAMES: [&str; 8] = [
    "Ada", "Bela", "Chidi", "Dana", "Eve", "Farid", "Grete", "Hoa",
];
const FAMILIES: [&str; 6] = ["Adler", "Brandt", "Costa", "Diaz", "Eze", "Fischer"];
const COUNTRIES: [&str; 6] = ["AT", "DE", "ES", "IN", "NG", "VN"];
const METHODS: [&str; 3] = ["card", "invoice", "wallet"];
const CARRIERS: [&str; 3] = ["bicycle", "DHL", "post"];

/// One event of the story, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleEvent {
    pub topic: &'static str,
    pub key: String,
    /// None is a tombstone.
    pub value: Option<String>,
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

/// An order that something can still happen to.
struct OpenOrder {
    id: u64,
    customer: usize,
    /// The UTC day, as text.
    placed_on: String,
    /// Quantity and price in cents of each line.
    lines: Vec<(u64, u64)>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Placed,
    Paid,
    Shipped,
}

/// What happens: topic, key, type and payload.
struct Happening {
    topic: DemoTopic,
    key: String,
    kind: &'static str,
    data: String,
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
        let Happening {
            topic,
            key,
            kind,
            data,
        } = self.choose(now);
        self.event_count += 1;
        let id = self.event_count;
        let value = (kind != "tombstone").then(|| {
            format!(r#"{{"type":"{kind}","id":"e-{id}","source":"/sample","time":"{now:.3}","data":{data}}}"#)
        });
        let topic = topic.name;
        SampleEvent { topic, key, value }
    }

    fn choose(&mut self, now: Timestamp) -> Happening {
        if self.stocked < SKU_COUNT {
            return self.initial_stock(now);
        }
        if self.customer_count < FIRST_CUSTOMERS {
            return self.customer_registered();
        }
        match self.random.random_range(0..100) {
            0..4 if self.customer_count < CUSTOMER_COUNT_MAX => self.customer_registered(),
            0..8 => self.customer_changed(),
            8..32 if self.open_orders.len() < OPEN_ORDERS_MAX => self.order_placed(now),
            8..68 => self.order_goes_on(now),
            _ => self.stock_moved(),
        }
    }

    fn initial_stock(&mut self, now: Timestamp) -> Happening {
        let key = sku(self.stocked);
        self.stocked += 1;
        let units = self.random.random_range(50..500);
        let today = day(now);
        let data = format!(r#"{{"units":{units},"incoming":"{today}","outgoing":null}}"#);
        happening(INVENTORY, key, "Initial", data)
    }

    fn stock_moved(&mut self) -> Happening {
        let key = sku(self.random.random_range(0..SKU_COUNT));
        let (kind, units) = match self.random.random_range(0..20) {
            0..8 => ("Received", self.random.random_range(1..40)),
            8..17 => ("Sold", self.random.random_range(1..30)),
            17..19 => ("Adjusted", self.random.random_range(-3..3)),
            _ => return happening(INVENTORY, key, "LabelPrinted", "{}".to_owned()),
        };
        happening(INVENTORY, key, kind, format!(r#"{{"units":{units}}}"#))
    }

    fn customer_registered(&mut self) -> Happening {
        self.customer_count += 1;
        let key = customer(self.customer_count);
        let (name, family) = (self.pick(&NAMES), self.pick(&FAMILIES));
        let country = self.pick(&COUNTRIES);
        let data = format!(
            r#"{{"name":"{name} {family}","email":"{key}@example.org","country":"{country}"}}"#
        );
        happening(CUSTOMERS, key, "CustomerRegistered", data)
    }

    /// A customer moves, gets another address, or is gone.
    fn customer_changed(&mut self) -> Happening {
        let number = self.any_customer();
        let key = customer(number);
        let data = match self.random.random_range(0..20) {
            0 if number > FIRST_CUSTOMERS => {
                return happening(CUSTOMERS, key, "tombstone", String::new());
            }
            0..10 => format!(r#"{{"country":"{}"}}"#, self.pick(&COUNTRIES)),
            _ => format!(r#"{{"email":"{key}@example.com"}}"#),
        };
        happening(CUSTOMERS, key, "CustomerChanged", data)
    }

    fn order_placed(&mut self, now: Timestamp) -> Happening {
        self.order_count += 1;
        let customer_number = self.any_customer();
        let mut placed = Vec::new();
        let mut lines = Vec::new();
        for line_no in 1..self.random.random_range(2..6) {
            let sku = sku(self.random.random_range(0..SKU_COUNT));
            let quantity = self.random.random_range(1..6);
            let price_cents = self.random.random_range(99..20_000);
            let price = amount(price_cents);
            placed.push((quantity, price_cents));
            lines.push(format!(
                r#"{{"lineNo":{line_no},"sku":"{sku}","quantity":{quantity},"unitPrice":{price}}}"#
            ));
        }
        let order = OpenOrder {
            id: self.order_count,
            customer: customer_number,
            placed_on: day(now),
            lines: placed,
            stage: Stage::Placed,
        };
        let data = format!(
            r#"{{"customerId":"{}","currency":"EUR","total":{},"lines":[{}]}}"#,
            customer(customer_number),
            amount(order.total_cents()),
            lines.join(",")
        );
        self.open_orders.push_back(order);
        happening(ORDERS, order_key(self.order_count), "OrderPlaced", data)
    }

    /// The oldest open order is paid, later shipped, and sometimes cancelled or returned.
    fn order_goes_on(&mut self, now: Timestamp) -> Happening {
        let Some(mut order) = self.open_orders.pop_front() else {
            return self.order_placed(now);
        };
        let key = order_key(order.id);
        let dice = self.random.random_range(0..12);
        match order.stage {
            Stage::Placed if dice == 0 => self.order_cancelled(&order),
            Stage::Placed => {
                order.stage = Stage::Paid;
                self.open_orders.push_back(order);
                let method = self.pick(&METHODS);
                happening(
                    ORDERS,
                    key,
                    "OrderPaid",
                    format!(r#"{{"method":"{method}"}}"#),
                )
            }
            Stage::Paid if dice < 3 => {
                self.open_orders.push_back(order);
                happening(ORDERS, key, "OrderViewed", "{}".to_owned())
            }
            Stage::Paid => {
                order.stage = Stage::Shipped;
                let carrier = self.pick(&CARRIERS);
                let data = format!(r#"{{"carrier":"{carrier}","tracking":"{:08}"}}"#, order.id);
                // Most orders are done now.
                if dice == 11 {
                    self.open_orders.push_back(order);
                }
                happening(ORDERS, key, "OrderShipped", data)
            }
            Stage::Shipped => self.order_returned(&order),
        }
    }

    fn order_cancelled(&mut self, order: &OpenOrder) -> Happening {
        let numbers: Vec<String> = (1..=order.lines.len()).map(|no| no.to_string()).collect();
        let data = format!(
            r#"{{"customerId":"{}","placedOn":"{}","refund":{},"lineNos":[{}],"reason":"changed mind"}}"#,
            customer(order.customer),
            order.placed_on,
            amount(order.total_cents()),
            numbers.join(",")
        );
        happening(ORDERS, order_key(order.id), "OrderCancelled", data)
    }

    /// One line comes back, in part or whole.
    fn order_returned(&mut self, order: &OpenOrder) -> Happening {
        let index = self.random.random_range(0..order.lines.len());
        let (quantity, price_cents) = order.lines[index];
        let returned = self.random.random_range(1..=quantity);
        let data = format!(
            r#"{{"customerId":"{}","placedOn":"{}","refund":{},"lines":[{{"lineNo":{},"quantity":{returned}}}]}}"#,
            customer(order.customer),
            order.placed_on,
            amount(returned * price_cents),
            index + 1
        );
        happening(ORDERS, order_key(order.id), "OrderReturned", data)
    }

    fn any_customer(&mut self) -> usize {
        self.random.random_range(1..=self.customer_count)
    }

    fn pick(&mut self, words: &[&'static str]) -> &'static str {
        words[self.random.random_range(0..words.len())]
    }
}

impl OpenOrder {
    fn total_cents(&self) -> u64 {
        self.lines
            .iter()
            .map(|(quantity, price)| quantity * price)
            .sum()
    }
}

fn happening(topic: DemoTopic, key: String, kind: &'static str, data: String) -> Happening {
    Happening {
        topic,
        key,
        kind,
        data,
    }
}

const fn topic(name: &'static str) -> DemoTopic {
    DemoTopic {
        name,
        partitions: PARTITIONS,
    }
}

fn day(now: Timestamp) -> String {
    now.strftime("%Y-%m-%d").to_string()
}

fn sku(number: usize) -> String {
    format!("SKU-{number:03}")
}

fn customer(number: usize) -> String {
    format!("c-{number}")
}

fn order_key(id: u64) -> String {
    format!("o-{id}")
}

fn amount(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn one_seed_tells_one_story() {
        let tell = |seed| {
            let mut events = SampleEvents::new(seed);
            let next = |_| events.next(Timestamp::UNIX_EPOCH);
            (0..2_000).map(next).collect::<Vec<_>>()
        };
        assert_eq!(tell(1), tell(1));
        assert_ne!(tell(1), tell(2));
    }

    #[test]
    fn every_event_is_json_and_every_order_is_placed_first() {
        let mut events = SampleEvents::new(7);
        let mut placed = HashSet::new();
        let mut kinds = HashSet::new();
        for _ in 0..20_000 {
            let event = events.next(Timestamp::UNIX_EPOCH);
            let Some(text) = &event.value else {
                assert_eq!(event.topic, CUSTOMERS.name);
                continue;
            };
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            let kind = value["type"].as_str().unwrap();
            if kind == "OrderPlaced" {
                assert!(placed.insert(event.key));
            } else if event.topic == ORDERS.name {
                assert!(placed.contains(&event.key), "{text}");
            }
            kinds.insert(kind.to_owned());
        }
        assert_eq!(kinds.len(), 13, "{kinds:?}");
    }
}
