//! The options of a call, as Python gives them.
//!
//! Invariant: options are checked when they are made, so that a call with bad ones never starts.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::call::{CallBuilder, Full, OnDrop, PyArgs};

/// Everything about a call but the callee and its arguments.
#[pyclass(frozen, module = "gilscope._native")]
pub(crate) struct CallOptions {
    name: Option<String>,
    deadline: Option<Duration>,
    context: Option<Py<PyAny>>,
    on_drop: OnDrop,
    full: Full,
    thread: bool,
}

#[pymethods]
impl CallOptions {
    #[new]
    #[pyo3(signature = (*, name=None, deadline=None, context=None, on_drop="cancel", full="wait", thread=false))]
    fn new(
        name: Option<String>,
        deadline: Option<f64>,
        context: Option<Py<PyAny>>,
        on_drop: &str,
        full: &str,
        thread: bool,
    ) -> PyResult<Self> {
        let on_drop = match on_drop {
            "cancel" => OnDrop::Cancel,
            "detach" => OnDrop::Detach,
            other => return Err(bad("on_drop", "\"cancel\" or \"detach\"", other)),
        };
        let full = match full {
            "wait" => Full::Wait,
            "fail" => Full::Fail,
            other => return Err(bad("full", "\"wait\" or \"fail\"", other)),
        };
        Ok(Self {
            name,
            deadline: duration(deadline)?,
            context,
            on_drop,
            full,
            thread,
        })
    }
}

fn bad(what: &str, wanted: &str, got: &str) -> PyErr {
    PyValueError::new_err(format!("{what} must be {wanted}, not {got:?}"))
}

/// Seconds as a duration: negative counts as zero, infinity as none.
///
/// # Errors
/// `ValueError` for NaN.
pub(crate) fn duration(seconds: Option<f64>) -> PyResult<Option<Duration>> {
    match seconds {
        None => Ok(None),
        Some(seconds) if seconds.is_nan() => Err(PyValueError::new_err(
            "a deadline must be a number of seconds, not NaN",
        )),
        Some(seconds) if seconds <= 0.0 => Ok(Some(Duration::ZERO)),
        // What does not fit in a Duration is later than any clock: no deadline.
        Some(seconds) => Ok(Duration::try_from_secs_f64(seconds).ok()),
    }
}

impl CallOptions {
    pub(crate) fn detached(&self) -> bool {
        self.on_drop == OnDrop::Detach
    }

    /// Configures a call; its context is the given one, or a copy of the calling Python thread's.
    pub(crate) fn apply<A: PyArgs>(
        &self,
        py: Python<'_>,
        mut call: CallBuilder<A>,
    ) -> PyResult<CallBuilder<A>> {
        let context = match &self.context {
            Some(context) => context.clone_ref(py),
            None => current_context(py)?,
        };
        if let Some(name) = &self.name {
            call = call.name(name);
        }
        if let Some(deadline) = self.deadline {
            call = call.deadline(deadline);
        }
        if self.thread {
            call = call.in_thread();
        }
        Ok(call
            .context(context)
            .on_drop(self.on_drop)
            .when_full(self.full))
    }
}

/// A copy of the calling thread's Context.
fn current_context(py: Python<'_>) -> PyResult<Py<PyAny>> {
    // SAFETY: attached; a new reference or NULL with an error set.
    let context = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent()) };
    context.map(Bound::unbind)
}
