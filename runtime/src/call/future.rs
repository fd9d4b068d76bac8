//! Submitting a call and awaiting its outcome.
//!
//! Invariant: a call is in exactly one of these states: not offered, waiting for room, taken by the
//! queue; whoever drops it in any of them leaves it settled or being cancelled, never forgotten.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use gilscope_instrument::Status;

use super::builder::Full;
use super::handle::{CallHandle, request_cancel};
use super::slot::FromSlot;
use crate::error::{Error, Outcome, Stopped};
use crate::host::Refused;
use crate::host::table as t;
use crate::host::turn::Turn;

/// A call on its way into the queue.
pub(crate) struct Submission {
    handle: CallHandle,
    full: Full,
    state: State,
    /// The queue was asked for room.
    offered: bool,
    /// Refusals go to the callback.
    told: bool,
}

enum State {
    New,
    Waiting(Turn),
    Taken,
    /// Settled without ever reaching the queue.
    Ended,
}

/// What became of a call whose caller wanted it out of the line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Too late: the queue has it.
    Taken,
    /// It is ended, and whoever was to be told was told.
    Ended,
    /// A deadline had ended it.
    Settled,
}

impl Submission {
    pub(crate) fn new(handle: CallHandle, full: Full) -> Self {
        Self {
            handle,
            full,
            state: State::New,
            offered: false,
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
        loop {
            match &self.state {
                State::Taken | State::Ended => return Poll::Ready(Ok(())),
                State::Waiting(_) if self.handle.is_forked() => {
                    self.state = State::Ended;
                    return Poll::Ready(Err(Stopped::Forked.into()));
                }
                _ if self.handle.job.has(t::SETTLED) => {
                    self.leave((t::END_DEADLINE, 0), Status::Deadline);
                }
                State::Waiting(turn) => {
                    // Refused: the next offer says why.
                    let taken = ready!(turn.poll(context));
                    self.state = if taken { State::Taken } else { State::New };
                }
                State::New => {
                    let (host, job) = (&self.handle.host, &self.handle.job);
                    // Here, not where the call was built: futures are built outside of their tasks.
                    let task = crate::tasks::current_number();
                    job.raw().task.store(task, Ordering::Relaxed);
                    if !std::mem::replace(&mut self.offered, true) {
                        // A future does nothing before its first poll, so its call begins there.
                        // SAFETY: until it is submitted the job's stamps are this thread's alone.
                        unsafe { (*job.as_ptr()).stamps.begins() };
                    }
                    self.state = match host.submit(job.clone(), 0) {
                        Ok(()) => State::Taken,
                        Err((Refused::Full, _)) if self.full == Full::Wait => {
                            State::Waiting(Turn::wait(host, job))
                        }
                        Err((Refused::Full, _)) => return self.refuse(Error::QueueFull),
                        Err((Refused::Stopped(why), _)) => {
                            return self.refuse(Error::stopped(self.handle.host.detail_of(why)));
                        }
                    };
                }
            }
        }
    }

    /// The queue refused the call: its submitter gets the error, its callback is dropped unused.
    fn refuse(&mut self, error: Error) -> Poll<Result<(), Error>> {
        let (end, status) = match error {
            Error::RuntimeStopped { why, .. } => {
                let detail = self.handle.host.detail_of(why);
                ((t::END_STOPPED, detail), Status::Stopped)
            }
            _ => ((t::END_QUEUE_FULL, 0), Status::QueueFull),
        };
        let end = if self.told { end } else { (t::END_REFUSED, 0) };
        if self.leave(end, status) != Left::Ended {
            return Poll::Ready(Ok(())); // a deadline was faster, and has told the callback
        }
        Poll::Ready(Err(error))
    }

    /// Ends a call that the queue has not taken, and its span.
    fn leave(&mut self, end: (u32, u32), status: Status) -> Left {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Waiting(_) if self.handle.is_forked() => Left::Settled,
            State::Waiting(turn) if turn.leave() => {
                self.state = State::Taken;
                Left::Taken
            }
            State::New | State::Waiting(_) => {
                let handle = &self.handle;
                if handle.host.withdraw(&handle.job, end, status) {
                    Left::Ended
                } else {
                    Left::Settled
                }
            }
            before => {
                self.state = before;
                Left::Settled
            }
        }
    }

    /// The caller goes away. True: the queue has the call, which is to be cancelled or let be.
    fn withdraw(&mut self) -> bool {
        let end = (t::END_CANCELLED_BY_CALLER, 0);
        let status = match self.state {
            State::New => Status::NeverAwaited, // the first poll offers it
            _ => Status::CancelledByCaller,
        };
        self.is_taken() || self.leave(end, status) == Left::Taken
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

    /// Ends a call that is not even let into the line.
    pub(crate) fn turned_away(mut self) -> Result<(), Error> {
        match self.refuse(Error::QueueFull) {
            Poll::Ready(refused) => refused,
            Poll::Pending => unreachable!("a refusal does not wait"),
        }
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
        if !self.is_taken() && self.withdraw() {
            request_cancel(
                &self.handle.host,
                &self.handle.job,
                t::CANCEL | t::CALLER_DROPPED,
            );
        }
    }
}

/// The outcome of a call, to be awaited on any executor. Lazy: the first poll submits. In a forked
/// child of the process that made the call it is [`Error::RuntimeStopped`], unless it was there before.
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
        let received = if this.submission.handle().is_forked() {
            let none = Err(Stopped::Forked.into());
            Some(this.receiver.try_take().unwrap_or(none))
        } else {
            ready!(Pin::new(&mut this.receiver).poll(context))
        };
        this.done = true;
        this.submission.handle().host.help();
        Poll::Ready(received.unwrap_or(Err(Stopped::Shutdown.into())))
    }
}

impl<T> Drop for CallFuture<T> {
    fn drop(&mut self) {
        if self.done || !self.submission.withdraw() {
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
