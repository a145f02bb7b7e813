//! A reader that was given a number never meets a lower one later.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
