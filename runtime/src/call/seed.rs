//! The vocabulary of the design this runtime grew from: a function with its arguments and callback
//! as one value, and what dispatching one function yields.
//!
//! Invariant: these are views of [`CallBuilder`](super::CallBuilder); they add no second path.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::callback::PyAsyncCallback;
use crate::handle::{PyFun, PyHandle};

/// A function with its positional and keyword arguments.
pub type PyCallee = (PyFun, Py<PyTuple>, Option<Py<PyDict>>);

/// A function, its arguments and its callback.
#[derive(Debug)]
pub struct PyAsyncFun<T = PyHandle> {
    /// What to call.
    pub fun: PyFun,
    /// Positional arguments.
    pub args: Py<PyTuple>,
    /// Keyword arguments.
    pub kwargs: Option<Py<PyDict>>,
    /// Who receives the outcome.
    pub callback: PyAsyncCallback<T>,
}

impl<T> PyAsyncFun<T> {
    /// The callee with its arguments, and the callback.
    #[must_use]
    pub fn split(self) -> (PyCallee, PyAsyncCallback<T>) {
        ((self.fun, self.args, self.kwargs), self.callback)
    }
}

/// What dispatching one function yields, on the loop thread.
#[derive(Debug)]
pub enum PyAsyncFunResult {
    /// A coroutine to drive.
    Future(Py<PyAny>),
    /// A value that is there at once: the function was a plain `def`, a builtin, anything whose
    /// result cannot be awaited.
    Immediate(Py<PyAny>),
}
