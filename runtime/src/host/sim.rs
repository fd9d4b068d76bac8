//! The simulator's host: a table behind which nothing runs by itself. What libraries submit,
//! schedule, post and wait for becomes an entry in a lane, and one chooser says which goes on.
//!
//! Invariant: never a wake, a drop or Python under the lock. A host is never freed; it serves
//! another simulation once it is closed and nobody holds a handle on it.

mod clock;
mod entry;
mod pool;
mod seat;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::table as t;
pub(crate) use entry::{Entry, What};
pub(crate) use pool::{Simulator, hold};
pub(crate) use seat::{Seat, is_seat};

/// The producer of what threads outside control bring in.
const OUTSIDE: u64 = u64::MAX >> 2;

/// By which function something came in from a thread outside control.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Submit,
    Schedule,
    Cancel,
    Post,
    Timer,
    /// asyncio's `call_soon_threadsafe`.
    Threadsafe,
}

impl Way {
    /// Every way with its name in reports, in the order of the counters.
    pub(crate) const ALL: [(Self, &str); 6] = [
        (Self::Submit, "submit"),
        (Self::Schedule, "schedule"),
        (Self::Cancel, "cancel"),
        (Self::Post, "post"),
        (Self::Timer, "timer"),
        (Self::Threadsafe, "call_soon_threadsafe"),
    ];
}

/// How far a simulation has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Life {
    /// Takes everything.
    Open,
    /// Refuses calls.
    Stopping,
    /// Drops whatever comes.
    #[default]
    Closed,
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct SimHost {
    handles: AtomicU64,
    /// Identity of the runtime, another one for each simulation.
    id: AtomicU64,
    /// The thread of the simulation.
    owner: AtomicU64,
    /// The virtual clock in nanoseconds.
    now: AtomicU64,
    /// The task being stepped; 0 while Python runs.
    running: AtomicU64,
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    life: Life,
    tasks: u64,
    /// Number of the last entry or timer.
    last: u64,
    /// Came in and is not in a lane yet: (lane, entry).
    fresh: Vec<(u64, u64)>,
    entries: HashMap<u64, Entry>,
    timers: BTreeMap<(u64, u64), t::RawWake>,
    deadlines: HashMap<u64, u64>,
    outside: [u64; Way::ALL.len()],
    late: u64,
}

// SAFETY: what the raw pointers refer to may be used and freed on any thread by its contract; the
// counters and the list are guarded by atomics and the lock.
unsafe impl Send for SimHost {}
// SAFETY: as above.
unsafe impl Sync for SimHost {}

impl SimHost {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_free(&self) -> bool {
        self.handles.load(Ordering::Acquire) == 0 && self.lock().life == Life::Closed
    }

    fn reopen(&self, id: u64) {
        self.id.store(id, Ordering::Relaxed);
        self.owner.store(this_thread(), Ordering::Relaxed);
        self.now.store(0, Ordering::Relaxed);
        let mut state = self.lock();
        *state = State {
            life: Life::Open,
            ..State::default()
        };
    }

    fn is_here(&self) -> bool {
        self.owner.load(Ordering::Relaxed) == this_thread()
    }

    /// Counts an entry that comes from a thread outside control, or too late.
    fn entered(&self, state: &mut State, way: Way) {
        if !self.is_here() {
            state.outside[way as usize] += 1;
            self.arrived.notify_all();
        }
        if state.life == Life::Closed {
            state.late += 1;
        }
    }

    /// Whoever is bringing something in: the task being stepped, Python, or another thread.
    fn producer(&self) -> u64 {
        if self.is_here() {
            self.running.load(Ordering::Relaxed)
        } else {
            OUTSIDE
        }
    }

    /// Asyncio was entered from another thread.
    pub(crate) fn threadsafe(&self) {
        self.entered(&mut self.lock(), Way::Threadsafe);
    }

    /// Entries from threads outside control, by way.
    pub(crate) fn outside(&self) -> [u64; Way::ALL.len()] {
        self.lock().outside
    }

    /// What came in after the simulation was closed, until the host serves another one.
    pub(crate) fn late(&self) -> u64 {
        self.lock().late
    }

    /// What has come in since the last time: (lane, entry), in order.
    pub(crate) fn take_fresh(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.lock().fresh)
    }

    /// An entry, to be run by the caller.
    pub(crate) fn take(&self, id: u64) -> Option<Entry> {
        self.lock().entries.remove(&id)
    }

    /// Runs one step of a task, detached. True: it panicked.
    pub(crate) fn step(&self, runnable: &t::RawRunnable) -> bool {
        self.running.store(runnable.task, Ordering::Relaxed);
        // SAFETY: taken out of the entries, so that it is run once; on the owner's thread.
        let panicked = unsafe { (runnable.run)(runnable.ptr) } != 0;
        self.running.store(0, Ordering::Relaxed);
        panicked
    }

    /// From here on calls are refused; those that have not started are failed.
    pub(crate) fn stop(&self) {
        let refused = {
            let mut state = self.lock();
            state.life = state.life.max(Life::Stopping);
            let jobs = state.entries.iter().filter(|(_, entry)| entry.is_job());
            let mut ids: Vec<u64> = jobs.map(|(id, _)| *id).collect();
            ids.sort_unstable();
            ids.iter()
                .filter_map(|id| state.entries.remove(id))
                .collect::<Vec<_>>()
        };
        drop(refused);
    }

    /// The end: drops what is left, until nothing more comes of it.
    pub(crate) fn close(&self) {
        self.lock().life = Life::Closed;
        loop {
            let (entries, timers) = {
                let mut state = self.lock();
                state.fresh.clear();
                state.deadlines.clear();
                (
                    std::mem::take(&mut state.entries),
                    std::mem::take(&mut state.timers),
                )
            };
            if entries.is_empty() && timers.is_empty() {
                // What the drops themselves brought in was not late.
                self.lock().late = 0;
                return;
            }
            drop(entries);
            for wake in timers.into_values() {
                // SAFETY: taken out of the timers, so that one function is called once.
                unsafe { (wake.drop)(wake.data) };
            }
        }
    }
}

/// A number for the calling thread, never 0.
fn this_thread() -> u64 {
    // SAFETY: no arguments.
    unsafe { libc::pthread_self() as u64 }
}
