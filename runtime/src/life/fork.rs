//! Forks: a child starts with a new generation and none of its parent's runtimes.
//!
//! Invariant: a fork happens while no lock of the library itself is held by another thread, so that none
//! is locked for ever in the child; beyond giving the locks back, the child handler only stores. Locks
//! of a runtime, of its tokio and of its queues may be held: the child never takes them.

use std::any::Any;
use std::cell::RefCell;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

static GENERATION: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The locks that this thread holds while it forks.
    static HELD: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// Takes every lock of the library, none of which is ever held across an attach or a call-out, and
/// none of which is taken while one further down the list is held.
extern "C" fn before() {
    let locks: Vec<Box<dyn Any>> = vec![
        crate::host::cell::hold(),
        super::registry::hold(),
        super::courier::hold(),
        crate::tasks::hold(),
        crate::host::sim::hold(),
        crate::watchdog::hold(),
    ];
    HELD.with_borrow_mut(|held| *held = locks);
}

extern "C" fn after() {
    HELD.with_borrow_mut(Vec::clear);
}

extern "C" fn in_child() {
    after();
    GENERATION.fetch_add(1, Ordering::SeqCst);
    super::gate::reset();
    crate::loop_thread::state::disown();
    crate::host::cell::forget_default();
    crate::handle::release::forget();
    gilscope_instrument::after_fork_child();
}

/// The number of forks between the first process and this one. Handles remember theirs.
pub(crate) fn generation() -> u64 {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| {
        // SAFETY: the handlers are plain functions that live as long as the library; gilscope's
        // libraries are never unloaded.
        unsafe { libc::pthread_atfork(Some(before), Some(after), Some(in_child)) };
    });
    GENERATION.load(Ordering::SeqCst)
}
