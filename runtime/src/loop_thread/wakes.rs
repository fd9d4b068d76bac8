//! Receivers that are to be woken, shared by the loop thread and whoever it woke first.
//!
//! Invariant: every job that comes in is woken exactly once, by the loop thread if nobody is faster.
//!
//! On a busy processor a woken thread takes the loop thread's place at once. If only the loop thread
//! woke, each receiver of a batch would run for one outcome and go back to sleep: two context
//! switches a call. So a receiver that finds its outcome wakes the rest of the batch itself, while it
//! runs anyway, and finds them all at its next look.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::host::JobRef;

/// See the module's text.
#[derive(Default)]
pub(crate) struct Wakes {
    list: Mutex<VecDeque<JobRef>>,
    /// Whether the list holds something; a hint that spares receivers the lock.
    some: AtomicBool,
}

impl Wakes {
    /// Wakes the receivers of delivered jobs, oldest first, as far as nobody else does.
    pub(crate) fn wake(&self, jobs: impl Iterator<Item = JobRef>) {
        self.lock().extend(jobs);
        while let Some(job) = self.next() {
            wake(&job);
        }
    }

    /// Wakes on this thread what is left, unless it is attached: wakers of others must not run with
    /// the GIL, and the loop thread is about to wake them anyway.
    pub(crate) fn help(&self) {
        if self.some.load(Ordering::Acquire) && !crate::attached::is_attached() {
            let rest = std::mem::take(&mut *self.lock());
            self.some.store(false, Ordering::Release);
            rest.iter().for_each(wake);
        }
    }

    fn next(&self) -> Option<JobRef> {
        let mut list = self.lock();
        let job = list.pop_front();
        self.some.store(!list.is_empty(), Ordering::Release);
        job
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<JobRef>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(job: &JobRef) {
    // SAFETY: the job is live and has been delivered.
    unsafe { (job.vtable().wake)(job.as_ptr()) };
}
