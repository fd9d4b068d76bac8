//! How a call ended, as a Rust caller sees it.
//!
//! Invariant: nothing here attaches to the interpreter to learn it.

use std::error::Error as _;

use gilscope_runtime::{Error, PyHandle, py_runtime};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::own::wait;
use crate::runtime::{Runtime, given};

/// By whom a call was cancelled, and what the error says; then of its cause, if it has one: type,
/// message, traceback and the exception itself.
type Cancelled = (String, String, Option<(String, String, String, Py<PyAny>)>);

/// A call that is expected to be cancelled; None if it ended in another way.
#[pyfunction]
#[pyo3(signature = (fun, *args))]
pub(crate) fn cancelled(fun: &Bound<'_, PyAny>, args: Py<PyTuple>) -> PyResult<Option<Cancelled>> {
    let future = py_runtime()?.call_async::<PyHandle>(fun, args);
    let outcome = wait(fun.py(), future)?;
    let Err(error) = outcome else { return Ok(None) };
    let text = error.to_string();
    let Error::Cancelled { by, cause } = error else {
        return Ok(None);
    };
    let cause = cause.map(|cause| {
        let words = [cause.type_name(), cause.message(), cause.traceback()];
        let [kind, message, traceback] = words.map(ToOwned::to_owned);
        (
            kind,
            message,
            traceback,
            cause.exception().clone_ref(fun.py()),
        )
    });
    Ok(Some((by.as_str().to_owned(), text, cause)))
}

/// What Rust says of a call that failed: `Display`, `Debug`, and the `Display` of each `source()`.
#[pyfunction]
#[pyo3(signature = (fun, *args, runtime=None))]
pub(crate) fn told(
    fun: &Bound<'_, PyAny>,
    args: Py<PyTuple>,
    runtime: Option<&Bound<'_, Runtime>>,
) -> PyResult<(String, String, Vec<String>)> {
    let future = given(runtime)?.call_async::<i64>(fun, args);
    let Err(error) = wait(fun.py(), future)? else {
        return Err(PyRuntimeError::new_err("it did not fail"));
    };
    let sources = std::iter::successors(error.source(), |&error| error.source());
    let sources = sources.map(ToString::to_string).collect();
    Ok((error.to_string(), format!("{error:?}"), sources))
}
