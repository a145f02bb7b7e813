//! Time as processors see it: durations only, so that no two clocks are ever compared.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;

/// Sleeps, and measures how long something took. Tests give one that they move by hand.
pub trait Timer: fmt::Debug + Send + Sync + 'static {
    /// Completes once this much time has passed since the call. It may be dropped.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;

    /// The time since some moment in the past, the same one at each call. It never goes back.
    fn elapsed(&self) -> Duration;
}

#[cfg(feature = "timer")]
pub use system::SystemTimer;

#[cfg(feature = "timer")]
mod system {
    use std::time::{Duration, Instant};

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::Timer;

    /// The time of the machine, on any executor.
    #[derive(Debug, Clone, Copy)]
    pub struct SystemTimer(Instant);

    impl SystemTimer {
        /// A timer whose time begins now.
        #[must_use]
        pub fn new() -> Self {
            #[expect(clippy::disallowed_methods, reason = "this type is how time is measured")]
            Self(Instant::now())
        }
    }

    impl Default for SystemTimer {
        fn default() -> Self {
            Self::new()
        }
    }

    impl Timer for SystemTimer {
        fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
            futures_timer::Delay::new(time).boxed()
        }

        fn elapsed(&self) -> Duration {
            self.0.elapsed()
        }
    }
}

#[cfg(feature = "tokio")]
pub use in_tokio::TokioTimer;

#[cfg(feature = "tokio")]
mod in_tokio {
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::Timer;

    /// The time of tokio, also where a test pauses it. It sleeps only inside a runtime of tokio whose time is enabled.
    #[derive(Debug, Clone, Copy)]
    pub struct TokioTimer(tokio::time::Instant);

    impl TokioTimer {
        /// A timer whose time begins now.
        #[must_use]
        pub fn new() -> Self {
            Self(tokio::time::Instant::now())
        }
    }

    impl Default for TokioTimer {
        fn default() -> Self {
            Self::new()
        }
    }

    impl Timer for TokioTimer {
        fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
            tokio::time::sleep(time).boxed()
        }

        fn elapsed(&self) -> Duration {
            self.0.elapsed()
        }
    }
}
