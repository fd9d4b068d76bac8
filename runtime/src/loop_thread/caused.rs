//! Callbacks of futures that became done in a poll: whom they wake, that poll woke. So it is with `gather`,
//! `TaskGroup`, `wait` and all else that waits for several.
//!
//! Invariant: the callback is called with what it would be called with, and looks the same to asyncio, which
//! names it where it raises.

use gilscope_instrument::Cause;
use pyo3::exceptions::PyAttributeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::state::{LoopState, current};
use crate::life::park::Parking;
use crate::python::imports;

/// Stands for a callback, and knows who scheduled it.
#[pyclass(frozen, module = "gilscope._native")]
pub(crate) struct Caused {
    callback: Parking<Py<PyAny>>,
    by: Cause,
}

/// What to schedule instead of `callback`, if that is a function or method that is told of a future.
#[inline]
pub(super) fn of(
    state: &LoopState,
    callback: &Bound<'_, PyAny>,
    told: &Bound<'_, PyAny>,
) -> Option<Py<PyAny>> {
    let by = state.recorder.cause();
    if !by.is_known() || !is_future(told) {
        return None;
    }
    let class = callback.get_type();
    let plain = class.is(imports::method(told.py())) || class.is(imports::function(told.py()));
    if !plain && !is_partial_of_asyncio(callback) {
        return None;
    }
    let callback = Parking::new(callback.clone().unbind());
    Py::new(told.py(), Caused { callback, by })
        .map(Py::into_any)
        .ok()
}

/// Of its type, whatever its class says it is: an `isinstance` may call user code.
fn is_future(told: &Bound<'_, PyAny>) -> bool {
    let class = imports::future(told.py()).as_ptr();
    // SAFETY: attached; `asyncio.Future` is a type.
    unsafe { ffi::PyObject_TypeCheck(told.as_ptr(), class.cast()) != 0 }
}

/// `wait_for` has one. Those of others are printed by asyncio in a way of their own.
fn is_partial_of_asyncio(callback: &Bound<'_, PyAny>) -> bool {
    let function = || {
        if !callback.get_type().is(imports::partial(callback.py())) {
            return None;
        }
        let module: String = callback
            .getattr("func")
            .ok()?
            .getattr("__module__")
            .ok()?
            .extract()
            .ok()?;
        Some(module)
    };
    function().is_some_and(|module| module.starts_with("asyncio."))
}

// No guard: called on the loop's thread, which carries one all its life.
#[pymethods]
impl Caused {
    #[pyo3(signature = (*args))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some(state) = current() else {
            return self.callback.bind(py).call1(args);
        };
        state
            .recorder
            .caused(self.by, || self.callback.bind(py).call1(args))
    }

    #[getter]
    fn __wrapped__(&self, py: Python<'_>) -> Py<PyAny> {
        self.callback.clone_ref(py)
    }

    #[getter]
    fn __qualname__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.callback.bind(py).getattr("__qualname__")
    }

    #[getter]
    fn __name__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.callback.bind(py).getattr("__name__")
    }

    #[getter]
    fn __self__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let this = self.callback.bind(py).getattr("__self__");
        this.map_err(|_| PyAttributeError::new_err("__self__"))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.callback.bind(py).repr()?.to_string())
    }
}
