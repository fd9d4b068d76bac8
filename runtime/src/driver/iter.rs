//! What `await task` iterates over.
//!
//! Invariant: it yields its task at most once, then only ends.

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyBaseException, PyRuntimeError, PyStopIteration, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyTraceback, PyTuple, PyType};

use crate::life::park::ParkOnExit;

use super::capi;
use super::outcome;
use super::state::Slot;
use super::task::Task;

/// The iterator behind `__await__`.
#[pyclass(frozen, module = "gilscope._native", name = "TaskIter")]
pub(crate) struct TaskIter {
    task: Slot<Task>,
}

// SAFETY: the slot is only touched by methods, with the GIL held, and by the garbage collector.
unsafe impl Send for TaskIter {}
// SAFETY: as above.
unsafe impl Sync for TaskIter {}

impl TaskIter {
    pub(super) fn new(task: &Bound<'_, Task>) -> Self {
        Self {
            task: Slot::of(Some(task.clone().unbind())),
        }
    }

    fn next<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let Some(task) = self.task.get(py) else {
            return Err(stop_iteration(py, py.None()));
        };
        let state = task.get().state();
        if state.is_pending() {
            if state.blocking.replace(true) {
                return Err(PyRuntimeError::new_err("await wasn't used with future"));
            }
            return Ok(task.into_any());
        }
        self.task.put(None);
        let result = outcome::result(&task)?;
        Err(stop_iteration(py, result))
    }
}

// No guard: called on the loop's thread, which carries one all its life.
#[pymethods]
impl TaskIter {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.next(py)
    }

    fn send<'py>(
        &self,
        py: Python<'py>,
        _value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.next(py)
    }

    #[pyo3(signature = (typ, val=None, tb=None))]
    fn throw(
        &self,
        typ: Bound<'_, PyAny>,
        val: Option<Bound<'_, PyAny>>,
        tb: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        self.task.put(None);
        let exception = thrown(typ, val)?;
        if let Some(tb) = tb {
            if !tb.is_instance_of::<PyTraceback>() {
                let message = "throw() third argument must be a traceback";
                return Err(PyTypeError::new_err(message));
            }
            capi::set_traceback(&exception, Some(&tb));
        }
        Err(capi::raise(&exception))
    }

    fn close(&self) {
        self.task.put(None);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.task.visit(&visit)
    }

    fn __clear__(&self) {
        let _parks = ParkOnExit::new();
        self.task.put(None);
    }
}

/// `StopIteration(value)`, made as an instance: a tuple or an exception as value survives.
fn stop_iteration(py: Python<'_>, value: Py<PyAny>) -> PyErr {
    match py.get_type::<PyStopIteration>().call1((value,)) {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// The exception that `throw(typ, val)` means.
fn thrown<'py>(
    typ: Bound<'py, PyAny>,
    val: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    if typ.is_instance_of::<PyBaseException>() {
        return match val {
            None => Ok(typ),
            Some(_) => Err(PyTypeError::new_err(
                "instance exception may not have a separate value",
            )),
        };
    }
    let class = match typ.cast_into::<PyType>() {
        Ok(class) if class.is_subclass_of::<PyBaseException>()? => class,
        _ => {
            return Err(PyTypeError::new_err(
                "exceptions must be classes deriving BaseException or instances of such a class",
            ));
        }
    };
    match val {
        None => class.call0(),
        Some(val) if val.is_instance(&class)? => Ok(val),
        Some(val) => match val.cast::<PyTuple>() {
            Ok(args) => class.call1(args.clone()),
            Err(_) => class.call1((val,)),
        },
    }
}
