//! What was acknowledged survives.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
