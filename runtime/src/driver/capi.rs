//! Calls into CPython that pyo3 has no fast or exact form for.
//!
//! Invariant: nothing here keeps a borrowed pointer past the call that used it.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

/// Arguments of [`call_method_kw`], the receiver not counted.
const MAX_ARGS: usize = 3;

/// Calls `receiver.name(*args[..-1], keyword=args[-1])` without building a dict.
///
/// `keyword` is a tuple of exactly one name. At most [`MAX_ARGS`] arguments.
#[inline]
pub(super) fn call_method_kw<'py, const N: usize>(
    receiver: &Bound<'py, PyAny>,
    name: &Py<PyString>,
    args: [&Bound<'py, PyAny>; N],
    keyword: &Py<PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    const { assert!(N >= 1 && N <= MAX_ARGS) };
    let py = receiver.py();
    // The first slot is scratch space for the callee, as PY_VECTORCALL_ARGUMENTS_OFFSET promises.
    let mut stack = [ptr::null_mut(); MAX_ARGS + 2];
    stack[1] = receiver.as_ptr();
    for (slot, arg) in stack[2..].iter_mut().zip(args) {
        *slot = arg.as_ptr();
    }
    let positional = N | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
    // SAFETY: the stack holds the receiver and N live references, of which the last is named by
    // `keyword`; the result is a new reference or null with an exception set.
    unsafe {
        let result = ffi::PyObject_VectorcallMethod(
            name.as_ptr(),
            stack.as_ptr().add(1),
            positional,
            keyword.as_ptr(),
        );
        Bound::from_owned_ptr_or_err(py, result)
    }
}

/// What came out of resuming a coroutine.
pub(super) enum Resumed<'py> {
    /// It suspended and yielded this.
    Yielded(Bound<'py, PyAny>),
    /// It returned this.
    Returned(Bound<'py, PyAny>),
    /// It raised.
    Raised(PyErr),
}

/// Sends `None` into a coroutine.
#[inline]
pub(super) fn send_none<'py>(coro: &Bound<'py, PyAny>) -> Resumed<'py> {
    let py = coro.py();
    let mut value = ptr::null_mut();
    // SAFETY: both arguments are live; on NEXT and RETURN `value` is a new reference, on ERROR an
    // exception is set and `value` is not touched further.
    unsafe {
        match ffi::PyIter_Send(coro.as_ptr(), ffi::Py_None(), &mut value) {
            ffi::PySendResult::PYGEN_RETURN => Resumed::Returned(Bound::from_owned_ptr(py, value)),
            ffi::PySendResult::PYGEN_NEXT => Resumed::Yielded(Bound::from_owned_ptr(py, value)),
            ffi::PySendResult::PYGEN_ERROR => Resumed::Raised(PyErr::fetch(py)),
        }
    }
}

/// The error of `raise exception`: chained implicitly to the exception being handled, if any.
pub(super) fn raise(exception: &Bound<'_, PyAny>) -> PyErr {
    let py = exception.py();
    // SAFETY: both arguments are live objects; PyErr_SetObject sets an exception in every case,
    // which is fetched at once.
    unsafe {
        ffi::PyErr_SetObject(exception.get_type().as_ptr(), exception.as_ptr());
        PyErr::fetch(py)
    }
}

/// Makes an exception of class `class` and raises it as [`raise`] does.
pub(super) fn raise_new(class: &Bound<'_, PyAny>, message: &str) -> PyErr {
    match class.call1((message,)) {
        Ok(exception) => raise(&exception),
        Err(error) => error,
    }
}

/// The traceback of an exception object.
pub(super) fn traceback<'py>(exception: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    // SAFETY: the argument is an exception object; the result is a new reference or null without
    // an exception set.
    unsafe {
        let traceback = ffi::PyException_GetTraceback(exception.as_ptr());
        Bound::from_owned_ptr_or_opt(exception.py(), traceback)
    }
}

/// Replaces the traceback of an exception object; `None` takes it away.
///
/// `traceback` must be a traceback object.
pub(super) fn set_traceback(exception: &Bound<'_, PyAny>, traceback: Option<&Bound<'_, PyAny>>) {
    let none = exception.py().None();
    let traceback = traceback.map_or(none.as_ptr(), Bound::as_ptr);
    // SAFETY: the first argument is an exception object and the second a traceback or None, so
    // the call cannot fail.
    unsafe { ffi::PyException_SetTraceback(exception.as_ptr(), traceback) };
}

/// A copy of the context that is current on this thread.
pub(super) fn copy_context(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: the result is a new reference or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent()) }
}
