//! What the caller's thread knows about a call, carried with the job to the loop thread.
//!
//! Invariant: the id is zero when recording is off, so that a zero id means "not recorded" everywhere.

use crate::name::Name;
use crate::status::Status;
use crate::trace::TraceContext;
use crate::{clock, enabled, new_id, sampling, side};

/// Ids and first two stamps of a call. 56 bytes, `Copy`, no destructor.
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
    /// The eight trace flags, and [`REMOTE`].
    pub flags: u32,
}

/// `CallStamps::flags`, above the trace flags: the parent is of another process.
pub const REMOTE: u32 = 1 << 8;

impl CallStamps {
    /// Stamps a call that begins now, in a trace of its own. Any thread, no GIL.
    #[inline]
    pub fn begin() -> Self {
        CallStamps::default().begun()
    }

    /// What a call below this span is to begin with.
    pub fn below(parent: &TraceContext) -> Self {
        CallStamps {
            trace: parent.trace,
            parent: parent.span,
            flags: u32::from(parent.flags) | if parent.remote { REMOTE } else { 0 },
            ..CallStamps::default()
        }
    }

    /// Stamps a call that begins now, below the span whose ids are in here, if there are any. Any
    /// thread, no GIL. While nothing is recorded they stay as they are.
    #[inline]
    #[must_use]
    pub fn begun(self) -> Self {
        if !enabled() {
            return self;
        }
        let root = self.parent == 0;
        let trace = if root {
            [new_id(), new_id()]
        } else {
            self.trace
        };
        let above = (!root).then_some(self.flags as u8);
        CallStamps {
            id: new_id(),
            trace,
            called: clock::now(),
            flags: self.flags & REMOTE | u32::from(sampling::flags(trace, above)),
            ..self
        }
    }

    /// The span that what runs inside is below: the call's, or where nothing is recorded its caller's.
    pub fn context(&self) -> Option<TraceContext> {
        let span = if self.id == 0 { self.parent } else { self.id };
        (span != 0).then_some(TraceContext {
            trace: self.trace,
            span,
            flags: self.flags as u8,
            remote: self.id == 0 && self.flags & REMOTE != 0,
            state: None,
        })
    }

    /// It begins now: what was stamped before was made earlier than it was asked for.
    #[inline]
    pub fn begins(&mut self) {
        if self.id != 0 {
            self.called = clock::now();
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
