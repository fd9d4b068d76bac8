//! Submitting from Python threads, which must not wait while they hold the GIL.
//!
//! Invariants: the calls of one thread reach the queue in their order, also when the queue is full:
//! whoever finds no room stands in one line, and nobody goes past a line. Who does not wait for the
//! calls it submits finds a line of at most [`LONGEST`] such calls.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use pyo3::prelude::*;

use super::exceptions::{queue_full, refused};
use crate::call::{CallHandle, Submission};
use crate::error::Error;
use crate::host::{HostRef, own};
use crate::tasks;

/// Most calls in a line whose submitter does not wait for them. A call that stands there takes about
/// 2.4 kB with its future, a line so at most about 160 MB.
const LONGEST: usize = 65_536;

/// The line of one runtime's submissions that wait for room.
#[derive(Clone, Default)]
pub(crate) struct Line(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Standing>,
    /// A task offers the waiting ones, one after the other.
    moving: bool,
    /// Those that count, with the one that is being offered.
    counted: usize,
}

struct Standing {
    submission: Submission,
    /// Its submitter does not wait for it.
    counts: bool,
}

/// Why a call was not taken.
enum No {
    Refused(Error),
    /// Neither room in the queue nor in the line.
    LineFull,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers the call to the queue; if there is no room, it stands in line. `waits`: its submitter
    /// waits for its calls, so that it bounds by itself how many there are.
    ///
    /// # Errors
    /// If the runtime is stopped, or the queue is full and the call does not want to wait, or the line
    /// is full, too.
    pub(crate) fn submit(
        &self,
        py: Python<'_>,
        submission: Submission,
        waits: bool,
    ) -> PyResult<CallHandle> {
        let handle = submission.handle().clone();
        match py.detach(|| self.offer(submission, !waits)) {
            Ok(()) => Ok(handle),
            Err(No::Refused(error)) => Err(refused(py, error)),
            Err(No::LineFull) => Err(queue_full(py, &line_full(&handle.host))),
        }
    }

    fn offer(&self, mut submission: Submission, counts: bool) -> Result<(), No> {
        if submission.handle().host.is_stopped() {
            // Refused, without the lock, which after a fork nobody may be there to give back.
            return submission.try_sent().map(drop).map_err(No::Refused);
        }
        let handle = tasks::own_tokio().handle();
        let _entered = handle.enter();
        if submission.fails_when_full() {
            return submission.try_sent().map(drop).map_err(No::Refused);
        }
        {
            let mut line = self.lock();
            if counts && line.counted >= LONGEST {
                drop(line);
                return submission.turned_away().map_err(|_| No::LineFull);
            }
            line.counted += usize::from(counts);
            if std::mem::replace(&mut line.moving, true) {
                line.waiting.push_back(Standing { submission, counts });
                return Ok(());
            }
        }
        // Nobody else moves the line now. Without its lock: to offer a call may wake others, which is
        // user code.
        let mut context = Context::from_waker(Waker::noop());
        let offered = submission.poll_taken(&mut context);
        let mut line = self.lock();
        let taken = match offered {
            Poll::Ready(taken) => {
                line.counted -= usize::from(counts);
                taken.map_err(No::Refused)
            }
            Poll::Pending => {
                line.waiting.push_front(Standing { submission, counts });
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
        let mut left = false;
        loop {
            let next = {
                let mut line = self.lock();
                line.counted -= usize::from(left);
                let next = line.waiting.pop_front();
                line.moving = next.is_some();
                next
            };
            let Some(Standing { submission, counts }) = next else {
                return;
            };
            left = counts;
            submission.sent_or_told().await;
        }
    }
}

/// Says both numbers and what to do.
fn line_full(host: &HostRef) -> String {
    let size = own::shared_of(host).map(|shared| shared.config.queue_size);
    let size = size.map_or_else(String::new, |size| format!(" (queue_size={size})"));
    format!(
        "the call queue is full{size}, and so is the line for it: {LONGEST} submitted calls wait for \
         room. Wait for calls before you submit more (call, map and an awaited call_async do), handle \
         the QueueFull of full=\"fail\", or give the runtime a larger queue_size"
    )
}
