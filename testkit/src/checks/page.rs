//! Reads do not depend on pages, and hold nothing between them.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
