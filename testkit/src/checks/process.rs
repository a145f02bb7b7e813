//! Several processes on one store.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
