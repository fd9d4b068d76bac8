//! Calls and streams whose future is dropped by hand.
//!
//! Invariant: each future is polled and dropped on the thread that asks, without the GIL.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::StreamExt as _;
use gilscope_runtime::{Error, PyFun, PyHandle, PyStream};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::own::wait;
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

/// Makes the future of a call, named "dropped", and drops it before anybody polls it.
#[pyfunction]
#[pyo3(signature = (fun, *args))]
pub(crate) fn future_dropped(fun: &Bound<'_, PyAny>, args: Py<PyTuple>) -> PyResult<()> {
    let call = given(None)?.call(PyFun::new(fun), args).name("dropped");
    let future = call.wait::<PyHandle>();
    fun.py().detach(|| drop(future));
    Ok(())
}

/// A stream whose next item is awaited.
#[pyclass(frozen)]
pub(crate) struct StreamBegun(Mutex<Option<PyStream<PyHandle>>>);

#[pymethods]
impl StreamBegun {
    /// Drops the stream on this thread.
    fn drop(&self, py: Python<'_>) {
        py.detach(|| drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take()));
    }
}

/// Takes `take` items of an async generator and begins to await the next, which must not be there.
#[pyfunction]
pub(crate) fn stream_begun(
    fun: &Bound<'_, PyAny>,
    take: usize,
) -> PyResult<(StreamBegun, Vec<Py<PyAny>>)> {
    let py = fun.py();
    let mut stream: PyStream<PyHandle> = given(None)?.stream(fun, PyTuple::empty(py).unbind());
    let begun = async move {
        let mut items = Vec::new();
        while items.len() < take {
            let item = stream.next().await.expect("enough items");
            items.push(item?);
        }
        let next = futures_util::poll!(stream.next());
        Ok::<_, Error>((stream, items, next.is_pending()))
    };
    let (stream, items, pending) = wait(py, begun)??;
    if !pending {
        return Err(PyRuntimeError::new_err("there was an item"));
    }
    let items = items.iter().map(|item| item.clone_ref(py)).collect();
    Ok((StreamBegun(Mutex::new(Some(stream))), items))
}
