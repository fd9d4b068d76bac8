//! The end of a task object: pyo3 has no `tp_finalize`, so it is put on the type by hand.
//!
//! Invariant: a task that is destroyed while pending says so through its loop's exception
//! handler, as asyncio's does, and still tells its owner an end.

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::life::park::ParkOnExit;

use super::globals::globals;
use super::outcome;
use super::state::Status;
use super::task::Task;

/// The deallocator pyo3 gave the type.
static DEALLOC: PyOnceLock<ffi::destructor> = PyOnceLock::new();

const DESTROYED: &str = "Task was destroyed but it is pending!";

/// Puts the finalizer on the type, once.
pub(super) fn install(py: Python<'_>) -> PyResult<()> {
    let task_type = py.get_type::<Task>().as_type_ptr();
    // SAFETY: the type is a live heap type of this crate that nobody can subclass, and the GIL is
    // held; its deallocator is kept and called by the new one.
    unsafe {
        let Some(dealloc) = (*task_type).tp_dealloc else {
            return Err(PyRuntimeError::new_err("the task type has no deallocator"));
        };
        if DEALLOC.set(py, dealloc).is_ok() {
            (*task_type).tp_finalize = Some(finalize);
            (*task_type).tp_dealloc = Some(deallocate);
            ffi::PyType_Modified(task_type);
        }
    }
    Ok(())
}

unsafe extern "C" fn deallocate(object: *mut ffi::PyObject) {
    // Any thread may be the last to let go of a task, and of its result.
    let _parks = ParkOnExit::new();
    // SAFETY: deallocators run attached, on an object of the type this one was put on. The
    // finalizer may resurrect it, in which case it must be left alone. `DEALLOC` was set before
    // this function became reachable.
    unsafe {
        if ffi::PyObject_CallFinalizerFromDealloc(object) < 0 {
            return;
        }
        if let Some(dealloc) = DEALLOC.get(Python::assume_attached()) {
            dealloc(object);
        }
    }
}

unsafe extern "C" fn finalize(object: *mut ffi::PyObject) {
    let _parks = ParkOnExit::new();
    // Refused when the interpreter is going away: then there is nobody left to tell.
    Python::try_attach(|py| {
        // SAFETY: finalizers run on a live object, of the type this one was put on.
        let task: Bound<'_, Task> =
            unsafe { Bound::from_borrowed_ptr(py, object).cast_into_unchecked() };
        if !task.get().state().is_pending() {
            return;
        }
        let raised = PyErr::take(py);
        if let Err(error) = report(&task) {
            error.write_unraisable(py, Some(task.as_any()));
        }
        abandon(&task);
        if let Some(raised) = raised {
            raised.restore(py);
        }
    });
}

/// Tells the loop's exception handler about a pending task nobody holds any more.
fn report(task: &Bound<'_, Task>) -> PyResult<()> {
    let py = task.py();
    let state = task.get().state();
    if !state.log_destroy.get() {
        return Ok(());
    }
    let context = PyDict::new(py);
    context.set_item("task", task)?;
    context.set_item("message", DESTROYED)?;
    if let Some(source) = state.source_traceback.get(py) {
        context.set_item("source_traceback", source)?;
    }
    let handler = &globals(py).names.call_exception_handler;
    task.get()
        .event_loop(py)?
        .call_method1(handler, (context,))
        .map(drop)
}

/// Ends the task for its owner, who would wait for ever.
fn abandon(task: &Bound<'_, Task>) {
    let py = task.py();
    let state = task.get().state();
    let error = PyRuntimeError::new_err(DESTROYED).into_value(py).into_any();
    state.exception.put(Some(error));
    state.status.set(Status::Finished);
    outcome::tell_owner(task);
}
