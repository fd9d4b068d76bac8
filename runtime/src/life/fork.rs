//! Forks: a child starts with a new generation and none of its parent's runtimes.
//!
//! Invariant: the child handler only stores to atomics; everything else happens at the next use.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

static GENERATION: AtomicU64 = AtomicU64::new(0);

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::SeqCst);
    super::gate::reset();
    crate::host::cell::forget_default();
    gilscope_instrument::after_fork_child();
}

/// The number of forks between the first process and this one. Handles remember theirs.
pub(crate) fn generation() -> u64 {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| {
        // SAFETY: the handler is a plain function that lives as long as the library; gilscope's
        // libraries are never unloaded.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    GENERATION.load(Ordering::SeqCst)
}
