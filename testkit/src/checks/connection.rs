//! Connections that are cut, locks that are held, servers that restart.

use crate::check::Check;

pub(super) const CHECKS: &[Check] = &[];
