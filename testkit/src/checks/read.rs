//! Reads: sources, bounds, limits, directions, filters.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
