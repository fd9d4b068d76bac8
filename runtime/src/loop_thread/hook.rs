//! The loop's `call_soon`, seen: when a task was woken, and when a task made inside a call is polled.
//!
//! Invariant: the hook changes neither what is scheduled nor its order; it passes the call on as it
//! came, but for a task's step, which it surrounds by two stamps.

use std::cell::UnsafeCell;
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::caused;
use super::child::{self, Child};
use super::state::current;
use crate::driver;
use crate::python::names::name;

/// A method definition in static memory.
struct Definition(UnsafeCell<ffi::PyMethodDef>);

// SAFETY: CPython only reads method definitions.
unsafe impl Sync for Definition {}

impl Definition {
    const fn new(
        name: &'static std::ffi::CStr,
        function: ffi::PyCFunctionFastWithKeywords,
    ) -> Self {
        Self(UnsafeCell::new(ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: ffi::PyMethodDefPointer {
                PyCFunctionFastWithKeywords: function,
            },
            ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
            ml_doc: ptr::null(),
        }))
    }

    fn bind<'py>(&self, this: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: the definition is static; a new reference or NULL with an error set.
        unsafe {
            let function = ffi::PyCFunction_NewEx(self.0.get(), this.as_ptr(), ptr::null_mut());
            Bound::from_owned_ptr_or_err(this.py(), function)
        }
    }
}

static CALL_SOON: Definition = Definition::new(c"call_soon", call_soon);
static STEP: Definition = Definition::new(c"task_step", step);

/// Puts the hook before a loop's own `call_soon`.
pub(crate) fn install(event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
    let original = event_loop.getattr("call_soon")?;
    event_loop.setattr("call_soon", CALL_SOON.bind(&original)?)
}

/// `call_soon(callback, *args, context=None)`; `original` is the loop's bound method.
unsafe extern "C" fn call_soon(
    original: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let wrapped = if nargs == 0 || !gilscope_instrument::enabled() {
        None
    } else {
        Python::attach(|py| {
            // SAFETY: there is a first argument, live during the call.
            let callback = unsafe { Bound::from_borrowed_ptr(py, *args) };
            // SAFETY: there are as many, live during the call.
            let told = (nargs > 1).then(|| unsafe { Bound::from_borrowed_ptr(py, *args.add(1)) });
            look(py, &callback, told.as_ref())
        })
    };
    let Some(wrapped) = wrapped else {
        // SAFETY: the arguments are passed on as they came.
        return unsafe { ffi::PyObject_Vectorcall(original, args, nargs as usize, names) };
    };
    let keywords = if names.is_null() {
        0
    } else {
        // SAFETY: `names` is a tuple.
        unsafe { ffi::PyTuple_GET_SIZE(names) as usize }
    };
    // SAFETY: FASTCALL passes positional and keyword values in one array.
    let rest = unsafe { std::slice::from_raw_parts(args.add(1), nargs as usize - 1 + keywords) };
    let mut all = [ptr::null_mut(); 8];
    if rest.len() >= all.len() {
        // SAFETY: as above.
        return unsafe { ffi::PyObject_Vectorcall(original, args, nargs as usize, names) };
    }
    all[0] = wrapped.as_ptr();
    all[1..=rest.len()].copy_from_slice(rest);
    // SAFETY: the array holds the same arguments with the first replaced; it outlives the call.
    let result = unsafe { ffi::PyObject_Vectorcall(original, all.as_ptr(), nargs as usize, names) };
    Python::attach(|_| drop(wrapped));
    result
}

/// Stamps a wake; returns what to schedule instead of a child task's step, or of what is `told` of a future.
#[inline]
fn look(
    py: Python<'_>,
    callback: &Bound<'_, PyAny>,
    told: Option<&Bound<'_, PyAny>>,
) -> Option<Py<PyAny>> {
    if let Some(task) = driver::as_woken_task(callback) {
        task.get().woken();
        return None;
    }
    let state = current()?;
    let Some(task) = child_of(callback) else {
        // asyncio's debug output shows callbacks as they are.
        return caused::of(state, callback, told.filter(|_| !state.debug)?);
    };
    let child = child::scheduled(state, &task)?;
    let child = Child::keep(py, callback, &task, child).ok()?;
    if state.debug {
        // asyncio's debug output asks the callback for its `__self__`, the task.
        return Some(child);
    }
    STEP.bind(child.bind(py)).ok().map(Bound::unbind)
}

/// The asyncio task that `callback` would step: its C code schedules a step wrapper or, from a
/// future, the builtin `task_wakeup`.
#[inline]
fn child_of<'py>(callback: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let py = callback.py();
    let object = callback.as_ptr();
    // SAFETY: the object is live and is read as a builtin only when it is exactly one.
    unsafe {
        if ffi::PyCFunction_CheckExact(object) != 0 {
            let builtin = object.cast::<ffi::PyCFunctionObject>();
            let name = std::ffi::CStr::from_ptr((*(*builtin).m_ml).ml_name);
            if (*builtin).m_self.is_null() || name != c"task_wakeup" {
                return None;
            }
            return Some(Bound::from_borrowed_ptr(py, (*builtin).m_self));
        }
    }
    if !is_step_wrapper(callback) {
        return None;
    }
    callback.getattr(name!(py, c"__self__")).ok()
}

/// Whether it is asyncio's `TaskStepMethWrapper`, whose type is learned at its first sight.
#[inline]
fn is_step_wrapper(callback: &Bound<'_, PyAny>) -> bool {
    static TYPE: PyOnceLock<usize> = PyOnceLock::new();
    let class = callback.get_type();
    if let Some(known) = TYPE.get(callback.py()) {
        return *known == class.as_ptr() as usize;
    }
    let is = class
        .name()
        .is_ok_and(|name| name.to_string_lossy() == "TaskStepMethWrapper");
    if is {
        let _ = TYPE.set(callback.py(), class.as_ptr() as usize);
    }
    is
}

/// Runs a step between two stamps; `this` is a [`Child`].
unsafe extern "C" fn step(
    this: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    Python::attach(|py| {
        // SAFETY: `STEP` is bound to `Child` objects only.
        let child = unsafe { Bound::from_borrowed_ptr(py, this).cast_into_unchecked::<Child>() };
        child.get().step(py, |callback| {
            // SAFETY: the arguments are passed on as they came.
            unsafe { ffi::PyObject_Vectorcall(callback.as_ptr(), args, nargs as usize, names) }
        })
    })
}
