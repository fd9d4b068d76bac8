//! The slot in which a future finds its outcome: one value, stored first and announced later.
//!
//! Invariant: the value is written before `READY` is, by the one sender, and taken after it, by the one
//! receiver. Storing and waking are two steps, so that a batch of outcomes is all there before the
//! first wake takes the processor away.

use std::cell::UnsafeCell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use super::job::{Callback, Delivered};
use crate::error::Outcome;

const EMPTY: u8 = 0;
const READY: u8 = 1;
/// The receiver went away.
const GONE: u8 = 2;
/// The sender went away without an outcome.
const CLOSED: u8 = 3;

struct Slot<T> {
    state: AtomicU8,
    value: UnsafeCell<Option<Outcome<T>>>,
    waker: AtomicWaker,
}

// SAFETY: the state orders the two sides' accesses to the value.
unsafe impl<T: Send> Sync for Slot<T> {}

/// A sender and its receiver.
pub(crate) fn slot<T>() -> (ToSlot<T>, FromSlot<T>) {
    let slot = Arc::new(Slot {
        state: AtomicU8::new(EMPTY),
        value: UnsafeCell::new(None),
        waker: AtomicWaker::new(),
    });
    (ToSlot(Arc::clone(&slot)), FromSlot(slot))
}

/// The sending side: a callback that only wakes.
pub(crate) struct ToSlot<T>(Arc<Slot<T>>);

impl<T: Send> Callback<T> for ToSlot<T> {
    const WAKES: bool = true;

    fn publish(&mut self, outcome: Outcome<T>) -> Delivered {
        // SAFETY: the state is not READY yet, so the receiver keeps away from the value.
        unsafe { *self.0.value.get() = Some(outcome) };
        match self
            .0
            .state
            .compare_exchange(EMPTY, READY, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => Delivered::Yes,
            Err(_) => Delivered::Nobody,
        }
    }

    fn deliver(mut self, outcome: Outcome<T>) -> Delivered {
        // Dropping the sender wakes.
        self.publish(outcome)
    }
}

impl<T> Drop for ToSlot<T> {
    fn drop(&mut self) {
        let closed =
            self.0
                .state
                .compare_exchange(EMPTY, CLOSED, Ordering::AcqRel, Ordering::Acquire);
        if closed != Err(GONE) {
            self.0.waker.wake();
        }
    }
}

/// The receiving side. `None`: the sender went away without an outcome.
pub(crate) struct FromSlot<T>(Arc<Slot<T>>);

impl<T> FromSlot<T> {
    /// Takes the outcome if it is there.
    pub(crate) fn try_take(&mut self) -> Option<Outcome<T>> {
        if self.0.state.load(Ordering::Acquire) != READY {
            return None;
        }
        // SAFETY: READY: the sender has written and does not come back.
        unsafe { (*self.0.value.get()).take() }
    }
}

impl<T> Future for FromSlot<T> {
    type Output = Option<Outcome<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.0.state.load(Ordering::Acquire) == EMPTY {
            self.0.waker.register(context.waker());
        }
        match self.0.state.load(Ordering::Acquire) {
            EMPTY => Poll::Pending,
            READY => Poll::Ready(self.try_take()),
            _ => Poll::Ready(None),
        }
    }
}

impl<T> Drop for FromSlot<T> {
    fn drop(&mut self) {
        let _ = self
            .0
            .state
            .compare_exchange(EMPTY, GONE, Ordering::AcqRel, Ordering::Acquire);
    }
}
