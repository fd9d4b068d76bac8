//! Rust futures that Python awaits.
//!
//! Invariant: they wait on this library's tokio clock, or on the host table's where they say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gilscope_runtime::{PyFun, PyHandle, into_py_future, py_runtime};
use pyo3::exceptions::{PyStopIteration, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::own::tokio;

/// What a Rust future, or stream, has come to.
#[pyclass(frozen)]
#[derive(Clone, Default)]
pub(crate) struct Tracked(Arc<Marks>);

#[derive(Default)]
struct Marks {
    started: AtomicBool,
    finished: AtomicBool,
    dropped: AtomicBool,
}

/// Marks its future as dropped when it is.
pub(crate) struct Mark(Tracked);

impl Drop for Mark {
    fn drop(&mut self) {
        self.0.0.dropped.store(true, Ordering::SeqCst);
    }
}

impl Tracked {
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.clone())
    }

    pub(crate) fn start(&self) {
        self.0.started.store(true, Ordering::SeqCst);
    }

    pub(crate) fn finish(&self) {
        self.0.finished.store(true, Ordering::SeqCst);
    }
}

#[pymethods]
impl Tracked {
    /// Whether it was polled.
    #[getter]
    fn started(&self) -> bool {
        self.0.started.load(Ordering::SeqCst)
    }

    /// Whether its body ran to the end.
    #[getter]
    fn finished(&self) -> bool {
        self.0.finished.load(Ordering::SeqCst)
    }

    /// Whether it has been dropped, finished or not.
    #[getter]
    fn dropped(&self) -> bool {
        self.0.dropped.load(Ordering::SeqCst)
    }
}

/// An awaitable that does what its kind says; `value` is the result, or the exception of "error".
#[pyfunction]
#[pyo3(signature = (kind, value=None, seconds=0.01))]
pub(crate) fn future<'py>(
    py: Python<'py>,
    kind: &str,
    value: Option<Py<PyAny>>,
    seconds: f64,
) -> PyResult<Bound<'py, PyAny>> {
    let handle = PyHandle::new(value.unwrap_or_else(|| py.None()));
    let pause = Duration::from_secs_f64(seconds);
    match kind {
        "ready" => into_py_future(py, async { PyResult::Ok(handle) }),
        "pending" => into_py_future(py, async move {
            tokio::time::sleep(pause).await;
            PyResult::Ok(handle)
        }),
        "error" => into_py_future(py, async move {
            tokio::time::sleep(pause).await;
            let error = Python::attach(|py| PyErr::from_value(handle.bind(py).clone()));
            PyResult::<()>::Err(error)
        }),
        "stop_iteration" => into_py_future(py, async {
            PyResult::<()>::Err(PyStopIteration::new_err(1))
        }),
        "panic" => into_py_future(py, async { panics() }),
        "panic_later" => into_py_future(py, async move {
            tokio::time::sleep(pause).await;
            panics()
        }),
        other => Err(PyValueError::new_err(format!(
            "no kind of future {other:?}"
        ))),
    }
}

fn panics() -> PyResult<()> {
    panic!("a future's panic")
}

/// An awaitable that sleeps, and what has become of it.
#[pyfunction]
pub(crate) fn tracked(py: Python<'_>, seconds: f64) -> PyResult<(Bound<'_, PyAny>, Tracked)> {
    let tracked = Tracked::default();
    let (mark, theirs) = (tracked.mark(), tracked.clone());
    let awaitable = into_py_future(py, async move {
        let _mark = mark;
        theirs.start();
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        theirs.finish();
        PyResult::Ok(())
    })?;
    Ok((awaitable, tracked))
}

/// An awaitable of a call that is made by a tokio task inside it.
#[pyfunction]
#[pyo3(signature = (fun, *args))]
pub(crate) fn bridged<'py>(
    fun: &Bound<'py, PyAny>,
    args: Py<PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let (runtime, py, fun) = (py_runtime()?, fun.py(), PyFun::new(fun));
    into_py_future(py, async move {
        let call = tokio().spawn(async move { runtime.call_async::<PyHandle>(fun, args).await });
        call.await.expect("a call does not panic")
    })
}

/// An awaitable that sleeps on the host table's clock.
#[pyfunction]
pub(crate) fn host_sleep(py: Python<'_>, seconds: f64) -> PyResult<Bound<'_, PyAny>> {
    into_py_future(py, async move {
        gilscope_runtime::sleep(Duration::from_secs_f64(seconds)).await;
        PyResult::Ok(())
    })
}

/// Spawns, through the host table, a task that calls `fun` once.
#[pyfunction]
pub(crate) fn host_spawn(fun: &Bound<'_, PyAny>) -> PyResult<()> {
    let (runtime, fun) = (py_runtime()?, PyFun::new(fun));
    let call = async move { drop(runtime.call_async::<PyHandle>(fun, ()).await) };
    gilscope_runtime::spawn(call);
    Ok(())
}
