//! Conditions under concurrent writers.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
