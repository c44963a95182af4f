//! Consolidator folds Kafka events into Postgres read models, exactly once.
//!
//! Data flows one way, and the modules are listed in that order of reading:
//!
//! 1. [`definition`]: what a projection is, as written (a file) and as meant (checked). Pure.
//! 2. [`expression`]: SQL scalar expressions: parse, check types, compile, evaluate; values. Pure.
//! 3. [`event`]: bytes of a record to an [`event::Event`]: envelopes and formats. Pure.
//! 4. [`fold`]: rows and events to row changes; the row cache. Pure.
//! 5. [`source`]: the only code that names rdkafka.
//! 6. [`store`]: the only code that names sqlx.
//! 7. [`worker`]: the data plane: assignment, lanes, batches.
//! 8. [`rebuild`]: the life of a generation after its first build.
//! 9. [`admin`]: the operator's commands on stored state; http.
//! 10. [`demo`]: embedded broker and Postgres, sample events.

pub mod admin;
pub mod definition;
pub mod demo;
pub mod event;
pub mod expression;
pub mod fold;
pub mod rebuild;
pub mod source;
pub mod store;
pub mod worker;

pub mod cli;
pub mod error;
pub mod metrics;
pub mod settings;
pub mod telemetry;
