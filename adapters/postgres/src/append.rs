//! Appends. [`writer`] commits what is queued together: it looks up what is not remembered
//! ([`facts`](crate::lookup::facts)), judges each append ([`plan`](annals_sql::plan::plan)), and sends one statement ([`flight`]), two batches at a
//! time ([`pipeline`]), or a transaction of several ([`transact`]).

pub(crate) mod append_in;
mod backend;
mod draft;
mod flight;
mod held;
mod insert;
mod locks;
pub(crate) mod names;
mod pipeline;
mod sent;
mod transact;
pub(crate) mod writer;
