//! Connections: what a connection string says ([`conninfo`]), how one is made ([`dial`]), how they are shared ([`pool`]),
//! and how statements are run on one ([`session`]).

pub(crate) mod conninfo;
pub(crate) mod dial;
pub(crate) mod passwords;
pub(crate) mod pool;
pub(crate) mod runtime;
pub(crate) mod session;
