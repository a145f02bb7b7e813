//! Futures that are dropped half way.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
