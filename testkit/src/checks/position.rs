//! Positions in a stream.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
