//! Write conditions on the stream, alone and composed.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
