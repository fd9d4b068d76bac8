//! A Rust future whose polls are recorded for the call that awaits it, and the loss of its waker.
//!
//! Invariant: where nothing is recorded, a poll costs one look more.

use std::pin::Pin;
use std::task::{Context, Poll};

use gilscope_instrument::{Cause, Name, RustPolls};

use super::wakers::Wakers;

/// See the module's text.
pub(super) struct Polled<F> {
    recorded: Option<(RustPolls, Wakers)>,
    future: F,
}

impl<F> Polled<F> {
    /// `first` is the poll that was made already, from when until when, or zeros.
    pub(super) fn new(future: F, first: [u64; 2], name: impl FnOnce() -> Name) -> Self {
        let polls = recorded(first, name);
        let recorded = polls.map(|polls| {
            let wakers = Wakers::new(polls.lost_wake());
            (polls, wakers)
        });
        Polled { recorded, future }
    }

    /// The poll that was the last so far, if polls are recorded.
    pub(super) fn newest(&self) -> Cause {
        let recorded = self.recorded.as_ref();
        recorded.map_or_else(Cause::default, |(polls, _)| polls.cause())
    }
}

/// By the thread that awaits, which has made the first poll.
fn recorded([start, end]: [u64; 2], name: impl FnOnce() -> Name) -> Option<RustPolls> {
    if start == 0 {
        return None;
    }
    let state = crate::loop_thread::state::current()?;
    let mut polls = state.recorder.awaits_rust(name())?;
    polls.polled(start, end);
    Some(polls)
}

impl<F: Future + Unpin> Future for Polled<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let future = Pin::new(&mut this.future);
        let Some((polls, wakers)) = &mut this.recorded else {
            return future.poll(context);
        };
        let _poll = polls.begin();
        wakers.poll(context, |context| future.poll(context))
    }
}

impl<F> Drop for Polled<F> {
    /// Before the future is dropped, and with it the waker that it keeps.
    fn drop(&mut self) {
        if let Some((_, wakers)) = &self.recorded {
            wakers.needs_none();
        }
    }
}
