//! The virtual clock, and the real one for as long as a simulation waits for threads.
//!
//! Invariant: virtual time never goes back, and timers are woken in the order of their deadlines,
//! those of one deadline in the order in which they were set.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{SimHost, State};
use crate::host::table as t;

/// Deadlines from here on are never reached (146 years).
const NEVER: u64 = 1 << 62;

impl SimHost {
    /// The virtual time in nanoseconds.
    pub(crate) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// When the next timer is due.
    pub(crate) fn next_timer(&self) -> Option<u64> {
        let first = self.lock().timers.keys().next().map(|key| key.0);
        first.filter(|deadline| *deadline < NEVER)
    }

    /// Moves the clock, never back, and wakes what is due by then, in order.
    pub(crate) fn advance(&self, to: u64) {
        self.now.fetch_max(to.min(NEVER), Ordering::Relaxed);
        let now = self.now();
        while let Some(wake) = self.take_due(now) {
            // SAFETY: taken out of the timers, so that one function is called once.
            unsafe { (wake.wake)(wake.data) };
        }
    }

    fn take_due(&self, now: u64) -> Option<t::RawWake> {
        let mut state = self.lock();
        let key = *state.timers.keys().next()?;
        if key.0 > now {
            return None;
        }
        state.deadlines.remove(&key.1);
        state.timers.remove(&key)
    }

    /// Waits in real time, detached, until another thread brings something in. False: none did.
    pub(crate) fn wait_outside(&self, patience: Duration) -> bool {
        let state = self.lock();
        let before = state.outside;
        let waiting = |state: &mut State| state.fresh.is_empty() && state.outside == before;
        let waited = self.arrived.wait_timeout_while(state, patience, waiting);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}
