//! What wakes follows: appends of this adapter at once, those of others by one task that listens and looks.

pub(crate) mod notification;
pub(crate) mod watch;
pub(crate) mod watcher;
