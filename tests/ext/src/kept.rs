//! A call's future that is polled by hand, by whichever process has it.
//!
//! Invariant: nothing is spawned, so a forked child has the future as its parent had it.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use gilscope_runtime::{CallFuture, CallHandle, PyFun, PyHandle};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::own::exception;
use crate::runtime::{Runtime, given};

/// The future of one call, with its handle.
#[pyclass(frozen)]
pub(crate) struct Kept {
    future: Mutex<CallFuture<PyHandle>>,
    handle: CallHandle,
}

#[pymethods]
impl Kept {
    /// Polls once: None, or ("ok", value) or ("err", exception). Not again after that.
    fn poll(&self, py: Python<'_>) -> Option<(&'static str, Py<PyAny>)> {
        let polled = py.detach(|| {
            let mut future = self.future.lock().unwrap_or_else(PoisonError::into_inner);
            Pin::new(&mut *future).poll(&mut Context::from_waker(Waker::noop()))
        });
        match polled {
            Poll::Pending => None,
            Poll::Ready(Ok(value)) => Some(("ok", value.clone_ref(py))),
            Poll::Ready(Err(error)) => Some(("err", exception(py, error))),
        }
    }

    #[getter]
    fn is_done(&self) -> bool {
        self.handle.is_done()
    }

    fn cancel(&self) -> bool {
        self.handle.cancel()
    }
}

/// A call whose future was polled once: it is in the queue, or waits for room.
#[pyfunction]
#[pyo3(signature = (fun, *args, runtime=None))]
pub(crate) fn kept(
    fun: &Bound<'_, PyAny>,
    args: Py<PyTuple>,
    runtime: Option<&Bound<'_, Runtime>>,
) -> PyResult<Kept> {
    let future = given(runtime)?
        .call(PyFun::new(fun), args)
        .wait::<PyHandle>();
    let kept = Kept {
        handle: future.handle(),
        future: Mutex::new(future),
    };
    kept.poll(fun.py());
    Ok(kept)
}
