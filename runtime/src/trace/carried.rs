//! A future that takes its trace context along, to whatever thread polls it.
//!
//! Invariant: entered for each poll and left after it, never held across an `.await`.

use std::pin::Pin;
use std::task::{Context, Poll};

use gilscope_instrument::TraceContext;

/// Runs futures below a span.
pub trait InTrace: Future + Sized {
    /// Polls the future with `context` as the current one: calls into Python that it makes are below
    /// that span.
    fn in_trace(self, context: TraceContext) -> Carried<Self> {
        Carried {
            context: Some(context),
            future: self,
        }
    }
}

impl<F: Future> InTrace for F {}

/// See [`InTrace::in_trace`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Carried<F> {
    context: Option<TraceContext>,
    future: F,
}

impl<F> Carried<F> {
    /// Below what is current where it is made, if there is anything.
    pub(crate) fn from_here(future: F) -> Self {
        Carried {
            context: super::here(),
            future,
        }
    }
}

impl<F: Future> Future for Carried<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned with `self` and never moved; `context` is not pinned.
        let (context, future) = unsafe {
            let this = self.get_unchecked_mut();
            (&this.context, Pin::new_unchecked(&mut this.future))
        };
        let Some(context) = context else {
            return future.poll(task);
        };
        let _entered = context.enter();
        future.poll(task)
    }
}
