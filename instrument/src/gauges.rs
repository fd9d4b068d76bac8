//! What is the case now, by number: calls in queues, calls in flight, loop threads that wait for the GIL.
//!
//! Invariant: reading takes no lock that a loop thread takes, and never attaches to Python.

use std::sync::{Arc, OnceLock};

use crate::doing::Doing;
use crate::global::{self, LoopShared};
use crate::in_flight;
use crate::span::SpanKind;

static QUEUED: OnceLock<fn() -> u64> = OnceLock::new();

/// Read at one moment, or about it: they change while they are read.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Gauges {
    /// Calls that a queue has taken and no loop has begun.
    pub queue_depth: u64,
    /// Calls that have begun and not ended.
    pub in_flight: u64,
    /// Loop threads that returned from their wait and are not attached yet.
    pub gil_waiters: u64,
}

/// Has the owner of the queues say how many calls are in them. The first one is asked.
pub fn set_queue_depth(queued: fn() -> u64) {
    let _ = QUEUED.set(queued);
}

/// See [`Gauges::queue_depth`]. Any thread.
pub(crate) fn queue_depth() -> u64 {
    QUEUED.get().map_or(0, |queued| queued())
}

/// Any thread.
pub fn gauges() -> Gauges {
    let calls = in_flight::in_flight().into_iter();
    let loops = global::global().loops();
    let waits = |each: &&Arc<LoopShared>| each.doing.get().0 == Doing::GilWait;
    let waiting = loops.iter().filter(waits);
    Gauges {
        queue_depth: queue_depth(),
        in_flight: calls.filter(|open| open.kind == SpanKind::Call).count() as u64,
        gil_waiters: waiting.count() as u64,
    }
}
