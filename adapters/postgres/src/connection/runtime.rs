//! Where the adapter's work runs.

use std::pin::Pin;
use std::task::{Context, Poll};

use annals::{Error, Result};
use tokio::runtime::{Builder, Handle, Runtime};

/// The runtime that drives connections: the adapter's own, on threads of its own, so that any executor can call and
/// none is needed; or the one that drives the caller's pool.
#[derive(Debug)]
pub(crate) struct Engine {
    handle: Handle,
    own: Option<Runtime>,
}

impl Engine {
    pub(crate) fn own(threads: usize) -> Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(threads).thread_name("annals-postgres").enable_all();
        let runtime = builder.build().map_err(Error::unavailable)?;
        Ok(Self { handle: runtime.handle().clone(), own: Some(runtime) })
    }

    pub(crate) fn of_caller() -> Result<Self> {
        let handle = Handle::try_current().map_err(|_| {
            Error::invalid("a pool of the caller's needs the runtime of tokio that drives it")
        })?;
        Ok(Self { handle, own: None })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Work that is polled by the caller's executor, with the timers and connections of this runtime.
    pub(crate) fn enter<F: Future>(&self, work: F) -> Entered<F> {
        Entered { handle: self.handle.clone(), work: Box::pin(work) }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The last handle may be dropped inside a runtime, which must not be blocked.
        if let Some(runtime) = self.own.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) struct Entered<F> {
    handle: Handle,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for Entered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let _inside = this.handle.enter();
        this.work.as_mut().poll(cx)
    }
}
