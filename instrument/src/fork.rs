//! What a forked child must do before it records again.
//!
//! Invariant: the child never waits for a lock, thread or ring of its parent.

use crate::{global, ids};

/// Gives a forked child its own converter, rings and ids. Call it in the child, before anything
/// else of this crate; sinks and recorders of the parent are not inherited.
pub fn after_fork_child() {
    ids::reseed();
    global::replace();
    #[cfg(unix)]
    crate::tree::after_fork_child();
}
