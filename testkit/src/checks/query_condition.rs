//! Write conditions on queries and predicates.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
