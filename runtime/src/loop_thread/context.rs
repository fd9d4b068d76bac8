//! Entering a `contextvars.Context`.
//!
//! Invariant: what was entered is left on every path, in the reverse order.

use std::mem::ManuallyDrop;

use pyo3::ffi;
use pyo3::prelude::*;

/// A Context that is entered for as long as this lives.
pub(crate) struct Entered<'py>(Bound<'py, PyAny>);

impl<'py> Entered<'py> {
    /// # Errors
    /// `RuntimeError` if it is entered already, `TypeError` if it is no Context.
    pub(crate) fn new(context: Bound<'py, PyAny>) -> PyResult<Self> {
        // SAFETY: attached, and the object is checked by the callee.
        if unsafe { ffi::PyContext_Enter(context.as_ptr()) } < 0 {
            return Err(PyErr::fetch(context.py()));
        }
        Ok(Self(context))
    }

    /// The Context.
    pub(crate) fn context(&self) -> &Bound<'py, PyAny> {
        &self.0
    }

    /// Leaves it.
    ///
    /// # Errors
    /// `RuntimeError` if somebody unbalanced the stack of contexts.
    pub(crate) fn leave(self) -> PyResult<()> {
        let mut entered = ManuallyDrop::new(self);
        let left = entered.exit();
        // SAFETY: dropped once; `entered` itself is not.
        unsafe { std::ptr::drop_in_place(&raw mut entered.0) };
        left
    }

    fn exit(&mut self) -> PyResult<()> {
        // SAFETY: entered by `new` on this thread.
        if unsafe { ffi::PyContext_Exit(self.0.as_ptr()) } < 0 {
            return Err(PyErr::fetch(self.0.py()));
        }
        Ok(())
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.exit() {
            error.write_unraisable(self.0.py(), None);
        }
    }
}
