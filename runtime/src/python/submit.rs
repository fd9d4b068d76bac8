//! Submitting from Python threads, which must not wait while they hold the GIL.
//!
//! Invariants: the calls of one thread reach the queue in their order, also when the queue is full:
//! each stands in the queue's own line for room before `submit` returns. Of the calls whose submitter
//! does not wait for them at most [`LONGEST`] stand there.

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
/// 2.6 kB with its future, a line so at most about 170 MB.
const LONGEST: usize = 65_536;

/// The submissions of one runtime that wait for room, so that each is told if it is refused.
#[derive(Clone, Default)]
pub(crate) struct Line(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// In about the order in which they stand in the queue's line.
    waiting: VecDeque<Standing>,
    /// A task awaits the waiting ones, one after the other.
    awaited: bool,
    /// Those that count, with the one that is being awaited.
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
        if submission.handle().host.is_stopped() || submission.fails_when_full() {
            // A refusal needs no lock, which after a fork nobody may be there to give back.
            return submission.try_sent().map(drop).map_err(No::Refused);
        }
        // Without the lock: to offer a call may wake others, which is user code.
        let mut context = Context::from_waker(Waker::noop());
        match submission.poll_taken(&mut context) {
            Poll::Ready(taken) => taken.map_err(No::Refused),
            Poll::Pending => self.stand(Standing { submission, counts }),
        }
    }

    /// Keeps a call that stands in the queue's line.
    fn stand(&self, standing: Standing) -> Result<(), No> {
        let mut line = self.lock();
        if standing.counts && line.counted >= LONGEST {
            drop(line);
            return standing.submission.turned_away().map_err(|_| No::LineFull);
        }
        line.counted += usize::from(standing.counts);
        line.waiting.push_back(standing);
        if !std::mem::replace(&mut line.awaited, true) {
            let line = self.clone();
            tasks::own_tokio().spawn(async move { line.await_all().await });
        }
        Ok(())
    }

    async fn await_all(&self) {
        let mut left = false;
        loop {
            let next = {
                let mut line = self.lock();
                line.counted -= usize::from(left);
                let next = line.waiting.pop_front();
                line.awaited = next.is_some();
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
