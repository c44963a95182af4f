//! The work that all contestants do: order events of about 220 bytes, folded to one row per order. Knows nobody who does it.

use std::fmt::Write as _;

pub const PARTITIONS: i32 = 6;

/// What the worker is given.
pub const DEFINITION: &str = "
projection: orders
from: [TOPIC]
tables:
  orders:
    key: { order_id: text }
    columns:
      events: bigint not null default 0
      quantity: bigint not null default 0
      amount: numeric(14,2) not null default 0
      carrier: text
      tracking: text
      status: text
      version: bigint
    rules:
      '*':
        set: |
          events = events + 1,
          quantity = quantity + data.quantity,
          amount = amount + data.amount,
          carrier = data.carrier,
          tracking = data.tracking,
          status = data.status,
          version = event.version
";

/// Key and value. The first `keys` events are one for every key, in turn; later ones are spread at random.
pub fn event(n: u64, keys: u64) -> (String, String) {
    let mut random = Random(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let key = if n < keys { n } else { random.below(keys) };
    let types = ["OrderPlaced", "OrderPaid", "OrderShipped", "OrderDelivered"];
    let carriers = ["ups", "dhl", "fedex"];
    let statuses = ["open", "paid", "shipped", "done"];
    let mut value = String::with_capacity(260);
    let _ = write!(
        value,
        r#"{{"id":"5f0c8a52-{n:012}","type":"{}","time":"2024-05-{:02}T{:02}:{:02}:{:02}.{:03}Z","version":{n},"data":{{"quantity":{},"amount":{}.{:02},"carrier":"{}","tracking":"{:016}","status":"{}"}}}}"#,
        types[random.below(4) as usize],
        1 + random.below(28),
        random.below(24),
        random.below(60),
        random.below(60),
        random.below(1000),
        random.below(10),
        random.below(1000),
        random.below(100),
        carriers[random.below(3) as usize],
        random.below(10_000_000_000_000_000),
        statuses[random.below(4) as usize],
    );
    (format!("order-{key:08}"), value)
}

/// xorshift64*: the same events in every run, each from its number alone.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % end
    }
}
