//! The gate to the interpreter for threads of ours that are no loop threads.
//!
//! Invariant: once the gate is closed nobody comes in, and it counts as closed only when everybody is
//! out; the exit handler closes it, so that none of ours is inside while the interpreter ends.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Set once the gate is closed; the rest counts tickets.
const CLOSED: usize = 1;
const TICKET: usize = 2;

static GATE: AtomicUsize = AtomicUsize::new(0);

/// The right to attach; give it back by dropping it.
#[derive(Debug)]
pub(crate) struct Ticket(());

impl Ticket {
    /// `None`: the interpreter is about to end.
    pub(crate) fn take() -> Option<Self> {
        if GATE.fetch_add(TICKET, Ordering::AcqRel) & CLOSED != 0 {
            GATE.fetch_sub(TICKET, Ordering::AcqRel);
            return None;
        }
        Some(Self(()))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        GATE.fetch_sub(TICKET, Ordering::AcqRel);
    }
}

/// Closes the gate and waits, detached, until everybody is out or the time is up.
pub(crate) fn close(patience: Duration) {
    GATE.fetch_or(CLOSED, Ordering::AcqRel);
    let end = Instant::now() + patience;
    while GATE.load(Ordering::Acquire) != CLOSED && Instant::now() < end {
        // Once per process, and somebody is on the way out: looking again is simplest.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// In a forked child, where none of the ticket holders live on. Only stores.
pub(crate) fn reset() {
    GATE.store(0, Ordering::SeqCst);
}
