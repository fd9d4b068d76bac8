//! Whether this thread holds the GIL, and giving it up while code of somebody else runs.
//!
//! Invariant: what [`detached`] runs finds no thread state, on whichever path it was reached: wakers
//! and closures of callers may take locks that a thread with the GIL holds.

use pyo3::Python;

/// Carries what must stay on this thread through `detach`, whose closure runs on this very thread.
pub(crate) struct SameThread<T>(pub(crate) T);

// SAFETY: `Python::detach` runs its closure on the calling thread, so nothing crosses.
unsafe impl<T> Send for SameThread<T> {}

impl<T> SameThread<T> {
    /// By method, so that a closure captures the wrapper and not its field.
    pub(crate) fn get(self) -> T {
        self.0
    }
}

/// Whether there is an interpreter that this thread is attached to.
pub(crate) fn is_attached() -> bool {
    // SAFETY: both calls are allowed on any thread at any time.
    unsafe { pyo3::ffi::Py_IsInitialized() != 0 && pyo3::ffi::PyGILState_Check() != 0 }
}

/// Runs `work` on this thread, detached for the time it takes if it is attached. What it uses of
/// Python it must attach for.
pub(crate) fn detached<R>(work: impl FnOnce() -> R) -> R {
    if !is_attached() {
        return work();
    }
    let work = SameThread(work);
    Python::attach(|py| py.detach(move || SameThread(work.get()())).get())
}
