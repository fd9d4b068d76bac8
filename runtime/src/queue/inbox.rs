//! An inbox: the hand-over list and its bell. One per loop thread.
//!
//! Invariant: a message that was posted is either taken by the loop thread or, once the inbox is
//! closed, by whoever posted or closed last; none stays behind.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering};

use super::eventfd::EventFd;
use super::stack::{Batch, Link, Pushed, Stack};

/// See the module's text.
#[derive(Debug)]
pub struct Inbox {
    list: Stack,
    bell: EventFd,
    closed: AtomicBool,
}

impl Inbox {
    /// An open, empty inbox whose consumer counts as awake.
    ///
    /// # Errors
    /// If no eventfd is to be had.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            list: Stack::new(),
            bell: EventFd::new()?,
            closed: AtomicBool::new(false),
        })
    }

    /// Posts a message. True: the inbox is closed and the caller must [`take`](Self::take) and
    /// dispose of what is there. Lock-free; any thread.
    ///
    /// # Safety
    /// As [`Stack::push`].
    #[must_use]
    pub unsafe fn post(&self, link: *mut Link) -> bool {
        // SAFETY: passed on.
        if unsafe { self.list.push(link) } == Pushed::MustWake {
            self.bell.ring();
        }
        // Sequentially consistent with `close`: either it sees our message or we see it closed.
        self.closed.load(Ordering::SeqCst)
    }

    /// No more consumer: from now on posters dispose of what they post.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Takes all messages, oldest first.
    pub fn take(&self) -> Batch {
        self.list.take()
    }

    /// See [`Stack::try_sleep`].
    pub fn try_sleep(&self) -> bool {
        self.list.try_sleep()
    }

    /// Whether a take would find nothing at this moment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The bell, to register with a selector.
    #[must_use]
    pub fn bell(&self) -> &EventFd {
        &self.bell
    }
}
