//! A handle on a submitted call.
//!
//! Invariant: cancelling is a request; the outcome still arrives through the call's callback, once.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use gilscope_instrument::CallStamps;

use crate::host::table as t;
use crate::host::{HostRef, JobRef};
use crate::life::fork;

/// Identity of a call within its process; the id of its span where spans are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

impl CallId {
    pub(crate) fn of(stamps: &CallStamps) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        if stamps.id != 0 {
            Self(stamps.id)
        } else {
            Self(NEXT.fetch_add(1, Ordering::Relaxed))
        }
    }
}

/// Refers to a submitted call. Dropping it does nothing.
#[derive(Clone)]
pub struct CallHandle {
    pub(crate) host: HostRef,
    pub(crate) job: JobRef,
    pub(crate) id: CallId,
    /// Of the process that made the call: in a child forked later nobody runs it.
    generation: u64,
}

impl CallHandle {
    pub(crate) fn new(host: HostRef, job: JobRef, id: CallId) -> Self {
        Self {
            host,
            job,
            id,
            generation: fork::generation(),
        }
    }

    /// The call's id.
    #[must_use]
    pub fn id(&self) -> CallId {
        self.id
    }

    /// Whether the outcome is settled; true in a forked child of the process that made the call, where
    /// none is to come.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.job.has(t::SETTLED) || self.is_forked()
    }

    /// Whether the call is that of a process which this one is a forked child of. It is to be left
    /// alone then: wakers and locks of threads that do not exist here hang on it.
    pub(crate) fn is_forked(&self) -> bool {
        self.generation != fork::generation()
    }

    /// Asks to cancel: a queued call never runs, a running one gets `CancelledError` at its await.
    /// Any thread, never blocks, never attaches. False: the outcome was settled already,
    /// or the call is that of the process which this one was forked from.
    pub fn cancel(&self) -> bool {
        !self.is_forked() && request_cancel(&self.host, &self.job, t::CANCEL)
    }
}

impl fmt::Debug for CallHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_forked() {
            "forked"
        } else if self.is_done() {
            "done"
        } else if self.job.has(t::CANCEL) {
            "being cancelled"
        } else {
            "in flight"
        };
        f.debug_struct("CallHandle")
            .field("id", &self.id.0)
            .field("state", &format_args!("{state}"))
            .finish()
    }
}

/// Sets the request bits and tells the loop thread.
pub(crate) fn request_cancel(host: &HostRef, job: &JobRef, bits: u32) -> bool {
    let before = job.raw().state.fetch_or(bits, Ordering::AcqRel);
    if before & t::SETTLED != 0 {
        return false;
    }
    host.cancel(job);
    true
}
