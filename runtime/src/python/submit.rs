//! Submitting from Python threads, which must not wait while they hold the GIL.
//!
//! Invariant: the calls of one thread reach the queue in their order, also when the queue is full:
//! whoever finds no room stands in one line, and nobody goes past a line.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use pyo3::prelude::*;

use super::exceptions::to_py_err;
use crate::call::Submission;
use crate::tasks;

/// The line of one runtime's submissions that wait for room. Not bounded: `submit` never blocks, so
/// who wants a bound asks for `full="fail"`, or uses `map`.
#[derive(Clone, Default)]
pub(crate) struct Line(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Submission>,
    /// A task offers the waiting ones, one after the other.
    moving: bool,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers the call to the queue; if there is no room, it stands in line.
    ///
    /// # Errors
    /// If the runtime is stopped, or the queue is full and the call does not want to wait.
    pub(crate) fn submit(&self, py: Python<'_>, submission: Submission) -> PyResult<()> {
        py.detach(|| self.offer(submission))
            .map_err(|error| to_py_err(py, error))
    }

    fn offer(&self, mut submission: Submission) -> Result<(), crate::error::Error> {
        if submission.handle().host.is_stopped() {
            // Refused, without the lock, which after a fork nobody may be there to give back.
            return submission.try_sent().map(drop);
        }
        let handle = tasks::own_tokio().handle();
        let _entered = handle.enter();
        if submission.fails_when_full() {
            return submission.try_sent().map(drop);
        }
        {
            let mut line = self.lock();
            if std::mem::replace(&mut line.moving, true) {
                line.waiting.push_back(submission);
                return Ok(());
            }
        }
        // Nobody else moves the line now. Without its lock: to offer a call may wake others, which is
        // user code.
        let mut context = Context::from_waker(Waker::noop());
        let offered = submission.poll_taken(&mut context);
        let mut line = self.lock();
        let taken = match offered {
            Poll::Ready(taken) => taken,
            Poll::Pending => {
                line.waiting.push_front(submission);
                Ok(())
            }
        };
        line.moving = !line.waiting.is_empty();
        if line.moving {
            let line = self.clone();
            handle.spawn(async move { line.advance().await });
        }
        taken
    }

    async fn advance(&self) {
        loop {
            let next = {
                let mut line = self.lock();
                let next = line.waiting.pop_front();
                line.moving = next.is_some();
                next
            };
            let Some(submission) = next else { return };
            submission.sent_or_told().await;
        }
    }
}
