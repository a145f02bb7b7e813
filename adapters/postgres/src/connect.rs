//! Pools of connections.

use std::io;
use std::time::Duration;

use annals::{Error, Result};
use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolBuilder, PoolError, RecyclingMethod, Runtime,
};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Failure, Outcome};
use crate::options::PostgresOptions;
use crate::runtime::Engine;
use crate::session::Session;
use crate::store::Store;

/// How often a connection is made that is lost at once.
const TRIES: usize = 5;
/// Between two of these tries.
const PAUSE: Duration = Duration::from_millis(20);

/// The pool that appends use and the one that reads use: one and the same, where there is one connection only.
pub(crate) fn pools(options: &PostgresOptions) -> Result<(Pool, Pool)> {
    match options.pool_size.get() - 1 {
        0 => {
            let pool = pool(options, 1)?;
            Ok((pool.clone(), pool))
        }
        readers => Ok((pool(options, 1)?, pool(options, readers)?)),
    }
}

fn pool(options: &PostgresOptions, size: usize) -> Result<Pool> {
    let config = configured(options);
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = match tls(options)? {
        Some(tls) => Manager::from_config(config, tls, recycling),
        None => Manager::from_config(config, NoTls, recycling),
    };
    builder(manager, options, size).build().map_err(Error::invalid)
}

/// A connection of the pool. One that is lost while it is made is made again: its server may just have ended it.
pub(crate) async fn get(pool: &Pool) -> Outcome<Object> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        match pool.get().await {
            Err(PoolError::Backend(error)) if tries > 0 && is_passing(&error) => {
                tokio::time::sleep(PAUSE).await;
            }
            other => return Ok(other?),
        }
    }
}

/// Whether a connection was made and then lost; not that there is nobody to connect to.
fn is_passing(error: &tokio_postgres::Error) -> bool {
    match error.as_db_error() {
        Some(db) => *db.code() == SqlState::ADMIN_SHUTDOWN,
        None => error.is_closed() || is_reset(error),
    }
}

fn is_reset(error: &tokio_postgres::Error) -> bool {
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    io.is_some_and(|io| {
        matches!(
            io.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof
        )
    })
}

fn builder(manager: Manager, options: &PostgresOptions, size: usize) -> PoolBuilder {
    let limit = Some(options.pool_timeout);
    Pool::builder(manager)
        .max_size(size)
        .wait_timeout(limit)
        .create_timeout(limit)
        .recycle_timeout(limit)
        .runtime(Runtime::Tokio1)
}

/// `prefer`, the default of the driver, would fail on every server whose certificate is not known: it counts only where
/// the caller has said which are.
fn tls(options: &PostgresOptions) -> Result<Option<MakeRustlsConnect>> {
    match (options.config.get_ssl_mode(), &options.tls) {
        (SslMode::Disable, _) | (SslMode::Prefer, None) => Ok(None),
        (_, Some(tls)) => Ok(Some(MakeRustlsConnect::new(tls.clone()))),
        (_, None) => {
            let known = MakeRustlsConnect::with_native_certs();
            let (tls, _unreadable) = known.map_err(|errors| {
                Error::invalid(format!("the system has no certificates: {errors:?}"))
            })?;
            Ok(Some(tls))
        }
    }
}

fn configured(options: &PostgresOptions) -> Config {
    let mut config = options.config.clone();
    if config.get_application_name().is_none() {
        config.application_name("annals");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(options.pool_timeout);
    }
    if options.prepares() {
        // Plans do not depend on values: to plan again would cost a third of an append. What a caller set comes last
        // and wins.
        let caller = config.get_options().unwrap_or_default();
        let settings = format!(
            "-c jit=off -c plan_cache_mode=force_generic_plan -c lock_timeout={} -c statement_timeout={} {caller}",
            options.lock_timeout.as_millis(),
            options.statement_timeout.as_millis(),
        );
        config.options(settings);
    }
    config
}

/// Runs `work` on a connection for it alone, from any executor.
pub(crate) async fn once<T>(
    options: &PostgresOptions,
    work: impl AsyncFnOnce(Session<'_>, &Store) -> Outcome<T>,
) -> Result<T> {
    let engine = Engine::own(1)?;
    let store = Store::new(options.clone())?;
    let pool = pool(options, 1)?;
    let done = engine.enter(async {
        let client = get(&pool).await?;
        let session = Session::new(&client, options.prepares());
        work(session, &store).await
    });
    done.await.map_err(|failure: Failure| failure.into())
}
