//! The two callables a task leaves with the event loop and with the futures it waits for.
//!
//! Invariant: `__self__` of both is the task, so that asyncio's debug output and
//! [`as_woken_task`] find it.

use std::cell::UnsafeCell;
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::globals::globals;
use super::step;
use super::task::Task;

/// A method definition in static memory, as `PyCFunction_NewEx` wants it.
struct Definition(UnsafeCell<ffi::PyMethodDef>);

// SAFETY: CPython only reads method definitions.
unsafe impl Sync for Definition {}

impl Definition {
    const fn new(name: &'static CStr, function: ffi::PyCFunction, flags: std::ffi::c_int) -> Self {
        Self(UnsafeCell::new(ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: ffi::PyMethodDefPointer {
                PyCFunction: function,
            },
            ml_flags: flags,
            ml_doc: ptr::null(),
        }))
    }

    /// The builtin bound to `task`.
    fn bind<'py>(&self, task: &Bound<'py, Task>) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: the definition is static; the result is a new reference or null with an
        // exception set.
        unsafe {
            let builtin = ffi::PyCFunction_NewEx(self.0.get(), task.as_ptr(), ptr::null_mut());
            Bound::from_owned_ptr_or_err(task.py(), builtin)
        }
    }
}

static STEP: Definition = Definition::new(c"TaskStepMethWrapper", step_builtin, ffi::METH_NOARGS);
static WAKEUP: Definition = Definition::new(c"TaskWakeupMethWrapper", wakeup_builtin, ffi::METH_O);

/// The callable that runs the next step of `task`.
#[inline]
pub(super) fn step_of<'py>(task: &Bound<'py, Task>) -> PyResult<Bound<'py, PyAny>> {
    STEP.bind(task)
}

/// The callable a future calls when it is done.
#[inline]
pub(super) fn wakeup_of<'py>(task: &Bound<'py, Task>) -> PyResult<Bound<'py, PyAny>> {
    WAKEUP.bind(task)
}

/// The task that `callback` would step, when it is one of the driver's own callables.
///
/// For whoever sees every `call_soon` and wants to know which task was just woken. Needs the GIL.
#[inline]
pub(crate) fn as_woken_task<'py>(callback: &Bound<'py, PyAny>) -> Option<Bound<'py, Task>> {
    let object = callback.as_ptr();
    // SAFETY: the object is live, and is read as a builtin only when it is exactly one. The
    // definitions are bound to tasks only.
    unsafe {
        if ffi::PyCFunction_CheckExact(object) == 0 {
            return None;
        }
        let builtin = object.cast::<ffi::PyCFunctionObject>();
        let definition = (*builtin).m_ml;
        if definition != STEP.0.get() && definition != WAKEUP.0.get() {
            return None;
        }
        let task = Bound::from_borrowed_ptr(callback.py(), (*builtin).m_self);
        Some(task.cast_into_unchecked())
    }
}

unsafe extern "C" fn step_builtin(
    task: *mut ffi::PyObject,
    _unused: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: CPython calls this attached, with the task the builtin is bound to.
    unsafe { enter(task, step::step) }
}

unsafe extern "C" fn wakeup_builtin(
    task: *mut ffi::PyObject,
    future: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: CPython calls this attached, with the task the builtin is bound to and a live
    // argument.
    unsafe {
        enter(task, |task| {
            let future = Bound::from_borrowed_ptr(task.py(), future);
            wakeup(task, &future)
        })
    }
}

/// Steps with the outcome of the future the task waited for.
fn wakeup(task: &Bound<'_, Task>, future: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = task.py();
    if let Err(error) = future.call_method0(&globals(py).names.result) {
        let exception = error.into_value(py).into_any();
        task.get().state().throw.put(Some(exception));
    }
    step::step(task)
}

/// Runs `body` for the task behind a pointer and turns its result into that of a builtin.
///
/// # Safety
/// The thread is attached and `task` is a live [`Task`].
#[inline]
unsafe fn enter(
    task: *mut ffi::PyObject,
    body: impl FnOnce(&Bound<'_, Task>) -> PyResult<()>,
) -> *mut ffi::PyObject {
    // Only `attach` tells pyo3 that references may be dropped on the spot.
    Python::attach(|py| {
        // SAFETY: promised by the caller.
        let task = unsafe { Bound::from_borrowed_ptr(py, task).cast_into_unchecked() };
        let result = catch_unwind(AssertUnwindSafe(|| body(&task)))
            .unwrap_or_else(|_| Err(PyRuntimeError::new_err("the driver of a task panicked")));
        match result {
            Ok(()) => py.None().into_ptr(),
            Err(error) => {
                error.restore(py);
                ptr::null_mut()
            }
        }
    })
}
