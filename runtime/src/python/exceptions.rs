//! The one conversion from [`Error`] to Python.
//!
//! Invariant: what the callee raised comes back as the same object; everything else is an exception
//! of `errors.py`, whose classes exist once per process where `gilscope` is installed.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule};

use crate::error::Error;

/// Names of the classes, in the order of `errors.py`.
pub(crate) const CLASSES: [&str; 9] = [
    "GilscopeError",
    "RuntimeStopped",
    "CallCancelled",
    "DeadlineExceeded",
    "ArgumentError",
    "ResultError",
    "RustPanic",
    "QueueFull",
    "WrongThread",
];

/// The module of the exceptions: the installed gilscope's, or this library's own.
pub(crate) fn module(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = super::imports::once(py, &MODULE, || {
        let modules = py
            .import("sys")?
            .getattr("modules")?
            .cast_into::<PyDict>()?;
        if let Some(installed) = modules.get_item("gilscope._errors")? {
            return Ok(installed.cast_into::<PyModule>()?.unbind());
        }
        let code = std::ffi::CString::new(include_str!("errors.py"))?;
        let module = PyModule::from_code(py, &code, c"gilscope/errors.py", c"gilscope._errors")?;
        // Another thread may have been about it, too.
        let kept = modules.call_method1("setdefault", ("gilscope._errors", module))?;
        Ok(kept.cast_into::<PyModule>()?.unbind())
    })?;
    Ok(module.bind(py))
}

/// See the module's text.
pub(crate) fn to_py_err(py: Python<'_>, error: Error) -> PyErr {
    match error {
        Error::Python(error) => error.to_py_err(py),
        error => build(py, error).unwrap_or_else(|error| error),
    }
}

/// What a caller gets whose call was refused. What the refused calls held is let go of.
pub(crate) fn refused(py: Python<'_>, error: Error) -> PyErr {
    if matches!(error, Error::QueueFull) {
        crate::handle::release::drain_refused(py);
    }
    to_py_err(py, error)
}

/// `QueueFull` with a text of its own; else as [`refused`].
pub(crate) fn queue_full(py: Python<'_>, text: &str) -> PyErr {
    crate::handle::release::drain_refused(py);
    with_text(py, "QueueFull", text)
}

/// `RuntimeStopped` with a text of its own.
pub(crate) fn runtime_stopped(py: Python<'_>, text: &str) -> PyErr {
    with_text(py, "RuntimeStopped", text)
}

fn with_text(py: Python<'_>, class: &str, text: &str) -> PyErr {
    let class = module(py).and_then(|module| module.getattr(class));
    class
        .and_then(|class| class.call1((text,)))
        .map_or_else(|error| error, PyErr::from_value)
}

fn build(py: Python<'_>, error: Error) -> PyResult<PyErr> {
    let message = error.to_string();
    let module = module(py)?;
    let with = |class: &str, detail: Option<Bound<'_, PyAny>>| {
        let class = module.getattr(class)?;
        let exception = match detail {
            None => class.call1((&message,)),
            Some(detail) => class.call1((&message, detail)),
        };
        Ok(PyErr::from_value(exception?))
    };
    let word = |word: &str| Some(word.into_pyobject(py).expect("infallible").into_any());
    match error {
        Error::Cancelled { by, cause } => {
            let cancelled = with("CallCancelled", word(by.as_str()))?;
            match cause {
                None => Ok(cancelled),
                Some(cause) => chained(py, cancelled, cause.to_py_err(py)),
            }
        }
        Error::DeadlineExceeded { place, .. } => with("DeadlineExceeded", word(place.as_str())),
        Error::Argument(cause) => chained(py, with("ArgumentError", None)?, cause.to_py_err(py)),
        Error::Result { error, value } => {
            let raised = with("ResultError", Some(value.bind(py).clone()))?;
            chained(py, raised, error.to_py_err(py))
        }
        Error::RustPanic(_) => with("RustPanic", None),
        Error::RuntimeStopped { cause, .. } => {
            let stopped = with("RuntimeStopped", None)?;
            match cause {
                None => Ok(stopped),
                Some(cause) => chained(py, stopped, cause.to_py_err(py)),
            }
        }
        Error::QueueFull => with("QueueFull", None),
        Error::WrongThread(_) => with("WrongThread", None),
        Error::Python(error) => Ok(error.to_py_err(py)),
    }
}

fn chained(py: Python<'_>, error: PyErr, cause: PyErr) -> PyResult<PyErr> {
    error.set_cause(py, Some(cause));
    Ok(error)
}
