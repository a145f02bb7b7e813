//! Logs from the environment of an application.

use std::fmt::Write as _;

use annals::{BoxError, Error, Order, Result};
use annals_sql::lookup::{Named, set};

use crate::{PostgresAdapter, PostgresOptions};

/// Parts of a connection string, each under its own name.
const PARTS: [(&str, &str); 5] = [
    ("PORT", "port"),
    ("DBNAME", "dbname"),
    ("USER", "user"),
    ("SSLMODE", "sslmode"),
    ("SSLROOTCERT", "sslrootcert"),
];

impl PostgresOptions {
    /// The options that a lookup of names describes, such as that of the environment behind an application's prefix.
    /// Names that are not set, or empty, leave the defaults. They are checked when a log is opened.
    ///
    /// | name | value |
    /// |---|---|
    /// | `POSTGRES_URL` | a URL or a string of keys and values, as [`new`](Self::new) reads it |
    /// | `POSTGRES_HOST` | the host, in place of a URL; with `POSTGRES_PORT`, `POSTGRES_DBNAME`, `POSTGRES_USER`, `POSTGRES_SSLMODE`, `POSTGRES_SSLROOTCERT` |
    /// | `POSTGRES_PASSWORD` | the password; it replaces that of the URL |
    /// | `POSTGRES_PASSWORD_FILE` | a file whose first line is the password; it is read again for each new connection, so the password may change |
    /// | `POSTGRES_SCHEMA`, `POSTGRES_TABLE` | where the log is |
    /// | `POSTGRES_ORDER` | `log`, `category` or `stream`: see [`with_order`](Self::with_order) |
    /// | `POSTGRES_POOL_SIZE`, `POSTGRES_THREADS` | numbers |
    /// | `POSTGRES_POOL_TIMEOUT`, `POSTGRES_STATEMENT_TIMEOUT`, `POSTGRES_LOCK_TIMEOUT` | seconds, such as `0.5` |
    /// | `POSTGRES_TRANSACTION_POOLER`, `POSTGRES_IMMUTABLE_LOG` | `yes` or `no` |
    /// | `POSTGRES_PAGE_SIZE`, `POSTGRES_QUEUE_BOUND`, `POSTGRES_CACHE_BOUND` | numbers |
    ///
    /// Other sources of passwords: [`with_password_provider`](Self::with_password_provider) on what this returns.
    ///
    /// # Errors
    /// [`Error::Invalid`] if neither URL nor host is set, or both are, or two passwords are; it shows the name and the value
    /// that cannot be read, and never a URL or a password.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let named = Named::new("POSTGRES", lookup);
        let mut options = Self::new(&place(&named)?)?;
        match (named.exactly("PASSWORD"), named.text("PASSWORD_FILE")) {
            (None, None) => {}
            (Some(password), None) => drop(options.config.password(password)),
            (None, Some(file)) => {
                options = options.with_password_provider(move || {
                    let read = first_line(&file);
                    async move { read }
                });
            }
            (Some(_), Some(_)) => {
                let both = "POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are both set";
                return Err(Error::invalid(both));
            }
        }
        set(&mut options.schema, named.text("SCHEMA"));
        set(&mut options.table, named.text("TABLE"));
        let order = named.read("ORDER", "log, category or stream", |value| match value {
            "log" => Some(Order::Log),
            "category" => Some(Order::Category),
            "stream" => Some(Order::Stream),
            _ => None,
        })?;
        set(&mut options.order, order);
        set(&mut options.pool_size, named.number("POOL_SIZE")?);
        set(&mut options.threads, named.number("THREADS")?);
        set(&mut options.pool_timeout, named.seconds("POOL_TIMEOUT")?);
        set(&mut options.statement_timeout, named.seconds("STATEMENT_TIMEOUT")?);
        set(&mut options.transaction_pooler, named.flag("TRANSACTION_POOLER")?);
        named.common(&mut options.common)?;
        Ok(options)
    }
}

/// The connection string, without a password of its own name.
fn place<L: Fn(&str) -> Option<String>>(named: &Named<L>) -> Result<String> {
    match (named.text("URL"), named.text("HOST")) {
        (Some(url), None) => {
            let part = PARTS.iter().find(|(name, _)| named.text(name).is_some());
            part.map_or(Ok(url), |(name, _)| {
                Err(Error::invalid(format!("POSTGRES_URL and POSTGRES_{name} are both set")))
            })
        }
        (None, Some(host)) => {
            let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
            let mut pairs = format!("host='{}'", quoted(&host));
            for (name, key) in PARTS {
                if let Some(value) = named.text(name) {
                    // A `String` takes all.
                    let _ = write!(pairs, " {key}='{}'", quoted(&value));
                }
            }
            Ok(pairs)
        }
        (Some(_), Some(_)) => Err(Error::invalid("POSTGRES_URL and POSTGRES_HOST are both set")),
        (None, None) => Err(Error::invalid("neither POSTGRES_URL nor POSTGRES_HOST is set")),
    }
}

/// The first line of a file, without its end.
fn first_line(file: &str) -> std::result::Result<Vec<u8>, BoxError> {
    let bytes = std::fs::read(file)?;
    let line = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).next();
    Ok(line.unwrap_or_default().to_vec())
}

impl PostgresAdapter {
    /// Opens the log that [`PostgresOptions::from_lookup`] describes. `POSTGRES_CREATE_TABLES=yes` makes or migrates its
    /// tables first, which needs the rights for it.
    ///
    /// # Errors
    /// As [`PostgresOptions::from_lookup`], [`PostgresOptions::migrate`] and [`PostgresOptions::connect`].
    ///
    /// # Cancel safety
    /// A future that is dropped leaves nothing open.
    pub async fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let options = PostgresOptions::from_lookup(&lookup)?;
        let creates = Named::new("POSTGRES", lookup).flag("CREATE_TABLES")?;
        if creates == Some(true) {
            options.migrate().await?;
        }
        options.connect().await
    }
}
