//! Submitting from a Python thread, which must not wait while it holds the GIL.
//!
//! Invariant: calls of one thread reach the queue in their order, also when the queue is full.

use std::task::{Context, Poll, Waker};

use pyo3::prelude::*;

use super::exceptions::to_py_err;
use crate::call::Submission;
use crate::tasks;

/// Offers the call to the queue; if there is no room, a tokio task goes on waiting for it.
///
/// # Errors
/// If the runtime is stopped, or the queue is full and the call does not want to wait.
pub(crate) fn go(py: Python<'_>, mut submission: Submission) -> PyResult<()> {
    // The first poll takes its place in the line for room, which is first come, first served.
    let polled = py.detach(|| {
        let handle = tasks::tokio_handle();
        let _entered = handle.enter();
        let polled = submission.poll_taken(&mut Context::from_waker(Waker::noop()));
        match polled {
            Poll::Ready(taken) => taken,
            Poll::Pending => {
                tasks::spawn_real(async move {
                    // An error has reached the callback already.
                    let _ = submission.sent().await;
                });
                Ok(())
            }
        }
    });
    polled.map_err(|error| to_py_err(py, error))
}
