//! Evaluation errors.
