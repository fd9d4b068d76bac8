//! Life and death: the registry of runtimes, forks, interpreter exit.
//!
//! Invariant: no runtime of a parent process is ever touched by its forked child.

pub(crate) mod exit;
pub(crate) mod fork;
pub(crate) mod registry;
pub(crate) mod shutdown;

use pyo3::Python;

use crate::call::job::Delivered;

/// Runs a hand-over whose loop thread has gone: at once if this thread is attached, else on a short
/// thread of its own, so that a tokio thread still never runs Python; or not at all once the
/// interpreter has gone.
pub(crate) fn last_resort<F: FnOnce(Python<'_>) + Send>(work: F) -> Delivered {
    // SAFETY: both calls are allowed on any thread at any time.
    let (alive, attached) = unsafe {
        (pyo3::ffi::Py_IsInitialized() != 0 && !exit::finalizing(), pyo3::ffi::PyGILState_Check() != 0)
    };
    if !alive {
        std::mem::forget(work);
        return Delivered::Nobody;
    }
    if attached {
        Python::attach(work);
        return Delivered::Yes;
    }
    let done = std::thread::scope(|scope| {
        scope.spawn(|| Python::try_attach(work).is_some()).join().unwrap_or(false)
    });
    if done { Delivered::Yes } else { Delivered::Nobody }
}
