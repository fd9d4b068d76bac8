//! Runtimes as the tests hold them: the default one through the host table, or this library's own.
//!
//! Invariant: a `Runtime` is one `PyRuntime` handle and nothing else.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use gilscope_runtime::{Config, Error, PyAsyncCallback, PyFun, PyHandle, PyRuntime, ShutdownMode};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// A handle on a runtime.
#[pyclass(frozen)]
pub(crate) struct Runtime {
    pub(crate) inner: PyRuntime,
}

/// The given runtime, or the default one.
pub(crate) fn given(runtime: Option<&Bound<'_, Runtime>>) -> Result<PyRuntime, Error> {
    match runtime {
        Some(runtime) => Ok(runtime.get().inner.clone()),
        None => gilscope_runtime::py_runtime(),
    }
}

#[pymethods]
impl Runtime {
    #[new]
    #[pyo3(signature = (*, queue_size=1024, max_in_flight=None, on_start=None, on_stop=None, detached=false))]
    fn new(
        py: Python<'_>,
        queue_size: usize,
        max_in_flight: Option<usize>,
        on_start: Option<Py<PyAny>>,
        on_stop: Option<Py<PyAny>>,
        detached: bool,
    ) -> PyResult<Self> {
        let config = Config {
            queue_size,
            max_in_flight,
            on_start,
            on_stop,
            ..Config::named("test-ext")
        };
        let inner = if detached {
            py.detach(|| PyRuntime::new(config))
        } else {
            PyRuntime::new(config)
        };
        Ok(Self { inner: inner? })
    }

    #[staticmethod]
    fn default() -> PyResult<Self> {
        Ok(Self {
            inner: gilscope_runtime::py_runtime()?,
        })
    }

    /// What Rust's `Debug` prints.
    fn __repr__(&self) -> String {
        format!("{:?}", self.inner)
    }

    #[getter]
    fn id(&self) -> u64 {
        self.inner.id()
    }

    #[getter]
    fn is_stopped(&self) -> bool {
        self.inner.is_stopped()
    }

    /// Pending, abandoned, joined.
    #[pyo3(signature = (mode="cancel", deadline=None))]
    fn shutdown(&self, mode: &str, deadline: Option<f64>) -> PyResult<(usize, usize, bool)> {
        let mode = match mode {
            "drain" => ShutdownMode::Drain,
            "cancel" => ShutdownMode::Cancel,
            "abort" => ShutdownMode::Abort,
            _ => return Err(PyValueError::new_err("mode")),
        };
        let report = self
            .inner
            .shutdown(mode, deadline.map(Duration::from_secs_f64));
        Ok((report.pending, report.abandoned, report.joined))
    }

    /// Submits `n` calls without waiting, the GIL held: how many were taken, how many had no room.
    fn try_many(&self, fun: &Bound<'_, PyAny>, n: usize) -> PyResult<(usize, usize)> {
        let (fun, py) = (PyFun::new(fun), fun.py());
        let (mut taken, mut full) = (0, 0);
        for _ in 0..n {
            let args = PyTuple::empty(py).unbind();
            match self
                .inner
                .try_call::<PyHandle>(&fun, args, PyAsyncCallback::Discard)
            {
                Ok(_) => taken += 1,
                Err(Error::QueueFull) => full += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok((taken, full))
    }
}

/// Id of the default runtime.
#[pyfunction]
pub(crate) fn runtime_id() -> PyResult<u64> {
    Ok(gilscope_runtime::py_runtime()?.id())
}

/// The ids that `n` plain threads get which ask at the same moment.
#[pyfunction]
pub(crate) fn race(py: Python<'_>, n: usize) -> PyResult<Vec<u64>> {
    let barrier = Arc::new(Barrier::new(n));
    let ids = py.detach(|| {
        let ask = |_| {
            let barrier = Arc::clone(&barrier);
            std::thread::spawn(move || {
                barrier.wait();
                gilscope_runtime::py_runtime().map(|runtime| runtime.id())
            })
        };
        let threads: Vec<_> = (0..n).map(ask).collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        joined.collect::<Result<Vec<_>, _>>()
    });
    Ok(ids?)
}
