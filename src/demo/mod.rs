//! Owns the demonstration ([`run`]) and what it needs beside the worker: an embedded broker and Postgres, sample events.
//!
//! Knows nothing of folding or checkpoints: the worker is the one that `run` is, and its servers are like any others.

pub mod events;
pub mod postgres;
pub mod process;
mod rebuild;
mod run;
pub mod sample;
pub mod servers;
mod view;

pub use run::{DemoOptions, run};
