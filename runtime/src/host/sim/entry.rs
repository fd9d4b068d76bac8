//! What waits to be chosen, and in which lane.
//!
//! Invariant: the order within a lane is kept; an entry that is dropped unrun is given back to the
//! library that made it.

use crate::host::table as t;
use crate::loop_thread::shared::dispose;
use crate::queue::stack::Link;

/// A step of a task, or a message to the loop thread.
pub(crate) enum What {
    Step(t::RawRunnable),
    Message(*mut Link),
}

/// See the module's text. Empty once `into_inner` took what it holds.
pub(crate) struct Entry(Option<What>);

impl Entry {
    pub(super) fn new(what: What) -> Self {
        Self(Some(what))
    }

    /// The content, which the caller runs.
    pub(crate) fn into_inner(mut self) -> Option<What> {
        self.0.take()
    }

    pub(super) fn is_job(&self) -> bool {
        // SAFETY: a message that is held here is live.
        matches!(self.0, Some(What::Message(link)) if unsafe { kind_of(link) } == t::MESSAGE_JOB)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        match self.0.take() {
            // SAFETY: it was not run, and is dropped once.
            Some(What::Step(runnable)) => unsafe { (runnable.drop)(runnable.ptr) },
            Some(What::Message(link)) => {
                dispose(link, t::END_STOPPED, crate::error::Stopped::Shutdown as u32);
            }
            None => {}
        }
    }
}

/// # Safety
/// The message is live.
pub(super) unsafe fn kind_of(link: *mut Link) -> u32 {
    // SAFETY: see above; every message starts with this header.
    unsafe { (*link.cast::<t::Message>()).kind }
}

/// The lane of a task's steps.
pub(super) fn steps_of(task: u64) -> u64 {
    task << 2
}

/// The lane of a message: calls of one producer start in order and its posts arrive in order, but
/// posts may overtake calls, and a cancel anything.
pub(super) fn lane_of(kind: u32, producer: u64, entry: u64) -> u64 {
    match kind {
        t::MESSAGE_JOB => producer << 2 | 1,
        t::MESSAGE_CANCEL => entry << 2 | 2,
        _ => producer << 2 | 3,
    }
}
