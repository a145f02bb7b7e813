//! What a reader sees while others append.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
