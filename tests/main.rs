//! The tests that look at the product from outside: the real binary, real Apache Kafka, real Postgres.
//!
//! One binary, because servers are started once per process. `support` knows how; the other modules
//! are the tests, whose names are sentences.

mod support;

mod bad_input;
mod brokers;
mod commits;
mod connections;
mod databases;
mod dead_letters;
mod definitions;
mod demo;
mod demo_servers;
mod deploy;
mod docs;
mod exactness;
mod expressions;
mod faults;
mod first_steps;
mod fuzz;
mod harness;
mod inventory;
mod reach;
mod readers;
mod rebuild;
mod runbook;
mod secured;
mod servers;
mod shared_keys;
mod source;
mod speed;
mod status;
mod store;
mod streams;
mod surroundings;
mod tidy;
