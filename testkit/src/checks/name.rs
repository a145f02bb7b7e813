//! Names are kept apart, whatever they hold.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
