//! This library's own tokio, and waiting for it from Python.
//!
//! Invariant: nobody waits with the GIL, and nobody waits for ever.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gilscope_runtime::{Error, Outcome, PyHandle};
use pyo3::exceptions::{PyRuntimeError, PyTimeoutError};
use pyo3::prelude::*;
use tokio::runtime::Runtime;

/// How long anything here waits.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The tokio of this library in this process; a forked child gets a fresh one.
pub(crate) fn tokio() -> &'static Runtime {
    static OWN: Mutex<Option<(u32, &'static Runtime)>> = Mutex::new(None);
    let process = std::process::id();
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    match *own {
        Some((of, runtime)) if of == process => runtime,
        _ => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let built = builder
                .worker_threads(2)
                .thread_name("test-ext-tokio")
                .enable_all()
                .build();
            let runtime: &'static Runtime = Box::leak(Box::new(built.expect("threads for tokio")));
            *own = Some((process, runtime));
            runtime
        }
    }
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
