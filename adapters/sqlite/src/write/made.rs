//! How a task ended.

use annals::{Error, Result};
use annals_sql::placing::Placement;
#[cfg(feature = "state")]
use annals_state::StateError;

/// Why a task was not made.
#[derive(Debug)]
pub(crate) enum Refused {
    Append(Error),
    #[cfg(feature = "state")]
    Commit(StateError),
}

/// Where its events were placed, or why it was not made.
pub(crate) type Made = Result<Placement, Refused>;
