//! The tests that look at the product from outside: the real binary, real Apache Kafka, real Postgres.
//!
//! One binary, because servers are started once per process. `support` knows how; the other modules
//! are the tests, whose names are sentences.

mod support;

mod demo_servers;
mod servers;
mod store;
mod tidy;
