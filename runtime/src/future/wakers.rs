//! Wakers that tell if nobody has them any more: the future that was given one is never polled again.
//!
//! Invariant: sure. Only the waker of the latest poll counts, only while its future is pending, and only if
//! its last copy is dropped without ever having been used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use gilscope_instrument::LostWake;

/// The wakers of one future. Each poll has a fresh one, so that a copy that an earlier poll left somewhere
/// is not taken for one that counts.
pub(super) struct Wakers {
    latest: Arc<Latest>,
    polls: u64,
}

struct Latest {
    /// The number of the poll, from 1, whose waker is all that its future waits for; 0: it does not wait.
    waits_for: AtomicU64,
    lost: LostWake,
}

/// The waker of one poll.
struct OfPoll {
    waker: Waker,
    poll: u64,
    used: AtomicBool,
    latest: Arc<Latest>,
}

impl Wakers {
    pub(super) fn new(lost: LostWake) -> Self {
        let waits_for = AtomicU64::new(0);
        let latest = Arc::new(Latest { waits_for, lost });
        Self { latest, polls: 0 }
    }

    /// Polls with a waker of its own.
    pub(super) fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.needs_none();
        self.polls += 1;
        let waker = Waker::from(Arc::new(OfPoll {
            waker: context.waker().clone(),
            poll: self.polls,
            used: AtomicBool::new(false),
            latest: Arc::clone(&self.latest),
        }));
        let polled = poll(&mut Context::from_waker(&waker));
        if polled.is_pending() {
            // Before ours is dropped, which may be the last.
            self.latest.waits_for.store(self.polls, SeqCst);
        }
        polled
    }

    /// The future is polled, or dropped.
    pub(super) fn needs_none(&self) {
        self.latest.waits_for.store(0, SeqCst);
    }
}

impl Wake for OfPoll {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.used.store(true, SeqCst);
        self.waker.wake_by_ref();
    }
}

impl Drop for OfPoll {
    fn drop(&mut self) {
        let counts = || {
            let waits_for = &self.latest.waits_for;
            let swapped = waits_for.compare_exchange(self.poll, 0, SeqCst, SeqCst);
            swapped.is_ok()
        };
        if !*self.used.get_mut() && counts() {
            self.latest.lost.tell();
        }
    }
}
