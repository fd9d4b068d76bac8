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
use super::slot::FromSlot;
use crate::error::{Error, Outcome, Stopped};
use crate::host::table as t;
use crate::host::{Refused, Room};

/// A call on its way into the queue.
pub(crate) struct Submission {
    handle: CallHandle,
    full: Full,
    state: State,
    /// Refusals go to the callback.
    told: bool,
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
        Self {
            handle,
            full,
            state: State::New,
            told: false,
        }
    }

    pub(crate) fn handle(&self) -> &CallHandle {
        &self.handle
    }

    pub(crate) fn is_taken(&self) -> bool {
        matches!(self.state, State::Taken)
    }

    /// Ready once the queue took the call, refused it (`Err`), or a deadline settled it before.
    pub(crate) fn poll_taken(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let reserved = match &mut self.state {
            State::New => 0,
            State::Waiting(room) => {
                if self.handle.is_done() {
                    self.leave(t::END_DEADLINE, Status::Deadline);
                    return Poll::Ready(Ok(()));
                }
                ready!(room.poll(context));
                room.number()
            }
            State::Taken | State::Ended => return Poll::Ready(Ok(())),
        };
        if self.handle.is_done() {
            self.leave(t::END_DEADLINE, Status::Deadline);
            return Poll::Ready(Ok(()));
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
            Err((Refused::Stopped(why), _job)) => self.refuse(Error::RuntimeStopped(why)),
            Err((Refused::Full, _job)) if self.full == Full::Fail => self.refuse(Error::QueueFull),
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

    /// The queue refused the call: its submitter gets the error, its callback is dropped unused.
    fn refuse(&mut self, error: Error) -> Poll<Result<(), Error>> {
        let status = match error {
            Error::QueueFull => Status::QueueFull,
            _ => Status::Stopped,
        };
        let end = match (self.told, &error) {
            (false, _) => t::END_REFUSED,
            (true, Error::QueueFull) => t::END_QUEUE_FULL,
            (true, _) => t::END_STOPPED,
        };
        if !self.leave(end, status) {
            return Poll::Ready(Ok(())); // a deadline was faster, and has told the callback
        }
        Poll::Ready(Err(error))
    }

    /// Ends a call that never reached the queue, and its span. False: a deadline has settled it.
    fn leave(&mut self, end: u32, status: Status) -> bool {
        self.state = State::Ended;
        let raw = self.handle.job.raw();
        let ours = self.handle.job.fail(end, 0);
        let status = if ours { status } else { Status::Deadline };
        self.handle
            .host
            .refused(&raw.stamps, Name(raw.name), status);
        ours
    }

    /// Waits until the queue took the call.
    pub(crate) async fn sent(mut self) -> Result<CallHandle, Error> {
        let handle = self.handle.clone();
        std::future::poll_fn(|context| self.poll_taken(context)).await?;
        Ok(handle)
    }

    /// Whether a full queue refuses the call.
    pub(crate) fn fails_when_full(&self) -> bool {
        self.full == Full::Fail
    }

    /// As [`sent`](Self::sent), where nobody is left to take a refusal but the callback.
    pub(crate) async fn sent_or_told(mut self) {
        self.told = true;
        let _ = std::future::poll_fn(|context| self.poll_taken(context)).await;
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
            self.leave(t::END_CANCELLED_BY_CALLER, Status::CancelledByCaller);
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
    pub(crate) fn new(submission: Submission, receiver: FromSlot<T>, detach: bool) -> Self {
        Self {
            submission,
            receiver,
            detach,
            done: false,
        }
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
                return Poll::Ready(Err(error));
            }
        }
        let received = ready!(Pin::new(&mut this.receiver).poll(context));
        this.done = true;
        this.submission.handle().host.help();
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
            handle
                .job
                .raw()
                .state
                .fetch_or(t::DETACHED, Ordering::AcqRel);
        } else {
            request_cancel(&handle.host, &handle.job, t::CANCEL | t::CALLER_DROPPED);
        }
    }
}

impl<T> std::fmt::Debug for CallFuture<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallFuture")
            .field("id", &self.submission.handle().id())
            .finish()
    }
}
