//! A handle on a submitted call.
//!
//! Invariant: cancelling is a request; the outcome still arrives through the call's callback, once.

use std::sync::atomic::{AtomicU64, Ordering};

use gilscope_instrument::CallStamps;

use crate::host::table as t;
use crate::host::{HostRef, JobRef};

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
#[derive(Clone, Debug)]
pub struct CallHandle {
    pub(crate) host: HostRef,
    pub(crate) job: JobRef,
    pub(crate) id: CallId,
}

impl CallHandle {
    /// The call's id.
    #[must_use]
    pub fn id(&self) -> CallId {
        self.id
    }

    /// Whether the outcome is settled.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.job.has(t::SETTLED)
    }

    /// Asks to cancel: a queued call never runs, a running one gets `CancelledError` at its await.
    /// Any thread, never blocks, never attaches. False: the outcome was settled already.
    pub fn cancel(&self) -> bool {
        request_cancel(&self.host, &self.job, t::CANCEL)
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
