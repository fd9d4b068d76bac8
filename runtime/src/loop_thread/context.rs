//! Entering a `contextvars.Context`.
//!
//! Invariant: what was entered is left on every path, in the reverse order.

use pyo3::ffi;
use pyo3::prelude::*;

/// A Context that is entered for as long as this lives.
pub(crate) struct Entered<'a, 'py>(&'a Bound<'py, PyAny>);

impl<'a, 'py> Entered<'a, 'py> {
    /// # Errors
    /// `RuntimeError` if it is entered already, `TypeError` if it is no Context.
    pub(crate) fn new(context: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        // SAFETY: attached, and the object is checked by the callee.
        if unsafe { ffi::PyContext_Enter(context.as_ptr()) } < 0 {
            return Err(PyErr::fetch(context.py()));
        }
        Ok(Self(context))
    }
}

impl Drop for Entered<'_, '_> {
    fn drop(&mut self) {
        // SAFETY: entered by `new` on this thread. It fails only if somebody unbalanced the stack.
        if unsafe { ffi::PyContext_Exit(self.0.as_ptr()) } < 0 {
            PyErr::fetch(self.0.py()).write_unraisable(self.0.py(), None);
        }
    }
}
