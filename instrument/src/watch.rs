//! What a watchdog may see of a loop thread while it runs: since when it waits for the GIL, or polls.
//!
//! Invariant: the loop thread pays a store or two, and wakes the watchdog only out of its sleep, which
//! begins when nothing happens for a while.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use crate::doing::Doing;
use crate::global;
use crate::span::ThreadInfo;

/// Whether there is a watchdog and it sleeps.
static ASLEEP: AtomicBool = AtomicBool::new(false);
static WAKE: OnceLock<fn()> = OnceLock::new();

/// Since when a poll goes on on a loop. Written by its thread, read by a watchdog.
#[derive(Debug, Default)]
pub(crate) struct Polling(AtomicU64);

impl Polling {
    #[inline]
    pub(crate) fn begin(&self, at: u64) {
        self.0.store(at, Relaxed);
        stir();
    }

    #[inline]
    pub(crate) fn end(&self) {
        self.0.store(0, Relaxed);
    }

    pub(crate) fn since(&self) -> Option<u64> {
        let since = self.0.load(Relaxed);
        (since != 0).then_some(since)
    }
}

/// Wakes a watchdog that sleeps. One that is just falling asleep, which this may miss, looks at the stamps
/// once more, a moment later.
#[inline]
pub(crate) fn stir() {
    if ASLEEP.load(Relaxed) {
        wake();
    }
}

#[cold]
fn wake() {
    if ASLEEP.swap(false, SeqCst)
        && let Some(wake) = WAKE.get()
    {
        wake();
    }
}

/// For the watchdog: how it is woken; must not block, nor need the GIL. The first one counts.
pub fn on_wake(wake: fn()) {
    let _ = WAKE.set(wake);
}

/// For the watchdog: it is about to sleep, or awake.
pub fn set_asleep(asleep: bool) {
    ASLEEP.store(asleep, SeqCst);
}

/// For the watchdog: whether nothing has happened since it said that it sleeps.
pub fn is_asleep() -> bool {
    ASLEEP.load(SeqCst)
}

/// A loop as it is now.
#[derive(Clone, Debug)]
pub struct LoopNow {
    /// Its thread, with the number of its runtime.
    pub thread: Arc<ThreadInfo>,
    /// Ticks at which it began to wait for the GIL, or 0.
    pub waiting: u64,
    /// Ticks at which the poll began that is going on, or 0.
    pub polling: u64,
}

/// Every loop of this process as it is now. Any thread; never waits for a loop.
pub fn loops_now() -> Vec<LoopNow> {
    let Some(global) = global::existing() else {
        return Vec::new();
    };
    let loops = global.loops();
    let now = |shared: &Arc<global::LoopShared>| LoopNow {
        thread: shared.thread.clone(),
        waiting: match shared.doing.get() {
            (Doing::GilWait, since) => since,
            _ => 0,
        },
        polling: shared.polling.since().unwrap_or(0),
    };
    loops.iter().map(now).collect()
}
