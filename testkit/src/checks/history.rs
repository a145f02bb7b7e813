//! Concurrent histories, checked with the sequence numbers as witness.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
