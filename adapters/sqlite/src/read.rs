//! What a connection reads: pages, look-ups, lists.

mod history;
mod list;
mod row;
mod session;

pub(crate) use history::History;
pub(crate) use list::List;
pub(crate) use row::to_json;
pub(crate) use session::Session;
