//! Appends over several streams.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
