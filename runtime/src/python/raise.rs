//! Raising as generators and coroutines do.
//!
//! Invariant: a value that is itself a tuple or an exception survives `StopIteration`.

use pyo3::exceptions::{PyBaseException, PyStopIteration, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyTraceback, PyTuple, PyType};

/// `StopIteration` that carries `value`, made as an instance: arguments would be unpacked.
pub(crate) fn stop_iteration(py: Python<'_>, value: Bound<'_, PyAny>) -> PyErr {
    match py.get_type::<PyStopIteration>().call1((value,)) {
        Ok(stop) => PyErr::from_value(stop),
        Err(error) => error,
    }
}

/// The exception that the arguments of `throw` stand for.
///
/// # Errors
/// `TypeError` for arguments that stand for none.
pub(crate) fn thrown(
    typ: &Bound<'_, PyAny>,
    val: Option<Bound<'_, PyAny>>,
    tb: Option<Bound<'_, PyAny>>,
) -> PyResult<PyErr> {
    let py = typ.py();
    let val = val.filter(|val| !val.is_none());
    let exception = match typ.cast::<PyType>() {
        Ok(class) => match val {
            None => class.call0()?,
            Some(val) if val.is_instance(class)? => val,
            Some(val) => match val.cast::<PyTuple>() {
                Ok(args) => class.call1(args.clone())?,
                Err(_) => class.call1((val,))?,
            },
        },
        Err(_) => typ.clone(),
    };
    if !exception.is_instance_of::<PyBaseException>() {
        let text = "exceptions must be classes or instances deriving from BaseException";
        return Err(PyTypeError::new_err(text));
    }
    let error = PyErr::from_value(exception);
    if let Some(tb) = tb.filter(|tb| !tb.is_none()) {
        error.set_traceback(py, Some(tb.cast_into::<PyTraceback>()?));
    }
    Ok(error)
}
