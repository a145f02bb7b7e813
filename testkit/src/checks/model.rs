//! Random operations against a model.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
