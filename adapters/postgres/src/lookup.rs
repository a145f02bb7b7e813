//! What is looked up in the database and remembered of it, for appends and reads.

pub(crate) mod decode;
pub(crate) mod facts;
pub(crate) mod history;
pub(crate) mod known;
pub(crate) mod values;
