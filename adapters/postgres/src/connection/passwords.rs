//! The password of each new connection.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use annals::BoxError;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// Where the password of each new connection comes from.
#[derive(Clone)]
pub(crate) struct Passwords(Arc<dyn Fn() -> BoxFuture<'static, Password> + Send + Sync>);

pub(crate) type Password = std::result::Result<Vec<u8>, BoxError>;

tokio::task_local! {
    /// Why there was no password for the connection that this task makes.
    static NO_PASSWORD: RefCell<Option<BoxError>>;
}

/// The provider of passwords panicked.
#[derive(Debug, thiserror::Error)]
#[error("the password provider panicked")]
struct Panicked;

impl Passwords {
    pub(crate) fn new<F, P, E>(provider: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = std::result::Result<P, E>> + Send + 'static,
        P: Into<Vec<u8>>,
        E: Into<BoxError>,
    {
        Self(Arc::new(move || {
            let password = provider();
            async move { password.await.map(Into::into).map_err(Into::into) }.boxed()
        }))
    }

    pub(crate) async fn next(&self) -> Password {
        // What it does before its first await is code of the application, too.
        let asked = std::panic::AssertUnwindSafe(async { (self.0)().await });
        asked.catch_unwind().await.unwrap_or_else(|_| Err(Panicked.into()))
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords")
    }
}

/// Runs `work`, which makes a connection; the second value says why it has no password, if that stopped it.
pub(crate) async fn with_password<T>(work: impl Future<Output = T>) -> (T, Option<BoxError>) {
    let work = async {
        let done = work.await;
        (done, NO_PASSWORD.with(RefCell::take))
    };
    NO_PASSWORD.scope(RefCell::default(), work).await
}

/// Says to [`with_password`] around this why there is none.
pub(crate) fn no_password(reason: BoxError) {
    // Outside of it nobody asks for the reason.
    let _ = NO_PASSWORD.try_with(|kept| kept.replace(Some(reason)));
}
