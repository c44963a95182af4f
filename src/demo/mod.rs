//! Owns what the demonstration needs beside the worker: an embedded broker and Postgres, sample events.
//!
//! Knows nothing of projections, folding or checkpoints: to the worker its servers are like any others.

pub mod postgres;
pub mod process;
pub mod servers;
