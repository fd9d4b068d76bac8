//! Blocking on a future from a plain thread.
//!
//! Invariant: it never holds the GIL while it waits, and never waits on a thread that others need.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use pyo3::prelude::*;

use crate::error::Error;
use crate::host::HostRef;
use crate::queue::eventfd::EventFd;

struct Bell(EventFd);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.ring();
    }
}

/// Refuses loop threads and threads inside a tokio runtime.
pub(crate) fn check_thread(host: &HostRef) -> Result<(), Error> {
    if host.on_loop_thread() {
        return Err(Error::WrongThread("a loop thread"));
    }
    if tokio::runtime::Handle::try_current().is_ok() {
        return Err(Error::WrongThread("inside a tokio runtime"));
    }
    Ok(())
}

/// Runs `future` to its end on this thread, detached if it is attached.
pub(crate) fn block_on<F: Future + Send>(future: F) -> F::Output
where
    F::Output: Send,
{
    let wait = || block_on_interruptible(future, || Ok(())).unwrap_or_else(|()| unreachable!());
    crate::attached::detached(wait)
}

/// As [`block_on`], detached already; `interrupted` runs after each signal and every 100 ms (a
/// signal may have been taken by another thread) and ends the wait, dropping the future, by an error.
pub(crate) fn block_on_interruptible<F: Future, E>(
    future: F,
    mut interrupted: impl FnMut() -> Result<(), E>,
) -> Result<F::Output, E> {
    let bell = Arc::new(Bell(EventFd::new().expect("a file descriptor to wait on")));
    let waker = Waker::from(Arc::clone(&bell));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Ok(output);
        }
        match bell.0.wait(100) {
            Ok(true) => bell.0.clear(),
            Ok(false) | Err(_) => interrupted()?,
        }
    }
}

/// Runs Python's signal handlers, if this is the main thread; what one raises ends the wait.
pub(crate) fn check_signals() -> PyResult<()> {
    #[allow(
        clippy::redundant_closure_for_method_calls,
        reason = "lifetimes need the closure"
    )]
    Python::attach(|py| py.check_signals())
}
