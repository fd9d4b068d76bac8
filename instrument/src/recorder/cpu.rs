//! How much of a long poll was the loop thread's own CPU time: the rest another thread had, or nobody.
//!
//! Invariant: only a poll long enough that asking the system, which takes a fraction of a microsecond, is
//! nothing beside it, pays for it.

use super::LoopRecorder;
use crate::clock;
use crate::record::MOST_CPU;

/// From how long a poll on its CPU time is asked for. A thread that wants the GIL waits for five times as
/// long before its holder must let go (`sys.getswitchinterval()`), so in shorter ones nobody else ran
/// Python, unless they let go of the GIL themselves.
pub(super) const LONG_NS: u64 = 1_000_000;

/// What is known of the turn that goes on: until when, in ticks, and how much of it was not ours.
#[derive(Clone, Copy, Default)]
pub(super) struct NotOurs {
    until: u64,
    ns: u64,
}

impl LoopRecorder {
    /// CPU time of the loop thread in a poll that just ended, in microseconds; 0 outside of any turn.
    ///
    /// The thread's CPU time at the poll's begin is not known, but at the turn's: what was not ours since
    /// then was so in this poll or in long ones before it, of which that is known, too.
    #[cold]
    pub(super) fn poll_cpu(&self, start: u64, end: u64) -> u32 {
        let turn = self.turn.get();
        if turn.number == 0 {
            return 0;
        }
        let ours = clock::thread_cpu_ns().saturating_sub(turn.cpu_ns);
        let ns = clock::delta_ns(end.saturating_sub(turn.start)).saturating_sub(ours);
        let before = self.not_ours.replace(NotOurs { until: end, ns });
        // A poll inside of this one is no poll before it.
        let before = if before.until <= start { before.ns } else { 0 };
        let took = clock::delta_ns(end - start);
        let cpu_us = took.saturating_sub(ns.saturating_sub(before)) / 1000;
        cpu_us.clamp(1, MOST_CPU.into()) as u32
    }
}
