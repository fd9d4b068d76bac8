//! The process' state: loops, names, side lane, converter.
//!
//! Invariant: everything that holds a lock hangs on one pointer, which a forked child replaces;
//! the parent's state is then never touched again, whatever its locks were doing.

use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::converter::Control;
use crate::doing::DoingSince;
use crate::finding::Holders;
use crate::finish::GivenUp;
use crate::lost::Counts;
use crate::name::Index;
use crate::open::Slab;
use crate::ring::Consumer;
use crate::rust_polls;
use crate::sampling;
use crate::side::Lane;
use crate::span::ThreadInfo;
use crate::stats::Tables;
use crate::watch::Polling;

/// What a loop shares with the converter and with readers.
pub(crate) struct LoopShared {
    pub(crate) thread: Arc<ThreadInfo>,
    pub(crate) slab: Arc<Slab>,
    /// High half of the ids of its turns.
    pub(crate) turn_base: u64,
    /// What its thread does.
    pub(crate) doing: DoingSince,
    pub(crate) gone: AtomicBool,
    pub(crate) polling: Polling,
    /// Calls open on it that have ended for everybody else: its runtime gave it up.
    pub(crate) given_up: Mutex<Vec<GivenUp>>,
}

pub(crate) struct Global {
    pub(crate) pid: u32,
    pub(crate) names: Index,
    pub(crate) side: Lane,
    pub(crate) rust_polls: rust_polls::Lane,
    pub(crate) control: Control,
    pub(crate) tables: Mutex<Tables>,
    /// Of all exporters.
    pub(crate) lost: Counts,
    /// Never held across more than a look into it.
    pub(crate) holders: Mutex<Holders>,
    pub(crate) samplers: sampling::All,
    loops: Mutex<Vec<Arc<LoopShared>>>,
    incoming: Mutex<Vec<(Arc<LoopShared>, Consumer)>>,
}

static GLOBAL: AtomicPtr<Global> = AtomicPtr::new(std::ptr::null_mut());

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The state of this process.
pub(crate) fn global() -> &'static Global {
    let global = GLOBAL.load(Ordering::Acquire);
    if global.is_null() {
        create()
    } else {
        leaked(global)
    }
}

/// The state of this process, made fresh if it was forked and nobody said so. For cold paths.
pub(crate) fn current() -> &'static Global {
    let global = global();
    if global.pid == std::process::id() {
        return global;
    }
    crate::fork::after_fork_child();
    self::global()
}

/// The state of this process, if it has one; a forked child's parent's is not its own.
pub(crate) fn existing() -> Option<&'static Global> {
    let global = GLOBAL.load(Ordering::Acquire);
    let made = (!global.is_null()).then(|| leaked(global));
    made.filter(|global| global.pid == std::process::id())
}

fn leaked(global: *mut Global) -> &'static Global {
    // SAFETY: only pointers from `Box::into_raw` are stored, and none is ever freed.
    unsafe { &*global }
}

#[cold]
fn create() -> &'static Global {
    // No once-cell: another thread of a parent could have been in it at a fork.
    let made = Box::into_raw(Box::new(Global::new()));
    let null = std::ptr::null_mut();
    match GLOBAL.compare_exchange(null, made, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => leaked(made),
        Err(decided) => {
            // SAFETY: it came from a box and nobody else has seen it.
            drop(unsafe { Box::from_raw(made) });
            leaked(decided)
        }
    }
}

/// Installs a fresh state. The old one is leaked: other threads' locks in it are lost in a child.
pub(crate) fn replace() {
    GLOBAL.store(Box::into_raw(Box::new(Global::new())), Ordering::Release);
}

impl Global {
    fn new() -> Global {
        Global {
            pid: std::process::id(),
            names: Index::rebuild(),
            side: Lane::new(),
            rust_polls: rust_polls::Lane::default(),
            control: Control::new(),
            tables: Mutex::new(Tables::default()),
            lost: Counts::default(),
            holders: Mutex::default(),
            samplers: Mutex::default(),
            loops: Mutex::new(Vec::new()),
            incoming: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn register(&self, shared: Arc<LoopShared>, consumer: Consumer) {
        lock(&self.loops).push(shared.clone());
        lock(&self.incoming).push((shared, consumer));
    }

    pub(crate) fn unregister(&self, shared: &Arc<LoopShared>) {
        lock(&self.loops).retain(|other| !Arc::ptr_eq(other, shared));
    }

    pub(crate) fn take_incoming(&self) -> Vec<(Arc<LoopShared>, Consumer)> {
        std::mem::take(&mut *lock(&self.incoming))
    }

    pub(crate) fn loops(&self) -> Vec<Arc<LoopShared>> {
        lock(&self.loops).clone()
    }

    pub(crate) fn wake_converter(&self) {
        self.control.wake();
    }
}
