//! Every live runtime of this library, for exit handlers and for work that any loop may do.
//!
//! Invariant: holds weak references only; the lock is held for pushes and scans, never across a
//! call-out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use gilscope_instrument::tree;

use crate::error::PythonError;
use crate::loop_thread::shared::Shared;

static RUNTIMES: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

pub(crate) fn add(shared: &Arc<Shared>) {
    tree::set_queues(queues);
    let mut runtimes = RUNTIMES.lock().unwrap_or_else(PoisonError::into_inner);
    runtimes.retain(|weak| weak.strong_count() > 0);
    runtimes.push(Arc::downgrade(shared));
    drop(runtimes);
    gilscope_instrument::set_queue_depth(queued);
}

/// The live runtimes of this process, oldest first.
pub(crate) fn all() -> Vec<Arc<Shared>> {
    let generation = super::fork::generation();
    // Upgraded all under the lock and looked at after: the last owner's drop releases hooks.
    let runtimes = RUNTIMES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut live: Vec<_> = runtimes.iter().filter_map(Weak::upgrade).collect();
    drop(runtimes);
    live.retain(|shared| shared.generation == generation && !shared.is_stopped());
    live
}

/// What is queued, for who asks for the tree; never attached.
fn queues() -> Vec<tree::Queue> {
    if super::exit::finalizing() {
        return Vec::new();
    }
    let of = |shared: &Arc<Shared>| tree::Queue {
        runtime: shared.number(),
        name: shared.config.name.clone(),
        queued: shared.room.taken(),
        waiting: shared.room.waiting(),
        max_in_flight: shared.config.max_in_flight,
    };
    all().iter().map(of).collect()
}

/// Calls that the queues of all runtimes have taken and no loop has begun.
fn queued() -> u64 {
    // Each has a permit, until it begins.
    let depth = |shared: Arc<Shared>| shared.room.taken() as u64;
    all().into_iter().map(depth).sum()
}

/// Why a runtime, which may have ended, could not start.
pub(crate) fn cause_of(number: u16) -> Option<PythonError> {
    let runtimes = RUNTIMES.lock().unwrap_or_else(PoisonError::into_inner);
    let all: Vec<_> = runtimes.iter().filter_map(Weak::upgrade).collect();
    drop(runtimes);
    let mut causes = all.iter().filter(|shared| shared.number() == number);
    causes.find_map(|shared| shared.start_error.get().cloned())
}

/// Rings some loop's bell, so that it looks at the release lane. False: this library has no loop.
pub(crate) fn ring_any() -> bool {
    let Some(runtimes) = short_wait() else {
        return true;
    };
    let live: Vec<_> = runtimes.iter().filter_map(Weak::upgrade).collect();
    drop(runtimes);
    let live = live.into_iter().find(|shared| !shared.is_stopping());
    live.inspect(|shared| shared.inbox.bell().ring()).is_some()
}

/// The lock, which others hold for no longer than a look: they are waited for, since without a loop nobody looks
/// later. But this thread may hold it itself, as it does in a fork; the next ring or turn will do then.
fn short_wait() -> Option<MutexGuard<'static, Vec<Weak<Shared>>>> {
    const TRIES: u32 = 1000;
    (0..TRIES).find_map(|_| match RUNTIMES.try_lock() {
        Ok(runtimes) => Some(runtimes),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => {
            std::thread::yield_now();
            None
        }
    })
}

/// The lock over the registry, for the time of a fork.
pub(crate) fn hold() -> Box<dyn std::any::Any> {
    Box::new(RUNTIMES.lock().unwrap_or_else(PoisonError::into_inner))
}
