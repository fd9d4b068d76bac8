//! The outcome that a Python callback receives.
//!
//! Invariant: a callback that raises, whatever it raises, is reported to the loop's exception handler
//! and ends nothing but itself.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::call::job::Delivered;
use crate::error::Outcome;
use crate::handle::{PyFun, PyHandle};
use crate::life::park::{ParkOnExit, Parking};
use crate::loop_thread::inherited;

/// How a call ended: a value or an exception.
#[pyclass(frozen, name = "Outcome", module = "gilscope._native")]
#[derive(Debug)]
pub struct PyOutcome {
    ended: Parking<Ended>,
}

/// A value, an exception, or neither: `None`.
#[derive(Debug)]
struct Ended {
    value: Option<Py<PyAny>>,
    error: Option<Py<PyAny>>,
}

#[pymethods]
impl PyOutcome {
    /// Whether the call returned a value.
    #[getter]
    fn ok(&self) -> bool {
        self.ended.error.is_none()
    }

    // No guard: hands out what is there.
    /// Return the value, or raise what the call raised.
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match (&self.ended.value, &self.ended.error) {
            (_, Some(error)) => Err(PyErr::from_value(error.bind(py).clone())),
            (Some(value), None) => Ok(value.clone_ref(py)),
            (None, None) => Ok(py.None()),
        }
    }

    // No guard: hands out what is there.
    /// Return the exception, or None.
    fn exception(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.ended.error.as_ref().map(|error| error.clone_ref(py))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let _parks = ParkOnExit::new();
        Ok(match (&self.ended.value, &self.ended.error) {
            (_, Some(error)) => format!("<Outcome error={}>", error.bind(py).get_type().name()?),
            (Some(value), _) => format!("<Outcome value={}>", value.bind(py).get_type().name()?),
            _ => "<Outcome>".to_owned(),
        })
    }

    /// An error that was raised from `result` refers to the frame there, which refers to this. Whatever
    /// can make a cycle with it can be cleared; this itself stays whole.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.ended.value)?;
        visit.call(&self.ended.error)
    }
}

impl PyOutcome {
    pub(crate) fn new(py: Python<'_>, outcome: Outcome<PyHandle>) -> Self {
        let (value, error) = match outcome {
            Ok(value) => (Some(value.clone_ref(py)), None),
            Err(error) => {
                let error = crate::python::exceptions::to_py_err(py, error);
                (None, Some(error.into_value(py).into_any()))
            }
        };
        Self {
            ended: Parking::new(Ended { value, error }),
        }
    }
}

/// Calls a Python callback with the outcome. Attached.
pub(crate) fn hand_over(py: Python<'_>, callback: &PyFun, outcome: Outcome<PyHandle>) -> Delivered {
    let callback = callback.callable().bind(py);
    let called = Py::new(py, PyOutcome::new(py, outcome)).and_then(|outcome| {
        let returned = callback.call1((outcome,))?;
        refuse_coroutine(&returned)
    });
    inherited::check_after(py, || {
        Some(called.as_ref().err()?.value(py).clone().into_any())
    });
    match called {
        Ok(()) => Delivered::Yes,
        Err(error) => {
            report(py, &error, callback);
            Delivered::Failed
        }
    }
}

/// A callback that turned out to be async: close what it made, so that nothing is "never awaited".
fn refuse_coroutine(returned: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: a type check of a live object.
    if unsafe { pyo3::ffi::PyCoro_CheckExact(returned.as_ptr()) } == 0 {
        return Ok(());
    }
    returned.call_method0("close")?;
    Err(pyo3::exceptions::PyTypeError::new_err(
        "the callback returned a coroutine: nobody awaits it",
    ))
}

/// Tells the exception handler of the running loop, which may be another library's.
fn report(py: Python<'_>, error: &PyErr, callback: &Bound<'_, PyAny>) {
    let tell = || -> PyResult<()> {
        let event_loop = super::imports::get_running_loop(py).call0()?;
        let context = PyDict::new(py);
        context.set_item("message", "a gilscope callback raised")?;
        context.set_item("exception", error.value(py))?;
        context.set_item("callback", callback)?;
        event_loop
            .call_method1("call_exception_handler", (context,))
            .map(drop)
    };
    if tell().is_err() {
        error.clone_ref(py).write_unraisable(py, Some(callback));
    }
}

/// What a future's `result` does: return the value or raise the exception if it has them, else `wait`.
#[pyfunction]
#[pyo3(signature = (future, wait, timeout=None))]
pub(crate) fn result_of<'py>(
    future: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
    timeout: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let _parks = ParkOnExit::new();
    if !future
        .call_method1("_is_settled", (timeout,))?
        .is_truthy()?
    {
        return wait.call1((timeout,));
    }
    let error = future.getattr("_exception")?;
    if error.is_none() {
        future.getattr("_result")
    } else {
        Err(PyErr::from_value(error))
    }
}

/// Raise TypeError for an `async def` callback, and for what cannot be called.
#[pyfunction]
pub(crate) fn refuse_async(callback: &Bound<'_, PyAny>) -> PyResult<()> {
    let _parks = ParkOnExit::new();
    let allowed = "a plain function that takes an Outcome";
    super::given::callable("callback", allowed, callback)?;
    let module = crate::loop_thread::thread::module(callback.py())?;
    module.getattr("refuse_async")?.call1((callback,))?;
    Ok(())
}
