//! Exact decimals.
/// (to come)
#[derive(Clone, Copy, Debug)]
pub struct Numeric<'a>(pub &'a str);
