//! The operator's commands on stored state; http.

pub mod http;
