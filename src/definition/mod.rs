//! What a projection is: as written (a file) and as meant (checked). Pure.

pub mod projection;

pub use projection::Projection;
