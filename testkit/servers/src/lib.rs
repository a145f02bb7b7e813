//! Throw-away database servers for the tests and measurements of this workspace.

#[cfg(unix)]
mod postgres;

#[cfg(unix)]
pub use postgres::PostgresServer;
