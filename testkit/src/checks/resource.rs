//! Cost and leaks.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
