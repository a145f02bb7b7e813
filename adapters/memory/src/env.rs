//! Stores from the environment of an application.

use annals::{Error, Result};

use crate::MemoryAdapter;

impl MemoryAdapter {
    /// The store that a lookup of names describes, such as that of the environment behind an application's prefix:
    /// `MEMORY_PAGE_SIZE` says how many events a page has at most; if it is not set, or empty, it is the default.
    ///
    /// # Errors
    /// [`Error::Invalid`] shows the name and the value that is no number above zero.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let name = "MEMORY_PAGE_SIZE";
        let value = lookup(name).unwrap_or_default();
        let events = match value.trim() {
            "" => return Ok(Self::new()),
            value => value.parse(),
        };
        let no_number = |_| {
            Error::invalid(format!("{name} is {:?}, expected a number above zero", value.trim()))
        };
        Ok(Self::new().with_page_size(events.map_err(no_number)?))
    }
}
