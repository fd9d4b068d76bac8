//! What a user's Rust code does in a simulation, bugs included.
//!
//! Invariant: apart from `from_thread`, everything waits through the host table.

use std::time::Duration;

use gilscope_runtime::{PyFun, into_py_future, py_runtime, sleep, spawn};
use pyo3::prelude::*;

/// The user's bug: reads by one call, then writes by another. An awaitable of what was written.
#[pyfunction]
pub(crate) fn racy_bump<'py>(
    get: &Bound<'py, PyAny>,
    put: &Bound<'py, PyAny>,
    seconds: f64,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, get, put) = (get.py(), PyFun::new(get), PyFun::new(put));
    into_py_future(py, async move {
        sleep(Duration::from_secs_f64(seconds)).await;
        let value: i64 = py_runtime()?.call_async(&get, ()).await?;
        py_runtime()?.call_async::<i64>(&put, (value + 1,)).await
    })
}

/// Outside control: an awaitable of a value that a plain thread sends after real seconds.
#[pyfunction]
pub(crate) fn from_thread(py: Python<'_>, value: i64, seconds: f64) -> PyResult<Bound<'_, PyAny>> {
    into_py_future(py, async move {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs_f64(seconds));
            let _ = sender.send(value);
        });
        receiver
            .await
            .map_err(|error| pyo3::exceptions::PyRuntimeError::new_err(error.to_string()))
    })
}

/// Spawns, through the host table, a task that panics after a while.
#[pyfunction]
pub(crate) fn spawn_panic(seconds: f64) {
    spawn(async move {
        sleep(Duration::from_secs_f64(seconds)).await;
        panic!("boom in a simulated task");
    });
}
