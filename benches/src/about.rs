//! Who figures are about.

/// Who a row of figures is about.
#[derive(Debug, Clone)]
pub struct About {
    /// The name, as `annals-memory` or `limit-rusqlite`.
    pub peer: &'static str,
    /// Its version, or that of the driver.
    pub version: String,
    /// Where the events are kept.
    pub backend: &'static str,
    /// What it promises, or leaves out.
    pub promises: &'static str,
}

impl About {
    /// Whether it is bare code rather than an event store.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        self.peer.starts_with("limit-")
    }
}
