//! Blocking, the GIL, and threads.
//!
//! Invariant: each function says which thread does what with the GIL held or not.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gilscope_runtime::{PyFun, PyHandle, py_runtime};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::own::{result, tokio, wait};
use crate::runtime::{Runtime, given};

/// `call_blocking` on the calling thread, which is attached and not in a tokio.
#[pyfunction]
#[pyo3(signature = (fun, *args, runtime=None))]
pub(crate) fn call_blocking(
    fun: &Bound<'_, PyAny>,
    args: Py<PyTuple>,
    runtime: Option<&Bound<'_, Runtime>>,
) -> PyResult<Py<PyAny>> {
    result(
        fun.py(),
        given(runtime)?.call_blocking::<PyHandle>(fun, args),
    )
}

/// `call_blocking` on a tokio worker.
#[pyfunction]
#[pyo3(signature = (fun, *args))]
pub(crate) fn call_blocking_on_worker(
    fun: &Bound<'_, PyAny>,
    args: Py<PyTuple>,
) -> PyResult<Py<PyAny>> {
    let (runtime, py, fun) = (py_runtime()?, fun.py(), PyFun::new(fun));
    let outcome = wait(
        py,
        async move { runtime.call_blocking::<PyHandle>(fun, args) },
    )?;
    result(py, outcome)
}

/// Makes a handle on the object and lets go of it, and of a clone, on a tokio worker without the GIL.
#[pyfunction]
pub(crate) fn drop_unattached(py: Python<'_>, object: Py<PyAny>) -> PyResult<()> {
    let handle = PyHandle::new(object);
    let clone = handle.clone();
    wait(py, async move {
        drop(clone);
        drop(handle);
    })
}

thread_local! {
    /// Dropped by what ends the thread.
    static LAST: RefCell<Option<PyHandle>> = const { RefCell::new(None) };
}

/// Makes a handle on the object and lets go of it on a thread of its own, without the GIL: in its function, or
/// when the thread's own variables are dropped.
#[pyfunction]
pub(crate) fn drop_on_thread(py: Python<'_>, object: Py<PyAny>, at_its_end: bool) {
    let handle = PyHandle::new(object);
    let drops = move || {
        if at_its_end {
            LAST.set(Some(handle));
        } else {
            drop(handle);
        }
    };
    let ended = py.detach(|| std::thread::spawn(drops).join());
    ended.expect("to drop a handle does not panic");
}

/// Starts `calls` calls from tokio tasks and holds the GIL for `seconds` without letting go; returns
/// how often a task of the same tokio, one every 5 ms, ran meanwhile.
#[pyfunction]
pub(crate) fn ticks_while_gil_held(
    fun: &Bound<'_, PyAny>,
    seconds: f64,
    calls: usize,
) -> PyResult<u64> {
    let (runtime, fun) = (py_runtime()?, PyFun::new(fun));
    let ticks = Arc::new(AtomicU64::new(0));
    let theirs = Arc::clone(&ticks);
    let ticker = tokio().spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            theirs.fetch_add(1, Ordering::Relaxed);
        }
    });
    for i in 0..calls {
        let (runtime, fun) = (runtime.clone(), fun.clone());
        tokio().spawn(async move { drop(runtime.call_async::<PyHandle>(fun, (i,)).await) });
    }
    std::thread::sleep(Duration::from_secs_f64(seconds));
    ticker.abort();
    Ok(ticks.load(Ordering::Relaxed))
}

/// Starts tokio tasks that call `fun` until it fails; they are never waited for.
#[pyfunction]
pub(crate) fn keep_calling(fun: &Bound<'_, PyAny>, tasks: usize) -> PyResult<()> {
    let (runtime, fun) = (py_runtime()?, PyFun::new(fun));
    for _ in 0..tasks {
        let (runtime, fun) = (runtime.clone(), fun.clone());
        tokio()
            .spawn(async move { while runtime.call_async::<PyHandle>(&fun, ()).await.is_ok() {} });
    }
    Ok(())
}
