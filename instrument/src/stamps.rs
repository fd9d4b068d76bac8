//! What the caller's thread knows about a call, carried with the job to the loop thread.
//!
//! Invariant: all zero when recording is off, so that a zero id means "not recorded" everywhere.

use crate::name::Name;
use crate::status::Status;
use crate::{clock, enabled, new_id, side};

/// Ids and first two stamps of a call. 48 bytes, `Copy`, no destructor.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct CallStamps {
    /// The call's span id, or 0 when it is not recorded.
    pub id: u64,
    /// The trace id, high word first.
    pub trace: [u64; 2],
    /// The span this call is a child of, or 0.
    pub parent: u64,
    /// Ticks at the call.
    pub called: u64,
    /// Ticks when the queue took it, or 0.
    pub enqueued: u64,
}

impl CallStamps {
    /// Stamps a call that begins now, in a trace of its own. Any thread, no GIL.
    #[inline]
    pub fn begin() -> Self {
        if !enabled() {
            return CallStamps::default();
        }
        CallStamps {
            id: new_id(),
            trace: [new_id(), new_id()],
            parent: 0,
            called: clock::now(),
            enqueued: 0,
        }
    }

    /// Stamps the moment at which the queue took the call.
    #[inline]
    pub fn enqueued(&mut self) {
        if self.id != 0 {
            self.enqueued = clock::now();
        }
    }

    /// Records a call that never reached the loop thread. Any thread, no GIL; bounded: if the
    /// side lane is full, it is counted as dropped.
    pub fn refused(&self, name: Name, status: Status) {
        if self.id != 0 && enabled() {
            side::refused(*self, name, status);
        }
    }
}
