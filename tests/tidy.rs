//! The rules of the house that a machine can check, on the source text.
