//! The options of a call, as Python gives them.
//!
//! Invariant: options are checked when they are made, so that a call with bad ones never starts.

use std::time::Duration;

use gilscope_instrument::TraceContext;
use pyo3::ffi;
use pyo3::prelude::*;

use super::given::{self, Given};
use crate::call::{CallBuilder, Full, OnDrop, PyArgs};
use crate::life::park::{ParkOnExit, Parking};

/// Everything about a call but the callee and its arguments.
#[pyclass(frozen, module = "gilscope._native")]
pub(crate) struct CallOptions {
    name: Option<String>,
    deadline: Option<Duration>,
    context: Parking<Option<Py<PyAny>>>,
    parent: Option<TraceContext>,
    on_drop: OnDrop,
    full: Full,
    thread: bool,
}

#[pymethods]
impl CallOptions {
    #[new]
    #[allow(
        clippy::too_many_arguments,
        reason = "keyword arguments of a Python constructor"
    )]
    #[pyo3(signature = (*, name=None, deadline=None, context=None, parent=None, tracestate=None, on_drop=None, full=None, thread=None))]
    fn new(
        name: Given<'_, '_>,
        deadline: Given<'_, '_>,
        context: Given<'_, '_>,
        parent: Given<'_, '_>,
        tracestate: Given<'_, '_>,
        on_drop: Given<'_, '_>,
        full: Given<'_, '_>,
        thread: Given<'_, '_>,
    ) -> PyResult<Self> {
        let _parks = ParkOnExit::new();
        let on_drops = [("cancel", OnDrop::Cancel), ("detach", OnDrop::Detach)];
        let fulls = [("wait", Full::Wait), ("fail", Full::Fail)];
        Ok(Self {
            name: given::name(name)?,
            deadline: given::deadline(deadline)?,
            context: Parking::new(given::context(context)?),
            parent: given::parent(parent, tracestate)?,
            on_drop: on_drop.map_or(Ok(OnDrop::Cancel), |it| {
                given::word("on_drop", it, &on_drops)
            })?,
            full: full.map_or(Ok(Full::Wait), |it| given::word("full", it, &fulls))?,
            thread: given::flag("thread", thread)?,
        })
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
        call = match &*self.context {
            Some(context) => {
                // It is the call's Context as it is, so what is current in it is what the call is below.
                let call = call.context(context.clone_ref(py));
                match crate::trace::of_context(context.bind(py)) {
                    Some(parent) => call.parent(parent),
                    None => call,
                }
            }
            None => call.own_context(current_context(py)?),
        };
        if let Some(parent) = &self.parent {
            call = call.parent(parent.clone());
        }
        if let Some(name) = &self.name {
            call = call.name(name);
        }
        if let Some(deadline) = self.deadline {
            call = call.deadline(deadline);
        }
        if self.thread {
            call = call.in_thread();
        }
        Ok(call.on_drop(self.on_drop).when_full(self.full))
    }
}

/// A copy of the calling thread's Context.
fn current_context(py: Python<'_>) -> PyResult<Py<PyAny>> {
    // SAFETY: attached; a new reference or NULL with an error set.
    let context = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent()) };
    context.map(Bound::unbind)
}
