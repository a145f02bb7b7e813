//! Batches: empty, large, limited, repeated.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
