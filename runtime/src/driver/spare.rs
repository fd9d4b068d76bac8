//! The task object of a call that ended in its first step, kept for the next call of its loop.
//!
//! Invariant: a task is used again only if nobody can tell: nothing refers to it, strongly or
//! weakly, and nobody has set an attribute of its own on it.
//!
//! Making and destroying a task object is about a fifth of what a call that never suspends costs
//! its loop thread (`make bench`, rows `immediate`).

use std::cell::Cell;

use pyo3::ffi;
use pyo3::prelude::*;

use super::task::Task;

/// Room for one task object. Belongs to one loop thread; drop it attached.
#[derive(Default)]
pub(crate) struct Spare(Cell<Option<Py<Task>>>);

impl Spare {
    /// The spare task, which has ended and holds nothing. Runs no Python code.
    #[inline]
    pub(super) fn take<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Task>> {
        let task = self.0.take()?.into_bound(py);
        // `gc.get_objects()` shows a spare task to whoever looks.
        is_unknown(&task).then_some(task)
    }

    /// Keeps an ended task if nobody knows it, else only lets it go. What the task held is
    /// dropped, which may run Python code.
    #[inline]
    pub(super) fn put(&self, task: Bound<'_, Task>) {
        if is_unknown(&task) {
            task.get().state().clear();
            self.0.set(Some(task.unbind()));
        }
    }
}

/// Whether the given reference is all that leads to the task, and it has no attributes.
#[inline]
fn is_unknown(task: &Bound<'_, Task>) -> bool {
    let object = task.as_ptr();
    // SAFETY: a live object, the GIL is held.
    unsafe { ffi::Py_REFCNT(object) == 1 && !has_weak_references(object) && !has_dict(object) }
}

/// # Safety
/// The object is a live task and the GIL is held.
#[inline]
unsafe fn has_weak_references(object: *mut ffi::PyObject) -> bool {
    // SAFETY: the type is `#[pyclass(weakref)]`, so the offset leads to its list head.
    unsafe {
        let offset = (*ffi::Py_TYPE(object)).tp_weaklistoffset;
        !(*object.byte_offset(offset).cast::<*mut ffi::PyObject>()).is_null()
    }
}

/// Whether somebody else holds the attribute dict or has put something in.
///
/// # Safety
/// The object is a live task and the GIL is held.
#[inline]
unsafe fn has_dict(object: *mut ffi::PyObject) -> bool {
    // SAFETY: the type is `#[pyclass(dict)]`, so the offset leads to a dict or NULL.
    unsafe {
        let offset = (*ffi::Py_TYPE(object)).tp_dictoffset;
        let dict = *object.byte_offset(offset).cast::<*mut ffi::PyObject>();
        !dict.is_null() && (ffi::Py_REFCNT(dict) > 1 || ffi::PyDict_Size(dict) > 0)
    }
}
