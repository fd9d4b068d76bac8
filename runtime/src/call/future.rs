//! Submitting a call and awaiting its outcome.
//!
//! Invariant: a call is in exactly one of these states: not offered, waiting for room, taken by the
//! queue; whoever drops it in any of them leaves it settled or being cancelled, never forgotten.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use gilscope_instrument::{Name, Status};

use super::builder::Full;
use super::handle::{CallHandle, request_cancel};
use super::job;
use super::slot::FromSlot;
use crate::error::{Error, Outcome, Stopped};
use crate::host::table as t;
use crate::host::{Refused, Room};

/// A call on its way into the queue.
pub(crate) struct Submission {
    handle: CallHandle,
    full: Full,
    state: State,
}

enum State {
    New,
    Waiting(Room),
    Taken,
    /// Settled without ever reaching the queue.
    Ended,
}

impl Submission {
    pub(crate) fn new(handle: CallHandle, full: Full) -> Self {
        Self { handle, full, state: State::New }
    }

    pub(crate) fn handle(&self) -> &CallHandle {
        &self.handle
    }

    pub(crate) fn is_taken(&self) -> bool {
        matches!(self.state, State::Taken)
    }

    /// Ready once the queue took the call or refused it.
    pub(crate) fn poll_taken(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let reserved = match &mut self.state {
            State::New => 0,
            State::Waiting(room) => {
                if self.handle.is_done() {
                    return Poll::Ready(self.end(t::END_DEADLINE, 0));
                }
                ready!(room.poll(context));
                room.number()
            }
            State::Taken | State::Ended => return Poll::Ready(Ok(())),
        };
        if self.handle.is_done() {
            return Poll::Ready(self.end(t::END_DEADLINE, 0));
        }
        self.offer(reserved, context)
    }

    fn offer(&mut self, reserved: u64, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match self.handle.host.submit(self.handle.job.clone(), reserved) {
            Ok(()) => {
                if let State::Waiting(room) = std::mem::replace(&mut self.state, State::Taken) {
                    room.used();
                }
                Poll::Ready(Ok(()))
            }
            Err((Refused::Stopped(why), _job)) => {
                Poll::Ready(self.end(t::END_STOPPED, why as u32))
            }
            Err((Refused::Full, _job)) if self.full == Full::Fail => {
                Poll::Ready(self.end(t::END_QUEUE_FULL, 0))
            }
            Err((Refused::Full, _job)) => {
                let mut room = self.handle.host.room();
                let granted = room.poll(context);
                let number = room.number();
                self.state = State::Waiting(room);
                match granted {
                    Poll::Ready(()) => self.offer(number, context),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    /// Ends a call that never reached the queue: settles it, unless a deadline did, and its span.
    fn end(&mut self, end: u32, detail: u32) -> Result<(), Error> {
        self.state = State::Ended;
        let raw = self.handle.job.raw();
        let settled = self.handle.job.fail(end, detail);
        let (status, error) = match end {
            t::END_QUEUE_FULL if settled => (Status::QueueFull, Error::QueueFull),
            t::END_STOPPED if settled => {
                (Status::Stopped, Error::RuntimeStopped(job::stopped(detail)))
            }
            t::END_CANCELLED_BY_CALLER if settled => (
                Status::CancelledByCaller,
                Error::Cancelled(crate::error::CancelledBy::Caller),
            ),
            _ => (Status::Deadline, Error::DeadlineExceeded(crate::error::Place::Queued)),
        };
        self.handle.host.refused(&raw.stamps, Name(raw.name), status);
        Err(error)
    }

    /// Waits until the queue took the call.
    pub(crate) async fn sent(mut self) -> Result<CallHandle, Error> {
        let handle = self.handle.clone();
        std::future::poll_fn(|context| self.poll_taken(context)).await?;
        Ok(handle)
    }

    /// Takes the call to the queue or fails; never waits.
    pub(crate) fn try_sent(mut self) -> Result<CallHandle, Error> {
        self.full = Full::Fail;
        let mut context = Context::from_waker(std::task::Waker::noop());
        match self.poll_taken(&mut context) {
            Poll::Ready(Ok(())) => Ok(self.handle.clone()),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => unreachable!("a submission that fails when full never waits"),
        }
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        if matches!(self.state, State::New | State::Waiting(_)) {
            let _ = self.end(t::END_CANCELLED_BY_CALLER, 0);
        }
    }
}

/// The outcome of a call, to be awaited on any executor. Lazy: the first poll submits.
///
/// Dropping it cancels the Python side, unless the call was built with
/// [`OnDrop::Detach`](super::OnDrop). It never attaches, on any path.
#[must_use = "futures do nothing unless polled"]
pub struct CallFuture<T> {
    submission: Submission,
    receiver: FromSlot<T>,
    detach: bool,
    done: bool,
}

impl<T> CallFuture<T> {
    pub(crate) fn new(
        submission: Submission,
        receiver: FromSlot<T>,
        detach: bool,
    ) -> Self {
        Self { submission, receiver, detach, done: false }
    }

    /// A handle to cancel by, or to learn the id from.
    #[must_use]
    pub fn handle(&self) -> CallHandle {
        self.submission.handle().clone()
    }
}

impl<T> Future for CallFuture<T> {
    type Output = Outcome<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if !this.submission.is_taken() {
            // The deadline may fire while we wait for room, so the receiver is always polled too.
            let taken = this.submission.poll_taken(context);
            if let Poll::Ready(Err(error)) = taken {
                this.done = true;
                let settled = this.receiver.try_take();
                return Poll::Ready(settled.unwrap_or(Err(error)));
            }
        }
        let received = ready!(Pin::new(&mut this.receiver).poll(context));
        this.done = true;
        if !this.submission.is_taken() {
            let _ = this.submission.end(t::END_DEADLINE, 0);
        }
        Poll::Ready(received.unwrap_or(Err(Error::RuntimeStopped(Stopped::Shutdown))))
    }
}

impl<T> Drop for CallFuture<T> {
    fn drop(&mut self) {
        if self.done || !self.submission.is_taken() {
            return;
        }
        let handle = self.submission.handle();
        if self.detach {
            handle.job.raw().state.fetch_or(t::DETACHED, Ordering::AcqRel);
        } else {
            request_cancel(&handle.host, &handle.job, t::CANCEL | t::CALLER_DROPPED);
        }
    }
}

impl<T> std::fmt::Debug for CallFuture<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallFuture").field("id", &self.submission.handle().id()).finish()
    }
}
