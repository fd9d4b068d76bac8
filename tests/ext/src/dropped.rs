//! Calls whose future is dropped by hand.
//!
//! Invariant: each future is polled and dropped on the thread that asks, without the GIL.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use gilscope_runtime::PyFun;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::runtime::given;
use crate::sent::{Inbox, Mouth, Sent, callback_of};

/// Begins to send a call, named "dropped", that must wait for room, and drops what `send` returned
/// after its first poll, or before it. What the callback got arrives in the returned `Sent`.
#[pyfunction]
#[pyo3(signature = (kind, fun, *args, polled=true))]
pub(crate) fn send_dropped(
    kind: &str,
    fun: &Bound<'_, PyAny>,
    args: Py<PyTuple>,
    polled: bool,
) -> PyResult<Sent> {
    let py = fun.py();
    let inbox = Arc::new(Inbox::default());
    let (callback, receiver) = callback_of(py, kind, Mouth::new(&inbox), None)?;
    let call = given(None)?.call(PyFun::new(fun), args).name("dropped");
    let sending = call.send(callback);
    let first = py.detach(move || {
        let mut sending = Box::pin(sending);
        let mut context = Context::from_waker(Waker::noop());
        polled.then(|| sending.as_mut().poll(&mut context))
    });
    match first {
        Some(Poll::Ready(Ok(_))) => Err(PyRuntimeError::new_err("there was room")),
        Some(Poll::Ready(Err(error))) => Err(error.into()),
        None | Some(Poll::Pending) => Ok(Sent::given_up(inbox, receiver, kind == "discard")),
    }
}
