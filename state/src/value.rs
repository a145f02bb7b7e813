//! JSON values: one order for filters, sorts and the keys of indexes.
//!
//! null < false < true < numbers < texts < arrays < objects. What is missing is null. Numbers compare as the decimals
//! that their text says, so 1 equals 1.0 and no integer is rounded. Texts compare by the bytes of their UTF-8; arrays by
//! their elements, a shorter one before what it begins; objects as the array of their pairs, sorted by name.

mod key;
mod number;
mod order;
mod path;

pub(crate) use key::{encode, invert, kind_tags};
pub use order::compare;
pub(crate) use order::{Kind, is_too_deep};
pub use path::{MAX_PATH_STEPS, Path};

#[cfg(test)]
mod tests;
