//! A Rust future whose polls are recorded for the call that awaits it.
//!
//! Invariant: where nothing is recorded, a poll costs one look more.

use std::pin::Pin;
use std::task::{Context, Poll};

use gilscope_instrument::{Name, RustPolls};

/// See the module's text.
pub(super) struct Polled<F> {
    polls: Option<RustPolls>,
    future: F,
}

impl<F> Polled<F> {
    /// `first` is the poll that was made already, from when until when, or zeros.
    pub(super) fn new(future: F, first: [u64; 2], name: impl FnOnce() -> Name) -> Self {
        let polls = recorded(first, name);
        Polled { polls, future }
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
        let _poll = this.polls.as_mut().map(RustPolls::begin);
        Pin::new(&mut this.future).poll(context)
    }
}
