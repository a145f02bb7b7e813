//! Sequence numbers in the log.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
