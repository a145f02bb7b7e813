//! What is not declared is refused, and errors are what they should be.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
