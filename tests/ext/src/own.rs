//! This library's own tokio, and waiting for it from Python.
//!
//! Invariant: nobody waits with the GIL, and nobody waits for ever.

use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use gilscope_runtime::{Error, Outcome, PyHandle};
use pyo3::exceptions::{PyRuntimeError, PyTimeoutError};
use pyo3::prelude::*;
use tokio::runtime::Runtime;

/// How long anything here waits.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The tokio of this library in this process; a forked child gets a fresh one.
pub(crate) fn tokio() -> &'static Runtime {
    // No lock: another thread could hold it while this process forks.
    static OWN: AtomicPtr<(u32, Runtime)> = AtomicPtr::new(std::ptr::null_mut());
    let process = std::process::id();
    let known = OWN.load(Ordering::Acquire);
    // SAFETY: only leaked boxes are stored.
    if let Some((of, runtime)) = unsafe { known.as_ref() }
        && *of == process
    {
        return runtime;
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let built = builder
        .worker_threads(2)
        .thread_name("test-ext-tokio")
        .enable_all()
        .build();
    let made = Box::into_raw(Box::new((process, built.expect("threads for tokio"))));
    let won = OWN.compare_exchange(known, made, Ordering::AcqRel, Ordering::Acquire);
    // SAFETY: as above; the one that lost is not used, and leaked too.
    unsafe { &(*won.map_or_else(|theirs| theirs, |_| made)).1 }
}

/// Runs a future as a task of this library's tokio and waits for it, detached.
pub(crate) fn wait<F>(py: Python<'_>, future: F) -> PyResult<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let ended = py.detach(|| {
        let task = tokio().spawn(future);
        tokio().block_on(async { tokio::time::timeout(LIMIT, task).await })
    });
    match ended {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(PyRuntimeError::new_err(format!(
            "a test task ended badly: {error}"
        ))),
        Err(_) => Err(PyTimeoutError::new_err("a test task did not end")),
    }
}

/// An outcome for Python.
pub(crate) fn result(py: Python<'_>, outcome: Outcome<PyHandle>) -> PyResult<Py<PyAny>> {
    Ok(outcome?.clone_ref(py))
}

/// An error as the exception it stands for.
pub(crate) fn exception(py: Python<'_>, error: Error) -> Py<PyAny> {
    PyErr::from(error).into_value(py).into_any()
}
